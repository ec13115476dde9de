"""Memory of a training step of gru, lstm and rnn beside torch.nn: the peak beyond what was there.

    python benchmarks/memory.py

Each measurement is a process of its own: the largest resident memory after one training step less
that before it. A step of one row comes first, so that libraries and compiled code are there.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

from machine import write_page
from rivals import CELLS, SHAPES, Shape, pair, training
from timing import geometric_mean

# With fewer numbers in the output, what the allocator does shows.
SMALLEST = 200_000
KIB_A_MIB = 1024


def measure(name: str, shape: Shape, whose: str) -> float:
    """MiB of a training step, in this process."""
    theirs, ours, x, gradient = pair(name, shape)
    layer = theirs if whose == "torch" else ours
    training(layer, x[:1, :2].contiguous(), gradient[:1, :2].contiguous())()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    training(layer, x, gradient)()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / KIB_A_MIB


def in_a_process(name: str, shape: Shape, whose: str) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--cell", name, "--whose", whose, "--shape"]
    done = subprocess.run([*command, *map(str, shape)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=CELLS)
    parser.add_argument("--whose", choices=["torch", "ours"])
    parser.add_argument("--shape", type=int, nargs=4)
    options = parser.parse_args()
    if options.cell:
        print(measure(options.cell, tuple(options.shape), options.whose))
        return
    lines = ["| cell | B, T, D, H | torch.nn, MiB | ours, MiB | ours / torch.nn |",
             "|---|---|---|---|---|"]  # fmt: skip
    means = []
    for name in CELLS:
        ratios = []
        for shape in SHAPES:
            batch, time, _, hidden = shape
            if batch * time * hidden < SMALLEST:
                continue
            theirs, ours = (in_a_process(name, shape, whose) for whose in ("torch", "ours"))
            ratios.append(ours / theirs)
            cells = f"{theirs:.1f} | {ours:.1f} | {ratios[-1]:.2f}"
            lines.append(f"| {name} | {', '.join(map(str, shape))} | {cells} |")
            print(lines[-1], flush=True)
        means.append(f"| {name} | {max(ratios):.2f} | {geometric_mean(ratios):.2f} |")
    lines += ["", "| cell | largest | geometric mean |", "|---|---|---|", *means]
    print("\n".join(means))
    title = "Memory of a training step"
    write_page("memory", title, "python benchmarks/memory.py", lines)


if __name__ == "__main__":
    main()
