"""Program -> its adjoint: reverse-mode differentiation, statement by statement.

The adjoint is a step as well, run from the last step to the first. Names in it: `∂z` belongs to
the gradient of `z`, `∂y` is the gradient of the output, `∂h.next` what the later step left of the
gradient of the state `h`, and `∂h.next.product` the part of it that came out of a product. What
the adjoint needs of the forward step is either kept or computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from comporta.kernels.program import Builder, Operand, Program, Statement, previous
from comporta.kernels.schedule import Group, Phase, Schedule, levels, phases, schedule

# No slower to compute again in the backward block than to write and read through memory, of which
# a layer then keeps less.
_CHEAP = {
    "add", "sub", "mul", "neg", "copy", "relu", "abs", "min", "max", "where", "sigmoid", "tanh",
}  # fmt: skip
COMPARISONS = {"lt", "le", "gt", "ge"}


@dataclass(frozen=True, slots=True)
class Adjoint:
    """One step of the backward pass.

    Attributes:
        phases: as those of a forward schedule; phase 0 has no product.
        groups: the transposed products, one for each group of the forward step, in the order of the
            phases.
        products: result of a product -> its gradient.
        carries: state -> the values whose sum is the gradient of its last step's value: what the
            statements compute (or the number 0), and the result of a transposed product if there
            is one. The earlier step reads them as `∂h.next` and `∂h.next.product`.
        vectors: vector parameter -> its gradient at one step and row, to be summed.
        saved: the forward values that must be kept, besides the states.
    """

    phases: tuple[Phase, ...]
    groups: tuple[Group, ...]
    products: dict[str, str]
    carries: dict[str, tuple[Operand, ...]]
    vectors: dict[str, str]
    saved: tuple[str, ...]


def from_next(state: str, *, product: bool = False) -> str:
    """The name under which the adjoint reads what the later step left for a state."""
    return f"∂{state}.next.product" if product else f"∂{state}.next"


@cache
def differentiate(program: Program) -> Adjoint:
    """The adjoint of a program.

    >>> from comporta.cells import get
    >>> from comporta.kernels.program import compile_cell
    >>> differentiate(compile_cell(get("lstm"))).saved
    ('i', 'f', 'g', 'o')
    """
    forward = schedule(program)
    reverse = _Reverse(forward)
    reverse.run()
    saved, again = _keep(forward, reverse.builder.statements)
    first = frozenset(
        from_next(state, product=product) for state in program.states for product in (False, True)
    )
    groups = tuple(reverse.groups.values())
    statements = _read_at_once([*again, *reverse.builder.statements], groups, first)
    ordered = phases(statements, groups, first)
    return Adjoint(
        phases=ordered,
        groups=tuple(group for phase in ordered for group in phase.groups),
        products=reverse.products,
        carries=reverse.carries,
        vectors=reverse.vectors,
        saved=saved,
    )


def _read_at_once(
    statements: list[Statement], groups: tuple[Group, ...], names: frozenset[str]
) -> list[Statement]:
    """Let the first block read all of `names`; what reads them later reads a copy.

    The step writes what it leaves for the earlier step to the place of what it was left.
    """
    level = levels(statements, groups)
    copies: dict[str, Statement] = {}
    result = []
    for s in statements:
        if level[s.name] > 0:
            late = names.intersection(s.operands)
            copies |= {name: Statement(f"{name}.copy", "copy", (name,)) for name in late}
            args = tuple(f"{arg}.copy" if arg in late else arg for arg in s.args)
            s = Statement(s.name, s.op, args)
        result.append(s)
    return [*copies.values(), *result]


class _Reverse:
    """Walks a program backwards and emits the statements of its adjoint."""

    def __init__(self, forward: Schedule) -> None:
        self.forward = forward
        self.builder = Builder(known=forward.program.statements)
        self.defined = {s.name: s for s in forward.program.statements}
        self.sums: dict[str, Operand] = {}
        self.products: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.carries: dict[str, tuple[Operand, ...]] = {}
        self.vectors: dict[str, str] = {}

    def emit(self, op: str, *args: Operand, under: str) -> Operand:
        return self.builder.emit(op, *args, under=under)

    def add(self, target: Operand, value: Operand) -> None:
        """Add a contribution to the gradient of a value; numbers have none."""
        if isinstance(target, str) and value != 0.0:
            before = self.sums.get(target, 0.0)
            self.sums[target] = self.emit("add", before, value, under=f"∂{target}")

    def run(self) -> None:
        program = self.forward.program
        feeding = {group.operands[0]: f"∂{group.operands[0]}.product"
                   for group in self.forward.groups}  # fmt: skip
        for state in program.states:
            self.add(state, from_next(state))
            if previous(state) in feeding:
                self.add(state, from_next(state, product=True))
        self.add(program.output, "∂y")
        for statement in reversed(program.statements):
            if statement.name in feeding:
                self.transpose(statement.name, feeding[statement.name])
                self.add(statement.name, feeding[statement.name])
            gradient = self.sums.get(statement.name, 0.0)
            if statement.op == "product":
                self.products[statement.name] = self.named(gradient, statement.name)
            elif gradient != 0.0:
                self.pull(statement, gradient)
        for state in program.states:
            own = self.sums.get(previous(state), 0.0)
            self.carries[state] = (own,)
            if previous(state) in feeding:
                self.transpose(previous(state), feeding[previous(state)])
                self.carries[state] = (own, feeding[previous(state)])
        for vector in program.vectors:
            self.vectors[vector] = self.named(self.sums.get(vector, 0.0), vector)

    def named(self, value: Operand, of: str) -> str:
        """A value as a name; a constant gradient becomes a statement."""
        if isinstance(value, str):
            return value
        name = f"∂{of}.constant"
        self.builder.statements.append(Statement(name, "copy", (value,)))
        return name

    def transpose(self, operand: str, result: str) -> None:
        group = next(g for g in self.forward.groups if g.operands == (operand,))
        gradients = tuple(self.products[name] for name in group.results)
        self.groups[operand] = Group(group.matrices, gradients, (result,))

    def pull(self, statement: Statement, d: Operand) -> None:
        """Add what a statement's gradient d contributes to those of its operands."""
        out, under = statement.name, f"∂{statement.name}"

        def emit(op: str, *args: Operand) -> Operand:
            return self.emit(op, *args, under=under)

        match statement.op, statement.args:
            case "add", (a, b):
                self.add(a, d)
                self.add(b, d)
            case "sub", (a, b):
                self.add(a, d)
                self.add(b, emit("neg", d))
            case "mul", (a, b):
                self.add(a, emit("mul", d, b))
                self.add(b, emit("mul", d, a))
            case "div", (a, b):
                quotient = emit("div", d, b)
                self.add(a, quotient)
                self.add(b, emit("neg", emit("mul", quotient, out)))
            case "neg", (a,):
                self.add(a, emit("neg", d))
            case "copy", (a,):
                self.add(a, d)
            case "normalize", (str(centred), scale):
                # Of all that stands behind it at once: scale * (d - mean(d) - y * mean(d * y)).
                (a, _) = self.defined[centred].args
                level = emit("sub", d, emit("mean", d))
                slope = emit("mul", out, emit("mean", emit("mul", d, out)))
                self.add(a, emit("mul", emit("sub", level, slope), scale))
            case "min" | "max", (a, b):
                self.pull_choice(statement, d)
            case "where", (condition, a, b):
                self.add(a, emit("where", condition, d, 0.0))
                self.add(b, emit("where", condition, 0.0, d))
            case _, (a,):
                self.add(a, self.slope(statement.op, a, out, d, under))

    def pull_choice(self, statement: Statement, d: Operand) -> None:
        """min and max; where both are equal each gets half, as in torch."""
        under, (a, b) = f"∂{statement.name}", statement.args
        wins, loses = ("gt", "lt") if statement.op == "max" else ("lt", "gt")
        half = self.emit("mul", d, 0.5, under=under)
        for mine, other in ((a, b), (b, a)):
            if isinstance(mine, str):
                won = self.emit(wins, mine, other, under=under)
                lost = self.emit(loses, mine, other, under=under)
                tied = self.emit("where", lost, 0.0, half, under=under)
                self.add(mine, self.emit("where", won, d, tied, under=under))

    def slope(self, op: str, a: Operand, out: str, d: Operand, under: str) -> Operand:
        """d times the derivative of a function of one argument, from its value where possible."""

        def emit(op: str, *args: Operand) -> Operand:
            return self.emit(op, *args, under=under)

        match op:
            case "sigmoid":
                return emit("mul", emit("mul", d, out), emit("sub", 1.0, out))
            case "tanh":
                return emit("mul", d, emit("sub", 1.0, emit("mul", out, out)))
            case "relu":
                return emit("where", emit("le", out, 0.0), 0.0, d)
            case "softplus":
                return emit("mul", d, emit("sigmoid", a))
            case "exp":
                return emit("mul", d, out)
            case "log":
                return emit("div", d, a)
            case "sqrt":
                return emit("div", emit("mul", d, 0.5), out)
            case "sin":
                return emit("mul", d, emit("cos", a))
            case "abs":
                below = emit("where", emit("lt", a, 0.0), emit("neg", d), 0.0)
                return emit("where", emit("gt", a, 0.0), d, below)
        raise AssertionError(f"no derivative of {op}")


