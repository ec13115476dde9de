"""The catalog beside torchrecurrent: a training step of every cell that both have.

    python benchmarks/catalog.py

Equal weights; outputs are compared first. Theirs is a loop over time in Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from machine import write_page
from timing import geometric_mean, interleaved
from torch import Tensor
from torchrecurrent_cells import TABLE

from comporta import cells
from comporta.nn import Recurrent

SHAPES = [(32, 50, 64, 64), (8, 100, 128, 256)]
SECONDS = 1.0
SETTLE = 0.01


def steps(name: str, shape: tuple[int, int, int, int]) -> list[Callable[[], object]]:
    """A training step of theirs and of ours, gradients of the parameters."""
    batch, time, depth, hidden = shape
    theirs = TABLE[name]
    weights = theirs.draw(name, depth, hidden, torch.float32)
    rival = theirs.build(weights, depth, hidden)
    x = torch.randn(batch, time, hidden if theirs.identity else depth)
    layer = Recurrent(name, x.shape[2], hidden)
    with torch.no_grad():
        for key, value in layer.weights().items():
            value.copy_(weights[key])
    state = {each: torch.zeros(batch, hidden) for each in cells.get(name).states}
    gradient = torch.randn(batch, time, hidden)

    def run(forward: Callable[[], Tensor], module: torch.nn.Module) -> Callable[[], object]:
        def step() -> None:
            for parameter in module.parameters():
                parameter.grad = None
            forward().backward(gradient)

        return step

    found, expected = layer(x)[0], theirs.run(rival, x, state)
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    if not error < 1e-3:
        sys.exit(f"{name}: the output differs from torchrecurrent's by {error:.1e}")
    return [
        run(lambda: theirs.run(rival, x, state), rival),
        run(lambda: layer(x)[0], layer),
    ]


def main() -> None:
    """Measure and write the table."""
    lines = ["Milliseconds of a training step, medians of alternating calls.", ""]
    lines += ["| cell | B, T, D, H | torchrecurrent | ours | ratio |", "|---|---|---|---|---|"]
    ratios = []
    for name in TABLE:
        for shape in SHAPES:
            theirs, ours = interleaved(steps(name, shape), SECONDS, settle=SETTLE)
            ratios.append(theirs / ours)
            lines.append(
                f"| {name} | {', '.join(map(str, shape))} | {theirs:.1f} | {ours:.2f} | "
                f"{ratios[-1]:.1f} |"
            )
            print(lines[-1], flush=True)
    total = f"Smallest {min(ratios):.1f}, geometric mean {geometric_mean(ratios):.1f}."
    write_page("catalog", "The catalog beside torchrecurrent", "python benchmarks/catalog.py",
               [*lines, "", total])  # fmt: skip


if __name__ == "__main__":
    main()
