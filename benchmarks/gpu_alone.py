"""What only a process of its own can show on a GPU, for `gpu.py`: prints figures, and no more.

    python benchmarks/gpu_alone.py first CELL B T H
    python benchmarks/gpu_alone.py compiled gru B T H

first     seconds of the first training step of the process
compiled  seconds that torch.compile takes for a loop over torch.nn's cell, and how many times as
          long as ours a training step then takes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from timing import interleaved
from torch import Tensor, nn

from comporta.nn import GRU, Recurrent


def first(cell: str, x: Tensor) -> Iterator[float]:
    """The first training step."""
    layer = Recurrent(cell, x.shape[2], x.shape[2], device=x.device)
    before = time.perf_counter()
    train(layer, lambda: layer(x)[0])()
    yield time.perf_counter() - before


def compiled(cell: str, x: Tensor) -> Iterator[float]:
    """The loop in Python under torch.compile."""
    layer = GRU(x.shape[2], x.shape[2], batch_first=True, device=x.device)
    rival = {"gru": nn.GRUCell}[cell](x.shape[2], x.shape[2], device=x.device)
    rival.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})

    @torch.compile
    def loop(x: Tensor) -> Tensor:
        outputs = [rival(x[:, 0])]
        for step in range(1, x.shape[1]):
            outputs.append(rival(x[:, step], outputs[-1]))
        return torch.stack(outputs, dim=1)

    theirs = train(rival, lambda: loop(x))
    before = time.perf_counter()
    theirs()
    yield time.perf_counter() - before
    torch.testing.assert_close(loop(x), layer(x)[0], rtol=1e-3, atol=1e-3)
    ours, other = interleaved([train(layer, lambda: layer(x)[0]), theirs], 1.0)
    yield other / ours


def train(layer: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
    """A training step, waited for."""

    def step() -> None:
        layer.zero_grad()
        run().sum().backward()
        sum(p.grad.sum() for p in layer.parameters()).item()

    return step


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["first", "compiled"])
    parser.add_argument("cell")
    parser.add_argument("sizes", type=int, nargs=3, metavar=("B", "T", "H"))
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    x = torch.randn(*options.sizes, device=options.device)
    print(*{"first": first, "compiled": compiled}[options.what](options.cell, x))


if __name__ == "__main__":
    main()
