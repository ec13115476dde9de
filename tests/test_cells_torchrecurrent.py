"""Cells of the catalog against another implementation of the same papers, torchrecurrent."""

from __future__ import annotations

import pytest
import torch
import torchrecurrent

from benchmarks.torchrecurrent_cells import DIFFERENT, TABLE
from comporta import cells
from comporta.kernels import compile_cell, run, use

B, T, D, H = 3, 6, 5, 7


@pytest.mark.parametrize("name", TABLE)
def test_equal_outputs_with_equal_weights(name: str) -> None:
    cell, theirs = cells.get(name), TABLE[name]
    weights = theirs.draw(name, D, H, torch.float64)
    x = torch.randn(B, T, H if theirs.identity else D, dtype=torch.float64)
    state = {each: torch.randn(B, H, dtype=torch.float64) for each in cell.states}
    if "x" in theirs.states:
        # What the last input gave to the gates is a state here; there was none.
        state |= {each: torch.zeros_like(value) for each, value in state.items() if each[0] == "p"}
    with use("reference"):
        found, _ = run(compile_cell(cell), x, list(state.values()), weights)
    expected = theirs.run(theirs.build(weights, D, H), x, state)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_every_cell_of_theirs_is_here_or_it_is_said_why() -> None:
    theirs = {name.removesuffix("Cell") for name in dir(torchrecurrent) if name.endswith("Cell")}
    assert {each.name for each in TABLE.values()} | DIFFERENT.keys() == theirs
    assert len(TABLE) + len(DIFFERENT) == 41
