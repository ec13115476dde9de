"""Cell: a recurrent cell as its text, and the facts derived from it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from comporta.cells import latex
from comporta.cells.equation import Apply, Equation, Name, Node, Number, Place, Product, parse, walk
from comporta.cells.facts import Facts
from comporta.cells.shapes import Shapes
from comporta.errors import CellError


class Cell:
    """A recurrent cell: its equations as text, and what follows from them.

    Args:
        name: what the cell is called.
        text: its equations, one `name = expression` a line (see `comporta.cells.equation`).
        source: the paper it comes from, with its arXiv id where there is one.
        state: the names carried from step to step, separated by spaces, in the order of the
            state tuple. A state read before its line is the last step's value.
        output: the name whose value is the output of the step; the last state assigned unless
            given.
        note: one remark on the design.
        initial: what the elements of a vector are at first, as in "b_f = 1, a = -3"; 0 unless
            given.
        keeps: the biases of gates that keep the state, and with a minus sign those of gates that
            write it, as in "b_f -b_i"; see `comporta.nn.spread_memory`.
        streams: the names of further inputs of hidden size, such as the masks of a regularizer.

    Raises:
        CellError: the text is not a cell; the message has line, column and the mend.

    >>> cell = Cell("elman", "h = tanh(W_h @ x + b_h + U_h @ h)", source="Elman 1990")
    >>> dict(cell.parameters)
    {'W_h': ('H', 'D'), 'b_h': ('H',), 'U_h': ('H', 'H')}
    >>> cell.is_linear
    False
    """

    def __init__(
        self,
        name: str,
        text: str,
        *,
        source: str = "",
        state: str = "h",
        output: str | None = None,
        note: str = "",
        initial: str = "",
        keeps: str = "",
        streams: str = "",
    ) -> None:
        self.name = name
        self.text = textwrap.dedent(text).strip()
        self.source = source
        self.note = note
        self.states: tuple[str, ...] = tuple(state.split())
        self.streams: tuple[str, ...] = tuple(streams.split())
        self._check_states()
        self.equations: tuple[Equation, ...] = parse(self.text, self.states, self.streams)
        self.output = output or self._last_state_assigned()
        shapes = Shapes(self.equations, self.states, self._error)
        self.parameters: Mapping[str, tuple[str, ...]] = MappingProxyType(shapes.parameters)
        self.dimensions: Mapping[str, str] = MappingProxyType(shapes.values)
        self.initial: Mapping[str, float] = MappingProxyType(self._read_initial(initial))
        self.keeps: Mapping[str, int] = MappingProxyType(self._read_keeps(keeps))
        self._check_use()

    def __repr__(self) -> str:
        return f"Cell({self.name!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        return Cell.from_json, (self.to_json(),)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.equations, self.states, self.streams, self.output

    @cached_property
    def _hash(self) -> int:
        # Every call of a layer looks its program up by the cell.
        return hash(self._identity)

    @cached_property
    def _by_name(self) -> Mapping[str, Node]:
        return {equation.name: equation.value for equation in self.equations}

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.equations, self.states)

    @cached_property
    def biases(self) -> frozenset[str]:
        """The vectors that are only ever added: those that `bias=False` leaves out."""
        added: set[str] = set()
        other: set[str] = set()
        for equation in self.equations:
            added |= _vectors(equation.value)
            for node in walk(equation.value):
                if isinstance(node, Apply) and node.op in ("add", "sub"):
                    # In 1 - a, a is no bias: nothing of the step is there to be added to.
                    alone = any(isinstance(operand, Number) for operand in node.operands)
                    (other if alone else added).update(_vectors(*node.operands))
                elif isinstance(node, Apply):
                    other |= _vectors(*node.operands)
                elif isinstance(node, Product):
                    other |= _vectors(node.operand)
        return frozenset(added - other)

    @cached_property
    def phases(self) -> int:
        """How many recurrent products follow one another within a step (0 for none)."""
        return max(self._facts.levels.values())

    @cached_property
    def is_linear(self) -> bool:
        """Whether the next state is affine in the state, with coefficients free of it.

        Such a recurrence (minGRU, SRU, ...) has no product in its time loop and can be computed by
        a parallel scan.
        """
        carried = [state for state in self.states if self._is_read_as_previous(state)]
        return self._facts.affine.issuperset(carried)

    def latex(self) -> str:
        """The equations as a LaTeX `align*` block."""
        return latex.render(self.equations)

    def describe(self) -> str:
        """The text, where it is from, and the derived facts, for people."""
        parameters = ", ".join(
            f"{name} ({', '.join(shape)})" for name, shape in self.parameters.items()
        )
        lines = [self.name, *(f"    {line}" for line in self.text.splitlines())]
        lines += [f"source      {self.source}"] * bool(self.source)
        lines += [f"note        {self.note}"] * bool(self.note)
        lines += [f"initial     {self._initial}"] * bool(self.initial)
        lines += [
            f"states      {' '.join(self.states)} (output {self.output})",
            f"parameters  {parameters}",
            f"phases      {self.phases} recurrent product(s) after one another in a step",
            f"linear      {'yes' if self.is_linear else 'no'}",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, str]:
        """The cell as plain data, for checkpoints; `from_json` reads it."""
        return {
            "name": self.name,
            "text": self.text,
            "source": self.source,
            "state": " ".join(self.states),
            "output": self.output,
            "note": self.note,
            "initial": self._initial,
            "keeps": self._keeps,
            "streams": " ".join(self.streams),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Cell:
        """The cell that `to_json` wrote.

        Raises:
            CellError: the data is not that of a cell.
        """
        if not isinstance(data, Mapping) or not {"name", "text"} <= data.keys():
            raise CellError("a cell is stored as a table with at least 'name' and 'text'")
        known = ("source", "state", "output", "note", "initial", "keeps", "streams")
        optional = {key: data[key] for key in known if key in data}
        for key, value in {"name": data["name"], "text": data["text"], **optional}.items():
            if not isinstance(value, str):
                raise CellError(f"the {key!r} of a cell is a text; it is {value!r}")
        return cls(data["name"], data["text"], **optional)

    @property
    def _initial(self) -> str:
        return ", ".join(f"{name} = {value:g}" for name, value in self.initial.items())

    def _read_initial(self, text: str) -> dict[str, float]:
        found = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, value = (each.strip() for each in part.partition("="))
            if len(self.parameters.get(name, ())) != 1:
                raise CellError(
                    f"initial says {part!r}, and the cell has no vector of that name; write "
                    "VECTOR = NUMBER, with commas between several"
                )
            try:
                found[name] = float(value)
            except ValueError:
                raise CellError(
                    f"initial says {part!r}; write VECTOR = NUMBER, with commas between several"
                ) from None
        return found

    @property
    def _keeps(self) -> str:
        return " ".join(f"{'-' * (sign < 0)}{name}" for name, sign in self.keeps.items())

    def _read_keeps(self, text: str) -> dict[str, int]:
        found = {name.removeprefix("-"): -1 if name[0] == "-" else 1 for name in text.split()}
        for name in found:
            if len(self.parameters.get(name, ())) != 1:
                raise CellError(
                    f"keeps says {name!r}, and the cell has no vector of that name; write the "
                    "biases of gates, as in b_f -b_i"
                )
        return found

    def _error(self, message: str, place: Place) -> CellError:
        source = self.text.splitlines()[place.line - 1].strip()
        return CellError(message, line=place.line, column=place.column, source=source)

    def _check_states(self) -> None:
        if not self.states:
            raise CellError('a cell needs at least one state, as in state="h"')
        for name in self.states:
            if not name.isidentifier() or not name[0].islower() or name == "x":
                raise CellError(f"{name!r} cannot be a state; use a small letter other than x")
        if len(set(self.states)) != len(self.states):
            raise CellError(f"a state is declared twice in {' '.join(self.states)!r}")

    def _last_state_assigned(self) -> str:
        assigned = [equation.name for equation in self.equations if equation.name in self.states]
        return assigned[-1] if assigned else self.states[0]

    def _check_use(self) -> None:
        """Refuse states never assigned and values never used."""
        missing = [state for state in self.states if state not in self._by_name]
        if missing:
            raise CellError(
                f"the state {missing[0]} is never assigned; add a line {missing[0]} = ..., or "
                f"declare other states (now: {' '.join(self.states)})"
            )
        if self.output not in self._by_name or self.dimensions[self.output] != "H":
            raise CellError(
                f"the output {self.output!r} is not a value of hidden size that the text assigns"
            )
        read = {
            node.id
            for equation in self.equations
            for node in walk(equation.value)
            if isinstance(node, Name)
        }
        for equation in self.equations:
            if equation.name not in read | {self.output} | set(self.states):
                raise self._error(
                    f"{equation.name} is never used; remove the line, or use {equation.name} "
                    "in a later one",
                    equation.place,
                )
        if "x" not in read:
            raise CellError("the input x is never used; add a term such as W @ x")

    def _is_read_as_previous(self, state: str) -> bool:
        return any(
            isinstance(node, Name) and node.id == state and node.kind == "previous"
            for equation in self.equations
            for node in walk(equation.value)
        )


def _vectors(*nodes: Node) -> set[str]:
    """Those of the nodes that are vector parameters."""
    return {node.id for node in nodes if isinstance(node, Name) and node.kind == "vector"}
