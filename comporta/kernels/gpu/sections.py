"""What a training pass keeps of every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from comporta.kernels.kept import (
    kept_flat,
    kept_places,
    kept_sections,
    product_gradients,
    vector_totals,
)
from comporta.kernels.program import Program, previous
from comporta.kernels.schedule import schedule


@dataclass(frozen=True, slots=True)
class Sections:
    """A row of what the forward pass keeps, in sections of hidden size.

    Attributes:
        saved: what the adjoint reads -> its section.
        operands: other values that products multiply.
        previous: the states before the step.
        gradients: the gradients of products, which go over what was saved where they can.
        totals: the gradients of vectors that are none of products, and stand in no section.
        count: how many sections there are.
    """

    saved: Mapping[str, int]
    operands: tuple[str, ...]
    previous: tuple[str, ...]
    gradients: tuple[str, ...]
    totals: tuple[str, ...]
    count: int

    def of(self, name: str) -> int:
        """The section of a value that the forward pass keeps."""
        if name in self.saved:
            return self.saved[name]
        others = (*self.previous, *self.operands)
        return self.count - len(others) + others.index(name)


@cache
def sections(program: Program) -> Sections:
    """What a training pass keeps of a step."""
    first = kept_sections(program)
    flat = {name: first + i for i, name in enumerate(kept_flat(program))}
    saved = {**kept_places(program), **flat}
    before = tuple(map(previous, program.states))
    operands = {group.operands[0] for group in schedule(program).groups}
    others = tuple(sorted(operands.difference(saved, before)))
    gradients = product_gradients(program).names
    return Sections(
        saved=saved,
        operands=others,
        previous=before,
        gradients=gradients,
        totals=tuple(name for name in vector_totals(program) if name not in gradients),
        count=first + len(flat) + len(before) + len(others),
    )


def gradient_sections(program: Program, name: str) -> list[int]:
    """Where a product's gradient goes: once for each group that wants it beside others."""
    found = product_gradients(program)
    return [found.start + i for i, each in enumerate(found.names) if each == name]
