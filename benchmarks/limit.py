"""The machine's limit in float32: what matrix products reach here that no layer goes around."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from comporta.kernels.cpu import engine
from comporta.kernels.cpu.product import GEMM_EACH
from comporta.kernels.cpu.work import Work

ROUNDS = 9
SIZE = 2048
# A product whose operands stay in the nearest caches.
ROWS, DEPTH, COLUMNS, REPEATS = 16, 128, 384, 2000


def gigaflops() -> float:
    """The larger rate of numpy's product of 2048 x 2048 matrices and of our own tiles, in 1e9/s."""
    one = np.random.default_rng(1).standard_normal((SIZE, SIZE), dtype=np.float32)
    product = _rate(lambda: one @ one, 2 * SIZE**3)
    return max(product, _rate(*_tiles(torch.get_num_threads())))


def _tiles(threads: int) -> tuple[Callable[[], object], int]:
    jobs = engine.products(32).jobs(GEMM_EACH)
    tensors = []
    for _ in range(threads):
        a, b, c = torch.randn(ROWS, DEPTH), torch.randn(DEPTH, COLUMNS), torch.empty(ROWS, COLUMNS)
        tensors.append((a, b, c))
        jobs.add(a.data_ptr(), DEPTH, 0, b.data_ptr(), c.data_ptr(), COLUMNS, 0, ROWS, DEPTH,
                 REPEATS, COLUMNS // engine.products(32).real.lanes,
                 work=ROWS * DEPTH * COLUMNS * REPEATS)  # fmt: skip
    work = Work([jobs.task()])

    def run() -> object:
        work.run({})
        return tensors

    return run, 2 * threads * ROWS * DEPTH * COLUMNS * REPEATS


def _rate(function: Callable[[], object], operations: int) -> float:
    function()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return operations / statistics.median(times) / 1e9
