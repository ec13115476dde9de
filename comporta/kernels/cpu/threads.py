"""Threads over compiled kernels, which run without the interpreter's lock.

Torch's own threads do the work where they can be had (see `openmp`), helper threads of ours
elsewhere.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import Any

import torch

from comporta.kernels.cpu import openmp

# Below this many multiply-adds waking a second thread costs more than it saves.
WORTH_A_THREAD = 2_000_000
Part = tuple[int, int]
# What the data of a region holds before the bounds of its parts: a function, its table, the number
# of parts, and the two functions of `openmp.queries`.
HEAD = 5


def split(count: int, unit: int, work: int) -> list[Part]:
    """Cut range(count) into one part for each thread.

    Args:
        count: how many there are.
        unit: parts begin at multiples of this.
        work: multiply-adds of the whole.

    >>> torch.set_num_threads(2)
    >>> split(10, 4, work=10**9)
    [(0, 8), (8, 10)]
    """
    units = -(-count // unit)
    threads = max(1, min(torch.get_num_threads(), units, work // WORTH_A_THREAD))
    # The larger parts first: the calling thread takes the first one and starts at once.
    cuts = [unit * -(-units * i // threads) for i in range(threads)] + [count]
    return [(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def fork(parts: int) -> int:
    """The address of the function that runs a region on so many threads; 0 where one is enough."""
    if parts < 2:
        return 0
    return openmp.fork() if openmp.offers(parts) else _helpers_fork()


@cache
def _helpers_fork() -> int:
    return ctypes.cast(_on_helpers(), ctypes.c_void_p).value or 0


@cache
def _on_helpers() -> Any:
    """`_fork_on_helpers` as compiled code calls it."""
    kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return ctypes.CFUNCTYPE(None, *kinds)(_fork_on_helpers)


def _fork_on_helpers(_region: int, data: int, count: int, _flags: int) -> None:
    """Run the function of a region's data for every part, each in a thread of its own."""
    numbers = (ctypes.c_int64 * (HEAD + 2 * count)).from_address(data)
    function, table = _function(numbers[0]), numbers[1]
    bounds = numbers[HEAD:]
    parts = list(zip(bounds[::2], bounds[1::2], strict=True))
    done: SimpleQueue[None] = SimpleQueue()
    for part, worker in zip(parts[1:], _workers(count - 1), strict=True):
        worker.put((function, table, part, done))
    function(table, *parts[0])
    for _ in parts[1:]:
        done.get()


@cache
def _function(address: int) -> Callable[..., None]:
    """A compiled function for Python, which releases the interpreter's lock."""
    size = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, size, size)(address)


_Task = tuple[Callable[..., None], int, Part, "SimpleQueue[None]"]
_local = threading.local()


def _workers(count: int) -> list[SimpleQueue[_Task | None]]:
    """The task queues of `count` helper threads of the calling thread."""
    # Threads do not survive a fork, so a child process makes its own.
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.helpers = os.getpid(), _Helpers()
    helpers: _Helpers = _local.helpers
    return helpers.queues(count)


class _Helpers:
    """Threads that wait for tasks; they end with the thread they help."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[_Task | None]] = []

    def queues(self, count: int) -> list[SimpleQueue[_Task | None]]:
        while len(self._queues) < count:
            queue: SimpleQueue[_Task | None] = SimpleQueue()
            threading.Thread(target=_serve, args=(queue,), daemon=True).start()
            self._queues.append(queue)
        return self._queues[:count]

    def __del__(self) -> None:
        for queue in self._queues:
            queue.put(None)


def _serve(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        function, table, part, done = task
        function(table, *part)
        done.put(None)
