"""What fused kernels keep of a forward pass, a section of hidden size for each value.

Of a value that is the same in all units they keep one number. The gradients of products take the
place of what has been read, so that one large product over all steps gives the gradient of a
matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from comporta.kernels.gradient import differentiate
from comporta.kernels.program import Program
from comporta.kernels.schedule import flat_values, ready, schedule


@dataclass(frozen=True, slots=True)
class Window:
    """A group's gradients, side by side.

    Attributes:
        start: the first section.
        sections: for each matrix of the group its section, counted from `start`.
    """

    start: int
    sections: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gradients:
    """The sections that hold the gradients of products.

    Attributes:
        names: the values, from section `start` on.
        start: the first section of them.
        hoisted: the window of the products of x.
        groups: the windows of the forward step's groups.
    """

    names: tuple[str, ...]
    start: int
    hoisted: Window
    groups: tuple[Window, ...]


@cache
def product_gradients(program: Program) -> Gradients:
    """The order of the products' gradients, so that each group finds its own side by side."""
    plan, adjoint = schedule(program), differentiate(program)
    hoisted = [adjoint.products[result] for result in plan.hoisted.results]
    inside = [[adjoint.products[r] for r in group.results] for group in plan.groups]
    in_loop = {name for names in inside for name in names}
    order = [name for name in hoisted if name not in in_loop]
    for names in inside:
        order += sorted(names, key=lambda name: name not in hoisted)
    for names in (hoisted, *inside):
        if _find(order, names) is None:
            order += names
    start = len(adjoint.saved) - len(kept_flat(program)) - len(_taken(program, tuple(order)))
    windows = [window(order, names, start) for names in (hoisted, *inside)]
    return Gradients(tuple(order), start, windows[0], tuple(windows[1:]))


@cache
def kept_places(program: Program) -> Mapping[str, int]:
    """The section of every value that the adjoint reads, but of those that are flat."""
    gradients = product_gradients(program)
    taken = _taken(program, gradients.names)
    others = {*taken, *kept_flat(program)}
    stay = [name for name in differentiate(program).saved if name not in others]
    places = {name: section for section, name in enumerate(stay)}
    return places | {name: gradients.start + place for name, place in taken.items()}


@cache
def kept_flat(program: Program) -> tuple[str, ...]:
    """The values that the adjoint reads and that are the same in all units."""
    flat = flat_values(schedule(program).phases)
    return tuple(name for name in differentiate(program).saved if name in flat)


def kept_sections(program: Program) -> int:
    """How many sections the kept values and the gradients of products take."""
    gradients = product_gradients(program)
    return gradients.start + len(gradients.names)


def _taken(program: Program, gradients: tuple[str, ...]) -> dict[str, int]:
    """Kept value -> the place among the products' gradients of the one that goes over it.

    A block reads all of a row before it writes, so it may write over what no later block reads.
    Operands of products stay: the gradients of matrices are made of them.
    """
    plan, adjoint = schedule(program), differentiate(program)
    stay = {*kept_flat(program), *(group.operands[0] for group in plan.groups)}
    last = dict.fromkeys((name for name in adjoint.saved if name not in stay), 0)
    for k, phase in enumerate(adjoint.phases):
        last |= {o: k for s in phase.block for o in s.operands if o in last}
    written = ready(adjoint.phases)
    waiting = sorted(last, key=last.__getitem__)
    taken = {}
    for place in sorted(range(len(gradients)), key=lambda i: written.get(gradients[i], 0)):
        over = (name for name in waiting if last[name] <= written.get(gradients[place], 0))
        name = next(over, None)
        if name is not None:
            waiting.remove(name)
            taken[name] = place
    return taken


def vector_totals(program: Program) -> tuple[str, ...]:
    """The distinct gradients of the vectors."""
    return tuple(dict.fromkeys(differentiate(program).vectors.values()))


def window(order: Sequence[str], names: Sequence[str], offset: int) -> Window:
    """Where names stand side by side in an order whose first section is `offset`."""
    start = _find(order, names)
    assert start is not None, "every group was given its place"
    free = list(order[start : start + len(names)])
    sections = []
    for name in names:
        section = free.index(name)
        free[section] = ""
        sections.append(section)
    return Window(offset + start, tuple(sections))


def _find(order: Sequence[str], names: Sequence[str]) -> int | None:
    """Where `names`, in any order, stand side by side."""
    for start in range(len(order) - len(names) + 1):
        if Counter(order[start : start + len(names)]) == Counter(names):
            return start
    return None
