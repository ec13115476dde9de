"""Torch's own threads, where torch's OpenMP library lets others use them.

After an operation torch's threads spin for a while, ready for the next one. A kernel that runs on
them starts at once, and does not have to share their processors with them.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")
_is_forked = False


def _forked() -> None:
    global _is_forked
    _is_forked = True


# Where processes cannot be forked there is nothing to be told.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def offers(threads: int) -> bool:
    """Whether torch's library surely runs that many threads at once.

    It may be told to run fewer, and its threads do not survive a fork.
    """
    library = _library()
    return (
        library is not None
        and not _is_forked
        and not library.omp_get_dynamic()
        and int(library.omp_get_thread_limit()) >= threads
    )


@cache
def fork() -> int:
    """The address of the library's function that runs a function on several threads."""
    return _address("GOMP_parallel")


@cache
def queries() -> tuple[int, int]:
    """The addresses of the functions that tell a thread its number, and how many there are."""
    return _address("omp_get_thread_num"), _address("omp_get_num_threads")


def _address(name: str) -> int:
    library = _library()
    if library is None:
        return 0
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


@cache
def _library() -> Any:
    """Torch's library, which leads to those that it needs; None if OpenMP is not among them."""
    folder = Path(torch.__file__).parent / "lib"
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(str(folder / name))
            library.GOMP_parallel  # noqa: B018
            library.omp_get_dynamic.restype = library.omp_get_thread_limit.restype = ctypes.c_int
        except (OSError, AttributeError):
            continue
        return library
    return None
