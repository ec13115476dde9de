"""Less memory for more time: a run in pieces is the whole one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from problems import Problem

from comporta import kernels
from comporta.errors import ConfigurationError
from comporta.kernels import BACKENDS
from comporta.nn import LSTM

LENGTHS = torch.tensor([7, 0, 4])
FORMS: dict[str, Callable[[Problem], Problem]] = {
    "whole": lambda problem: problem,
    "lengths": lambda problem: replace(problem, lengths=LENGTHS),
    "reverse": lambda problem: replace(problem, lengths=LENGTHS, reverse=True),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("cell", ["gru", "lstm-layer-norm", "qrnn", "gru-zoneout"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pieces_are_the_whole(backend: str, cell: str, form: Callable[[Problem], Problem]) -> None:
    problem = form(problems.make(cell, time=7, dtype=torch.float32))
    expected = problems.solve(problem, backend)
    for every in (1, 3, 7, 100):
        with kernels.recompute(every=every):
            problems.compare(problem, backend)
            found = problems.solve(problem, backend)
        if backend == "cpu":
            for name in ("output", *problem.program.states):
                assert torch.equal(found[name], expected[name])


def test_no_state_is_a_state_of_zeros() -> None:
    layer, x = LSTM(3, 5, batch_first=True, bidirectional=True), torch.randn(2, 9, 3)
    found = []
    for every in (2, 100):
        layer.zero_grad()
        with kernels.recompute(every=every):
            layer(x)[0].square().sum().backward()
        found.append([parameter.grad for parameter in layer.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)


def test_saved_tensors_are_shown_to_those_who_ask() -> None:
    """All that is kept goes through torch's hooks, and twice through the graph gives the same."""
    layer, x = LSTM(3, 5), torch.randn(7, 2, 3, requires_grad=True)
    expected = torch.autograd.grad(layer(x)[0].square().sum(), [x, *layer.parameters()])
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.numel()) or t.clone(),
                                                  lambda t: t):  # fmt: skip
        loss = layer(x)[0].square().sum()
    assert max(seen) >= 7 * 2 * 5 * 5
    for _ in range(2):
        found = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
        assert all(map(torch.equal, found, expected))


def test_second_derivatives() -> None:
    problem = problems.leaves(problems.make("gru", time=7))
    found = []
    for every in (3, 100):
        with kernels.recompute(every=every):
            output, _ = problems.forward(problem, "cpu")
        (slope,) = torch.autograd.grad(output.square().sum(), problem.x, create_graph=True)
        found += torch.autograd.grad(slope.square().sum(), problem.x)
    torch.testing.assert_close(*found)


def test_every_piece_runs_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    plain = BACKENDS["cpu"]

    def spy(program: Any, x: torch.Tensor, *others: Any, **options: Any) -> Any:
        steps.append(x.shape[1])
        return plain(program, x, *others, **options)

    monkeypatch.setitem(BACKENDS, "cpu", spy)
    problem = problems.leaves(problems.make("gru", time=7))
    with kernels.recompute(every=3):
        output, _ = problems.forward(problem, "cpu")
        with torch.no_grad():
            problems.forward(problem, "cpu")
    assert steps == [3, 3, 1, 7]
    output.sum().backward()
    assert steps == [3, 3, 1, 7, 1, 3, 3]


# A stack of three layers keeps about 200 MB of this; a layer 65, a piece of one less than 1.
_MEMORY = """
import sys, torch
from pathlib import Path
from torch.utils.checkpoint import checkpoint
from comporta import kernels
from comporta.nn import LSTM
layers = [LSTM(64, 64) for _ in range(3)]

def most():
    (line,) = [l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l]
    return int(line.split()[1])

def train(steps, how):
    x = torch.randn(steps, 4, 64)
    for layer in layers:
        if how == "checkpoint":
            x = checkpoint(lambda x, layer=layer: layer(x)[0], x, use_reentrant=False)
        else:
            x = layer(x)[0]
    x.sum().backward()

train(10, "checkpoint")
before = most()
if sys.argv[1] == "pieces":
    with kernels.recompute(every=100):
        train(8000, "plain")
else:
    train(8000, sys.argv[1])
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory was in use")
def test_less_is_kept() -> None:
    """The memory of a process, in pieces and with torch's own checkpoints."""
    needed = {}
    for how in ("plain", "checkpoint", "pieces"):
        done = subprocess.run([sys.executable, "-c", _MEMORY, how], capture_output=True,
                              text=True, timeout=200, check=True)  # fmt: skip
        needed[how] = int(done.stdout)
    assert needed["checkpoint"] < 0.7 * needed["plain"], needed
    assert needed["pieces"] < 0.4 * needed["plain"], needed


@pytest.mark.parametrize("every", [0, -1])
def test_no_pieces_of_no_steps(every: int) -> None:
    with (
        pytest.raises(ConfigurationError, match=f"at least 1; it is {every}"),
        kernels.recompute(every=every),
    ):
        raise AssertionError("it was entered")
