"""gru, lstm and rnn on the CPU beside torch.nn, JAX, Keras and ONNX Runtime, over many shapes.

    python benchmarks/rivals.py [--quick]

All have the same weights; outputs and gradients are compared before anything is timed. Times are
medians of alternating calls. JAX is a lax.scan under jit; Keras's layers run on JAX, under jit too;
ONNX Runtime runs forward only; `compiled.py` has torch.compile. Two directions and the gradient of
the input are measured beside torch.nn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import jax_layers
import keras_layers
import limit
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
RIVALS = {"jax": jax_layers, "keras": keras_layers}
SETTLE = 0.01
TOLERANCE = 5e-4
"""Largest difference allowed, relative to the largest value: float32 over 2,000 steps."""


Shape = tuple[int, int, int, int]
KINDS = ("train", "forward")
COLUMNS = (
    "train torch", "train jax", "train keras",
    "forward torch", "forward jax", "forward keras", "forward onnx",
)  # fmt: skip
GATES = {"gru": 3, "lstm": 4, "rnn": 1}
# (directions, whether the gradient of the input is wanted), besides (1, False)
VARIANTS = {"gradient of x": (1, True), "two directions": (2, False), "both": (2, True)}


def share(name: str, shape: Shape, kind: str, milliseconds: float, peak: float) -> float:
    """The share of the machine's limit, in 1e9 operations a second, that a pass reaches."""
    batch, time, depth, hidden = shape
    depths = depth + hidden
    if kind == "train":
        # Besides, the gradient of the state, and the gradients of the weights.
        depths += hidden + (depth + hidden)
    operations = 2 * batch * time * GATES[name] * hidden * depths
    return operations / (1e6 * milliseconds) / peak


def training(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], object]:
    """A training step."""

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(gradient)

    return step


def pair(
    name: str, shape: Shape, directions: int = 1
) -> tuple[nn.Module, nn.Module, torch.Tensor, torch.Tensor]:
    """torch's layer and ours with its weights, an input and a gradient of the output."""
    batch, time, depth, hidden = shape
    theirs, mine = (
        kind(depth, hidden, batch_first=True, bidirectional=directions == 2) for kind in CELLS[name]
    )
    mine.load_state_dict(theirs.state_dict())
    x, gradient = torch.randn(batch, time, depth), torch.randn(batch, time, directions * hidden)
    return theirs, mine, x, gradient


def measure_variant(name: str, shape: Shape, variant: str, seconds: float) -> float:
    """How many times as long torch.nn takes for a training step."""
    directions, wants_x = VARIANTS[variant]
    theirs, mine, x, gradient = pair(name, shape, directions)
    x.requires_grad_(wants_x)
    steps, found = [training(layer, x, gradient) for layer in (mine, theirs)], []
    for step, layer in zip(steps, (mine, theirs), strict=True):
        step()
        tensors = [x.grad] * wants_x + [parameter.grad for parameter in layer.parameters()]
        found.append([tensor.numpy().copy() for tensor in tensors if tensor is not None])
    for one, other in zip(*found, strict=True):
        agree(f"{name}, {variant}: a gradient", one, other)
    ours, others = interleaved(steps, seconds, settle=SETTLE)
    return others / ours


