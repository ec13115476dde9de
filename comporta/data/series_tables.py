"""Series in tables: a row a step, a column a channel, read by batches of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comporta.errors import ConfigurationError, DataError, missing_extra, nearest

if TYPE_CHECKING:
    import pyarrow

_MISSING = ["", "?", "NaN", "nan", "NA"]
_ROW = re.compile(
    r"(?:In CSV column #(?P<column>\d+): )?.*?Row #(?P<row>\d+): (?P<reason>.*)", re.S
)


def read_table(
    path: Path, *, label: str | None, series: str | None
) -> Iterator[tuple[np.ndarray, str | None, str]]:
    """Read a CSV, TSV or Parquet table in long format, one series at a time.

    Args:
        path: the file.
        label: the column of the labels.
        series: the column that names the series; without it, the table is one series.

    Yields:
        The values (T, D) with NaN where one is missing, the label, the place.

    Raises:
        DataError: the table cannot be read, a channel holds text, the steps of a series do not
            stand together, or a series has several labels or none.
        ConfigurationError: there is no such column, or pyarrow is missing.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("id,x,kind\\na,1,up\\na,2,up\\nb,3,down\\n")
    >>> [(v.tolist(), name) for v, name, _ in read_table(file, label="kind", series="id")]
    [([[1.0], [2.0]], 'up'), ([[3.0]], 'down')]
    """
    try:
        import pyarrow
    except ImportError:
        raise missing_extra("pyarrow", "tables") from None
    named = [name for name in (label, series) if name is not None]
    parquet = path.suffix.lower() == ".parquet"
    first = 1 if parquet else 2  # the row of the first step, as a spreadsheet counts
    table = _Grouping(path, label is not None, series is not None, first)
    names: list[str] = []
    with _explained(path, names):
        for batch in _parquet(path, names, named) if parquet else _csv(path, names, named):
            keys = [batch.column(names.index(name)).cast(pyarrow.string()) for name in named]
            channels = [
                batch.column(index).cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
                for index, name in enumerate(names)
                if name not in named
            ]
            texts = [key.to_pylist() for key in keys]
            yield from table.add(np.stack(channels, axis=1), texts)
        yield from table.end()


@dataclass
class _Grouping:
    """Rows gathered into series: a series ends where the next one begins."""

    path: Path
    labelled: bool
    several: bool
    row: int
    parts: list[np.ndarray] = field(default_factory=list)
    begun: int = 0
    name: str | None = None
    label: str | None = None
    seen: set[str | None] = field(default_factory=set)

    def add(
        self, values: np.ndarray, texts: list[list[str | None]]
    ) -> Iterator[tuple[np.ndarray, str | None, str]]:
        """Take the rows of a batch; give the series that are whole by now."""
        start = 0
        for index in range(len(values)):
            name = texts[-1][index] if self.several else None
            label = texts[0][index] if self.labelled else None
            if self.begun == 0 or name != self.name:
                self.parts.append(values[start:index])
                yield from self.end()
                self._begin(name, label, self.row + index)
                start = index
            elif label != self.label:
                raise DataError(
                    f"{self.path}, row {self.row + index}: the label {label!r} in a series that "
                    f"began with {self.label!r}; a series has one label"
                )
        self.parts.append(values[start:])
        self.row += len(values)

    def _begin(self, name: str | None, label: str | None, row: int) -> None:
        place = f"{self.path}, row {row}"
        if self.several and not name:
            raise DataError(f"{place}: no name of a series; write one in every row")
        if name in self.seen:
            raise DataError(
                f"{place}: the series {name!r} goes on after another one; sort the table, so "
                "that the steps of a series stand together"
            )
        if self.labelled and not label:
            raise DataError(f"{place}: no label; write one in every row")
        self.seen.add(name)
        self.begun, self.name, self.label = row, name, label

    def end(self) -> Iterator[tuple[np.ndarray, str | None, str]]:
        """The series that is gathered, if one is."""
        if self.begun:
            name = f" (series {self.name!r})" if self.several else ""
            where = f"{self.path}, rows from {self.begun}{name}"
            yield np.concatenate(self.parts), self.label, where
        self.parts = []


@contextmanager
def _explained(path: Path, names: list[str]) -> Iterator[None]:
    """Say where and why pyarrow could not read a table."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        text = str(error).strip()
        if found := _ROW.match(text):
            column = found["column"]
            inside = f", column {names[int(column)]!r}" if column and names else ""
            raise DataError(f"{path}, row {found['row']}{inside}: {found['reason']}") from None
        if "straddling" in text:
            text = "a row is longer than a million bytes"
        raise DataError(f"{path} cannot be read as a table: {text}") from None


def _check_columns(path: Path, found: list[str], named: list[str], names: list[str]) -> None:
    """Set `names` to the names of the columns, once they are right."""
    for name in found:
        if found.count(name) > 1:
            raise DataError(f"{path} has two columns {name!r}; rename one")
    for name in named:
        if name not in found:
            raise ConfigurationError(f"{path} has no column {name!r}{nearest(name, found)}")
    if len(found) == len(named):
        raise DataError(f"{path} has no column of numbers beside {' and '.join(named)}")
    names[:] = found


def _csv(path: Path, names: list[str], named: list[str]) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow
    from pyarrow import csv

    tabs = ".tsv" in path.name.lower()
    # One thread, since only then do errors name the row.
    reading = csv.ReadOptions(use_threads=False)
    parsing = csv.ParseOptions(delimiter="\t" if tabs else ",")
    with csv.open_csv(path, read_options=reading, parse_options=parsing) as reader:
        _check_columns(path, reader.schema.names, named, names)
    types = {name: pyarrow.string() if name in named else pyarrow.float64() for name in names}
    converting = csv.ConvertOptions(column_types=types, null_values=_MISSING)
    with csv.open_csv(
        path, read_options=reading, parse_options=parsing, convert_options=converting
    ) as reader:
        yield from reader


def _parquet(path: Path, names: list[str], named: list[str]) -> Iterator[pyarrow.RecordBatch]:
    from pyarrow import parquet, types

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_columns(path, schema.names, named, names)
        numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        for name in names:
            kind = schema.field(name).type
            if name not in named and not any(check(kind) for check in numeric):
                raise DataError(
                    f"{path}: the column {name!r} holds {kind} from row 1 on; expected numbers, or "
                    "name it as the column of the labels or the series"
                )
        yield from file.iter_batches()
