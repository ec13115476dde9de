"""Cell -> Program: the step as an ordered list of statements, one operation each.

Names in a program: `x` is the input, `h.prev` the last step's value of the state `h`, `z` a value
named in the cell's text, `z.1`, `z.2`, ... its unnamed parts; vectors keep their parameter's name.
Equal expressions become one statement.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from comporta.cells.cell import Cell
from comporta.cells.equation import Apply, Name, Node, Number, Product

Operand = str | float

EPSILON = 1e-5
"""What layer normalization adds to the variance."""

TRANSPOSED = ".T"
"""What stands behind the name of a matrix where a program means its transpose."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`name = op(args)`; an argument is a name or a number.

    `op` is an elementwise operation, "mean" (of a row, the same number in all its units),
    "normalize" (a product of a - mean(a) and 1 / its deviation, with a derivative of its own), or
    "product" with the arguments (matrix, operand).
    """

    name: str
    op: str
    args: tuple[Operand, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the values it reads (of a product, not the matrix)."""
        args = self.args[1:] if self.op == "product" else self.args
        return tuple(arg for arg in args if isinstance(arg, str))


@dataclass(frozen=True, eq=False)
class Program:
    """One step of a cell; there is one object for it in a process, wherever it comes from.

    Attributes:
        statements: in an order in which every value is computed before it is read.
        states: the names carried from step to step; `h` is assigned by a statement of that name
            and read as `h.prev`.
        output: the name of the value that leaves the step.
        parameters: name -> shape in the letters D and H.
        streams: further inputs of hidden size.
        turned: matrices that the step reads transposed, `U.T` -> its shape.
        dimensions: name of a value -> "D" or "H".
        source: the cell as text, as `from_source` reads it.
    """

    statements: tuple[Statement, ...]
    states: tuple[str, ...]
    streams: tuple[str, ...]
    output: str
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    turned: tuple[tuple[str, tuple[str, ...]], ...]
    dimensions: tuple[tuple[str, str], ...]
    source: str = field(default="", compare=False, repr=False)

    def __reduce__(self) -> tuple[Callable[[str], Program], tuple[str]]:
        # Every call of a layer looks its kernels up by the program: copies would have their own.
        return from_source, (self.source,)

    @cached_property
    def matrices(self) -> tuple[str, ...]:
        """The matrices of its products."""
        return tuple(dict.fromkeys(str(s.args[0]) for s in self.statements if s.op == "product"))

    @cached_property
    def vectors(self) -> tuple[str, ...]:
        """The parameters that are vectors."""
        return tuple(name for name, shape in self.parameters if len(shape) == 1)


def previous(state: str) -> str:
    """The name under which a program reads a state's value of the last step."""
    return f"{state}.prev"


def compile_cell(cell: Cell, *, bias: bool = True) -> Program:
    """The program of one step of a cell.

    Args:
        cell: the cell.
        bias: whether the vectors that are only ever added are kept.

    >>> from comporta.cells import get
    >>> for statement in compile_cell(get("mingru"), bias=False).statements:
    ...     print(statement.name, statement.op, *statement.args)
    z.1 product W_z x
    z sigmoid z.1
    n product W_n x
    h.1 sub 1.0 z
    h.2 mul h.1 h.prev
    h.3 mul z n
    h add h.2 h.3
    """
    return _compile_cell(cell, bias)


@cache
def _compile_cell(cell: Cell, bias: bool) -> Program:
    dropped = frozenset() if bias else cell.biases
    builder = Builder()
    lowering = _Lowering(cell, builder, dropped)
    for equation in cell.equations:
        lowering.equation(equation.name, equation.value)
    parameters = tuple(
        (name, shape) for name, shape in cell.parameters.items() if name not in dropped
    )
    return Program(
        statements=tuple(builder.statements),
        states=cell.states,
        streams=cell.streams,
        output=cell.output,
        parameters=parameters,
        turned=tuple(lowering.turned.items()),
        dimensions=tuple(lowering.dimensions.items()),
        source=json.dumps({"cell": cell.to_json(), "bias": bias}),
    )


@cache
def from_source(source: str) -> Program:
    """The program that has this source.

    >>> from comporta.cells import get
    >>> program = compile_cell(get("gru"))
    >>> from_source(program.source) == program
    True
    """
    data = json.loads(source)
    return compile_cell(Cell.from_json(data["cell"]), bias=data["bias"])


