"""Programs: what a cell is flattened into computes what its text says, and no more than needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from comparator import assert_close
from hypothesis import given, settings
from problems import Problem
from random_cells import random_cells
from torch import Tensor

from comporta import cells
from comporta.cells import Cell
from comporta.kernels import Program, compile_cell
from comporta.kernels.program import previous
from comporta.kernels.schedule import schedule


def number(a: Any) -> Tensor:
    return torch.as_tensor(a, dtype=torch.float64)


def layer_norm(a: Tensor) -> Tensor:
    # Of a column; a number alone stands for equal units.
    normal = torch.nn.functional.layer_norm
    return normal(a.t(), a.shape[:1]).t() if a.ndim else torch.zeros_like(a)


# The words of the language as torch has them; + - * / @ ** and comparisons are Python's own.
WORDS = {
    "sigmoid": lambda a: number(a).sigmoid(),
    "tanh": lambda a: number(a).tanh(),
    "relu": lambda a: number(a).clamp_min(0),
    "softplus": lambda a: torch.log1p(number(a).exp()),
    "exp": lambda a: number(a).exp(),
    "log": lambda a: number(a).log(),
    "sqrt": lambda a: number(a).sqrt(),
    "sin": lambda a: number(a).sin(),
    "abs": lambda a: number(a).abs(),
    "layer_norm": lambda a: layer_norm(number(a)),
    "min": lambda a, b: torch.minimum(number(a), number(b)),
    "max": lambda a, b: torch.maximum(number(a), number(b)),
    "clip": lambda a, low, high: number(a).clamp(number(low), number(high)),
    "where": lambda condition, a, b: torch.where(number(condition).bool(), number(a), number(b)),
}


def by_python(problem: Problem, cell: Cell) -> tuple[Tensor, list[Tensor]]:
    """Run the text itself as Python, with columns for vectors, so that @ is Python's @ too."""
    batch, time, _ = problem.x.shape
    space = {**WORDS, "__builtins__": {}}
    space |= {n: v if v.ndim == 2 else v.unsqueeze(1) for n, v in problem.weights.items()}
    space |= {n: v.t() for n, v in zip(cell.states, problem.state, strict=True)}
    outputs = []
    size = (problem.state[0].shape[1], batch)
    for t in range(time):
        space["x"] = problem.x[:, t].t()
        exec(cell.text, space)
        outputs.append(number(space[cell.output]).expand(size).t())
    return torch.stack(outputs, 1), [number(space[n]).expand(size).t() for n in cell.states]


def check_text(cell: Cell, **sizes: int) -> None:
    problem = problems.make(cell, **sizes)
    expected, finals = by_python(problem, cell)
    output, states = problems.forward(problem, "reference")
    # An operation may be another one in the program (a power is a product): one more rounding each.
    terms = problem.x.shape[1] * len(problem.program.statements)
    assert_close(output, expected, dtype=torch.float64, terms=terms)
    for name, found, right in zip(cell.states, states, finals, strict=True):
        assert_close(found, right, dtype=torch.float64, terms=terms, what=name)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(random_cells())
def test_a_program_computes_its_text(cell: Cell) -> None:
    check_text(cell, time=2)


@pytest.mark.parametrize("name", cells.names())
def test_the_catalogs_programs_compute_their_texts(name: str) -> None:
    check_text(cells.get(name))


@pytest.mark.parametrize(
    "text",
    [
        "h = tanh(W @ (k * x) + U @ h)",
        "a = sigmoid(k)\nh = a * h + (1 - a) * (W @ x)",
        "a = sigmoid(k)\nh = W @ x + U @ a + U @ k + h",
        "a = sigmoid(k) * x\nh = tanh(V @ h + W @ a)",
        "a = k\nh = W @ x + U @ a",
        "a = 2\nh = W @ x + a * h",
        "a = tanh(V @ h) + x\nh = W @ a + h",
        "h = W @ x",
        "h = min(1, 2) * (W @ x)",
        "h = where(1 < 2, W @ x, h)",
        "h = exp(1) * (W @ x) + log(2) * h",
        "y = k\nh = W @ x + y",
        "h = W @ tanh(k * x) + 0 * h",
    ],
)
def test_corners(text: str) -> None:
    """Values of the input size, values of parameters alone, numbers alone."""
    check_text(Cell("corner", text))


def test_an_output_of_parameters_alone_has_a_row_for_everyone() -> None:
    cell = Cell("constant", "y = sigmoid(k)\nh = W @ x + y", output="y")
    problem = problems.make(cell, batch=3, time=2)
    output, _ = problems.forward(problem, "reference")
    expected = problem.weights["k"].sigmoid().expand(3, 2, 6)
    assert torch.equal(output, expected)
    assert torch.equal(
        problems.forward(problem, "cpu")[0].sum(1).argmax(1), expected[:, 0].argmax(1)
    )


def statements(text: str, *, bias: bool = True, **options: Any) -> list[str]:
    program = compile_cell(Cell("test", text, **options), bias=bias)
    return [" ".join(map(str, (s.name, s.op, *s.args))) for s in program.statements]


