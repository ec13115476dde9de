"""Layers against torch.nn on the CPU: correctness first, then speed in one interleaved run.

    python benchmarks/layers.py [--cells gru lstm rnn variants] [--quick]

For each shape both layers get equal weights; outputs and gradients are compared before anything is
timed, and a difference ends the run. Times are medians of alternating calls; `x` is torch.nn's time
over ours. The variants have no rival in torch.nn: they are set beside our own plain cell.
"""

from __future__ import annotations

import argparse
import sys

import torch
from machine import write_page
from rich.console import Console
from rich.table import Table
from timing import geometric_mean, interleaved
from torch import Tensor, nn

import comporta.nn as ours

SHAPES = [
    (1, 100, 64, 64),
    (1, 100, 256, 256),
    (8, 100, 128, 128),
    (32, 100, 64, 64),
    (32, 100, 256, 256),
    (64, 100, 512, 512),
    (128, 50, 128, 128),
    (16, 200, 256, 1024),
]
PAIRS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "gru": (nn.GRU, ours.GRU),
    "lstm": (nn.LSTM, ours.LSTM),
    "rnn": (nn.RNN, ours.RNN),
}
VARIANTS = {"gru-reset-before": "gru", "lstm-peephole": "lstm"}
SECONDS_A_CELL = 1.5
TOLERANCE = 2e-4
"""Largest difference allowed, relative to the largest value: float32 over 200 steps."""

Shape = tuple[int, int, int, int]
Row = tuple[str, Shape, float, float, float, float]
Rows = list[Row]


def main() -> None:
    """Run the comparison and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=[*PAIRS, "variants"])
    parser.add_argument("--quick", action="store_true", help="a few repetitions, nothing written")
    options = parser.parse_args()
    seconds = 0.2 if options.quick else SECONDS_A_CELL
    rows: Rows = []
    for name in options.cells:
        for shape in SHAPES:
            found = (
                variants(shape, seconds) if name == "variants" else [plain(name, shape, seconds)]
            )
            for row in found:
                rows.append(row)
                cell, _, train_rival, train, forward_rival, forward = row
                print(f"{cell:18} {shape!s:22} training step {train_rival:9.2f} {train:9.2f} ms "
                      f"x{train_rival / train:5.2f}  forward {forward_rival:8.2f} {forward:8.2f} "
                      f"ms x{forward_rival / forward:5.2f}", flush=True)  # fmt: skip
    Console().print(summary(rows))
    if not options.quick:
        write_page("layers", "Layers on the CPU", "python benchmarks/layers.py", report(rows))


def plain(name: str, shape: Shape, seconds: float) -> Row:
    """One cell beside torch.nn's."""
    batch, steps, inputs, hidden = shape
    rival_type, our_type = PAIRS[name]
    rival: nn.Module = rival_type(inputs, hidden, batch_first=True)
    layer: nn.Module = our_type(inputs, hidden, batch_first=True)
    layer.load_state_dict(rival.state_dict())
    x, gradient = torch.randn(batch, steps, inputs), torch.randn(batch, steps, hidden)
    check(rival, layer, x, gradient)
    return name, shape, *measure(rival, layer, x, gradient, seconds)


def variants(shape: Shape, seconds: float) -> Rows:
    """Cells that torch.nn does not have, beside our own plain cell."""
    batch, steps, inputs, hidden = shape
    rows: Rows = []
    for name, base in VARIANTS.items():
        rival, layer = (ours.Recurrent(cell, inputs, hidden) for cell in (base, name))
        x, gradient = torch.randn(batch, steps, inputs), torch.randn(batch, steps, hidden)
        rows.append((name, shape, *measure(rival, layer, x, gradient, seconds)))
    return rows


def measure(
    rival: nn.Module, layer: nn.Module, x: Tensor, gradient: Tensor, seconds: float
) -> tuple[float, float, float, float]:
    """Milliseconds of a training step of both, and of a forward pass of both."""
    both = (rival, layer)
    train_rival, train = interleaved(
        [lambda each=each: train_step(each, x, gradient) for each in both], seconds
    )
    forward_rival, forward = interleaved(
        [lambda each=each: infer(each, x) for each in both], seconds
    )
    return train_rival, train, forward_rival, forward


def train_step(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward, gradients of the parameters."""
    for parameter in layer.parameters():
        parameter.grad = None
    layer(x)[0].backward(gradient)


def infer(layer: nn.Module, x: Tensor) -> None:
    """Forward without gradients."""
    with torch.no_grad():
        layer(x)


def check(rival: nn.Module, layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """End the run unless outputs and gradients agree."""
    outputs = []
    for each in (rival, layer):
        train_step(each, x, gradient)
        with torch.no_grad():
            outputs.append(each(x)[0])
    pairs = [("output", outputs[0], outputs[1])]
    for (name, a), b in zip(rival.named_parameters(), layer.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        pairs.append((name, a.grad, b.grad))
    for name, expected, found in pairs:
        error = ((found - expected).abs().max() / expected.abs().max()).item()
        if not error <= TOLERANCE:
            sys.exit(f"{type(layer).__name__}: {name} differs from torch.nn's by {error:.1e}")


def summary(rows: Rows) -> Table:
    """Smallest and mean ratio for each cell."""
    table = Table("cell", "training: smallest", "mean", "forward: smallest", "mean",
                  title="rival's time / ours")  # fmt: skip
    for cell in dict.fromkeys(row[0] for row in rows):
        train = [row[2] / row[3] for row in rows if row[0] == cell]
        forward = [row[4] / row[5] for row in rows if row[0] == cell]
        table.add_row(cell, *(f"{value:.2f}" for value in (
            min(train), geometric_mean(train), min(forward), geometric_mean(forward))))  # fmt: skip
    return table


def report(rows: Rows) -> list[str]:
    """The table as Markdown."""
    lines = [
        "Milliseconds, medians of alternating calls. The rival is torch.nn; for gru-reset-before "
        "and lstm-peephole it is our own gru and lstm.",
        "",
        "| cell | B, T, D, H | training: rival | ours | ratio | forward: rival | ours | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell, shape, train_rival, train, forward_rival, forward in rows:
        lines.append(
            f"| {cell} | {', '.join(map(str, shape))} | {train_rival:.2f} | {train:.2f} | "
            f"{train_rival / train:.2f} | {forward_rival:.2f} | {forward:.2f} | "
            f"{forward_rival / forward:.2f} |"
        )
    lines += ["", "| cell | training: smallest, mean | forward: smallest, mean |", "|---|---|---|"]
    for cell in dict.fromkeys(row[0] for row in rows):
        train = [row[2] / row[3] for row in rows if row[0] == cell]
        forward = [row[4] / row[5] for row in rows if row[0] == cell]
        lines.append(
            f"| {cell} | {min(train):.2f}, {geometric_mean(train):.2f} | "
            f"{min(forward):.2f}, {geometric_mean(forward):.2f} |"
        )
    return lines


if __name__ == "__main__":
    main()
