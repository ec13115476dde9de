"""Layers in bfloat16 beside float32: correctness first, then speed; and a language model's curve.

    python benchmarks/bfloat16.py --data FILE [--quick]

Layers: both get the same weights, rounded to bfloat16; outputs and gradients are compared before
anything is timed, and a difference that rounding does not explain ends the run. Times are medians
of alternating calls, two layers at a time: float32 and bfloat16, and then torch.nn's and ours in
bfloat16.

The curve: the recipe "characters" of benchmarks/shakespeare.py with --precision float32 and
bfloat16, three seeds each; what the two differ by, beside what seeds differ by. The page in
benchmarks/results is of tiny Shakespeare (1.1 MB).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch
from layers import PAIRS, Shape, infer, train_step
from machine import write_page
from shakespeare import RECIPES
from timing import interleaved
from torch import Tensor, nn

from comporta.kernels import gains_from
from comporta.tasks.language_model import KIND, LanguageModelTask
from comporta.training import Measure, Progress, Run, RunFolder, Task

SHAPES = [
    (32, 100, 64, 64),
    (128, 50, 128, 128),
    (32, 100, 256, 256),
    (128, 50, 256, 256),
    (64, 100, 512, 512),
    (32, 100, 512, 1024),
]
BAR = 1.5
"""So many times as fast as float32 should a training step be for H >= 256, B >= 32."""
SECONDS = 2.0
TOLERANCE = 0.03
"""Largest difference allowed, relative to the largest value: eight digits over a hundred steps."""
SEEDS, STEPS, VALIDATE_EVERY = (0, 1, 2), 1500, 150


def main() -> None:
    """Measure both and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a text file")
    parser.add_argument("--quick", action="store_true", help="a few repetitions, nothing written")
    options = parser.parse_args()
    if not gains_from(torch.bfloat16, torch.empty(0)):
        sys.exit("this processor does not multiply bfloat16: nothing to measure")
    lines = list(layers(0.2 if options.quick else SECONDS))
    lines += ["", *curve(options.data, 20 if options.quick else STEPS)]
    print("\n".join(lines))
    if not options.quick:
        command = f"python benchmarks/bfloat16.py --data {options.data.name}"
        write_page("bfloat16", "bfloat16 on the CPU", command, lines)


