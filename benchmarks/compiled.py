"""torch.nn's layers under torch.compile beside ours: do they compile within a minute, and then?

    python benchmarks/compiled.py

By default torch.compile leaves recurrent layers to torch's own kernels, so that rivals.py has its
figures already. Here it is told to trace them (`allow_rnn`), which unrolls them over time. Each is
compiled in a process of its own, which is ended after a minute.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.queues import Queue

import torch
from machine import write_page
from rivals import CELLS, agree, pair, training
from timing import interleaved

LIMIT = 60.0
LENGTHS = (10, 28, 100)
BATCH, SIZE = 32, 64


def attempt(name: str, length: int, results: Queue[tuple[float, float, float]]) -> None:
    """Compile a training step; put the seconds it took, and the milliseconds of theirs and ours."""
    torch._dynamo.config.allow_rnn = True
    theirs, mine, x, gradient = pair(name, (BATCH, length, SIZE, SIZE))
    steps = [training(torch.compile(theirs), x, gradient), training(mine, x, gradient)]
    start = time.perf_counter()
    steps[0]()
    seconds = time.perf_counter() - start
    steps[1]()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        agree(f"{name}: a gradient", one.grad.numpy(), other.grad.numpy())
    results.put((seconds, *interleaved(steps, 3.0)))


def measure(name: str, length: int) -> str:
    """A row of the table."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=attempt, args=(name, length, results))
    child.start()
    child.join(LIMIT)
    if child.is_alive():
        child.kill()
        child.join()
        found = "more than a minute | | "
    elif child.exitcode:
        found = "fails | | "
    else:
        seconds, theirs, mine = results.get()
        found = f"{seconds:.0f} s | {theirs:.2f} | {theirs / mine:.2f}"
    return f"| {name} | {BATCH}, {length}, {SIZE}, {SIZE} | {found} |"


def main() -> None:
    """Measure and write the table."""
    lines = [
        "Compiling a training step, and then how long it takes (ms), and how many times as long as "
        "ours. By default torch.compile does not trace recurrent layers but calls torch's own "
        "kernels, as eager torch does.",
        "",
        "| cell | B, T, D, H | compiles in | step | beside ours |",
        "|---|---|---|---|---|",
    ]
    for name in CELLS:
        for length in LENGTHS:
            lines.append(measure(name, length))
            print(lines[-1], flush=True)
    write_page("compiled", "torch.nn under torch.compile", "python benchmarks/compiled.py", lines)


if __name__ == "__main__":
    main()
