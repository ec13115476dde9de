"""Facts derived from equations: how they depend on the state of the last step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comporta.cells.equation import Apply, Equation, Name, Node, Product


class Facts:
    """What is known of each assigned value; a line reads only earlier ones, so one pass finds it.

    Attributes:
        levels: how many recurrent products follow one another up to a value.
        free: the values that depend on no state of the last step.
        delayed: the states that are such values: they bring the last input to the next step.
        given: the values that depend on inputs alone, those of the last step among them.
        affine: the values that are affine in the other states, with coefficients free of them.
    """

    def __init__(self, equations: Sequence[Equation], states: Iterable[str]) -> None:
        self.levels: dict[str, int] = {}
        self.free: set[str] = set()
        self.delayed: set[str] = set()
        self.given: set[str] = set()
        self.affine: set[str] = set()
        for equation in equations:
            if self._is_free(equation.value):
                self.free.add(equation.name)
            self.levels[equation.name] = self._level(equation.value)
        self.delayed = self.free.intersection(states)
        for equation in equations:
            if self._is_given(equation.value):
                self.given.add(equation.name)
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

    def _is_given(self, node: Node) -> bool:
        """Whether a node depends on inputs alone, those of the last step among them."""
        match node:
            case Name(id=name, kind="previous"):
                return name in self.delayed
            case Name(id=name, kind="value"):
                return name in self.given
            case Product(operand=operand):
                return self._is_given(operand)
            case Apply(operands=operands):
                return all(map(self._is_given, operands))
        return True

    def _is_affine(self, node: Node) -> bool:
        if self._is_given(node):
            return True
        match node:
            case Name(id=name, kind=kind):
                return kind == "previous" or name in self.affine
            case Apply(op="add" | "sub" | "neg", operands=operands):
                return all(map(self._is_affine, operands))
            case Apply(op="mul", operands=(a, b)):
                return (self._is_given(a) and self._is_affine(b)) or (
                    self._is_given(b) and self._is_affine(a)
                )
            case Apply(op="div", operands=(a, b)):
                return self._is_affine(a) and self._is_given(b)
            case Apply(op="where", operands=(condition, a, b)):
                return self._is_given(condition) and self._is_affine(a) and self._is_affine(b)
        return False
