"""Files of columns, one word a line (CoNLL), and the schemes in which tags mark entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from comporta.data.lines import bad_line, read_lines
from comporta.errors import DataError

Scheme: TypeAlias = Literal["none", "iob1", "bio", "bioes"]
Row: TypeAlias = tuple[int, list[str]]

OUTSIDE = "O"
_BLANK = " \t"
_DOCUMENT = "-DOCSTART-"
_COMMENT = "# "
_CONLLU_COLUMNS = 10
_CONLLU_RANGE = re.compile(r"\d+[-.]\d+")
_MARK = re.compile(r"([BIES])-(.+)")
_NO_MARK = (OUTSIDE, "")


@dataclass(frozen=True)
class Sentence:
    """The words of a sentence, and a tag for each.

    Args:
        words: T words.
        tags: T tags, or none where the file was read for its words alone.
        lines: T lines of its file, where each word stands.

    >>> Sentence(("Ana", "ri"), ("B-PER", "O"), (1, 2)).tags
    ('B-PER', 'O')
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def read_columns(
    path: str | Path,
    *,
    separator: str | None = None,
    word: int = 0,
    tag: int = -1,
    encoding: str = "utf-8",
) -> Iterator[Sentence]:
    r"""Read tagged sentences from a file of columns: a line a word, a blank line after a sentence.

    Left out are lines that begin with -DOCSTART-, comments (a line that begins with "# " before
    the first word of a sentence and has another number of columns than the words), and, in files
    of ten columns (CoNLL-U), the lines 1-2 of words written together and 1.1 of words left out.
    Words and their parts of speech are columns 1 and 3 there, with the separator "\t".

    Args:
        path: the file, or a gzip of it.
        separator: what stands between columns; None for any number of spaces and tabs.
        word: the column of the words, from 0; a negative number counts from the last column.
        tag: the column of the tags.
        encoding: of the file.

    Yields:
        The sentences, in order.

    Raises:
        DataError: as `read_lines`; the number of columns changes; there is no such column; a word
            or a tag is empty; the file has no words.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.conll"
    >>> _ = file.write_text("Ana B-PER\nri O\n\nSim O\n")
    >>> [(s.words, s.tags, s.lines) for s in read_columns(file)]
    [(('Ana', 'ri'), ('B-PER', 'O'), (1, 2)), (('Sim',), ('O',), (4,))]
    """
    for rows in _sentences(path, separator, encoding):
        words = tuple(_cell(path, row, word, "word") for row in rows)
        tags = tuple(_cell(path, row, tag, "tag") for row in rows)
        yield Sentence(words, tags, tuple(line for line, _ in rows))


def read_words(
    path: str | Path, *, separator: str | None = None, word: int = 0, encoding: str = "utf-8"
) -> Iterator[Sentence]:
    r"""Read sentences without tags, such as those to be tagged: as `read_columns`, words alone.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("Ana\nri\n")
    >>> list(read_words(file))
    [Sentence(words=('Ana', 'ri'), tags=(), lines=(1, 2))]
    """
    for rows in _sentences(path, separator, encoding):
        words = tuple(_cell(path, row, word, "word") for row in rows)
        yield Sentence(words, (), tuple(line for line, _ in rows))


def _sentences(path: str | Path, separator: str | None, encoding: str) -> Iterator[list[Row]]:
    """The rows of each sentence: the line of a word, and what stands in its columns."""
    rows: list[Row] = []
    columns, first = 0, 0
    for line, text in read_lines(path, encoding=encoding):
        if not text.strip(_BLANK):
            if rows:
                yield rows
            rows = []
            continue
        cells = text.split(separator) if separator else re.split(r"[ \t]+", text.strip(_BLANK))
        comment = not rows and text.startswith(_COMMENT) and len(cells) != columns
        if comment or cells[0] == _DOCUMENT:
            continue
        if not columns:
            columns, first = len(cells), line
        if len(cells) != columns:
            raise bad_line(
                path,
                line,
                f"{len(cells)} columns, while line {first} has {columns}; give every word the "
                f"same columns, or choose their separator",
            )
        if columns == _CONLLU_COLUMNS and _CONLLU_RANGE.fullmatch(cells[0]):
            continue
        rows.append((line, cells))
    if rows:
        yield rows
    if not columns:
        raise DataError(f"{path} has no words; give a file with one word a line")


def _cell(path: str | Path, row: Row, column: int, kind: str) -> str:
    line, cells = row
    if not -len(cells) <= column < len(cells):
        raise bad_line(
            path,
            line,
            f"no column {column} for the {kind}; there are {len(cells)}, counted from 0",
        )
    if not cells[column].strip(_BLANK):
        raise bad_line(path, line, f"the {kind} in column {column} is empty; write one")
    return cells[column]


