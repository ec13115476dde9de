"""The machine's limit in float32: what matrix products reach here that no layer goes around.

It is the larger of two: numpy's large product, and our own tiles on operands that stay in the
nearest caches. What a machine reaches changes with what else it does; the tiles are run between
all that is measured, and the largest rate of a run is its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from timing import interleaved

from comporta.kernels.cpu import engine
from comporta.kernels.cpu.product import GEMM_EACH
from comporta.kernels.cpu.work import Work

SIZE = 2048
REST = 0.2
"""Seconds after which threads that wait for work are at rest."""
# A product whose operands stay in the nearest caches.
ROWS, DEPTH, COLUMNS, REPEATS = 16, 128, 384, 2000


def numpy_product() -> float:
    """The rate of numpy's product of two matrices of SIZE x SIZE, in 1e9 operations a second.

    It is measured apart from all else: numpy's threads go on waiting for work for a while.
    """
    one = np.random.default_rng(1).standard_normal((SIZE, SIZE), dtype=np.float32)
    (milliseconds,) = interleaved([lambda: one @ one], 0.0, settle=REST)
    return 2 * SIZE**3 / milliseconds / 1e6


@cache
def tiles() -> tuple[Callable[[], object], int]:
    """Products in the nearest caches, on all threads, and how many operations they are."""
    threads, tensors = torch.get_num_threads(), []
    jobs = engine.products(32).jobs(GEMM_EACH)
    for _ in range(threads):
        a, b, c = torch.randn(ROWS, DEPTH), torch.randn(DEPTH, COLUMNS), torch.empty(ROWS, COLUMNS)
        tensors.append((a, b, c))
        jobs.add(a.data_ptr(), DEPTH, 0, b.data_ptr(), c.data_ptr(), COLUMNS, 0, ROWS, DEPTH,
                 REPEATS, COLUMNS // engine.products(32).real.lanes, 0,
                 work=ROWS * DEPTH * COLUMNS * REPEATS)  # fmt: skip
    work = Work([jobs.task()], [])

    def run() -> object:
        work.run([])
        return tensors

    return run, 2 * threads * ROWS * DEPTH * COLUMNS * REPEATS


def tile_rate(milliseconds: float) -> float:
    """The rate of the tiles, in 1e9 operations a second, by how long they took."""
    return tiles()[1] / milliseconds / 1e6
