"""Threads over compiled kernels, which run without the interpreter's lock.

Torch's own threads do the work where they can be had (see `openmp`), helper threads of ours
elsewhere.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import torch

from comporta.kernels.cpu import openmp
from comporta.kernels.cpu.machine import Code

# Below this many multiply-adds waking a second thread costs more than it saves.
WORTH_A_THREAD = 2_000_000
Part = tuple[int, int]


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


def run(code: Code, table: Any, parts: list[Part]) -> None:
    """Call code(table, first, last) for every part, each in a thread of its own."""
    if len(parts) > 1 and openmp.offers(len(parts)):
        openmp.run(code.address, table, parts)
    elif parts:
        _run_with_helpers(code.call, table, parts)


def _run_with_helpers(function: Callable[..., None], table: Any, parts: list[Part]) -> None:
    done: SimpleQueue[None] = SimpleQueue()
    for part, worker in zip(parts[1:], _workers(len(parts) - 1), strict=True):
        worker.put((function, table, part, done))
    function(table, *parts[0])
    for _ in parts[1:]:
        done.get()


_Task = tuple[Callable[..., None], Any, Part, "SimpleQueue[None]"]
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
