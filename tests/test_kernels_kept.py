"""What the backward pass needs stands where it was until it was read."""

from __future__ import annotations

import pytest

from comporta import cells
from comporta.cells.forms import normalized, zoned_out
from comporta.kernels import compile_cell
from comporta.kernels.gradient import differentiate
from comporta.kernels.kept import kept_flat, kept_places, kept_sections, product_gradients
from comporta.kernels.program import Program
from comporta.kernels.schedule import ready, schedule


def programs() -> dict[str, Program]:
    found = {name: compile_cell(cells.get(name)) for name in cells.names()}
    for name in ("gru", "lstm", "gru-reset-before", "lstm-peephole"):
        found[f"{name}, layer norm"] = compile_cell(normalized(cells.get(name)))
        found[f"{name}, zoneout"] = compile_cell(zoned_out(cells.get(name)))
    return found


PROGRAMS = programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_gradient_goes_over_what_a_later_block_reads(name: str) -> None:
    """The adjoint's blocks in their order on a row of sections, each reading before it writes."""
    program = PROGRAMS[name]
    adjoint, gradients = differentiate(program), product_gradients(program)
    holds = {section: value for value, section in kept_places(program).items()}
    flat = kept_flat(program)
    assert sorted([*holds.values(), *flat]) == sorted(adjoint.saved)
    written = ready(adjoint.phases)
    for k, phase in enumerate(adjoint.phases):
        read = {o for s in phase.block for o in s.operands}
        for value in read.intersection(adjoint.saved).difference(flat):
            assert holds[kept_places(program)[value]] == value
        for i, gradient in enumerate(gradients.names):
            if written.get(gradient, 0) == k:
                holds[gradients.start + i] = gradient
    # The gradients of matrices are made of both.
    operands = {group.operands[0] for group in schedule(program).groups}
    for value in operands.intersection(adjoint.saved):
        assert holds[kept_places(program)[value]] == value
    assert [holds[gradients.start + i] for i in range(len(gradients.names))] == [*gradients.names]
    assert max(holds) < kept_sections(program)


def test_gradients_take_the_place_of_what_was_read() -> None:
    """No section is the gradients' alone where enough of what was kept is not needed any more.

    What its nine normalizations multiply by, one number for a row each, takes none.
    """
    program = compile_cell(normalized(cells.get("lstm")))
    assert len(kept_flat(program)) == 9
    assert kept_sections(program) == len(differentiate(program).saved) - 9
