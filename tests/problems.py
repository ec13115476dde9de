"""Problems for kernels: tensors for a program, and everything that running it gives.

Tests of kernels make a `Problem`, solve it with a backend, and hold the answer against the
reference in float64 with `check`, which compares outputs, final states and every gradient.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comparator import assert_close
from torch import Tensor

from comporta import kernels
from comporta.cells import Cell, get, names
from comporta.kernels import BACKENDS, Program, compile_cell
from comporta.kernels.gradient import differentiate

# The matrices have columns of length about 1 (so that a step neither explodes nor dies), the
# vectors are far from 0, so that a forgotten one is seen.
Answer = dict[str, Tensor]

ZONEOUT = Cell(
    "gru-zoneout",
    """
    z = sigmoid(W_z @ x + b_z + U_z @ (d * h))
    n = tanh(W_n @ x + b_n + U_n @ (d * h))
    m = z * h + (1 - z) * n
    h = k * h + (1 - k) * m
    """,
    streams="d k",
)
CELLS = (*names(), ZONEOUT.name)
"""The catalog, and a cell with streams, which it has none of."""

DTYPES = {
    "reference": (torch.float32, torch.float64),
    "cpu": (torch.bfloat16, torch.float32, torch.float64),
    "gpu": (torch.bfloat16, torch.float16, torch.float32),
}
"""What each backend computes in and is held against here."""

# One cell of each kind. The interpreter takes a tenth of a second for what a GPU does at once.
_FEW = ("gru", "gru-reset-before", "lstm-peephole", "lstm-layer-norm", "qrnn", "lmu", ZONEOUT.name)
ALL_ON_GPU = torch.cuda.is_available() or os.environ.get("COMPORTA_TEST_GPU") == "all"


def cells_of(backend: str) -> tuple[str, ...]:
    """The cells that a backend is tested with: all, where that takes no more than minutes."""
    return _FEW if backend == "gpu" and not ALL_ON_GPU else CELLS


HALVES = (torch.bfloat16, torch.float16)
_KINKS = {"relu", "abs", "min", "max", "where"}


def cell_of(cell: str | Cell) -> Cell:
    """The cell of that name, of the catalog or the one above."""
    if isinstance(cell, Cell):
        return cell
    return ZONEOUT if cell == ZONEOUT.name else get(cell)


def _can_be_held(cell: str, dtype: torch.dtype) -> bool:
    """Whether rounding leaves gradients what they are: in half it takes some across a kink."""
    statements = compile_cell(cell_of(cell)).statements
    return dtype not in HALVES or not any(s.op in _KINKS for s in statements)


CASES = [
    (backend, cell, dtype)
    for backend in BACKENDS
    for cell in cells_of(backend)
    for dtype in DTYPES[backend]
    if _can_be_held(cell, dtype)
]
"""Every backend, cell and dtype."""


@dataclass(frozen=True)
class Problem:
    """A program and tensors for it; `towards` weighs the outputs and the states in the loss."""

    program: Program
    x: Tensor
    state: tuple[Tensor, ...]
    weights: Mapping[str, Tensor]
    towards: tuple[Tensor, ...]
    streams: tuple[Tensor, ...] = ()
    lengths: Tensor | None = None
    reverse: bool = False

    def to(self, dtype: torch.dtype | str) -> Problem:
        """The same numbers, rounded to a dtype or on another device."""
        return replace(
            self,
            x=self.x.to(dtype),
            state=tuple(value.to(dtype) for value in self.state),
            weights={name: value.to(dtype) for name, value in self.weights.items()},
            towards=tuple(value.to(dtype) for value in self.towards),
            streams=tuple(value.to(dtype) for value in self.streams),
        )


def make(
    cell: str | Cell,
    *,
    batch: int = 3,
    time: int = 5,
    depth: int = 4,
    hidden: int = 6,
    bias: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Problem:
    """Random tensors for a cell."""
    program = compile_cell(cell_of(cell), bias=bias)
    generator = torch.Generator().manual_seed(seed)
    sizes = {"D": depth, "H": hidden}

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = {
        name: normal(*(sizes[letter] for letter in shape))
        / ((2 * sizes[shape[1]]) ** 0.5 if len(shape) == 2 else 2)
        for name, shape in program.parameters
    }
    problem = Problem(
        program,
        x=normal(batch, time, depth),
        state=tuple(normal(batch, hidden) for _ in program.states),
        weights=weights,
        towards=(
            normal(batch, time, hidden),
            *(normal(batch, hidden) for _ in program.states),
        ),
        # The first is the same at all steps, as a mask that is drawn once a sequence.
        streams=tuple(
            normal(batch, time if place else 1, hidden).sigmoid().expand(batch, time, hidden)
            for place, _ in enumerate(program.streams)
        ),
        **options,
    )
    return problem.to(dtype)


def device_of(backend: str) -> str:
    """Where a backend is tested; Triton's interpreter takes the GPU's place if there is none."""
    return "cuda" if backend == "gpu" and torch.cuda.is_available() else "cpu"


def forward(problem: Problem, backend: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run it as it is."""
    problem = problem.to(device_of(backend))
    with kernels.use(backend):
        return kernels.run(
            problem.program,
            problem.x,
            problem.state,
            problem.weights,
            streams=problem.streams,
            lengths=problem.lengths,
            reverse=problem.reverse,
        )


