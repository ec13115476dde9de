"""Facts derived from equations: how they depend on the state of the last step."""

from __future__ import annotations

from collections.abc import Iterable

from comporta.cells.equation import Apply, Equation, Name, Node, Product


class Facts:
    """What is known of each assigned value; a line reads only earlier ones, so one pass finds it.

    Attributes:
        levels: how many recurrent products follow one another up to a value.
        free: the values that depend on no state of the last step.
        affine: the values that are affine in those states, with coefficients free of them.
    """

    def __init__(self, equations: Iterable[Equation]) -> None:
        self.levels: dict[str, int] = {}
        self.free: set[str] = set()
        self.affine: set[str] = set()
        for equation in equations:
            self.levels[equation.name] = self._level(equation.value)
            if self._is_free(equation.value):
                self.free.add(equation.name)
            if self._is_affine(equation.value):
                self.affine.add(equation.name)

    def _level(self, node: Node) -> int:
        match node:
            case Name(id=name, kind="value"):
                return self.levels[name]
            case Product(operand=operand):
                return self._level(operand) + (not self._is_free(operand))
            case Apply(operands=operands):
                return max(map(self._level, operands))
        return 0

    def _is_free(self, node: Node) -> bool:
        match node:
            case Name(id=name, kind=kind):
                return name in self.free if kind == "value" else kind != "previous"
            case Product(operand=operand):
                return self._is_free(operand)
            case Apply(operands=operands):
                return all(map(self._is_free, operands))
        return True

    def _is_affine(self, node: Node) -> bool:
        if self._is_free(node):
            return True
        match node:
            case Name(id=name, kind=kind):
                return kind == "previous" or name in self.affine
            case Apply(op="add" | "sub" | "neg", operands=operands):
                return all(map(self._is_affine, operands))
            case Apply(op="mul", operands=(a, b)):
                return (self._is_free(a) and self._is_affine(b)) or (
                    self._is_free(b) and self._is_affine(a)
                )
            case Apply(op="div", operands=(a, b)):
                return self._is_affine(a) and self._is_free(b)
            case Apply(op="where", operands=(condition, a, b)):
                return self._is_free(condition) and self._is_affine(a) and self._is_affine(b)
        return False
