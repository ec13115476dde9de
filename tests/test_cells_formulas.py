"""Each cell of the catalog against its formula, written a second time by hand in plain torch."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import problems
import pytest
import torch
from formulas import P
from formulas_linear import FORMULAS
from problems import Problem
from torch import Tensor, nn

from comporta import cells

NO_PRODUCT = {
    *("indrnn", "brc", "unicornn", "mingru", "minlstm", "trnn", "tgru", "tlstm", "sru", "qrnn"),
    *("gilr", "hgrn", "rg-lru"),
}
TWO_PRODUCTS = {
    *("gru-reset-before", "mgu", "miru1", "mut1", "mut2", "mut3", "dsgu", "scrn", "lem"),
    *("multiplicative-rnn", "lstm-multiplicative", "lstm-residual", "lstm-working-memory"),
}
MORE_PRODUCTS = {"lmu": 3, "lstm-mogrifier": 6}
LINEAR = {"mingru", "minlstm", "trnn", "tgru", "tlstm", "qrnn", "gilr", "hgrn", "rg-lru"}


def phases(name: str) -> int:
    """How many recurrent products follow one another, as one sees from the formula."""
    few = 0 if name in NO_PRODUCT else 2 if name in TWO_PRODUCTS else 1
    return MORE_PRODUCTS.get(name, few)


def by_hand(problem: Problem, name: str) -> problems.Answer:
    """The loop over the formula, as everybody writes it first."""
    problem = problems.leaves(problem)
    state, outputs = problem.state, []
    for t in range(problem.x.shape[1]):
        output, state = FORMULAS[name](P(**problem.weights), problem.x[:, t], *state)
        outputs.append(output)
    output = torch.stack(outputs, dim=1)
    loss = sum((v * t).sum() for v, t in zip((output, *state), problem.towards, strict=True))
    wanted = problems.inputs(problem)
    found = torch.autograd.grad(loss, list(wanted.values()))
    return {
        "output": output.detach(),
        **{n: value.detach() for n, value in zip(problem.program.states, state, strict=True)},
        **{f"d{n}": gradient for n, gradient in zip(wanted, found, strict=True)},
    }


def test_every_cell_has_a_formula() -> None:
    assert set(FORMULAS) == set(cells.names())
    assert len(FORMULAS) >= 50


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_is_its_formula(name: str) -> None:
    """Values and all gradients of the reference, through autograd on both sides."""
    problem = problems.make(name, batch=3, time=6, depth=4, hidden=5)
    problems.check(problems.solve(problem, "reference"), by_hand(problem, name), problem)


ALIKE = [
    (one, other)
    for one, other in combinations(cells.names(), 2)
    if cells.get(one).parameters == cells.get(other).parameters
    and len(cells.get(one).states) == len(cells.get(other).states)
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_formulas_tell_cells_apart(one: str, other: str) -> None:
    """No two cells of the catalog with the same parameters are one cell."""
    problem = problems.make(one)
    answer = by_hand(problem, other)
    with pytest.raises(AssertionError, match="is off by"):
        problems.check(problems.solve(problem, "reference"), answer, problem)


def test_no_cell_stands_twice() -> None:
    assert len(set(map(cells.get, cells.names()))) == len(cells.names())
    assert ("gru-reset-before", "gru-reset-before") not in ALIKE
    assert ("sgu", "dsgu") not in ALIKE
    assert ("lstm-peephole", "lstm-peephole-output") in ALIKE


@pytest.mark.parametrize(
    ("name", "layer", "options", "order"),
    [
        ("rnn", nn.RNN, {}, "h"),
        ("rnn-relu", nn.RNN, {"nonlinearity": "relu"}, "h"),
        ("gru", nn.GRU, {}, "rzn"),
        ("lstm", nn.LSTM, {}, "ifgo"),
    ],
)
def test_a_cell_is_torchs(
    name: str, layer: type[nn.RNNBase], options: dict[str, Any], order: str
) -> None:
    problem = problems.make(name, batch=3, time=6, depth=4, hidden=5)
    theirs = layer(4, 5, batch_first=True, dtype=torch.float64, **options)
    w = problem.weights
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([w[f"W_{k}"] for k in order]))
        theirs.weight_hh_l0.copy_(torch.cat([w[f"U_{k}"] for k in order]))
        theirs.bias_ih_l0.copy_(torch.cat([w[f"b_{k}"] for k in order]))
        theirs.bias_hh_l0.copy_(torch.cat([w[f"c_{k}"] for k in order]))
    state = tuple(value.unsqueeze(0) for value in problem.state)
    output, after = theirs(problem.x, state if len(state) > 1 else state[0])
    after = after if isinstance(after, tuple) else (after,)
    found, finals = problems.forward(problem, "reference")
    expected = {"output": output, **{f"s{i}": s[0] for i, s in enumerate(after)}}
    answer = {"output": found, **{f"s{i}": s for i, s in enumerate(finals)}}
    problems.check(answer, {k: v.detach() for k, v in expected.items()}, problem)


@pytest.mark.parametrize("name", cells.names())
def test_facts(name: str) -> None:
    cell = cells.get(name)
    assert cell.name == name
    assert cell.phases == phases(name)
    assert cell.is_linear == (name in LINEAR)
    assert set(cell.dimensions.values()) == {"H"}
    assert re.search(r"\b(19|20)\d\d\b", cell.source) or "doi" in cell.source
    assert cell.note.endswith(".")


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_describes_itself(name: str) -> None:
    cell = cells.get(name)
    said = cell.describe()
    assert all(line.strip() in said for line in cell.text.splitlines())
    assert cell.source in said
    assert cell.note in said
    assert f"states      {' '.join(cell.states)} (output {cell.output})" in said
    assert all(f"{p} ({', '.join(shape)})" in said for p, shape in cell.parameters.items())
    assert f"phases      {phases(name)} " in said
    assert f"linear      {'yes' if cell.is_linear else 'no'}" in said
    assert str(cell) == cell.text
    assert repr(cell) == f"Cell({name!r})"


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_a_linear_cell_is_affine_in_its_state(name: str) -> None:
    """f(a + t (b - a)) = f(a) + t (f(b) - f(a)) for the whole run; and no other cell has that."""
    assert line_error(name, problems.make(name, time=4)) < 1e-14


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - LINEAR))
def test_another_cell_is_not(name: str) -> None:
    assert line_error(name, problems.make(name, time=4)) > 1e-5


def line_error(name: str, problem: Problem) -> float:
    def end(t: float) -> Tensor:
        # What brings the last input to this step is no state of the recurrence.
        state = tuple(
            value if name.startswith("p_") else t * value
            for name, value in zip(problem.program.states, problem.state, strict=True)
        )
        for step in range(problem.x.shape[1]):
            _, state = FORMULAS[name](P(**problem.weights), problem.x[:, step], *state)
        return state[0]

    return float((end(3.0) - end(0.0) - 3.0 * (end(1.0) - end(0.0))).abs().max())
