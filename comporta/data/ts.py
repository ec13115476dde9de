"""The .ts format of the UEA and UCR archives of time series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from comporta.data.lines import bad_line, read_lines
from comporta.errors import DataError

_MISSING = ("?", "nan", "")


@dataclass
class _Header:
    """What the lines before @data say; 0 and None where they say nothing."""

    dimensions: int = 0
    length: int = 0
    equal: bool = False
    labelled: bool = False
    classes: list[str] = field(default_factory=list)


def read_ts(path: Path) -> Iterator[tuple[np.ndarray, str | None, str]]:
    """Read a .ts file, one series at a time.

    Lines of `@name value` and `# remark`, then `@data`, then a line a series: its dimensions with
    `:` between them, the values of each with `,` between them, the label last. Missing values (`?`)
    are given as NaN. Values with time stamps are refused.

    Source: Bagnall et al. 2018, "The UEA multivariate time series classification archive",
    arXiv:1811.00075.

    Args:
        path: the file, packed or not.

    Yields:
        The values (T, D), the label (None where the header promises none), the place.

    Raises:
        DataError: there is no @data, or a row has other dimensions than the header or the rows
            before it, dimensions of unequal length, a bad number, or no label or an unknown one.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.ts"
    >>> _ = file.write_text("@dimensions 2\\n@classLabel true up down\\n@data\\n1,2:3,4:up\\n")
    >>> next(read_ts(file))[0].tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    header = _Header()
    in_data = False
    for number, line in read_lines(path):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if in_data:
            values, label = _row(header, text, path, number)
            yield values, label, f"{path}, line {number}"
        elif not text.startswith("@"):
            raise bad_line(path, number, "a row before @data; write @data above the first row")
        elif text.lower() == "@data":
            in_data = True
        else:
            _read_tag(header, text, path, number)
    if not in_data:
        raise DataError(f"{path} has no line @data, so it has no series")


def _read_tag(header: _Header, text: str, path: Path, number: int) -> None:
    name, *words = text[1:].split() or [""]
    match name.lower():
        case "timestamps" if _truth(words, path, number):
            raise bad_line(
                path, number, "values with time stamps cannot be read; remove the stamps"
            )
        case "univariate" if _truth(words, path, number):
            header.dimensions = 1
        case "dimensions" | "dimension":
            header.dimensions = _whole(words, path, number)
        case "equallength":
            header.equal = _truth(words, path, number)
        case "serieslength":
            header.length = _whole(words, path, number)
        case "classlabel":
            header.labelled = _truth(words, path, number)
            header.classes = words[1:]
        case "targetlabel":
            header.labelled = _truth(words, path, number)


def _truth(words: list[str], path: Path, number: int) -> bool:
    if not words or words[0].lower() not in ("true", "false"):
        raise bad_line(path, number, "expected true or false behind the name")
    return words[0].lower() == "true"


def _whole(words: list[str], path: Path, number: int) -> int:
    if len(words) != 1 or not words[0].isdecimal() or int(words[0]) == 0:
        raise bad_line(path, number, "expected a whole number of at least 1 behind the name")
    return int(words[0])


def _row(header: _Header, text: str, path: Path, number: int) -> tuple[np.ndarray, str | None]:
    """The values and the label of a row; what the header left open, the first row decides."""
    parts = text.split(":")
    label = parts.pop().strip() if header.labelled else None
    if label is not None:
        _check_label(header, label, len(parts), path, number)
    header.dimensions = header.dimensions or len(parts)
    if len(parts) != header.dimensions:
        raise bad_line(
            path,
            number,
            f"{len(parts)} dimensions, expected {header.dimensions} as in the header or the "
            "first row",
        )
    channels = [_channel(part, path, number, index) for index, part in enumerate(parts, start=1)]
    length = len(channels[0])
    for index, channel in enumerate(channels, start=1):
        if len(channel) != length:
            raise bad_line(
                path,
                number,
                f"dimension {index} has {len(channel)} values, dimension 1 has {length}; all "
                "dimensions of a series need the same steps",
            )
    if header.equal:
        header.length = header.length or length
        if length != header.length:
            raise bad_line(
                path,
                number,
                f"{length} steps, expected {header.length}: the header says that all lengths are "
                "equal; write @equalLength false",
            )
    return np.array(channels).T, label


def _check_label(header: _Header, label: str, dimensions: int, path: Path, number: int) -> None:
    if header.classes and label in header.classes:
        return
    if not label or "," in label or dimensions == header.dimensions - 1:
        raise bad_line(path, number, "no label; write one behind the last ':'")
    if header.classes:
        raise bad_line(
            path,
            number,
            f"unknown label {label[:40]!r}; the header declares {' '.join(header.classes)[:200]}",
        )


def _channel(part: str, path: Path, number: int, dimension: int) -> list[float]:
    values = []
    for word in part.split(","):
        word = word.strip()
        try:
            # Python reads 1_000 as a number; no other program does.
            value = float("nan" if word.lower() in _MISSING else word.replace("_", "?"))
        except ValueError:
            raise bad_line(
                path,
                number,
                f"{word[:40]!r} in dimension {dimension} is not a number; missing values are "
                "written ?",
            ) from None
        values.append(value)
    return values
