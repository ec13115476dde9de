"""Statements as lines of Triton, whichever loop they stand in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comporta.kernels.program import Operand, Statement

# Operations of `functions` and of Triton; the others are operators.
_FUNCTIONS = {
    "sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus", "relu": "relu",
    "min": "minimum", "max": "maximum", "exp": "tl.exp", "log": "tl.log", "sqrt": "tl.sqrt",
    "sin": "tl.sin", "cos": "tl.cos", "abs": "tl.abs", "where": "tl.where",
}  # fmt: skip
_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "normalize": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
HEADER = """\
import triton
import triton.language as tl

from comporta.kernels.gpu.functions import (
    announce, compose, maximum, meet, minimum, relu, sigmoid, softplus, tanh, wait_for,
)
"""


class Text:
    """Lines of a kernel.

    A value of a program is a tile of rows and hidden units; one that is the same in all units is a
    column, a parameter is a row.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._indent = "    "
        self._known: dict[str, str] = {}

    def __call__(self, line: str) -> None:
        self.lines.append(f"{self._indent}{line}" if line else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines under a head, indented."""
        self(head)
        before, self._indent = self._indent, self._indent + "    "
        yield
        self._indent = before

    def name(self, value: str) -> str:
        """The identifier of a program's value."""
        if value not in self._known:
            plain = "v_" + value.replace("∂", "d_").replace(".", "_").replace(" ", "_")
            while plain in self._known.values():
                plain += "_"
            self._known[value] = plain
        return self._known[value]

    def statement(self, s: Statement) -> None:
        """A statement of a block; products and means are the loop's."""
        self(f"{self.name(s.name)} = {self._expression(s)}")

    def _expression(self, s: Statement) -> str:
        if s.op in _OPERATORS:
            left, right = map(self._scalar, s.args)
            return f"{left} {_OPERATORS[s.op]} {right}"
        if s.op == "neg":
            return f"-{self._scalar(s.args[0])}"
        tiles = [self.tile(arg) for arg in s.args]
        return tiles[0] if s.op == "copy" else f"{_FUNCTIONS[s.op]}({', '.join(tiles)})"

    def settle(self) -> None:
        """All threads of the program have read what is written over from here on.

        Which thread reads an element and which one writes it is the compiler's choice.
        """
        self("tl.debug_barrier()")

    def tile(self, operand: Operand) -> str:
        """An operand as a tile, numbers too."""
        if isinstance(operand, str):
            return self.name(operand)
        return f"tl.full([ROWS, UNITS], {operand!r}, tl.float32)"

    def _scalar(self, operand: Operand) -> str:
        return self.name(operand) if isinstance(operand, str) else f"{operand!r}"