def recognize(sentences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme in which tags mark entities (Sang, Veenstra 1999, arXiv:cs/9907006).

    Every tag is O or a letter and a label, such as B-PER:

    - "iob1": I in an entity, B at its start only where it follows another of the same label
    - "bio": B at the start of every entity, I in the rest of it
    - "bioes": as "bio", with E at the last word and S for an entity of one word
    - "none": anything else, such as parts of speech

    Files in "bio" often have an I that follows no entity; they are taken as "iob1" only when
    all of their B stand where "iob1" has them.

    Args:
        sentences: the tags of each sentence.

    Returns:
        The name of the scheme.

    >>> recognize([["B-PER", "I-PER", "O", "B-LOC"]]), recognize([["NOUN", "VERB"]])
    ('bio', 'none')
    """
    letters: set[str] = set()
    bare_i = bare_b = False
    for tags in sentences:
        if any(tag != OUTSIDE and not _MARK.fullmatch(tag) for tag in tags):
            return "none"
        for (_, label_before), (letter, label) in pairwise([_NO_MARK, *map(_mark, tags)]):
            letters.add(letter)
            bare_i |= letter == "I" and label != label_before
            bare_b |= letter == "B" and label != label_before
    if letters <= {OUTSIDE}:
        return "none"
    if letters & {"E", "S"}:
        return "bioes"
    return "iob1" if bare_i and not bare_b else "bio"


def _mark(tag: str) -> tuple[str, str]:
    """Letter and label of a tag; what is no mark of an entity is outside of all."""
    match = _MARK.fullmatch(tag)
    return (match[1], match[2]) if match else _NO_MARK


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The entities of a sentence, in any scheme.

    A word continues the entity of the word before when its letter is I or E, the letter before is
    B or I, and the labels are equal. Every other word that is not outside begins an entity, so
    that an illegal sequence is read as the scorer conlleval reads it.

    Args:
        tags: T tags.

    Returns:
        Each entity as its first word, the word after its last, and its label.

    >>> spans(["B-PER", "I-PER", "O", "I-LOC"])
    [(0, 2, 'PER'), (3, 4, 'LOC')]
    """
    found: list[tuple[int, int, str]] = []
    before, label_before = _NO_MARK
    for place, (letter, label) in enumerate(map(_mark, tags)):
        if letter in "IE" and before in "BI" and label == label_before:
            found[-1] = (found[-1][0], place + 1, label)
        elif letter != OUTSIDE:
            found.append((place, place + 1, label))
        before, label_before = letter, label
    return found


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """The tags of a sentence in BIO, with the same entities.

    Args:
        tags: T tags.
        scheme: what `recognize` says they are in; tags in "none" stay as they are.

    Returns:
        T tags.

    Raises:
        DataError: a tag that is not of the scheme.

    >>> to_bio(["I-PER", "I-PER", "B-PER", "O"], "iob1")
    ('B-PER', 'I-PER', 'B-PER', 'O')
    >>> to_bio(["B-PER", "E-PER", "S-PER", "O"], "bioes")
    ('B-PER', 'I-PER', 'B-PER', 'O')
    """
    if scheme == "none":
        return tuple(tags)
    for tag in tags:
        if tag != OUTSIDE and (_mark(tag) == _NO_MARK or (tag[0] in "ES" and scheme != "bioes")):
            raise DataError(
                f"the tag {tag!r} is not of the scheme {scheme}; write {OUTSIDE}, or one of "
                f"{'BIES' if scheme == 'bioes' else 'BI'} and a label, such as B-PER"
            )
    written = [OUTSIDE] * len(tags)
    for start, end, label in spans(tags):
        written[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tuple(written)


def bio_constraints(tags: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tag may stand first, and which after which, so that entities in BIO are legal.

    I-X stands only after B-X or I-X; all else is free.

    Args:
        tags: the K tags a model knows.

    Returns:
        Whether a sentence may begin with a tag, (K,); whether tag j may follow tag i, (K, K).

    >>> start, step = bio_constraints(["O", "B-PER", "I-PER"])
    >>> start.tolist()
    [True, True, False]
    >>> step[:, 2].tolist()
    [False, True, True]
    """
    marks = [_mark(tag) for tag in tags]
    start = np.array([letter != "I" for letter, _ in marks], dtype=np.bool_)
    labels = np.array([label for _, label in marks])
    same = labels[:, None] == labels[None, :]
    return start, start[None, :] | same