def measure(name: str, shape: Shape, seconds: float) -> dict[str, float]:
    """Who -> milliseconds of a training step and of a forward pass; and what the tiles reach."""
    theirs, mine, x, gradient = pair(name, shape)

    def infer(layer: nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return layer(x)[0]

        return run

    trains = {"ours": training(mine, x, gradient), "torch": training(theirs, x, gradient)}
    forwards = {"ours": infer(mine), "torch": infer(theirs)}
    for who, rival in RIVALS.items():
        steps = rival.steps(theirs, x, gradient)
        if steps:
            forwards[who], trains[who] = steps
    runtime = onnx_layers.runner(theirs, x, threads=torch.get_num_threads())
    if runtime:
        forwards["onnx"] = runtime
    check(name, forwards, trains, [theirs, mine])
    found = {}
    for kind, functions in zip(KINDS, (trains, forwards), strict=True):
        *times, tiles = interleaved([*functions.values(), limit.tiles()[0]], seconds, settle=SETTLE)
        found |= {f"{kind} {who}": t for who, t in zip(functions, times, strict=True)}
        found[f"{kind} tiles"] = limit.tile_rate(tiles)
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
    for who, rival in RIVALS.items():
        if who in trains:
            others[who] = rival.gradients(trains[who](), layers[0])
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
    seconds = 0.1 if options.quick else 0.6
    lines = [*grid(options.cells, seconds), "", *variants(options.cells, seconds / 2)]
    if not options.quick:
        write_page("rivals", "Layers beside their rivals", "python benchmarks/rivals.py", lines)


def grid(cells: list[str], seconds: float) -> list[str]:
    """Table of all rivals, in one direction and without the gradient of the input."""
    product = limit.numpy_product()
    measured = {}
    for name in cells:
        for shape in SHAPES:
            measured[name, shape] = found = measure(name, shape, seconds)
            times = (f"{what} {value:.2f}" for what, value in found.items())
            print(f"{name} {shape}: {', '.join(times)}", flush=True)
    peak = max(product, *(found[f"{k} tiles"] for found in measured.values() for k in KINDS))
    lines = [
        "Milliseconds of ours, the share of the machine's limit in float32 that they are, and how "
        "many times as long each rival takes. Training: forward and backward, gradients of the "
        f"parameters. The limit is the largest rate of this run, {peak:.0f} GFLOP/s: of our tiles "
        "in the nearest cache, measured between the others, or of numpy's product of 2048 x 2048 "
        f"matrices, {product:.0f}.",
        "",
        "| cell | B, T, D, H | train | share | torch.nn | JAX | Keras | forward | share | torch.nn "
        "| JAX | Keras | ONNX Runtime |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ratios: dict[tuple[str, str], list[float]] = {}
    for (name, shape), found in measured.items():
        row = []
        for column in COLUMNS:
            kind = column.split()[0]
            if column.endswith("torch"):
                row.append(f"{found[f'{kind} ours']:.2f}")
                row.append(f"{share(name, shape, kind, found[f'{kind} ours'], peak):.0%}")
            if column in found:
                ratio = found[column] / found[f"{kind} ours"]
                ratios.setdefault((name, column), []).append(ratio)
            row.append(f"{ratio:.2f}" if column in found else "")
        lines.append(f"| {name} | {', '.join(map(str, shape))} | {' | '.join(row)} |")
    print("\n".join(lines))
    return [*lines, "", *summary(ratios)]


def variants(cells: list[str], seconds: float) -> list[str]:
    """Table of two directions and of the gradient of the input, beside torch.nn."""
    lines = [
        "How many times as long torch.nn takes for a training step.",
        "",
        f"| cell | B, T, D, H | {' | '.join(VARIANTS)} |",
        "|---|---|---|---|---|",
    ]
    ratios: dict[tuple[str, str], list[float]] = {}
    for name in cells:
        for shape in SHAPES:
            found = {each: measure_variant(name, shape, each, seconds) for each in VARIANTS}
            for each, ratio in found.items():
                ratios.setdefault((name, each), []).append(ratio)
            row = " | ".join(f"{ratio:.2f}" for ratio in found.values())
            lines.append(f"| {name} | {', '.join(map(str, shape))} | {row} |")
            print(lines[-1], flush=True)
    return [*lines, "", *summary(ratios)]


def summary(ratios: dict[tuple[str, str], list[float]]) -> list[str]:
    """The smallest and the mean of each column."""
    lines = ["| cell | beside | smallest | geometric mean |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {column} | {min(values):.2f} | {geometric_mean(values):.2f} |"
        for (name, column), values in ratios.items()
    ]
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
