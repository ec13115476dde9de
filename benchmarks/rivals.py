"""gru, lstm and rnn on the CPU beside torch.nn, JAX and ONNX Runtime, over a grid of shapes.

    python benchmarks/rivals.py [--quick]

All have the same weights; outputs and gradients are compared before anything is timed. Times are
medians of alternating calls. JAX is a lax.scan under jit; ONNX Runtime runs forward only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import jax_layers
import numpy as np
import onnx_layers
import torch
from machine import write_page
from timing import geometric_mean, interleaved
from torch import nn

import comporta.nn as ours

SHAPES = [
    (1, 100, 64, 64), (1, 100, 256, 256), (1, 1000, 512, 512), (8, 100, 128, 128),
    (16, 200, 256, 1024), (32, 100, 64, 64), (32, 100, 256, 256), (64, 100, 512, 512),
    (64, 32, 32, 128), (128, 50, 128, 128), (256, 28, 28, 100), (4, 2000, 64, 256),
]  # fmt: skip
CELLS: dict[str, tuple[type[nn.RNNBase], type[nn.Module]]] = {
    "gru": (nn.GRU, ours.GRU),
    "lstm": (nn.LSTM, ours.LSTM),
    "rnn": (nn.RNN, ours.RNN),
}
SETTLE = 0.01
TOLERANCE = 5e-4
"""Largest difference allowed, relative to the largest value: float32 over 2,000 steps."""


def measure(name: str, shape: tuple[int, int, int, int], seconds: float) -> dict[str, float]:
    """Who -> milliseconds of a training step and of a forward pass."""
    batch, time, depth, hidden = shape
    theirs, mine = (kind(depth, hidden, batch_first=True) for kind in CELLS[name])
    mine.load_state_dict(theirs.state_dict())
    x, gradient = torch.randn(batch, time, depth), torch.randn(batch, time, hidden)

    def train(layer: nn.Module) -> Callable[[], object]:
        def step() -> None:
            layer.zero_grad()
            layer(x)[0].backward(gradient)

        return step

    def infer(layer: nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return layer(x)[0]

        return run

    trains = {"ours": train(mine), "torch": train(theirs)}
    forwards = {"ours": infer(mine), "torch": infer(theirs)}
    scan = jax_layers.steps(theirs, x, gradient)
    if scan:
        forwards["jax"], trains["jax"] = scan
    runtime = onnx_layers.runner(theirs, x, threads=torch.get_num_threads())
    if runtime:
        forwards["onnx"] = runtime
    check(name, forwards, trains, [theirs, mine])
    found = {}
    for kind, functions in (("train", trains), ("forward", forwards)):
        times = interleaved(list(functions.values()), seconds, settle=SETTLE)
        found |= {f"{kind} {who}": t for who, t in zip(functions, times, strict=True)}
    return found


def check(
    name: str,
    forwards: dict[str, Callable[[], object]],
    trains: dict[str, Callable[[], object]],
    layers: list[nn.Module],
) -> None:
    """End the run unless all give the same outputs and gradients."""
    expected = np.asarray(forwards["torch"]())
    for who, forward in forwards.items():
        agree(f"{name} of {who}: the output", np.asarray(forward()), expected)
    for who in ("torch", "ours"):
        trains[who]()
    gradients = [[p.grad.numpy() for p in layer.parameters()] for layer in layers]
    others = {"ours": gradients[1]}
    if "jax" in trains:
        others["jax"] = [np.asarray(g) for g in trains["jax"]()]
    for who, found in others.items():
        for one, other in zip(found, gradients[0], strict=True):
            agree(f"{name} of {who}: a gradient", one, other)


def agree(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    """End the run if two arrays differ."""
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error <= TOLERANCE:
        sys.exit(f"{what} differs from torch.nn's by {error:.1e}")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few repetitions, nothing written")
    parser.add_argument("--cells", nargs="+", default=list(CELLS))
    options = parser.parse_args()
    columns = ["train torch", "train jax", "forward torch", "forward jax", "forward onnx"]
    lines = [
        "Milliseconds of ours, and beside them how many times as long each rival takes. Training: "
        "forward and backward, gradients of the parameters.",
        "",
        "| cell | B, T, D, H | train | torch.nn | JAX | forward | torch.nn | JAX | ONNX Runtime |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios: dict[tuple[str, str], list[float]] = {}
    for name in options.cells:
        for shape in SHAPES:
            found = measure(name, shape, 0.1 if options.quick else 0.6)
            cells = []
            for column in columns:
                kind = column.split()[0]
                if column.endswith("torch"):
                    cells.append(f"{found[f'{kind} ours']:.2f}")
                if column in found:
                    ratio = found[column] / found[f"{kind} ours"]
                    ratios.setdefault((name, column), []).append(ratio)
                cells.append(f"{ratio:.2f}" if column in found else "")
            lines.append(f"| {name} | {', '.join(map(str, shape))} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += ["", "| cell | beside | smallest | geometric mean |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {column} | {min(values):.2f} | {geometric_mean(values):.2f} |"
        for (name, column), values in ratios.items()
    ]
    print("\n".join(lines[-len(ratios) :]))
    if not options.quick:
        write_page("rivals", "Layers beside their rivals", "python benchmarks/rivals.py", lines)


if __name__ == "__main__":
    main()
