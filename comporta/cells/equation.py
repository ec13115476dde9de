"""The language cells are written in: text -> equations, with the shape of every name.

A cell is a few lines `name = expression` in Python's expression syntax. The text is parsed, never
executed. The words are

    + - * /   a ** 2   W @ v        sum, difference, elementwise product, quotient, power, map
    W.T @ v                         the transposed map
    sigmoid tanh relu softplus exp log sqrt sin abs      elementwise functions
    min(a, b) max(a, b) clip(a, low, high)               elementwise choices
    where(a > b, p, q)                                   p where the comparison holds, else q
    layer_norm(a)                                        a with mean 0 and variance 1 over its units

`x` is the input of the step. A state read before the line that assigns it is its value of the last
step, after that line its value of this step. A capital name followed by `@` is a matrix, a name
never assigned is a vector (a bias, a peephole), numbers stand for themselves.
"""

from __future__ import annotations

import ast
import sys
import warnings
from dataclasses import dataclass, field
from typing import TypeAlias

from comporta.errors import CellError, nearest

FUNCTIONS = {
    "sigmoid": 1,
    "tanh": 1,
    "relu": 1,
    "softplus": 1,
    "exp": 1,
    "log": 1,
    "sqrt": 1,
    "sin": 1,
    "abs": 1,
    "layer_norm": 1,
    "min": 2,
    "max": 2,
    "clip": 3,
    "where": 3,
}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
_LONGEST_TEXT = 20_000
# How deep an expression may be nested: far beyond any cell, far below Python's recursion limit.
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the text a node stands (1-based), for errors that point at it."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number written in the text."""

    value: float
    place: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A name that is read.

    `kind` is "input" (x), "stream" (a further input, of hidden size), "previous" (a state's value
    of the last step), "value" (assigned on an earlier line of this step) or "vector" (a parameter).
    """

    id: str
    kind: str
    place: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix parameter applied to a vector, `W @ v`, or its transpose, `W.T @ v`."""

    matrix: str
    operand: Node
    place: Place = field(compare=False, repr=False)
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operation or a comparison on one to three operands."""

    op: str
    operands: tuple[Node, ...]
    place: Place = field(compare=False, repr=False)


Node: TypeAlias = Number | Name | Product | Apply


@dataclass(frozen=True, slots=True)
class Equation:
    """One line of a cell: the name it assigns and what it assigns to it."""

    name: str
    value: Node
    place: Place = field(compare=False, repr=False)


def parse(
    text: str, states: tuple[str, ...], streams: tuple[str, ...] = ()
) -> tuple[Equation, ...]:
    """Read the text of a cell.

    Args:
        text: lines `name = expression`; blank lines and `#` comments are allowed.
        states: the names whose values are carried from step to step.
        streams: the names of further inputs, of hidden size, such as masks.

    Returns:
        The equations in the order of the text.

    Raises:
        CellError: with line and column, when a line is not an equation of the language.

    >>> parse("h = tanh(W @ x + U @ h)", ("h",))[0].name
    'h'
    """
    if len(text) > _LONGEST_TEXT:
        raise CellError(f"the text has {len(text)} characters; a cell has at most {_LONGEST_TEXT}")
    lines = [line.strip() for line in text.splitlines()]
    # Leading white space means nothing here, so that indented literals can be pasted as they are.
    try:
        with warnings.catch_warnings():
            # What Python only warns of, such as 1if, is refused below.
            warnings.simplefilter("ignore")
            module = ast.parse("\n".join(lines))
    except SyntaxError as error:
        line = min(error.lineno or 1, max(len(lines), 1))
        raise CellError(
            f"this is not an equation ({error.msg}); write name = expression",
            line=line,
            column=error.offset or 1,
            source=lines[line - 1] if lines else "",
        ) from None
    except (RecursionError, MemoryError, ValueError):
        raise CellError("the text cannot be parsed; write a few lines name = expression") from None
    return _Reader(lines, states, streams).read(module)


class _Reader:
    """Turns Python's syntax tree into equations, refusing what the language does not have."""

    def __init__(self, lines: list[str], states: tuple[str, ...], streams: tuple[str, ...]) -> None:
        self.lines = lines
        self.states = states
        self.streams = streams
        self.assigned: dict[str, Place] = {}
        self.later: set[str] = set()
        self.depth = 0

    def error(self, message: str, where: ast.AST | Place) -> CellError:
        place = where if isinstance(where, Place) else _place(where)
        return CellError(
            message, line=place.line, column=place.column, source=self.lines[place.line - 1]
        )

    def read(self, module: ast.Module) -> tuple[Equation, ...]:
        if not module.body:
            raise CellError("the text is empty; write at least one equation that assigns a state")
        self.later = {
            target.id
            for line in module.body
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name)
        }
        return tuple(self.equation(line) for line in module.body)

    def equation(self, line: ast.stmt) -> Equation:
        if (
            not isinstance(line, ast.Assign)
            or len(line.targets) != 1
            or not isinstance(line.targets[0], ast.Name)
        ):
            raise self.error("this is not an equation; write name = expression", line)
        target = line.targets[0]
        name = target.id
        self.check_name(name, target)
        if name in ("x", *self.streams):
            raise self.error(f"{name} is an input and cannot be assigned; use another name", target)
        if name[0].isupper():
            raise self.error(
                f"{name} has a capital first letter, which means a matrix, and a matrix cannot be "
                f"assigned; write {name.lower()}",
                target,
            )
        if name in self.assigned:
            raise self.error(
                f"{name} is assigned a second time (first on line {self.assigned[name].line}); "
                "give the new value a name of its own",
                target,
            )
        value = self.node(line.value)
        self.later.discard(name)
        self.assigned[name] = _place(target)
        return Equation(name, value, _place(target))

    def check_name(self, name: str, where: ast.AST) -> None:
        if name in FUNCTIONS:
            raise self.error(f"{name} is a function of the language; use another name", where)
        if not name.isascii() or name.startswith("_"):
            raise self.error(
                f"{name} is not a usable name; names are ASCII letters, digits and _, and begin "
                "with a letter",
                where,
            )

    def node(self, node: ast.expr) -> Node:
        if self.depth == _DEEPEST:
            raise self.error(
                f"an expression is nested more than {_DEEPEST} deep; name its parts", node
            )
        self.depth += 1
        found = self.inner(node)
        self.depth -= 1
        return found

    def inner(self, node: ast.expr) -> Node:
        match node:
            case ast.Constant(value=bool() | str() | bytes() | complex() | None):
                raise self.error("only real numbers can stand in an equation", node)
            case ast.Constant(value=int() | float() as value):
                return self.number(value, node)
            case ast.Name():
                return self.name(node)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.number(-value, node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Apply("neg", (self.node(operand),), _place(node))
            case ast.BinOp(op=ast.MatMult()):
                return self.product(node)
            case ast.BinOp(op=ast.Pow()):
                return self.power(node)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return Apply(_BINARY[type(op)], (self.node(left), self.node(right)), _place(node))
            case ast.Call():
                return self.call(node)
            case ast.Compare():
                raise self.error("a comparison can only be the first argument of where()", node)
        raise self.error(
            "this is not part of the language; it has + - * / @ .T **, numbers, names and "
            f"{', '.join(sorted(FUNCTIONS))}",
            node,
        )

    def number(self, value: float, node: ast.expr) -> Number:
        # A whole number may be too large to be a float at all.
        if not abs(value) <= sys.float_info.max:
            raise self.error("a number must be finite", node)
        return Number(float(value), _place(node))

    def name(self, node: ast.Name) -> Name:
        name, place = node.id, _place(node)
        self.check_name(name, node)
        if name == "x":
            return Name(name, "input", place)
        if name in self.assigned:
            return Name(name, "value", place)
        if name in self.states:
            return Name(name, "previous", place)
        if name in self.streams:
            return Name(name, "stream", place)
        if name in self.later:
            raise self.error(
                f"{name} is used before the line that assigns it; move that line up, or declare "
                f"{name} as a state to read its value of the last step",
                node,
            )
        if name[0].isupper():
            raise self.error(
                f"{name} has a capital first letter, which means a matrix; write {name} @ v, or "
                f"{name[0].lower()}{name[1:]} for a vector",
                node,
            )
        return Name(name, "vector", place)

    def product(self, node: ast.BinOp) -> Product:
        left, turned = node.left, False
        if isinstance(left, ast.Attribute) and left.attr == "T":
            left, turned = left.value, True
        if not isinstance(left, ast.Name) or not left.id[0].isupper():
            raise self.error(
                "the left side of @ must be a matrix, a name with a capital first letter, or its "
                "transpose U.T (for chains write W @ (U @ v))",
                left,
            )
        self.check_name(left.id, left)
        return Product(left.id, self.node(node.right), _place(node), turned)

    def power(self, node: ast.BinOp) -> Apply:
        exponent = self.node(node.right)
        if not isinstance(exponent, Number) or exponent.value not in (0.5, 2, 3, 4, -1, -2):
            raise self.error(
                "the exponent must be one of the numbers 2, 3, 4, -1, -2 and 0.5", node.right
            )
        return Apply("pow", (self.node(node.left), exponent), _place(node))

    def call(self, node: ast.Call) -> Apply:
        if not isinstance(node.func, ast.Name):
            raise self.error("only the functions of the language can be called", node)
        name = node.func.id
        if name not in FUNCTIONS:
            raise self.error(f"unknown function {name}{nearest(name, FUNCTIONS)}", node.func)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self.error(f"{name}() takes plain arguments only", node)
        if len(node.args) != FUNCTIONS[name]:
            raise self.error(
                f"{name}() takes {FUNCTIONS[name]} argument(s) and was given {len(node.args)}", node
            )
        first = self.compare(node.args[0]) if name == "where" else self.node(node.args[0])
        return Apply(name, (first, *map(self.node, node.args[1:])), _place(node))

    def compare(self, node: ast.expr) -> Apply:
        if (
            not isinstance(node, ast.Compare)
            or len(node.ops) != 1
            or type(node.ops[0]) not in _COMPARE
        ):
            raise self.error("the first argument of where() is one comparison < <= > >=", node)
        operands = (self.node(node.left), self.node(node.comparators[0]))
        return Apply(_COMPARE[type(node.ops[0])], operands, _place(node))


def _place(node: ast.AST) -> Place:
    return Place(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def walk(node: Node) -> list[Node]:
    """The node and everything below it, outermost first."""
    found = [node]
    match node:
        case Product(operand=operand):
            found += walk(operand)
        case Apply(operands=operands):
            for operand in operands:
                found += walk(operand)
    return found
