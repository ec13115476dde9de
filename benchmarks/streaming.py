"""One step, B = 1, called from Python: a stream beside torch.nn's cells and ONNX Runtime.

    python benchmarks/streaming.py

Equal weights; outputs are compared first. Every call takes a new input and gives the output of the
step; the state goes from step to step. ONNX Runtime is there if it is installed (`.[bench]`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import onnx_layers
import torch
from machine import write_page
from timing import interleaved
from torch import Tensor, nn

import comporta.nn as ours
from comporta import kernels

SIZES = (64, 256)
CELLS = {"gru": (nn.GRU, nn.GRUCell), "lstm": (nn.LSTM, nn.LSTMCell), "rnn": (nn.RNN, nn.RNNCell)}
SECONDS = 4.0
CALLS = 1000


@torch.no_grad()
def measure(name: str, size: int) -> str:
    """One row of the table, for as many threads as torch has now."""
    whole, cell_type = CELLS[name]
    rival = cell_type(size, size)
    drop_in = getattr(ours, whole.__name__)(size, size)
    for mine, theirs in zip(drop_in.parameters(), rival.parameters(), strict=True):
        mine.copy_(theirs)
    layer = ours.Recurrent(name, size, size)
    for key, value in drop_in.weights().items():
        layer.weights()[key].copy_(value)
    x = torch.randn(1, size)
    stream = ours.Stream(layer)
    functions: list[Callable[[], object]] = [lambda: stream(x), torch_step(rival, x)]
    check(name, ours.Stream(layer), rival, x)
    runtime = onnx_step(whole(size, size), x)
    functions += [runtime] if runtime else []
    start = list(layer.start(1)[0])
    kernel = kernels.stream(layer.program, x, start, layer.weights())
    functions.append(lambda: kernel.step(x))
    mine, theirs, *others = interleaved(functions, SECONDS, calls=CALLS)
    onnx = f"{1e3 * others[0]:.2f}" if runtime else "not installed"
    return (
        f"| {name} | {size} | {torch.get_num_threads()} | {1e3 * mine:.2f} | "
        f"{1e3 * others[-1]:.2f} | {1e3 * theirs:.2f} | {theirs / mine:.1f} | {onnx} |"
    )


def torch_step(cell: nn.Module, x: Tensor) -> Callable[[], object]:
    """A step of torch.nn's cell from its last state."""
    state: list[object] = [None]

    def step() -> None:
        state[0] = cell(x, state[0])

    return step


def check(name: str, stream: ours.Stream, cell: nn.Module, x: Tensor) -> None:
    """End the run unless three steps agree."""
    state = None
    for _ in range(3):
        found, state = stream(x), cell(x, state)
        expected = state[0] if isinstance(state, tuple) else state
        if (found - expected).abs().max() > 1e-5:
            sys.exit(f"{name}: a step differs from torch.nn's")


def onnx_step(layer: nn.RNNBase, x: Tensor) -> Callable[[], object] | None:
    """A step of the same cell in ONNX Runtime, or None where it is not installed."""
    session = onnx_layers.session(layer, 1, 1, threads=torch.get_num_threads())
    if session is None:
        return None
    states = ["H", "C"] if isinstance(layer, nn.LSTM) else ["H"]
    zeros = np.zeros((1, 1, layer.hidden_size), np.float32)
    given = {"X": x.numpy()[None]} | dict.fromkeys(states, zeros)
    after = [f"{state}1" for state in states]

    def step() -> None:
        given.update(zip(states, session.run(after, given), strict=True))

    return step


def main() -> None:
    """Measure and write the table."""
    threads = sorted({1, torch.get_num_threads()})
    lines = [
        "Microseconds of a step, medians of alternating calls. `kernel`: without the checks and "
        "the copy of the output.",
        "",
        "| cell | D = H | threads | stream | kernel | torch.nn's cell | ratio | ONNX Runtime |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, size, count in itertools.product(CELLS, SIZES, threads):
        torch.set_num_threads(count)
        lines.append(measure(name, size))
        print(lines[-1], flush=True)
    write_page("streaming", "One step of a stream", "python benchmarks/streaming.py", lines)


if __name__ == "__main__":
    main()
