"""Plain threads over compiled kernels, which run without the interpreter's lock.

The batch is split, not the step: every thread runs the whole time loop on its rows and never
waits for another one.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

# Below this many multiply-adds waking a second thread costs more than it saves.
_WORTH_A_THREAD = 1_000_000
_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def split(count: int, unit: int, work: int) -> list[tuple[int, int]]:
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
    threads = max(1, min(torch.get_num_threads(), units, 1 + work // _WORTH_A_THREAD))
    cuts = [unit * (units * i // threads) for i in range(threads)] + [count]
    # The larger parts first: the calling thread takes the first one and starts at once.
    parts = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
    return sorted(parts, key=lambda part: part[0] - part[1])


def run(function: Callable[[int, int], None], parts: list[tuple[int, int]]) -> None:
    """Call function(first, last) for every part, each in a thread of its own."""
    if not parts:
        return
    waiting = [_pool(len(parts) - 1).submit(function, *part) for part in parts[1:]]
    function(*parts[0])
    for future in waiting:
        future.result()


def _pool(size: int) -> ThreadPoolExecutor:
    # Threads do not survive a fork, so a child process makes its own.
    key = os.getpid(), threading.get_ident()
    with _lock:
        pool = _pools.get(key)
        if pool is None or pool._max_workers < size:
            pool = _pools[key] = ThreadPoolExecutor(max(size, 1), "comporta")
        return pool