def test_equal_expressions_are_computed_once() -> None:
    text = "a = tanh(W @ x)\nb = exp(tanh(W @ x))\nh = a * b + exp(a) * h + (U @ h) * (U @ h)"
    program = compile_cell(Cell("twice", text))
    counts = Counter(s.op for s in program.statements)
    assert counts["tanh"] == 1
    assert counts["product"] == 2
    assert [s.op for s in program.statements if s.name == "b"] == ["exp"]
    assert counts["exp"] == 1
    assert max(Counter((s.op, s.args) for s in program.statements).values()) == 1


def test_numbers_are_folded() -> None:
    assert statements("h = W @ x + (2 * 3 - 1) * h") == [
        "h.1 product W x", "h.2 mul 5.0 h.prev", "h add h.1 h.2",
    ]  # fmt: skip
    assert statements("h = W @ x + (1 - 2) * h * 1 + 0") == [
        "h.1 product W x", "h.2 mul -1.0 h.prev", "h.3 add h.1 h.2", "h copy h.3",
    ]  # fmt: skip
    assert statements("h = W @ x - -h") == ["h.1 product W x", "h.2 neg h.prev", "h add h.1 h.prev"]


def test_zero_times_a_value_is_not_forgotten() -> None:
    """It is 0 only where the value is finite."""
    problem = problems.make(Cell("zero", "h = W @ x + 0 * h"), time=1)
    problem.state[0][0, 0] = torch.inf
    for backend in ("reference", "cpu"):
        output, _ = problems.forward(problem, backend)
        assert output.isnan().nonzero().tolist() == [[0, 0, 0]]


def test_division_by_zero_is_left_to_the_run() -> None:
    problem = problems.make(Cell("inf", "h = W @ x + 1 / 0"), time=1)
    for backend in ("reference", "cpu"):
        assert bool(torch.isposinf(problems.forward(problem, backend)[0]).all())


@pytest.mark.parametrize("name", cells.names())
def test_bias_false_leaves_no_trace_of_biases(name: str) -> None:
    cell = cells.get(name)
    whole, without = compile_cell(cell), compile_cell(cell, bias=False)
    assert [p for p in whole.parameters if p[0] not in cell.biases] == list(without.parameters)
    read = {o for s in without.statements for o in s.operands}
    assert not read & cell.biases
    assert len(without.statements) == len(whole.statements) - len(cell.biases)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h = W @ x + b", ["h product W x"]),
        ("h = b + W @ x", ["h product W x"]),
        ("h = W @ x - b", ["h product W x"]),
        ("h = b - W @ x", ["h.1 product W x", "h neg h.1"]),
        ("a = b\nh = W @ x + a", ["a copy 0.0", "h.1 product W x", "h add h.1 a"]),
        ("h = W @ x + U @ (b + c)", None),
    ],
)
def test_bias_false_in_any_place(text: str, expected: list[str] | None) -> None:
    """As if the biases were 0."""
    cell = Cell("test", text)
    if expected is not None:
        assert statements(text, bias=False) == expected
    whole = problems.make(cell)
    for bias in cell.biases:
        whole.weights[bias].zero_()
    program = compile_cell(cell, bias=False)
    left = {name: whole.weights[name] for name, _ in program.parameters}
    assert left.keys() == whole.weights.keys() - cell.biases
    without = replace(whole, program=program, weights=left)
    for backend in ("reference", "cpu"):
        expected_output, _ = problems.forward(whole, backend)
        output, _ = problems.forward(without, backend)
        assert_close(output, expected_output, dtype=torch.float64, terms=5)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(random_cells())
def test_every_statement_is_ready_when_its_phase_comes(cell: Cell) -> None:
    program = compile_cell(cell)
    plan = schedule(program)
    check_order(program)
    known = {previous(state) for state in program.states} | {*program.vectors}
    known |= set(plan.hoisted.results)
    for phase in plan.phases:
        for group in phase.groups:
            assert known.issuperset(group.operands)
        for group in phase.groups:
            known |= set(group.results)
        for s in phase.statements:
            assert known.issuperset(s.operands)
            known.add(s.name)
        for s in phase.means:
            assert known.issuperset(s.operands)
        known |= {s.name for s in phase.means}
    assert known >= {s.name for s in program.statements}
    # Products of parameters, or of the input through a function, stand in the loop as well.
    assert sum(bool(phase.groups) for phase in plan.phases) >= cell.phases


def check_order(program: Program) -> None:
    known = {"x", *map(previous, program.states), *program.vectors}
    for s in program.statements:
        assert known.issuperset(s.operands), s
        assert s.name not in known
        known.add(s.name)
    assert known.issuperset({*program.states, program.output})
    assert dict(program.dimensions).keys() >= known


def test_programs_are_made_once_and_equal_by_content() -> None:
    cell = cells.get("gru")
    assert compile_cell(cell) is compile_cell(Cell("copy", cell.text))
    assert compile_cell(cell) != compile_cell(cell, bias=False)
    assert hash(compile_cell(cell)) == hash(compile_cell(Cell.from_json(cell.to_json())))
