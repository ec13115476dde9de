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
from llvmlite import ir

from comporta.kernels.cpu import machine
from comporta.kernels.cpu.emit import I32, I64, POINTER, VOID, Emitter
from comporta.kernels.cpu.loop import ARGUMENTS

_NAME = "comporta_region"
_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")
# What a region's table holds before the ranges of its parts.
_HEAD = ("function", "table", "parts", "omp_get_thread_num", "omp_get_num_threads")
_parent = os.getpid()


def offers(threads: int) -> bool:
    """Whether torch's library surely runs that many threads at once.

    It may be told to run fewer, and its threads do not survive a fork.
    """
    library = _library()
    return (
        library is not None
        and os.getpid() == _parent
        and not library.omp_get_dynamic()
        and int(library.omp_get_thread_limit()) >= threads
    )


def run(function: int, table: Any, parts: list[tuple[int, int]]) -> None:
    """Call the compiled function at that address on (table, first, last) for every part."""
    library = _library()
    assert library is not None, "asked only where offers() said yes"
    head = [function, ctypes.addressof(table), len(parts), *_queries()]
    numbers = [*head, *(bound for part in parts for bound in part)]
    data = (ctypes.c_int64 * len(numbers))(*numbers)
    library.GOMP_parallel(_region(), ctypes.addressof(data), len(parts), 0)


@cache
def _library() -> Any:
    """Torch's library, which leads to those that it needs; None if OpenMP is not among them."""
    folder = Path(torch.__file__).parent / "lib"
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(str(folder / name))
            library.GOMP_parallel.argtypes = [
                ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint,
            ]  # fmt: skip
            library.GOMP_parallel.restype = None
            library.omp_get_dynamic.restype = library.omp_get_thread_limit.restype = ctypes.c_int
        except (OSError, AttributeError):
            continue
        return library
    return None


@cache
def _queries() -> tuple[int, ...]:
    """The addresses of the library's functions that a region calls."""
    functions = [getattr(_library(), name) for name in _HEAD[-2:]]
    return tuple(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)


@cache
def _region() -> int:
    """The address of what each thread of a region runs."""
    return machine.load(_NAME, _build, [_NAME])[_NAME]


def _build() -> ir.Module:
    """region(numbers): thread i of n calls the function for the parts i, i + n, i + 2 n, ..."""
    module = ir.Module(_NAME)
    e = Emitter(module, _NAME, machine.real(32), [POINTER])
    (numbers,) = e.arguments

    def entry(index: Any, kind: Any) -> Any:
        place = e.builder.gep(numbers, [index], source_etype=I64)
        return e.builder.load(place, typ=kind)

    head = {
        name: entry(e.number(i), I64 if name == "parts" else POINTER)
        for i, name in enumerate(_HEAD)
    }
    query = ir.FunctionType(I32, [])
    mine, threads = (
        e.builder.sext(e.call_at(head[name], query, []), I64) for name in _HEAD[-2:]
    )  # fmt: skip
    with e.loop(mine, head["parts"], threads) as part:
        place = e.add(e.mul(part, 2), len(_HEAD))
        bounds = [entry(place, I64), entry(e.add(place, 1), I64)]
        function = ir.FunctionType(VOID, ARGUMENTS)
        e.call_at(head["function"], function, [head["table"], *bounds])
    e.finish()
    return module