def _keep(
    forward: Schedule, adjoint: list[Statement]
) -> tuple[tuple[str, ...], tuple[Statement, ...]]:
    """Which forward values to keep for the adjoint, and which statements to run again."""
    program = forward.program
    by_name = {s.name: s for s in program.statements}
    operands = [g.operands[0] for g in forward.groups if g.operands[0] in by_name]
    # Products' operands are needed for the gradients of the matrices: keep them in any case.
    given = (*program.states, *program.vectors, *program.streams, *map(previous, program.states))
    available = {*given, *operands}
    saved = [name for name in operands if name not in program.states]
    again: dict[str, Statement] = {}
    repeatable: dict[str, bool] = {}

    def obtain(name: str) -> None:
        if name in available or name in again or name not in by_name:
            return
        statement = by_name[name]
        if statement.op in COMPARISONS or (
            statement.op in _CHEAP and all(map(can_repeat, statement.operands))
        ):
            for operand in statement.operands:
                obtain(operand)
            again[name] = statement
        else:
            available.add(name)
            saved.append(name)
            repeatable.clear()

    def can_repeat(name: str) -> bool:
        if name in available:
            return True
        if name not in repeatable:
            statement = by_name.get(name)
            repeatable[name] = (
                statement is not None
                and statement.op in _CHEAP | COMPARISONS
                and all(map(can_repeat, statement.operands))
            )
        return repeatable[name]

    needed = {operand for statement in adjoint for operand in statement.operands}
    # In the order of the text, so that what comes early is at hand for what comes late.
    for statement in program.statements:
        if statement.name in needed:
            obtain(statement.name)
    return tuple(saved), tuple(again.values())