class Builder:
    """Collects statements; equal ones are emitted once, and trivial ones not at all."""

    def __init__(self, known: Iterable[Statement] = ()) -> None:
        self.statements: list[Statement] = []
        self._by_value = {(s.op, s.args): s.name for s in known}
        self._negated = {s.name: s.args[0] for s in known if s.op == "neg"}
        self._count: dict[str, int] = {}

    def emit(self, op: str, *args: Operand, under: str, name: str | None = None) -> Operand:
        """The value op(args), as a name or a number.

        Args:
            op: the operation.
            args: its operands.
            under: the equation it belongs to, for naming unnamed values.
            name: the name the value must have, for the root of an equation.
        """
        op, args = self._rewrite(op, args)
        simple = self._simplify(op, args)
        if simple is None:
            simple = self._by_value.get((op, args))
        if simple is not None:
            if name is None:
                return simple
            op, args = "copy", (simple,)
        if name is None:
            self._count[under] = self._count.get(under, 0) + 1
            name = f"{under}.{self._count[under]}"
        self.statements.append(Statement(name, op, args))
        self._by_value.setdefault((op, args), name)
        if op == "neg":
            self._negated[name] = args[0]
        return name

    def _rewrite(self, op: str, args: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
        """The same value by an operation that does without a negation."""
        match op, args:
            case "sub", (0.0, str(a)):
                return "neg", (a,)
            case "add", (a, str(b)) if b in self._negated:
                return "sub", (a, self._negated[b])
            case "add", (str(a), b) if a in self._negated:
                return "sub", (b, self._negated[a])
            case "sub", (a, str(b)) if b in self._negated:
                return "add", (a, self._negated[b])
        return op, args

    def _simplify(self, op: str, args: tuple[Operand, ...]) -> Operand | None:
        """The same value without a statement of its own, where there is one."""
        match op, args:
            case _, tuple() if op in _FOLD and all(isinstance(arg, float) for arg in args):
                return _fold(op, [float(arg) for arg in args])
            case ("add", (a, 0.0)) | ("add", (0.0, a)) | ("sub", (a, 0.0)):
                return a
            case ("mul", (a, 1.0)) | ("mul", (1.0, a)) | ("div", (a, 1.0)):
                return a
            case "neg", (str(a),) if a in self._negated:
                return self._negated[a]
            case "mean", (float(a),):
                return a
            case "normalize", (float(), _):
                return 0.0
        return None


_FOLD: Mapping[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
}


def _fold(op: str, numbers: list[float]) -> float | None:
    try:
        return float(_FOLD[op](*numbers))
    except (ZeroDivisionError, OverflowError):
        return None


class _Lowering:
    """Flattens the expression trees of a cell into statements."""

    def __init__(self, cell: Cell, builder: Builder, dropped: frozenset[str]) -> None:
        self.builder = builder
        self.dropped = dropped
        self.shapes: dict[str, tuple[str, ...]] = dict(cell.parameters)
        self.turned: dict[str, tuple[str, ...]] = {}
        self.dimensions = {previous(state): "H" for state in cell.states} | {"x": "D"}
        self.dimensions |= dict.fromkeys(cell.streams, "H")
        self.dimensions |= {
            name: shape[0] for name, shape in cell.parameters.items() if len(shape) == 1
        }
        self.dimensions |= cell.dimensions

    def equation(self, name: str, value: Node) -> None:
        self.lower(value, under=name, name=name)

    def emit(self, op: str, *args: Operand, under: str, name: str | None = None) -> Operand:
        value = self.builder.emit(op, *args, under=under, name=name)
        if isinstance(value, str) and value not in self.dimensions:
            self.dimensions[value] = (
                self.shapes[str(args[0])][0] if op == "product" else self._common(args)
            )
        return value

    def _common(self, args: tuple[Operand, ...]) -> str:
        return next((self.dimensions[arg] for arg in args if isinstance(arg, str)), "H")

    def lower(self, node: Node, *, under: str, name: str | None = None) -> Operand:
        match node:
            case Number(value=value):
                leaf: Operand = value
            case Name(id=identifier, kind="previous"):
                leaf = previous(identifier)
            case Name(id=identifier):
                leaf = 0.0 if identifier in self.dropped else identifier
            case Product(matrix=matrix, operand=operand, transposed=transposed):
                inner = self.lower(operand, under=under)
                if transposed:
                    shape = self.shapes[matrix][::-1]
                    matrix = f"{matrix}{TRANSPOSED}"
                    self.shapes[matrix] = self.turned[matrix] = shape
                if isinstance(inner, float):
                    inner = self.emit("copy", inner, under=under, name=f"{under}.constant")
                return self.emit("product", matrix, inner, under=under, name=name)
            case Apply():
                return self.apply(node, under=under, name=name)
        return leaf if name is None else self.emit("copy", leaf, under=under, name=name)

    def is_dropped(self, node: Node) -> bool:
        return isinstance(node, Name) and node.id in self.dropped

    def apply(self, node: Apply, *, under: str, name: str | None) -> Operand:
        match node.op, node.operands:
            case ("add" | "sub", (rest, other)) if self.is_dropped(other):
                return self.lower(rest, under=under, name=name)
            case "add", (other, rest) if self.is_dropped(other):
                return self.lower(rest, under=under, name=name)
        args = [self.lower(operand, under=under) for operand in node.operands]
        match node.op, args:
            case "clip", [a, low, high]:
                return self.emit("min", self.emit("max", a, low, under=under), high,
                                 under=under, name=name)  # fmt: skip
            case "pow", [a, float(exponent)]:
                return self.power(a, exponent, under=under, name=name)
            case "layer_norm", [a]:
                return self.layer_norm(a, under=under, name=name)
        return self.emit(node.op, *args, under=under, name=name)

    def layer_norm(self, a: Operand, *, under: str, name: str | None) -> Operand:
        """(a - mean) / sqrt(variance + epsilon), the variance from differences to the mean."""

        def emit(op: str, *args: Operand, name: str | None = None) -> Operand:
            return self.emit(op, *args, under=under, name=name)

        centred = emit("sub", a, emit("mean", a))
        variance = emit("mean", emit("mul", centred, centred))
        scale = emit("div", 1.0, emit("sqrt", emit("add", variance, EPSILON)))
        return emit("normalize", centred, scale, name=name)

    def power(self, a: Operand, exponent: float, *, under: str, name: str | None) -> Operand:
        if exponent == 0.5:
            return self.emit("sqrt", a, under=under, name=name)
        if exponent < 0:
            below = a if exponent == -1 else self.power(a, -exponent, under=under, name=None)
            return self.emit("div", 1.0, below, under=under, name=name)
        if exponent == 2:
            return self.emit("mul", a, a, under=under, name=name)
        half = self.power(a, exponent - 1, under=under, name=None)
        return self.emit("mul", half, a, under=under, name=name)
