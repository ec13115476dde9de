"""Which steps are linear recurrences, with what coefficients.

What a step carries on is then affine in what was carried to it, next = decay * last + inflow, and
neither coefficient depends on it: all steps follow from one scan over time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from comporta.kernels.gradient import differentiate, from_next
from comporta.kernels.program import Builder, Operand, Program, Statement, previous
from comporta.kernels.schedule import Phase, schedule


@dataclass(frozen=True, slots=True)
class Scan:
    """One value that is carried from step to step.

    Attributes:
        last: the name of what was carried here.
        next: what is carried on.
        statements: what has to be computed for the coefficients.
        decay, inflow: the coefficients.
    """

    last: str
    next: Operand
    statements: tuple[Statement, ...]
    decay: Operand
    inflow: Operand


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A step whose carried values follow from scans, one after another.

    Attributes:
        scans: in an order in which the coefficients of each depend on earlier ones alone.
        rest: the statements that remain when all are known.
    """

    scans: tuple[Scan, ...]
    rest: tuple[Statement, ...]


@cache
def forward_recurrence(program: Program) -> Recurrence | None:
    """The step of a program as a linear recurrence, or None if it is none.

    >>> from comporta.cells import get
    >>> from comporta.kernels.program import compile_cell
    >>> found = forward_recurrence(compile_cell(get("mingru")))
    >>> [(scan.last, scan.decay, scan.inflow) for scan in found.scans]
    [('h.prev', 'h.1', 'h.3')]
    """
    carried: dict[str, Operand] = {previous(state): state for state in program.states}
    return _solve(schedule(program).phases, carried)


@cache
def backward_recurrence(program: Program) -> Recurrence | None:
    """The same of the adjoint's step."""
    adjoint = differentiate(program)
    return _solve(adjoint.phases, {from_next(s): adjoint.carries[s][0] for s in program.states})


def is_linear(program: Program) -> bool:
    """Whether both directions are linear recurrences."""
    found = forward_recurrence(program), backward_recurrence(program)
    return all(each is not None for each in found)


def _solve(phases: Sequence[Phase], carried: Mapping[str, Operand]) -> Recurrence | None:
    if any(phase.groups or phase.means for phase in phases):
        return None
    statements = [s for phase in phases for s in phase.statements]
    # What each value depends on of what is carried.
    needs: dict[Operand, set[str]] = {last: {last} for last in carried}
    for s in statements:
        needs[s.name] = set().union(*(needs.get(o, set()) for o in s.operands))
    solved: set[str] = set()
    scans: list[Scan] = []
    waiting = list(statements)
    while len(solved) < len(carried):
        ready = [last for last, after in carried.items()
                 if last not in solved and needs.get(after, set()) <= {*solved, last}]  # fmt: skip
        if not ready:
            return None
        last = ready[0]
        possible = [s for s in waiting if needs[s.name] <= solved]
        waiting = [s for s in waiting if s not in possible]
        split = _Split(statements, last, {v for v, found in needs.items() if last in found})
        coefficients = split.of(carried[last])
        if coefficients is None:
            return None
        own = tuple(s for s in split.builder.statements)
        scans.append(Scan(last, carried[last], (*possible, *own), *coefficients))
        solved.add(last)
    # What is carried on is known from its scan.
    known = {scan.next for scan in scans if scan.last in needs.get(scan.next, set())}
    return Recurrence(tuple(scans), tuple(s for s in waiting if s.name not in known))


class _Split:
    """Takes values apart into decay * last + inflow."""

    def __init__(self, statements: Sequence[Statement], last: str, moving: set[Operand]) -> None:
        self.by_name = {s.name: s for s in statements}
        self.last, self.moving = last, moving
        self.builder = Builder(known=[s for s in statements if s.name not in moving])

    def emit(self, op: str, *args: Operand) -> Operand:
        return self.builder.emit(op, *args, under=f"{self.last}.{op}")

    def scaled(self, op: str, value: Operand, factor: Operand) -> Operand:
        return value if value == 0.0 else self.emit(op, value, factor)

    def of(self, value: Operand) -> tuple[Operand, Operand] | None:
        """The decay and the inflow of a value, or None if it is not affine."""
        if value == self.last:
            return 1.0, 0.0
        if value not in self.moving:
            return 0.0, value
        s = self.by_name[str(value)]
        moves = [arg in self.moving for arg in s.args]
        match s.op, s.args:
            case "copy", (a,):
                return self.of(a)
            case "neg", (a,):
                found = self.of(a)
                return found and (self.scaled("mul", found[0], -1.0),
                                  self.scaled("mul", found[1], -1.0))  # fmt: skip
            case "add" | "sub", (a, b):
                return self.both(s.op, a, b)
            case "mul", (a, b) if not all(moves):
                moving, factor = (a, b) if moves[0] else (b, a)
                found = self.of(moving)
                return found and (self.scaled("mul", found[0], factor),
                                  self.scaled("mul", found[1], factor))  # fmt: skip
            case "div", (a, b) if not moves[1]:
                found = self.of(a)
                return found and (self.scaled("div", found[0], b), self.scaled("div", found[1], b))
            case "where", (condition, a, b) if not moves[0]:
                return self.both("where", a, b, condition)
        return None

    def both(
        self, op: str, a: Operand, b: Operand, *condition: Operand
    ) -> tuple[Operand, Operand] | None:
        """The same operation on the decays, and on the inflows."""
        one, other = self.of(a), self.of(b)
        if one is None or other is None:
            return None
        decay, inflow = (self.emit(op, *condition, x, y) for x, y in zip(one, other, strict=True))
        return decay, inflow
