"""Every cell on every backend against the reference in float64: values, states, all gradients."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import problems
import pytest
import torch
from problems import Problem
from torch import Tensor

from comporta import cells, kernels
from comporta.cells import Cell
from comporta.kernels import BACKENDS, compile_cell
from comporta.kernels.cpu import machine

DTYPES = [torch.float32, torch.float64]
# B, T, D, H: sizes around the widths of vectors (16) and of tiles (8 rows), and far from them.
SIZES = [
    (2, 1, 33, 48),
    (2, 7, 5, 3),
    (5, 2, 1, 16),
    (9, 7, 33, 17),
    (33, 2, 5, 48),
    (1, 7, 33, 65),
    (5, 7, 16, 32),
]


def lengths(problem: Problem) -> Tensor:
    """Lengths of all kinds: 0, T and some between."""
    batch, time = problem.x.shape[:2]
    return torch.tensor([(time * row // max(batch - 1, 1)) for row in range(batch)])


def time_major(problem: Problem) -> Problem:
    return replace(problem, x=problem.x.transpose(0, 1).contiguous().transpose(0, 1))


def columns_apart(problem: Problem) -> Problem:
    wide = problem.x.repeat_interleave(2, dim=2)[..., ::2]
    assert not wide.is_contiguous()
    return replace(problem, x=wide, state=tuple(value.t().contiguous().t()
                                                for value in problem.state))  # fmt: skip


def every_other_row(problem: Problem) -> Problem:
    wide = problem.x.repeat_interleave(3, dim=0).repeat_interleave(2, dim=1)[::3, ::2]
    return replace(problem, x=wide)


def one_for_all(problem: Problem) -> Problem:
    """The state and the input of the first row, expanded over the batch."""
    return replace(
        problem,
        x=problem.x[:1].expand_as(problem.x),
        state=tuple(value[:1].expand_as(value) for value in problem.state),
    )


def transposed_weights(problem: Problem) -> Problem:
    weights = {
        name: value.t().contiguous().t() if value.ndim == 2 else value.repeat_interleave(2)[::2]
        for name, value in problem.weights.items()
    }
    return replace(problem, weights=weights)


FORMS: dict[str, Callable[[Problem], Problem]] = {
    "whole": lambda problem: problem,
    "lengths": lambda problem: replace(problem, lengths=lengths(problem)),
    "reverse": lambda problem: replace(problem, reverse=True),
    "reverse-lengths": lambda problem: replace(problem, lengths=lengths(problem), reverse=True),
    "int32-lengths": lambda problem: replace(problem, lengths=lengths(problem).int()),
    "time-major": time_major,
    "time-major-reverse-lengths": lambda problem: replace(
        time_major(problem), lengths=lengths(problem), reverse=True
    ),
    "columns-apart": columns_apart,
    "every-other-row": every_other_row,
    "expanded": one_for_all,
    "transposed-weights": transposed_weights,
}


every_case = pytest.mark.parametrize(("backend", "cell", "dtype"), problems.CASES, ids=str)
every_cell = pytest.mark.parametrize(
    ("backend", "cell"), [(b, cell) for b in BACKENDS for cell in problems.cells_of(b)]
)


def seed(*what: object) -> int:
    return zlib.crc32(repr(what).encode()) % 1000


@every_case
def test_every_form(backend: str, cell: str, dtype: torch.dtype) -> None:
    for name, form in FORMS.items():
        for batch, time, depth, hidden in [(5, 7, 5, 17), (4, 3, 16, 16)]:
            problem = problems.make(
                cell, batch=batch, time=time, depth=depth, hidden=hidden, dtype=dtype,
                seed=seed(cell, name),
            )  # fmt: skip
            problems.compare(form(problem), backend)


@every_case
def test_every_size(backend: str, cell: str, dtype: torch.dtype) -> None:
    for number, (batch, time, depth, hidden) in enumerate(SIZES):
        if depth == 1 and "layer-norm" in cell:
            continue  # Of a single feature only the sign is left: its gradient is rounding.
        problem = problems.make(
            cell, batch=batch, time=time, depth=depth, hidden=hidden, dtype=dtype, seed=number
        )
        rows = lengths(problem) if number % 2 else None
        problems.compare(replace(problem, lengths=rows, reverse=number % 3 == 1), backend)


@pytest.mark.parametrize(
    ("backend", "cell", "dtype"),
    [case for case in problems.CASES if "layer-norm" not in case[1]],
    ids=str,
)
def test_size_one(backend: str, cell: str, dtype: torch.dtype) -> None:
    """One input, one hidden unit. Each gradient is one number, and may be the small difference of
    large ones: all are compared on one scale. (Of a single unit layer normalization makes 0, and
    of its gradient nothing but the rounding of numbers 316 times as large.)"""

    def together(answer: problems.Answer) -> problems.Answer:
        gradients = [answer[f"d{name}"].flatten() for name in problems.inputs(problem)]
        return {"output": answer["output"], "dall": torch.cat(gradients)}

    for batch, time in [(9, 2), (1, 7)]:
        problem = problems.make(cell, batch=batch, time=time, depth=1, hidden=1, dtype=dtype)
        truth = problems.solve(problem.to(torch.float64), "reference")
        answer = problems.solve(problem, backend)
        problems.check(together(answer), together(truth), problem)


@every_case
def test_without_biases(backend: str, cell: str, dtype: torch.dtype) -> None:
    problem = problems.make(cell, bias=False, dtype=dtype)
    problems.compare(replace(problem, lengths=torch.tensor([0, 5, 2])), backend)


@pytest.mark.parametrize(("batch", "time"), [(0, 4), (3, 0), (0, 0)])
@every_cell
def test_nothing_to_do(backend: str, cell: str, batch: int, time: int) -> None:
    """No rows or no steps: the states pass through, and no gradient comes from nowhere."""
    dtype = problems.DTYPES[backend][-1]
    problem = problems.make(cell, batch=batch, time=time, dtype=dtype)
    answer = problems.solve(problem, backend)
    assert answer["output"].shape == (batch, time, 6)
    for i, state in enumerate(problem.program.states):
        assert torch.equal(answer[state], problem.state[i])
        assert torch.equal(answer[f"d{state}0"], problem.towards[1 + i])
    for name in ("x", *problem.weights):
        assert not answer[f"d{name}"].any()


@every_cell
def test_padding_is_never_read(cell: str, backend: str) -> None:
    """NaN beyond the length of a row reaches nothing, forward or backward."""
    problem = problems.make(cell, batch=5, time=4, dtype=problems.DTYPES[backend][-1])
    rows = lengths(problem)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    for reverse in (False, True):
        clean = replace(problem, lengths=rows, reverse=reverse)
        beyond = torch.arange(4) >= rows[:, None]
        dirty = replace(clean, x=problem.x.masked_fill(beyond.unsqueeze(2), torch.nan))
        found, expected = problems.forward(dirty, backend), problems.forward(clean, backend)
        assert torch.equal(found[0], expected[0])
        assert not found[0][beyond].any()
        assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


# What a slip of the pen does to the text of a GRU.
GRU = cells.get("gru").text
MISTAKES = {
    "sign": GRU.replace("(1 - z) * n", "(1 + z) * n"),
    "sign-of-a-product": GRU.replace("+ U_r @ h", "- U_r @ h"),
    "gates-swapped": GRU.replace("r * (", "z * (").replace("h = z * h + (1 - z)",
                                                          "h = r * h + (1 - r)"),
    "who-keeps-swapped": GRU.replace("z * h + (1 - z) * n", "(1 - z) * h + z * n"),
    "bias-dropped": GRU.replace("+ b_n ", "+ 0 * b_n "),
    "bias-inside-dropped": GRU.replace("+ c_n)", "+ 0 * c_n)"),
    "reset-before": GRU.replace("r * (U_n @ h + c_n)", "U_n @ (r * h) + c_n"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_fused_kernel_is_rejected(mistake: str, dtype: torch.dtype) -> None:
    """The comparator sees a mistake in a real kernel in each thing that the mistake touches."""
    assert MISTAKES[mistake] != GRU
    right = problems.make("gru", dtype=dtype)
    wrong = replace(right, program=compile_cell(Cell("wrong", MISTAKES[mistake])))
    truth = problems.solve(right.to(torch.float64), "reference")
    answer = problems.solve(wrong, "cpu")
    assert answer.keys() == truth.keys()
    for name in ("output", "h", "dx", "dh0", "dU_n", "dW_z", "db_r"):
        with pytest.raises(AssertionError, match=f"{name} is off by"):
            problems.check({name: answer[name]}, {name: truth[name]}, right)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_kernel_of_another_direction_or_length_is_rejected(dtype: torch.dtype) -> None:
    problem = problems.make("lstm", dtype=dtype)
    truth = problems.solve(problem.to(torch.float64), "reference")
    for wrong in (
        replace(problem, reverse=True),
        replace(problem, lengths=torch.tensor([5, 5, 4])),
    ):
        with pytest.raises(AssertionError, match="is off by"):
            problems.check(problems.solve(wrong, "cpu"), truth, problem)


def test_every_backend_stands_here() -> None:
    """The tests above run over this table, and `use` reaches each of its rows."""
    assert set(BACKENDS) >= {"reference", "cpu", "gpu"}
    for backend in BACKENDS:
        problem = problems.make("gru", dtype=torch.float32).to(problems.device_of(backend))
        with kernels.use(backend):
            choice = kernels.choose(problem.program, problem.x, problem.state, problem.weights)
        assert choice.backend == backend


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the narrower vectors are of x86-64")
@pytest.mark.parametrize("bits", [256, 128], ids=["AVX2", "SSE"])
def test_narrower_vectors(bits: int, tmp_path: Path) -> None:
    """Kernels as a lesser processor would get them, in a process of its own."""
    if 8 * machine.vector_bytes() < bits:
        pytest.skip("this processor's vectors are narrower still")
    done = in_process(_NARROW, COMPORTA_VECTOR_BITS=str(bits), COMPORTA_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_width_that_there_is_not() -> None:
    done = in_process(_NARROW, COMPORTA_VECTOR_BITS="100")
    assert "COMPORTA_VECTOR_BITS is '100'; it may be 512, 256, 128" in done.stderr


def in_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment},
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


_NARROW = """
import os, torch
from comporta.kernels.cpu import machine
import problems
assert 8 * machine.vector_bytes() == int(os.environ["COMPORTA_VECTOR_BITS"])
for cell in ("gru", "gru-reset-before", "lstm-peephole", "lstm-layer-norm"):
    for dtype in (torch.float32, torch.float64):
        for batch, hidden in ((3, 9), (13, 32)):
            problem = problems.make(cell, batch=batch, time=7, depth=18, hidden=hidden, dtype=dtype)
            problems.compare(problem, "cpu")
"""