def leaves(problem: Problem) -> Problem:
    """The same problem on tensors of its own that want gradients; memory layouts are kept."""
    return replace(
        problem,
        x=problem.x.detach().requires_grad_(),
        state=tuple(value.detach().requires_grad_() for value in problem.state),
        weights={n: value.detach().requires_grad_() for n, value in problem.weights.items()},
    )


def rows(problem: Problem, picked: slice | list[int]) -> Problem:
    """Some rows of a problem as a problem."""
    return replace(
        problem,
        x=problem.x[picked],
        state=tuple(value[picked] for value in problem.state),
        towards=tuple(value[picked] for value in problem.towards),
        streams=tuple(value[picked] for value in problem.streams),
        lengths=None if problem.lengths is None else problem.lengths[picked],
    )


def inputs(problem: Problem) -> dict[str, Tensor]:
    """Every tensor that a gradient flows to, by name."""
    states = {f"{n}0": v for n, v in zip(problem.program.states, problem.state, strict=True)}
    return {"x": problem.x, **states, **problem.weights}


def solve(problem: Problem, backend: str) -> Answer:
    """Outputs, final states and the gradients of all inputs, by name."""
    problem = leaves(problem.to(device_of(backend)))
    output, finals = forward(problem, backend)
    answer = {"output": output.detach()}
    answer |= {n: value.detach() for n, value in zip(problem.program.states, finals, strict=True)}
    loss = sum((v * t).sum() for v, t in zip((output, *finals), problem.towards, strict=True))
    wanted = inputs(problem)
    found: Sequence[Tensor | None] = torch.autograd.grad(
        loss, list(wanted.values()), allow_unused=True
    )
    for (name, value), gradient in zip(wanted.items(), found, strict=True):
        answer[f"d{name}"] = torch.zeros_like(value) if gradient is None else gradient
    return answer


def terms_of(problem: Problem) -> int:
    """How many roundings come together in a value: every state passes its own along the steps.

    A normalization brings together those of its units. A gradient of a weight sums over the rows
    as well. What is kept for the backward pass in half precision is rounded again.
    """
    program = problem.program
    means = sum(statement.op == "mean" for statement in program.statements)
    kept = len(differentiate(program).saved) if problem.x.dtype in HALVES else 1
    return max(1, problem.x.shape[1]) * len(program.states) * (1 + means) * max(1, kept)


def check(answer: Answer, truth: Answer, problem: Problem) -> None:
    """Hold an answer to a problem against the reference's in float64."""
    assert answer.keys() == truth.keys()
    batch = problem.x.shape[0]
    for name, expected in truth.items():
        summed = name[0] == "d" and name[1:] in problem.weights
        terms = terms_of(problem) * (batch if summed else 1)
        assert_close(answer[name], expected, dtype=problem.x.dtype, terms=terms, what=name)


def compare(problem: Problem, backend: str) -> None:
    """Require that a backend solves a problem as the reference does in float64."""
    check(solve(problem, backend), solve(problem.to(torch.float64), "reference"), problem)


def assert_same_bits(found: Answer, expected: Answer) -> None:
    """Require equality, bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), f"{name} differs"
