"""Series in NumPy's files, read without loading a whole file."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from comporta.errors import DataError

# Damaged files make numpy and scipy raise errors of many kinds.
_DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def explained_array(path: Path) -> Iterator[None]:
    """Say what to do where NumPy or SciPy cannot read a file.

    Args:
        path: the file that is read inside the `with` block.

    Raises:
        DataError: the file is damaged, or holds Python objects.

    >>> with explained_array(Path("a.npy")):
    ...     raise EOFError("No data left in file")
    Traceback (most recent call last):
    comporta.errors.DataError: a.npy cannot be read as an array of numbers: No data left in file
    """
    try:
        yield
    except DataError:
        raise
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are never loaded"
        raise DataError(f"{path} cannot be read as an array of numbers: {reason}") from None


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An archive of arrays, for a `with` block, each array loaded when it is asked for.

    Raises:
        DataError: the file is no archive, is damaged, or holds Python objects.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(file, x=np.zeros(3))
    >>> with open_npz(file) as archive:
    ...     archive.files
    ['x']
    """
    # Opened here, since NumPy leaves a damaged file open.
    with explained_array(path), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is one array; name it .npy")
        with archive:
            yield archive


def read_npy(path: Path) -> Iterator[tuple[np.ndarray, None, str]]:
    """The series of an array (N, T, D) or (T, D), mapped from disk.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(file, np.zeros((3, 5, 2)))
    >>> [values.shape for values, _, _ in read_npy(file)]
    [(5, 2), (5, 2), (5, 2)]
    """
    with explained_array(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is not one array; name an archive of arrays .npz")
    if array.ndim not in (2, 3):
        raise DataError(f"{path}: an array of shape {array.shape}; expected (N, T, D) or (T, D)")
    for index, values in enumerate(array if array.ndim == 3 else array[None]):
        yield values, None, f"{path}, series {index}"


def read_npz(path: Path) -> Iterator[tuple[np.ndarray, str | None, str]]:
    """The series of an archive, in one of the layouts that `read_series` names.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(file, x=np.arange(5)[:, None], lengths=[2, 3], y=["a", "b"])
    >>> [(values.ravel().tolist(), label) for values, label, _ in read_npz(file)]
    [([0, 1], 'a'), ([2, 3, 4], 'b')]
    """
    with open_npz(path) as archive:
        names = set(archive.files)
        labels = archive["y"].astype(str) if "y" in names else None
        lengths = archive["lengths"] if "lengths" in names else None
    if labels is not None and labels.ndim != 1:
        raise DataError(f"{path}: y has the shape {labels.shape}; expected one label a series")
    count = 0
    parts = _packed(path, lengths) if "x" in names else _separate(path, names)
    for count, values in enumerate(parts, start=1):
        if labels is not None and count > len(labels):
            break
        label = None if labels is None else str(labels[count - 1])
        yield values, label, f"{path}, series {count - 1}"
    if labels is not None and count != len(labels):
        raise DataError(f"{path}: y has {len(labels)} labels, which is not the number of series")


def _separate(path: Path, names: set[str]) -> Iterator[np.ndarray]:
    """x_0, x_1 and so on."""
    count = sum(name.startswith("x_") for name in names)
    with open_npz(path) as archive:
        for index in range(count):
            if f"x_{index}" not in names:
                raise DataError(f"{path} has {count} arrays x_..., but no x_{index}")
            yield archive[f"x_{index}"]
    if count == 0:
        raise DataError(
            f"{path} has the arrays {', '.join(sorted(names)) or 'none'}; expected x, or x_0, x_1"
        )


def _packed(path: Path, lengths: np.ndarray | None) -> Iterator[np.ndarray]:
    """The slices of x, read from the archive one after the other."""
    with explained_array(path), zipfile.ZipFile(path) as archive, archive.open("x.npy") as file:
        shape, fortran, dtype = _header(file, path)
        if len(shape) != (3 if lengths is None else 2):
            raise DataError(
                f"{path}: x has the shape {shape}; expected (N, T, D), or (T, D) and lengths"
            )
        if lengths is None:
            steps = [shape[1]] * shape[0]
        elif lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any():
            raise DataError(f"{path}: lengths must be whole numbers of at least 1, one a series")
        elif int(lengths.sum()) != shape[0]:
            raise DataError(f"{path}: lengths sum to {lengths.sum()}, but x has {shape[0]} steps")
        else:
            steps = lengths.tolist()
        if fortran:
            # Columns stand together on disk, so that no series can be read alone.
            with open_npz(path) as whole:
                x = whole["x"].reshape(-1, shape[-1])
                yield from np.split(x, np.cumsum(steps)[:-1])
            return
        for count in steps:
            size = count * shape[-1] * dtype.itemsize
            data = file.read(size)
            if len(data) != size:
                raise DataError(f"{path}: x ends too early; the archive is damaged")
            yield np.frombuffer(data, dtype).reshape(count, shape[-1])


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise DataError(f"{path}: version {version} of NumPy's format; save x again")
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"{path}: x holds Python objects, which are never loaded; save numbers")
    return shape, fortran, dtype
