"""Vectors of words learned elsewhere, from text files of word2vec, fastText or GloVe."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comporta.data.lines import LONGEST_LINE, bad_line, read_lines
from comporta.errors import DataError


def read_vectors(
    path: str | Path, wanted: Mapping[str, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    r"""Read the vectors of the words that are wanted; of the others nothing is kept.

    A line is a word and D values between single spaces. A first line of two whole numbers
    (word2vec, fastText) says how many words follow, and D; without it (GloVe) the first word gives
    D. A word may itself hold spaces: the values are the last D. Of a word that comes twice, the
    first vector counts.

    Args:
        path: the file in UTF-8, or a gzip of it.
        wanted: the row of each word, each of 0 to N - 1 once.

    Returns:
        The vectors, (N, D), 0 where a word was not found; whether each was found, (N,).

    Raises:
        DataError: as `read_lines`; a line with another number of values; a value of a wanted word
            that is no finite number; fewer or more words than the first line says.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("2 3\nsea 0.5 1 2\nland 3 4 5\n")
    >>> matrix, found = read_vectors(file, {"<unk>": 0, "sea": 1})
    >>> matrix.tolist(), found.tolist()
    ([[0.0, 0.0, 0.0], [0.5, 1.0, 2.0]], [False, True])
    """
    lines = read_lines(path)
    first, text = next(lines)
    promised, size = _shape(text)
    if not 1 <= size <= LONGEST_LINE:
        raise bad_line(
            path, first, f"{size} values; write a word and its values between single spaces"
        )
    rest = chain([(first, text)], lines) if promised is None else lines
    vectors: dict[int, NDArray[np.float32]] = {}
    line = first
    for line, text in rest:
        word, values = _fields(path, line, text, size)
        row = wanted.get(word)
        if row is not None and row not in vectors:
            vectors[row] = _numbers(path, line, values)
    if promised is not None and promised != line - first:
        raise DataError(
            f"{path} has {line - first} words, while its first line says {promised}; it may be cut "
            "off: fetch it again"
        )
    # Made last: until a line agrees with it, the size may be a damaged one.
    matrix = np.zeros((len(wanted), size), dtype=np.float32)
    found = np.zeros(len(wanted), dtype=np.bool_)
    for row, vector in vectors.items():
        matrix[row], found[row] = vector, True
    return matrix, found


def _shape(first: str) -> tuple[int | None, int]:
    """The number of words, where the first line says it, and the number of values."""
    fields = first.rstrip(" ").split(" ")
    if len(fields) == 2 and all(field.isdecimal() for field in fields):
        return int(fields[0]), int(fields[1])
    return None, len(fields) - 1


def _fields(path: str | Path, line: int, text: str, size: int) -> tuple[str, list[str]]:
    word, *values = text.rstrip(" ").rsplit(" ", size)
    # What looks like a number before the values is one more of them, not the end of a word.
    if len(values) != size or (" " in word and _is_number(word.rpartition(" ")[2])):
        count = len(text.rstrip(" ").split(" ")) - 1
        raise bad_line(path, line, f"{count} values where the others have {size}; give as many")
    return word, values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: str | Path, line: int, values: list[str]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # infinite is refused below
            numbers = np.array(values, dtype=np.float32)
    except ValueError as error:
        raise bad_line(path, line, f"{error}; every value must be a number") from None
    if not np.isfinite(numbers).all():
        raise bad_line(path, line, "a value is not finite; every value must be a number")
    return numbers
