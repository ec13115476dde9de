"""How long one waits at first: the first call of every cell, cold and warm, and the import.

    python benchmarks/startup.py [--rounds 3]

Every figure is of a process of its own. The first call is `Recurrent(cell, 64, 64)` made, run
forward over (32, 100, 64) and backward; the imports before it are not in it. Cold is with an empty
cache folder; warm is the next process, with the folder as the cold one left it. Imports of torch
and of comporta alternate. The slowest first call and the median import are held to the bars below;
above one, the status is 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from machine import write_page

from comporta import cells

COLD_BAR, WARM_BAR, IMPORT_BAR = 6.0, 1.0, 1.5
"""Seconds."""

FIRST_CALL = """
import sys, time, torch
from comporta.nn import Recurrent
x = torch.randn(32, 100, 64)
began = time.perf_counter()
layer = Recurrent(sys.argv[1], 64, 64)
layer(x)[0].sum().backward()
print(time.perf_counter() - began)
"""
IMPORT = """
import importlib, sys, time
began = time.perf_counter()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - began)
"""
MODULES = ("torch", "comporta", "comporta.nn")
"""The front door alone imports no torch; its layers do."""

Times = dict[str, list[float]]


def seconds(code: str, argument: str, environment: Mapping[str, str]) -> float:
    """What a process of its own says it took."""
    done = subprocess.run(
        [sys.executable, "-c", code, argument],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{argument} failed:\n{done.stderr}")
    return float(done.stdout)


def first_calls(rounds: int) -> tuple[Times, Times]:
    """Seconds of the first call of every cell: cold, and warm."""
    cold: Times = {name: [] for name in cells.names()}
    warm: Times = {name: [] for name in cells.names()}
    for _ in range(rounds):
        for name in cells.names():
            with tempfile.TemporaryDirectory() as folder:
                for times in (cold, warm):
                    times[name].append(seconds(FIRST_CALL, name, {"COMPORTA_CACHE": folder}))
            print(f"{name:20} cold {cold[name][-1]:5.2f} s   warm {warm[name][-1]:5.2f} s")
    return cold, warm


def imports(rounds: int) -> Times:
    """Seconds of imports, in turn; each once before, so that all files have been read."""
    times: Times = {module: [] for module in MODULES}
    for module in MODULES:
        seconds(IMPORT, module, {})
    for _ in range(rounds):
        for module in MODULES:
            times[module].append(seconds(IMPORT, module, {}))
    return times


def report(loaded: Times, cold: Times, warm: Times) -> tuple[list[str], list[str]]:
    """The results as Markdown, and the bars that were missed."""
    medians = {module: statistics.median(times) for module, times in loaded.items()}
    figures = [
        ("first call, cold, slowest of all", max(map(max, cold.values())), COLD_BAR),
        ("first call, warm, slowest of all", max(map(max, warm.values())), WARM_BAR),
        ("import comporta.nn, more than import torch", medians["comporta.nn"] - medians["torch"],
         IMPORT_BAR),
    ]  # fmt: skip
    lines = [
        "| what | seconds | bar |",
        "|---|---|---|",
        *(f"| {what} | {value:.2f} | {bar:.1f} |" for what, value, bar in figures),
        "",
        "First calls of `Recurrent(cell, 64, 64)`, forward and backward over (32, 100, 64):",
        "",
        "| cell | cold: median | slowest | warm: median | slowest |",
        "|---|---|---|---|---|",
    ]
    for name in cold:
        each = [f(times[name]) for times in (cold, warm) for f in (statistics.median, max)]
        lines.append(f"| {name} | {' | '.join(f'{value:.2f}' for value in each)} |")
    lines += ["", "Imports, medians:", "", "| module | seconds |", "|---|---|"]
    lines += [f"| {module} | {value:.2f} |" for module, value in medians.items()]
    return lines, [what for what, value, bar in figures if not value < bar]


def main() -> None:
    """Measure, print, write the page, and say whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of every first call (%(default)s)")
    options = parser.parse_args()
    lines, missed = report(imports(3 * options.rounds), *first_calls(options.rounds))
    print("\n".join(lines))
    write_page(
        "startup", "Start-up", f"python benchmarks/startup.py --rounds {options.rounds}", lines
    )
    sys.exit(f"above the bar: {'; '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
