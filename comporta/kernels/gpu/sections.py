"""What a training pass keeps of every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from comporta.kernels.gradient import differentiate
from comporta.kernels.kept import kept_sections, product_gradients
from comporta.kernels.program import Program, previous
from comporta.kernels.schedule import schedule


@dataclass(frozen=True, slots=True)
class Sections:
    """A row of what the forward pass keeps, in sections of hidden size.

    Attributes:
        saved: what the adjoint reads, from section 0 on.
        operands: other values that products multiply.
        previous: the states before the step.
        gradients: where the gradients of products go, some over what was saved.
        count: how many sections there are.
    """

    saved: tuple[str, ...]
    operands: tuple[str, ...]
    previous: tuple[str, ...]
    gradients: dict[str, int]
    count: int

    def of(self, name: str) -> int:
        """The section of a value that the forward pass keeps."""
        if name in self.saved:
            return self.saved.index(name)
        others = (*self.previous, *self.operands)
        return self.count - len(others) + others.index(name)


@cache
def sections(program: Program) -> Sections:
    """What a training pass keeps of a step."""
    saved = differentiate(program).saved
    before = tuple(map(previous, program.states))
    operands = {group.operands[0] for group in schedule(program).groups}
    others = tuple(sorted(operands.difference(saved, before)))
    found = product_gradients(program)
    return Sections(
        saved=saved,
        operands=others,
        previous=before,
        gradients={name: found.start + i for i, name in enumerate(found.names)},
        count=kept_sections(program) + len(before) + len(others),
    )
