"""Texts with a vector of numbers each: captions of pictures, sounds or anything measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comporta.data.lines import bad_line, parse_object, read_lines
from comporta.errors import DataError, nearest

VECTOR = "vector"


@dataclass(frozen=True)
class Caption:
    """A text and the numbers that it belongs to.

    Args:
        text: the text, without white space around it.
        vector: (C,) float32.
        line: where in its file it stands.
        path: the file.
    """

    text: str
    vector: NDArray[np.float32]
    line: int
    path: Path


def read_captions(
    path: str | Path, *, text: str = "text", encoding: str = "utf-8"
) -> Iterator[Caption]:
    """Read JSON Lines with a vector and a text in each: `{"vector": [0.5, 2], "text": "a dog"}`.

    Args:
        path: the file, or a gzip of it.
        text: the field of the texts.
        encoding: of the file.

    Yields:
        The captions, in order.

    Raises:
        DataError: as `read_lines`; a line that is no JSON object; a field that lacks; an empty
            text; a vector that is no list of finite numbers, or not as long as the first.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.jsonl"
    >>> _ = file.write_text('{"vector": [0.5, 2], "text": "a dog"}')
    >>> [(x.vector.tolist(), x.text) for x in read_captions(file)]
    [([0.5, 2.0], 'a dog')]
    """
    path = Path(path)
    size = None
    for line, content in read_lines(path, encoding=encoding):
        if not content.strip():
            continue
        fields = parse_object(path, line, content)
        for name in (VECTOR, text):
            if name not in fields:
                raise bad_line(path, line, f"no field {name!r}{nearest(name, fields)}")
        words = fields[text]
        if not isinstance(words, str) or not words.strip():
            raise bad_line(path, line, f"the field {text!r} must be a text that is not empty")
        vector = _vector(path, line, fields[VECTOR])
        size = size or len(vector)
        if len(vector) != size:
            raise bad_line(
                path, line, f"a vector of {len(vector)} numbers; the first of the file has {size}"
            )
        yield Caption(words.strip(), vector, line, path)
    if size is None:
        raise DataError(f"{path} has no captions; give a file with one or more")


def _vector(path: Path, line: int, values: object) -> NDArray[np.float32]:
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    with np.errstate(over="ignore"):  # infinite is refused below
        vector = np.array(values if numbers else [], dtype=np.float32)
    if not len(vector) or not np.isfinite(vector).all():
        raise bad_line(
            path, line, f"the field {VECTOR!r} must be a list of finite numbers, at least one"
        )
    return vector
