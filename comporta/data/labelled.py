"""Texts with a label each: tables, JSON Lines, lines that begin with their label, folders."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from comporta.data.lines import LONGEST_LINE, bad_line, parse_object, read_lines
from comporta.errors import ConfigurationError, DataError, nearest

Column: TypeAlias = int | str
Row: TypeAlias = tuple[int, Sequence[str]]
Fields: TypeAlias = Mapping[str, Column | None]

TEXT = "text"
LABEL = "label"


@dataclass(frozen=True)
class Labelled:
    """A text, what it is labelled with, and where it stands.

    Args:
        text: the text, without white space around it.
        label: its label; None where the file was read for its texts alone.
        line: where in its file it begins.
        path: the file.

    >>> Labelled("such a fine film", "good", 3, Path("films.txt")).label
    'good'
    """

    text: str
    label: str | None
    line: int
    path: Path


def read_labelled(
    path: str | Path,
    *,
    text: Column | None = None,
    label: Column | None = None,
    encoding: str = "utf-8",
) -> Iterator[Labelled]:
    r"""Read texts and their labels. What a file holds is told by its name (before `.gz`).

    - a folder: each file `Label.txt` in it holds the texts of one label, a line each
    - `.tsv`: columns between tabs; a quotation mark is a character like others
    - `.csv`, and any other file when columns are chosen: columns between commas; a field in
      quotation marks may hold commas and line ends
    - `.jsonl`, `.json`: an object a line; `text` and `label` are its fields, by these names if
      not chosen
    - anything else: lines `label text`

    Columns of a table are chosen by name or by number, from 0 (a text of digits is a number).
    With a name, the first row must be a header; with two numbers, there is none. With nothing
    chosen, a first row with the cells "text" and "label" is a header; otherwise there is none,
    and the table must have two columns, the label and the text. Blank lines are left out.

    Args:
        path: the file, a gzip of it, or the folder.
        text: the column or field of the texts.
        label: the column or field of the labels.
        encoding: of the files.

    Yields:
        The texts with their labels, in order.

    Raises:
        DataError: as `read_lines`; a text or a label is missing or empty; rows of unequal
            length; a quotation mark that does not close; a line that is no JSON object.
        ConfigurationError: columns that contradict each other, or are chosen for a folder.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text('stars,review\n5,"Good, very\ngood"\n')
    >>> [(x.text, x.label, x.line) for x in read_labelled(file, text="review", label="stars")]
    [('Good, very\ngood', '5', 2)]
    """
    yield from _read(Path(path), {TEXT: text, LABEL: label}, encoding)


def read_unlabelled(
    path: str | Path, *, text: Column | None = None, encoding: str = "utf-8"
) -> Iterator[Labelled]:
    r"""Read texts alone, such as those to be labelled.

    As `read_labelled`, with these differences: a line of a file that is no table is a text as a
    whole; a table without a header has the text in its last column, of one or two; labels are
    None.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("such a fine film\n")
    >>> [x.text for x in read_unlabelled(file)]
    ['such a fine film']
    """
    yield from _read(Path(path), {TEXT: text}, encoding)


def split_labels(label: str) -> tuple[str, ...]:
    """The labels of a text that has several, written with commas between them.

    >>> split_labels("drama, comedy")
    ('drama', 'comedy')
    """
    return tuple(part.strip() for part in label.split(",") if part.strip())


def as_score(label: str | None, where: str) -> float:
    """A label as a number, for regression.

    Args:
        label: the label.
        where: its place, for messages.

    Returns:
        The number.

    Raises:
        DataError: the label is no finite number.

    >>> as_score("4.5", "films.txt, line 3")
    4.5
    """
    try:
        score = float(label or "")
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(
            f"{where}: the label {label!r} is not a number; a score is written like 4 or 4.5"
        )
    return score


def _read(path: Path, fields: Fields, encoding: str) -> Iterator[Labelled]:
    """Texts, and labels where they are among the fields, from whatever the path is."""
    if path.is_dir():
        yield from _folder(path, fields, encoding)
        return
    name = path.with_suffix("") if path.suffix == ".gz" else path
    chosen = any(column is not None for column in fields.values())
    if name.suffix in (".jsonl", ".json"):
        rows = _objects(path, fields, encoding)
    elif name.suffix == ".tsv":
        rows = _table(path, fields, _tab_rows(path, encoding))
    elif name.suffix == ".csv" or chosen:
        rows = _table(path, fields, _comma_rows(path, encoding))
    else:
        rows = _lines(path, fields, encoding)
    line = 0
    for line, values in rows:
        stripped = [value.strip() for value in values]
        for kind, value in zip(fields, stripped, strict=True):
            if not value:
                raise bad_line(path, line, f"the {kind} is empty; write one or drop the line")
        yield Labelled(stripped[0], stripped[1] if LABEL in fields else None, line, path)
    if line == 0:
        raise DataError(f"{path} has no texts; give a file with one or more")


def _folder(path: Path, fields: Fields, encoding: str) -> Iterator[Labelled]:
    if any(column is not None for column in fields.values()):
        raise ConfigurationError(f"{path} is a folder, which has no columns; choose none")
    files = sorted(path.glob("*.txt"))
    if not files:
        raise DataError(f"{path} has no files Label.txt; give one for each label")
    for file in files:
        for line, text in read_lines(file, encoding=encoding):
            if text.strip():
                yield Labelled(text.strip(), file.stem if LABEL in fields else None, line, file)


def _lines(path: Path, fields: Fields, encoding: str) -> Iterator[Row]:
    for line, text in read_lines(path, encoding=encoding):
        if text.strip() and LABEL in fields:
            label, *rest = re.split(r"[ \t]+", text.strip(), maxsplit=1)
            yield line, [*rest, label] if rest else ["", label]
        elif text.strip():
            yield line, [text]


def _objects(path: Path, fields: Fields, encoding: str) -> Iterator[Row]:
    for line, text in read_lines(path, encoding=encoding):
        if not text.strip():
            continue
        found = parse_object(path, line, text)
        yield line, [_value(path, line, found, kind, fields[kind]) for kind in fields]


def _value(
    path: Path, line: int, found: Mapping[str, object], kind: str, column: Column | None
) -> str:
    name = kind if column is None else str(column)
    if name not in found:
        raise bad_line(path, line, f"no field {name!r} for the {kind}{nearest(name, found)}")
    value = found[name]
    if isinstance(value, str):
        return value
    if kind == TEXT or not isinstance(value, int | float):
        raise bad_line(
            path, line, f"the field {name!r} is {json.dumps(value)[:40]}; the {kind} must be a text"
        )
    return json.dumps(value)


def _tab_rows(path: Path, encoding: str) -> Iterator[Row]:
    for line, text in read_lines(path, encoding=encoding):
        if text.strip():
            yield line, text.split("\t")


def _comma_rows(path: Path, encoding: str) -> Iterator[Row]:
    # The limit belongs to the whole process, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    lines = (text + "\n" for _, text in read_lines(path, encoding=encoding))
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise bad_line(
                path, line, f"the row that begins here cannot be read: {error}; check its quotes"
            ) from None
        if cells is None:
            return
        if cells not in ([], [""]):
            yield line, cells


def _table(path: Path, fields: Fields, rows: Iterator[Row]) -> Iterator[Row]:
    places: list[int] = []
    first, columns = 0, 0
    for line, cells in rows:
        if not places:
            first, columns = line, len(cells)
            header, places = _places(path, line, [cell.strip() for cell in cells], fields)
            if header:
                continue
        if len(cells) != columns:
            raise bad_line(
                path,
                line,
                f"{len(cells)} columns, while line {first} has {columns}; give every row the same",
            )
        yield line, [cells[place] for place in places]


def _places(path: Path, line: int, cells: Sequence[str], fields: Fields) -> tuple[bool, list[int]]:
    """Whether the first row is a header, and the columns of the fields."""
    chosen = [str(column) for column in fields.values() if column is not None]
    if not chosen and not set(fields) <= set(cells):
        if len(cells) in (len(fields), 2):
            return False, [len(cells) - 1, 0][: len(fields)]
        raise bad_line(
            path,
            line,
            f"{len(cells)} columns, none named; choose that of the {' and the '.join(fields)}",
        )
    header = not chosen or not all(column.isdecimal() for column in chosen)
    if not header and len(chosen) < len(fields):
        raise ConfigurationError("one column is chosen by its number; choose the other as well")
    places = [_place(path, line, cells, kind, column) for kind, column in fields.items()]
    if len(set(places)) < len(places):
        raise ConfigurationError(f"the {' and the '.join(fields)} are the same column; choose two")
    return header, places


def _place(path: Path, line: int, cells: Sequence[str], kind: str, column: Column | None) -> int:
    if str(column).isdecimal():
        if int(str(column)) >= len(cells):
            raise bad_line(
                path,
                line,
                f"no column {column} for the {kind}; there are {len(cells)}, counted from 0",
            )
        return int(str(column))
    name = kind if column is None else str(column)
    if name not in cells:
        raise bad_line(
            path, line, f"no column {name!r} for the {kind} in this header{nearest(name, cells)}"
        )
    return cells.index(name)
