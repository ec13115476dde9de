"""First values of the weights of any cell, from facts of its program."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import init

from comporta.cells import Cell
from comporta.kernels import Program
from comporta.kernels.program import TRANSPOSED, previous


def recurrent_matrices(program: Program) -> frozenset[str]:
    """The matrices that multiply something that depends on the state of the last step.

    >>> from comporta.cells import get
    >>> from comporta.kernels import compile_cell
    >>> sorted(recurrent_matrices(compile_cell(get("gru"))))
    ['U_n', 'U_r', 'U_z']
    """
    dependent = {previous(state) for state in program.states}
    found = set()
    for statement in program.statements:
        if dependent.intersection(statement.operands):
            dependent.add(statement.name)
            if statement.op == "product":
                found.add(str(statement.args[0]).removesuffix(TRANSPOSED))
    return frozenset(found)


@torch.no_grad()
def initialize(cell: Cell, program: Program, weights: Mapping[str, Tensor]) -> None:
    """Draw the weights of one layer in place.

    - Matrices on the way of the state: orthogonal, so that a step neither stretches nor shrinks
      it (Saxe et al. 2014, arXiv:1312.6120).
    - Other matrices: uniform within sqrt(6 / (rows + columns)) (Glorot, Bengio 2010).
    - Vectors (biases, peepholes): what the cell says of them, as `lstm` does of the bias of its
      forget gate, which is 1, so that a fresh cell remembers (Jozefowicz et al. 2015); else 0.

    Args:
        cell: the cell.
        program: its step.
        weights: parameter name -> tensor to fill.
    """
    recurrent = recurrent_matrices(program)
    for name, weight in weights.items():
        if weight.is_meta:
            continue  # Only its size is of interest, and a large one would take long.
        if weight.ndim == 1:
            weight.fill_(cell.initial.get(name, 0.0))
        elif name in recurrent:
            # The decomposition behind it does not exist in half precision.
            drawn = torch.empty_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
            weight.copy_(init.orthogonal_(drawn))
        else:
            init.xavier_uniform_(weight)
