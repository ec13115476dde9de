"""What each thing that the CPU backend does about speed gains: training steps of gru without it.

    python benchmarks/ablation.py

Each line is a process that has one thing taken away, beside one that has all; they take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from machine import write_page

SHAPES = [(1, 100, 64, 64), (1, 100, 512, 512), (32, 100, 64, 64), (32, 100, 256, 256),
          (64, 100, 512, 512)]  # fmt: skip
SECONDS = 3.0
WITHOUT = {
    "four steps of k in a turn of the tile's loop": "tile._STEPS_AT_ONCE = 1",
    "two panels at once where rows are few": "product._TOGETHER = 1",
    "asking ahead for the next panel of a large matrix": "product._NEAR_BYTES = 1 << 60",
    "asking ahead for the memory of the next step": "layout.Step.moving = lambda self, phase: []",
    "every other step from the last panel to the first":
        "gemm = loop._Loop.gemm; loop._Loop.gemm = lambda self, *a: gemm(self, *a[:-1], self.zero)",
    "room between the tiles of a block of gradients":
        "outer._tile_start = lambda e, column, count: e.mul(column, count)",
    "teams where few rows meet many weights": "call._BYTES_OF_A_MEMBER = 1 << 60",
    "torch's own threads (helper threads in their place)": "openmp.offers = lambda threads: False",
    "products of the input in chunks that stay in the cache":
        "forward._CHUNK_BYTES = forward._CHUNK_ROWS = 1 << 60",
    "buffers used again": "memory._KEPT_BYTES = 0",
    "plans kept for runs of the same sizes": "forget = True",
    "narrow vectors (AVX2 in place of AVX-512)": "os.environ['COMPORTA_VECTOR_BITS'] = '256'",
}  # fmt: skip
_CHILD = """
import importlib, os, sys, time
import torch
from comporta.kernels.cpu import call, layout, loop, machine, memory, openmp, outer, product, tile
from comporta.nn import GRU
forward = importlib.import_module("comporta.kernels.cpu.forward")
backward = importlib.import_module("comporta.kernels.cpu.backward")
forget = False
exec(sys.argv[1])
machine._sources = lambda: sys.argv[1]
for line in sys.stdin:
    batch, depth_of_time, depth, hidden = map(int, line.split())
    torch.manual_seed(0)
    layer, x = GRU(depth, hidden, batch_first=True), torch.randn(batch, depth_of_time, depth)
    gradient = torch.randn(batch, depth_of_time, hidden)
    def step():
        if forget:
            for known in (call._sizes, forward.plan, backward._plan):
                known.cache_clear()
        layer.zero_grad()
        layer(x)[0].backward(gradient)
    step()
    print("ready", sum(p.grad.abs().sum().item() for p in layer.parameters()), flush=True)
    while sys.stdin.readline() == "go\\n":
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            step()
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)
"""


class Process:
    """Training steps in a process of their own, which does without something."""

    def __init__(self, change: str, cache: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, change], env={**os.environ, "COMPORTA_CACHE": cache},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def begin(self, shape: tuple[int, ...]) -> float:
        """A number that tells whether the gradients are right."""
        return float(self._ask(" ".join(map(str, shape))).split()[1])

    def step(self) -> float:
        """Seconds of a training step."""
        return float(self._ask("go"))

    def end(self) -> None:
        """No more steps of this shape."""
        assert self._process.stdin is not None
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()


def main() -> None:
    """Measure and write the table."""
    lines = [
        "How many times as long a training step of gru takes without it.",
        "",
        f"| without | {' | '.join(', '.join(map(str, shape)) for shape in SHAPES)} |",
        f"|---|{'---|' * len(SHAPES)}",
    ]
    with tempfile.TemporaryDirectory() as cache:
        whole = Process("pass", cache)
        for what, change in WITHOUT.items():
            less, row = Process(change, cache), []
            for shape in SHAPES:
                right, found = whole.begin(shape), less.begin(shape)
                if not abs(right - found) <= 1e-3 * abs(right):
                    sys.exit(f"without {what} the gradients differ: {found}, not {right}")
                times: tuple[list[float], list[float]] = ([], [])
                end = time.perf_counter() + SECONDS
                while time.perf_counter() < end or len(times[0]) < 5:
                    for process, seconds in zip((whole, less), times, strict=True):
                        seconds.append(process.step())
                for process in (whole, less):
                    process.end()
                row.append(statistics.median(times[1]) / statistics.median(times[0]))
            lines.append(f"| {what} | {' | '.join(f'{ratio:.2f}' for ratio in row)} |")
            print(lines[-1], flush=True)
    write_page("ablation", "What is gained by what", "python benchmarks/ablation.py", lines)


if __name__ == "__main__":
    main()
