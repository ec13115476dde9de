"""The catalog of cells, and reading a cell from a text file."""

from __future__ import annotations

from pathlib import Path

from comporta.cells import additive, elman, gru, linear, lstm, oscillators
from comporta.cells.cell import Cell
from comporta.cells.forms import normalized
from comporta.errors import CellError, ConfigurationError, nearest

_FORMS = tuple(normalized(cell) for cell in (elman.RNN, gru.GRU, lstm.LSTM))
_FAMILIES = (elman, gru, lstm, additive, linear, oscillators)
_CATALOG: dict[str, Cell] = {
    cell.name: cell for cell in (*(c for family in _FAMILIES for c in family.CELLS), *_FORMS)
}
_HEADER = ("name", "source", "state", "streams", "output", "note", "initial", "keeps")


def names() -> list[str]:
    """The names of the cells in the catalog.

    >>> "gru-reset-before" in names()
    True
    """
    return list(_CATALOG)


def get(name: str) -> Cell:
    """The cell of that name.

    Raises:
        ConfigurationError: there is none; the message shows the nearest names.

    >>> get("gru").states
    ('h',)
    """
    if name not in _CATALOG:
        raise ConfigurationError(f"unknown cell {name!r}{nearest(name, _CATALOG)}")
    return _CATALOG[name]


def load(path: str | Path) -> Cell:
    """Read a cell from a text file: its equations, after optional header lines.

    A header line is `name: ...`, `source: ...`, `state: h c`, `streams: k`, `output: h`,
    `note: ...`, `initial: b_f = 1` or `keeps: b_f -b_i`; the name is the file's stem unless given.

    Raises:
        CellError: the file cannot be read, or its text is not a cell.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise CellError(f"cannot read the cell file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CellError(f"the cell file {path} is not UTF-8 text") from None
    header = {"name": path.stem}
    for number, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if colon and key.strip() in _HEADER:
            header[key.strip()] = value.strip()
            lines[number] = ""
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    try:
        return Cell.from_json({**header, "text": "\n".join(lines)})
    except CellError as error:
        # A cell counts from the first line of its text on, a file from its own.
        before = next((number for number, line in enumerate(lines) if line.strip()), 0)
        raise CellError(
            error.reason,
            line=None if error.line is None else error.line + before,
            column=error.column,
            source=error.source,
            file=str(path),
        ) from None
