"""Forms of cells against what they mean, for every cell of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import problems
import pytest
import torch
from comparator import assert_close
from formulas import P
from formulas_linear import FORMULAS
from problems import Problem
from torch import Tensor

from comporta import cells
from comporta.cells import Cell
from comporta.cells.forms import normalized, resettable, state_dropped, zoned_out

every_cell = pytest.mark.parametrize("name", cells.names())
every_backend = pytest.mark.parametrize("backend", ["reference", "cpu"])


def assert_same(found: Tensor, expected: Tensor, problem: Problem) -> None:
    terms = problems.terms_of(problem) * len(problem.program.statements)
    assert_close(found, expected, dtype=torch.float64, terms=terms)


@every_backend
@every_cell
def test_zoneout_mixes_what_is_new_with_what_was(name: str, backend: str) -> None:
    cell = cells.get(name)
    problem = problems.make(zoned_out(cell), batch=3, time=4, depth=5, hidden=7)
    weights, state, outputs = P(**problem.weights), problem.state, []
    for t in range(4):
        output, new = FORMULAS[name](weights, problem.x[:, t], *state)
        stays = [stream[:, t] for stream in problem.streams]
        state = tuple(s * old + (1 - s) * n for s, old, n in zip(stays, state, new, strict=True))
        own = dict(zip(cell.states, state, strict=True))
        outputs.append(own.get(cell.output, output))
    found, finals = problems.forward(problem, backend)
    assert_same(found, torch.stack(outputs, 1), problem)
    for value, expected in zip(finals, state, strict=True):
        assert_same(value, expected, problem)


@every_backend
@every_cell
def test_a_sequence_that_begins_inside_a_row_knows_nothing_of_the_one_before(
    name: str, backend: str
) -> None:
    cell = cells.get(name)
    problem = problems.make(resettable(cell), batch=2, time=7, depth=3, hidden=5)
    begins = torch.zeros(2, 7, 5, dtype=torch.float64)
    begins[:, [2, 3]] = 1.0
    output, finals = problems.forward(replace(problem, streams=(begins,)), backend)
    plain = replace(problem, program=problems.make(cell).program, streams=())
    for part in (slice(0, 2), slice(2, 3), slice(3, 7)):
        zeros = tuple(torch.zeros_like(value) for value in problem.state)
        alone = replace(plain, x=problem.x[:, part], state=zeros if part.start else problem.state)
        expected, after = problems.forward(alone, backend)
        assert torch.equal(output[:, part], expected)
    assert all(map(torch.equal, finals, after))


@every_backend
@every_cell
def test_a_state_that_is_nan_is_left_behind(name: str, backend: str) -> None:
    problem = problems.make(resettable(cells.get(name)), batch=1, time=3)
    begins = torch.zeros_like(problem.streams[0])
    begins[:, 1] = 1.0
    lost = tuple(torch.full_like(value, torch.nan) for value in problem.state)
    output, finals = problems.forward(replace(problem, streams=(begins,), state=lost), backend)
    assert not output[:, 1:].isnan().any()
    assert not any(value.isnan().any() for value in finals)


@every_cell
def test_dropout_of_nothing_is_the_cell(name: str) -> None:
    cell = cells.get(name)
    problem = problems.make(state_dropped(cell), batch=2, time=3)
    assert problem.streams
    ones = tuple(torch.ones_like(stream) for stream in problem.streams)
    plain = replace(problem, program=problems.make(cell).program, streams=())
    found, _ = problems.forward(replace(problem, streams=ones), "reference")
    expected, _ = problems.forward(plain, "reference")
    assert torch.equal(found, expected)


MORE = {"scrn", "lstm-residual", "lstm-mogrifier", "lstm-working-memory", "lem", "lstm-layer-norm"}
"""Where units also meet in what a step made of the last state without a product."""


@pytest.mark.parametrize("name", [n for n in cells.names() if n not in MORE])
def test_dropout_of_everything_cuts_products_off_the_last_state(name: str) -> None:
    """One step from another state differs only where a state is read without a product."""
    form = state_dropped(cells.get(name))
    problem = problems.make(form, batch=2, time=1)
    none = tuple(torch.zeros_like(stream) for stream in problem.streams)
    state = tuple(value.clone() for value in problem.state)
    for value in state:
        value[:, 0] += 1.0
    first, _ = problems.forward(replace(problem, streams=none), "reference")
    second, _ = problems.forward(replace(problem, streams=none, state=state), "reference")
    assert torch.equal(first[..., 1:], second[..., 1:])
    assert cells.get(name).phases == 0 or not torch.equal(
        problems.forward(problem, "reference")[0][..., 1:],
        problems.forward(replace(problem, state=state), "reference")[0][..., 1:],
    )


@every_cell
def test_a_normalized_cell_does_not_see_the_scale_of_its_matrices(name: str) -> None:
    """But for the 1e-5 that is added to a variance, so matrices are large to begin with."""
    cell = normalized(cells.get(name))
    matrices = [each for each, shape in cell.parameters.items() if len(shape) == 2]
    assert {each for each in cell.initial if each.startswith("gain_")}.issuperset(
        f"gain_{each}" for each in matrices
    )

    def scaled(by: float) -> Tensor:
        problem = problems.make(cell, batch=2, time=2, hidden=8)
        for each in matrices:
            problem.weights[each].mul_(by)
        return problems.forward(problem, "reference")[0]

    torch.testing.assert_close(scaled(1e7), scaled(1e5), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", [normalized, zoned_out, state_dropped, resettable])
@every_cell
def test_gradients_of_forms(name: str, form: Callable[[Cell], Cell]) -> None:
    problem = problems.make(form(cells.get(name)), batch=2, time=3, depth=16, hidden=16)
    problems.compare(problem, "cpu")


def test_forms_of_forms() -> None:
    cell: Cell = resettable(zoned_out(state_dropped(normalized(cells.get("lstm")))))
    assert cell.streams == ("mask_h", "stay_h", "stay_c", "begins")
    assert cell.name == "lstm-layer-norm-dropout-zoneout-reset"
    problem = problems.make(cell, batch=5, time=6, depth=9, hidden=17)
    problems.compare(problem, "cpu")
    assert resettable(cells.get("lstm")) is resettable(cells.get("lstm"))
