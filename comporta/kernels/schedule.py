"""Orders a step into phases: matrix products first, then one elementwise block, and so on.

`gru` has one phase (a product of h, then everything else). `gru-reset-before` has two, since one
of its products reads r * c. No cell says so: it follows from what reads what. The same scheduler
serves a step and its adjoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from comporta.kernels.program import Program, Statement


@dataclass(frozen=True, slots=True)
class Group:
    """Products done as one matrix product.

    Forward, several matrices read one operand and give a result each. Transposed, the matrices
    read an operand each and their products are summed into one result.
    """

    matrices: tuple[str, ...]
    operands: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """Products whose operands are ready, then the elementwise statements that they allow.

    A mean needs its whole row: it is ready when the block is done, for later phases.
    """

    groups: tuple[Group, ...]
    statements: tuple[Statement, ...]
    means: tuple[Statement, ...] = ()

    @property
    def block(self) -> tuple[Statement, ...]:
        """All that the elementwise block of the phase computes."""
        return (*self.statements, *self.means)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step in phases.

    Attributes:
        hoisted: the products that read the input x alone; they are taken out of the time loop.
        groups: the products inside the time loop.
        phases: those groups and all elementwise statements, in order.
    """

    program: Program
    hoisted: Group
    groups: tuple[Group, ...]
    phases: tuple[Phase, ...]

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The statements of all phases but for products."""
        return tuple(s for phase in self.phases for s in phase.block)


@cache
def schedule(program: Program) -> Schedule:
    """Group a program's products and put its statements into phases.

    >>> from comporta.cells import get
    >>> from comporta.kernels.program import compile_cell
    >>> for phase in schedule(compile_cell(get("gru-reset-before"))).phases:
    ...     print([g.matrices for g in phase.groups], [s.name for s in phase.statements])
    [] []
    [('U_u', 'U_r')] ['r.2', 'r.4', 'r', 'n.3']
    [('U_n',)] ['u.2', 'u.4', 'u', 'n.2', 'n.5', 'n', 'c.1', 'c.2', 'c.3', 'c']
    """
    products = [s for s in program.statements if s.op == "product"]
    by_operand: dict[str, list[Statement]] = {"x": []}
    for product in products:
        by_operand.setdefault(str(product.args[1]), []).append(product)
    found = [
        Group(tuple(str(p.args[0]) for p in same), (operand,), tuple(p.name for p in same))
        for operand, same in by_operand.items()
    ]
    elementwise = [s for s in program.statements if s.op != "product"]
    ordered = phases(elementwise, found[1:])
    groups = tuple(group for phase in ordered for group in phase.groups)
    return Schedule(program, found[0], groups, ordered)


def phases(
    statements: Sequence[Statement], groups: Sequence[Group], first: frozenset[str] = frozenset()
) -> tuple[Phase, ...]:
    """Put statements and groups into phases.

    A statement goes into the latest phase that still serves all its readers (so that little has
    to be kept from one block to the next), or where its operands are ready if nobody reads it.

    Args:
        statements: elementwise statements, each after what it reads.
        groups: products of the step.
        first: names whose readers must stand in the first block; they can (see `levels`).
    """
    level = levels(statements, groups)
    chosen = _latest(statements, groups, level, first)
    ends = [chosen[s.name] + (s.op == "mean") for s in statements]
    count = 1 + max([0, *ends, *(level[g.results[0]] for g in groups)])
    return tuple(
        Phase(
            tuple(g for g in groups if level[g.results[0]] == k),
            tuple(s for s in statements if chosen[s.name] == k and s.op != "mean"),
            tuple(s for s in statements if chosen[s.name] == k and s.op == "mean"),
        )
        for k in range(count)
    )


def levels(statements: Sequence[Statement], groups: Sequence[Group]) -> dict[str, int]:
    """Name -> the earliest phase in which it can be computed."""
    level: dict[str, int] = {}
    waiting, pending = list(statements), list(groups)
    made = {s.name for s in statements} | {r for g in groups for r in g.results}
    while waiting or pending:
        left = len(waiting) + len(pending)
        for group in pending:
            if all(o in level or o not in made for o in group.operands):
                ready = 1 + max(level.get(operand, 0) for operand in group.operands)
                level |= dict.fromkeys(group.results, ready)
        for s in waiting:
            if all(o in level or o not in made for o in s.operands):
                ready = max((level.get(o, 0) for o in s.operands), default=0)
                level[s.name] = ready + (s.op == "mean")
        waiting = [s for s in waiting if s.name not in level]
        pending = [group for group in pending if group.results[0] not in level]
        assert len(waiting) + len(pending) < left, "the step reads a value that it never makes"
    return level


def ready(phases: Sequence[Phase]) -> dict[str, int]:
    """Name -> the phase whose block can write it; the others were there before the first."""
    found: dict[str, int] = {}
    for k, phase in enumerate(phases):
        found |= {result: k for group in phase.groups for result in group.results}
        found |= {s.name: k for s in phase.statements}
        found |= {s.name: k + 1 for s in phase.means}
    return found


def flat_values(phases: Sequence[Phase], given: Iterable[str] = ()) -> frozenset[str]:
    """The values that are the same in all units: means, and what follows from them alone."""
    found = {*given, *(s.name for phase in phases for s in phase.means)}
    for phase in phases:
        for s in phase.statements:
            if s.operands and found.issuperset(s.operands):
                found.add(s.name)
    return frozenset(found)


def _latest(
    statements: Sequence[Statement],
    groups: Sequence[Group],
    level: dict[str, int],
    first: frozenset[str],
) -> dict[str, int]:
    readers: dict[str, list[int]] = {}
    for group in groups:
        for operand in group.operands:
            readers.setdefault(operand, []).append(level[group.results[0]] - 1)
    chosen: dict[str, int] = {}
    for s in reversed(statements):
        chosen[s.name] = min(readers.get(s.name, [level[s.name]])) - (s.op == "mean")
        if first.intersection(s.operands):
            assert level[s.name] == (s.op == "mean")
            chosen[s.name] = 0
        for operand in s.operands:
            readers.setdefault(operand, []).append(chosen[s.name])
    return chosen
