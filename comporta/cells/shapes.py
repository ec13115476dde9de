"""Infers the shape of every name in a cell: D (input size), H (hidden size), or refuses.

Each name has one unknown dimension, a matrix two. Elementwise operations make dimensions equal;
x has D and states have H; what nothing fixes is H.
"""

from __future__ import annotations

from collections.abc import Callable

from comporta.cells.equation import Apply, Equation, Name, Node, Number, Place, Product
from comporta.errors import CellError

ErrorAt = Callable[[str, Place], CellError]


class Shapes:
    """The dimensions of a cell's names.

    Attributes:
        parameters: name -> ("H", "D"), ("H", "H"), ... for matrices, ("H",) or ("D",) for vectors,
            in order of first appearance.
        values: name of an assigned value -> "H" or "D".
    """

    def __init__(
        self, equations: tuple[Equation, ...], states: tuple[str, ...], error: ErrorAt
    ) -> None:
        self._error = error
        self._parent: dict[str, str] = {}
        self._order: dict[str, int] = {}
        self._dimension("x")
        for state in states:
            self._same(state, "H", equations[0].place, state)
        for equation in equations:
            found = self._of(equation.value)
            if found is not None:
                self._same(equation.name, found, equation.place, equation.name)
            else:
                self._dimension(equation.name)
        self.values = {equation.name: self._letter(equation.name) for equation in equations}
        self.parameters = {
            name: (self._letter(f"{name}.rows"), self._letter(f"{name}.columns"))
            if rank == 2
            else (self._letter(name),)
            for name, rank in self._order.items()
        }

    def _dimension(self, key: str) -> str:
        self._parent.setdefault(key, key)
        while self._parent[key] != key:
            key = self._parent[key]
        return key

    def _letter(self, key: str) -> str:
        return "D" if self._dimension(key) == self._dimension("x") else "H"

    def _same(self, left: str, right: str, place: Place, what: str) -> None:
        a, b = self._dimension(left), self._dimension(right)
        if {a, b} == {self._dimension("x"), self._dimension("H")} and a != b:
            raise self._error(
                f"shapes do not fit: {what} would have to be of the input size D and of the hidden "
                "size H at once; put a matrix in front of the input, as in W @ x",
                place,
            )
        # The roots x and H stay roots, so that a clash between them is always seen.
        if a in ("x", "H"):
            a, b = b, a
        self._parent[a] = b

    def _of(self, node: Node) -> str | None:
        """The dimension of a node, None for a number (it fits every shape)."""
        match node:
            case Number():
                return None
            case Name(id=name, kind=kind):
                if kind == "vector":
                    self._declare(name, 1, node.place)
                return self._dimension("H" if kind in ("previous", "stream") else name)
            case Product():
                return self._of_product(node)
            case Apply(operands=operands):
                return self._of_apply(operands, node.place)

    def _of_product(self, node: Product) -> str:
        matrix, place = node.matrix, node.place
        self._declare(matrix, 2, place)
        found = self._of(node.operand)
        if found is None:
            raise self._error(f"{matrix} @ must be followed by a vector, not a number", place)
        read, made = ("rows", "columns") if node.transposed else ("columns", "rows")
        self._same(f"{matrix}.{read}", found, place, f"the operand of {matrix}")
        return self._dimension(f"{matrix}.{made}")

    def _of_apply(self, operands: tuple[Node, ...], place: Place) -> str | None:
        found = [dimension for dimension in map(self._of, operands) if dimension is not None]
        for other in found[1:]:
            self._same(found[0], other, place, "this expression")
        return found[0] if found else None

    def _declare(self, name: str, rank: int, place: Place) -> None:
        if self._order.setdefault(name, rank) != rank:
            raise self._error(f"{name} is used as a matrix and as a vector", place)
