"""Projection: a state that products and the next layer read in fewer units than the cell has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

from comporta.cells import Cell
from comporta.errors import ConfigurationError
from comporta.kernels import Weights
from comporta.kernels.program import Program, previous


@dataclass(frozen=True)
class Projection:
    """What is narrower than the cell in a layer of the form `comporta.cells.forms.projected`.

    In a kernel all values of a step have the same size. What is narrower is widened with zeros for
    it, which add nothing to any sum, and cut again.

    Attributes:
        size: P, of the output.
        output: the name of the output, and of the state that products read.
        states: of the cell.
        matrix: the matrix that projects: (P, H).
        readers: the matrices that are applied to the projection alone: (H, P).
    """

    size: int
    output: str
    states: tuple[str, ...]
    matrix: str
    readers: frozenset[str]

    @classmethod
    def of(cls, cell: Cell, program: Program, size: int) -> Projection:
        """That of a projected cell."""
        applied: dict[str, set[str]] = {}
        projects = ""
        for statement in program.statements:
            if statement.op == "product":
                matrix, operand = map(str, statement.args)
                applied.setdefault(matrix, set()).add(operand)
                projects = matrix if statement.name == cell.output else projects
        narrow = {cell.output, previous(cell.output)}
        readers = frozenset(name for name, operands in applied.items() if operands <= narrow)
        return cls(size, cell.output, cell.states, projects, readers)

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a parameter, given the one it has in the kernel."""
        if name == self.matrix:
            return self.size, *shape[1:]
        return (*shape[:-1], self.size) if name in self.readers else shape

    def sizes(self, hidden: int) -> list[int]:
        """The size of each state."""
        return [self.size if name == self.output else hidden for name in self.states]

    def weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters as the kernel reads them."""
        if isinstance(weights, Weights):
            weights = weights.apart()
        size, hidden = weights[self.matrix].shape
        rest = hidden - size
        return {
            name: pad(weight, (0, 0, 0, rest)) if name == self.matrix
            else pad(weight, (0, rest)) if name in self.readers
            else weight
            for name, weight in weights.items()
        }  # fmt: skip

    def widened(self, states: Sequence[Tensor], hidden: int) -> list[Tensor]:
        """The states as the kernel reads them, each (B, H)."""
        return [pad(state, (0, hidden - state.shape[1])) for state in states]

    def cut(self, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The states without the zeros."""
        return tuple(
            state[:, : self.size] if name == self.output else state
            for name, state in zip(self.states, states, strict=True)
        )


def check_projection(name: str, size: object, hidden_sizes: Sequence[int]) -> None:
    """Refuse what is no size of a projection; `name` is the option's.

    Raises:
        ConfigurationError: it is not a positive integer, or not below every hidden size.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < min(hidden_sizes):
        raise ConfigurationError(
            f"{name} must be a positive integer below the hidden size "
            f"({min(hidden_sizes)}); it is {size!r}"
        )
