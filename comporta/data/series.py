"""Numeric series: each a matrix of steps and channels, with or without a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comporta.data.files import check_file
from comporta.data.series_arrays import read_npy, read_npz
from comporta.data.series_tables import read_table
from comporta.data.ts import read_ts
from comporta.errors import ConfigurationError, DataError

MISSING = ("refuse", "mask")
_TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Series:
    """One series.

    Args:
        values: (T, D) float32, a row a step.
        label: its class or score as text, None where the file has none.
        where: the place that names it, for messages.
    """

    values: np.ndarray
    label: str | None
    where: str


def read_series(
    path: str | Path,
    *,
    label: str | None = None,
    series: str | None = None,
    missing: str = "refuse",
) -> Iterator[Series]:
    """Read the series of a file, one at a time.

    What a file holds is known by its ending (.csv, .tsv and .ts also packed, with .gz behind):

    - `.npy`: an array (N, T, D) of N series, or (T, D) of one.
    - `.npz`: `x` (N, T, D); or `x` with all steps behind each other (T_1 + .. + T_N, D) and
      `lengths` (N,); or one array (T, D) a series, `x_0`, `x_1` and so on. Labels in `y` (N,).
    - `.csv`, `.tsv`, `.parquet`: a row a step, a column a channel; a series in rows that follow
      each other.
    - `.ts`: the format of the UEA and UCR archives (Bagnall et al. 2018, arXiv:1811.00075).

    A missing value is NaN, `?`, or an empty cell. With `missing="mask"` it becomes 0 and D channels
    are added that are 1 where a value was missing (Lipton et al. 2016, arXiv:1606.04130), in every
    series, so that all have 2 D channels.

    Args:
        path: the file.
        label: the column of a table that names the label, the same in all steps of a series.
        series: the column of a table that names the series; without it, the table is one series.
        missing: `refuse` or `mask`.

    Yields:
        The series.

    Raises:
        DataError: the file cannot be read as what it says it is, with the place.
        ConfigurationError: an unknown way with missing values, or columns for a file that has none.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("id,x\\na,1\\na,\\n")
    >>> next(read_series(file, series="id", missing="mask")).values.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if missing not in MISSING:
        raise ConfigurationError(f"missing is {missing!r}; it must be {' or '.join(MISSING)}")
    path = Path(path)
    channels = None
    empty = True
    for values, name, where in _found(path, label, series):
        values = np.asarray(values)
        if values.ndim != 2 or values.size == 0:
            raise DataError(
                f"{where}: an array of shape {values.shape} is no series; expected (steps, "
                "channels), at least one of each"
            )
        channels = channels or values.shape[1]
        if values.shape[1] != channels:
            raise DataError(
                f"{where}: {values.shape[1]} channels, but the first series has {channels}; "
                "all series of a file need the same"
            )
        empty = False
        yield Series(_finite(values, missing, where), name, where)
    if empty:
        raise DataError(f"{path} holds no series")


def _found(
    path: Path, label: str | None, series: str | None
) -> Iterator[tuple[np.ndarray, str | None, str]]:
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    if suffix in _TABLES:
        return read_table(check_file(path), label=label, series=series)
    if label is not None or series is not None:
        raise ConfigurationError(
            f"{path} has no named columns; the columns of label and series are for "
            f"{', '.join(_TABLES)}"
        )
    match suffix:
        case ".npy":
            return read_npy(check_file(path))
        case ".npz":
            return read_npz(check_file(path))
        case ".ts":
            return read_ts(path)
    raise DataError(
        f"{path} is of no known format; give a file ending in .npy, .npz, .ts, {', '.join(_TABLES)}"
    )


def _finite(values: np.ndarray, missing: str, where: str) -> np.ndarray:
    """The values as float32, all finite; missing ones treated as asked."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where}: values of type {values.dtype}; expected numbers")
    # What is too large for float32 becomes infinite and is refused just below.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    gone = np.isnan(values)
    wrong = np.isinf(values) | (gone if missing == "refuse" else False)
    if wrong.any():
        step, channel = np.argwhere(wrong)[0]
        advice = (
            "is missing; fill it in, or ask for a mask of missing values"
            if gone[step, channel]
            else "is infinite or too large for float32; correct it"
        )
        raise DataError(f"{where}: the value at step {step + 1}, channel {channel + 1} {advice}")
    if missing == "refuse":
        return values
    return np.concatenate([np.where(gone, np.float32(0), values), gone.astype(np.float32)], axis=1)