def layers(seconds: float) -> Iterator[str]:
    """The table of layers."""
    yield "Milliseconds of a training step; then how many times as fast bfloat16 is as its rival."
    yield ""
    yield (
        "| cell | (B, T, D, H) | float32 | bfloat16 | training step | with gradient of x | forward "
        "| torch.nn in bfloat16: training step | forward |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    reached = []
    for name, shape in product(PAIRS, SHAPES):
        times = measure(name, shape, seconds)
        ratios = {way: rival / narrow for way, (rival, narrow) in times.items()}
        if shape[0] >= 32 and shape[3] >= 256:
            reached.append(min(ratios["step"], ratios["of x"]))
        wide, narrow = times["step"]
        row = f"| {name} | {shape} | {wide:.2f} | {narrow:.2f} | "
        row += " | ".join(f"{ratio:.2f}" for ratio in ratios.values()) + " |"
        print(row, flush=True)
        yield row
    yield ""
    yield (
        f"Training for H >= 256, B >= 32: at least {min(reached):.2f} times as fast as float32 "
        f"(bar {BAR})."
    )


def measure(name: str, shape: Shape, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of a rival and of ours in bfloat16."""
    batch, steps, inputs, hidden = shape
    rival_type, our_type = PAIRS[name]
    narrow = our_type(inputs, hidden, batch_first=True).bfloat16()
    wide = copy.deepcopy(narrow).float()
    rival = rival_type(inputs, hidden, batch_first=True).bfloat16()
    rival.load_state_dict(narrow.state_dict())
    x = torch.randn(batch, steps, inputs).bfloat16()
    gradient = torch.randn(batch, steps, hidden).bfloat16()
    check(name, wide, narrow, x, gradient)
    both = [(wide, x.float(), gradient.float()), (narrow, x, gradient)]
    wanting = [(each, given.detach().requires_grad_(), d) for each, given, d in both]
    halves = [(rival, x, gradient), (narrow, x, gradient)]
    ways = {
        "step": [partial(train_step, *each) for each in both],
        "of x": [partial(train_step, *each) for each in wanting],
        "forward": [partial(infer, *each[:2]) for each in both],
        "torch": [partial(train_step, *each) for each in halves],
        "torch forward": [partial(infer, *each[:2]) for each in halves],
    }
    return {way: interleaved(calls, seconds) for way, calls in ways.items()}


def check(name: str, wide: nn.Module, narrow: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """End the run unless both give the same but for rounding."""
    found = []
    for layer, dtype in ((wide, torch.float32), (narrow, torch.bfloat16)):
        given = x.to(dtype).requires_grad_()
        output = layer(given)[0]
        wanted = [given, *layer.parameters()]
        gradients = torch.autograd.grad(output, wanted, gradient.to(dtype))
        found.append([value.detach().float() for value in (output, *gradients)])
    for number, (exact, rough) in enumerate(zip(*found, strict=True)):
        error = ((rough - exact).norm() / exact.norm()).item()
        if not error <= TOLERANCE:
            sys.exit(f"{name}: value {number} differs from float32's by {error:.1e}")


@dataclass
class Curve:
    """Keeps the validations of a run, and how long its updates took.

    Args:
        losses: nats a token.
        seconds: from the first update to the last, validations included.
    """

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def began(self, progress: Progress, task: Task) -> None:
        """Nothing to keep."""

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """Keep the time."""
        self.seconds = progress.seconds

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Keep the loss."""
        self.losses.append(measure.loss)


def curve(data: Path, steps: int) -> Iterator[str]:
    """The table of validations, runs in turn."""
    every = VALIDATE_EVERY if steps == STEPS else steps // 2
    runs: dict[str, list[Curve]] = {"float32": [], "bfloat16": []}
    for seed, precision in product(SEEDS, runs):
        settings = RECIPES["characters"] | {
            "files": (str(data.resolve()),), "steps": steps, "validate_every": every,
            "precision": precision, "seed": seed,
        }  # fmt: skip
        recipe = KIND.parts.recipe(settings)
        with tempfile.TemporaryDirectory() as home:
            folder = RunFolder(home)
            folder.begin({}, texts={})
            found = Curve()
            Run(LanguageModelTask(recipe), recipe.options, folder).train(found)
        runs[precision].append(found)
        print(f"seed {seed}, {precision}: {found.losses[-1]:.4f} nats, {found.seconds:.0f} s",
              flush=True)  # fmt: skip
    yield (
        f"Nats a character of the text held out, {len(SEEDS)} seeds each; the recipe of "
        f"shakespeare.py, {steps} steps."
    )
    yield ""
    yield "| step | float32: mean | its seeds | bfloat16: mean | its seeds | difference |"
    yield "|---|---|---|---|---|---|"
    wide, narrow = (
        list(zip(*(run.losses for run in of_one), strict=True)) for of_one in runs.values()
    )
    gaps, spreads = [], []
    for number, (exact, rough) in enumerate(zip(wide, narrow, strict=True), 1):
        gaps.append(statistics.mean(rough) - statistics.mean(exact))
        spreads.append(max(exact) - min(exact))
        yield (
            f"| {number * every} | {statistics.mean(exact):.4f} "
            f"| {min(exact):.4f} - {max(exact):.4f} | {statistics.mean(rough):.4f} "
            f"| {min(rough):.4f} - {max(rough):.4f} | {gaps[-1]:+.4f} |"
        )
    seconds = {name: sum(run.seconds for run in of_one) for name, of_one in runs.items()}
    ratio = seconds["float32"] / seconds["bfloat16"]
    yield ""
    yield (
        f"The means differ by {max(map(abs, gaps)):.4f} at most, by {gaps[-1]:+.4f} at the end; "
        f"float32's own seeds differ by {statistics.mean(spreads):.4f} on average. Whole training, "
        f"embedding, output layer, optimizer and validation included: {ratio:.2f} times as fast."
    )


if __name__ == "__main__":
    main()
