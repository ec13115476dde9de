"""Linear recurrences are recognized, and their coefficients are derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import problems
import pytest
import torch
from torch import Tensor

from comporta import cells
from comporta.cells import Cell
from comporta.kernels import compile_cell
from comporta.kernels.gradient import differentiate, from_next
from comporta.kernels.program import Operand, Program, Statement, previous
from comporta.kernels.recurrence import (
    Recurrence,
    backward_recurrence,
    forward_recurrence,
    is_linear,
)
from comporta.kernels.reference import OPERATIONS
from comporta.kernels.schedule import schedule

LINEAR = [name for name in problems.CELLS if is_linear(compile_cell(problems.cell_of(name)))]


def test_they_are_recognized_by_their_equations() -> None:
    assert {"mingru", "minlstm", "qrnn", "rg-lru", "tlstm"} <= set(LINEAR)
    for name in cells.names():
        assert (name in LINEAR) == cells.get(name).is_linear, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h = W @ x - 2 * h", True),
        ("h = (h + W @ x) / (1 + exp(V @ x))", True),
        ("h = where(W @ x > 0, h, -h)", True),
        ("c = 0.5 * c + W @ x\nh = c * h + V @ x", True),
        ("h = W @ x / h", False),
        ("h = h * h + W @ x", False),
        ("h = where(h > 0, h, W @ x)", False),
        ("h = tanh(W @ x + u * h)", False),
        ("h = W @ x + U @ h", False),
        ("c = 0.5 * h + W @ x\nh = 0.5 * c + h", True),
    ],
)
def test_what_is_one_and_what_is_not(text: str, expected: bool) -> None:
    states = "c h" if text.startswith("c") else "h"
    program = compile_cell(Cell("mine", text, state=states))
    assert (forward_recurrence(program) is not None) is expected


def values(statements: Sequence[Statement], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What statements compute."""
    found = dict(given)
    for s in statements:
        args = [found[a] if isinstance(a, str) else torch.tensor(a).double() for a in s.args]
        operations = {**OPERATIONS, "cos": torch.cos}
        found[s.name] = operations[s.op](*args)
    return found


def hold(program: Program, statements: Sequence[Statement], carried: Mapping[str, Operand],
         recurrence: Recurrence | None) -> None:  # fmt: skip
    """Hold the coefficients against autograd's derivatives, on numbers for all that is read."""
    assert recurrence is not None
    generator = torch.Generator().manual_seed(1)
    made = {s.name for s in statements}
    read = {o for s in statements for o in s.operands} | {*carried, *carried.values()}
    given = {
        name: torch.rand(5, generator=generator, dtype=torch.float64).requires_grad_()
        for name in sorted(o for o in read if isinstance(o, str) and o not in made)
    }
    whole = values(statements, given)
    own = values([s for scan in recurrence.scans for s in scan.statements]
                 + list(recurrence.rest), whole)  # fmt: skip
    assert [scan.last for scan in recurrence.scans] != []
    for scan in recurrence.scans:

        def number(value: Operand, known: Mapping[str, Tensor] = own) -> Tensor:
            return known[value] if isinstance(value, str) else torch.full((5,), value).double()

        after = number(scan.next)
        last = given[scan.last]
        assert torch.allclose(number(scan.decay) * last + number(scan.inflow), after, rtol=1e-12)
        slope = torch.zeros(5).double()
        if after.requires_grad:
            (found,) = torch.autograd.grad(after.sum(), last, retain_graph=True, allow_unused=True)
            slope = slope if found is None else found
        assert torch.allclose(number(scan.decay), slope, rtol=1e-12)


@pytest.mark.parametrize("cell", LINEAR)
def test_coefficients_are_derivatives(cell: str) -> None:
    program = compile_cell(problems.cell_of(cell))
    steps = [s for phase in schedule(program).phases for s in phase.statements]
    hold(program, steps, {previous(s): s for s in program.states}, forward_recurrence(program))
    adjoint = differentiate(program)
    steps = [s for phase in adjoint.phases for s in phase.statements]
    carried = {from_next(s): adjoint.carries[s][0] for s in program.states}
    hold(program, steps, carried, backward_recurrence(program))
