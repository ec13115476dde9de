"""Forms of a cell: its text with a regularizer written into it.

A form is a cell, so whatever runs cells runs their forms: fused, trained, streamed. What is random
comes in as a stream (see `Cell`), drawn by the layer.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache

from comporta.cells.cell import Cell
from comporta.errors import CellError

# How the name of a matrix begins that projects an output.
_PROJECTION = "Proj_"


@cache
def normalized(cell: Cell) -> Cell:
    """The cell with layer normalization on its products, and on a state before it is squashed.

        W @ v    becomes  gain_W * layer_norm(W @ v)
        tanh(c)  becomes  tanh(gain_c * layer_norm(c) + shift_c)   where the output reads a state

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450; each gate is normalized by itself.

    Args:
        cell: any cell.

    Returns:
        The cell `NAME-layer-norm`, with a vector `gain_W` (H,), first 1, for every matrix W.

    >>> from comporta.cells import get
    >>> print(normalized(get("ran")))
    i = sigmoid(gain_W_i * layer_norm(W_i @ x) + b_i + gain_U_i * layer_norm(U_i @ h))
    f = sigmoid(gain_W_f * layer_norm(W_f @ x) + b_f + gain_U_f * layer_norm(U_f @ h))
    c = i * (gain_W_c * layer_norm(W_c @ x)) + f * c
    h = tanh(gain_c * layer_norm(c) + shift_c)
    """
    rewrite = _Normalize(cell)
    initial = {**cell.initial, **dict.fromkeys(rewrite.gains, 1.0)}
    return _like(
        cell,
        f"{cell.name}-layer-norm",
        rewrite.lines,
        initial=", ".join(f"{name} = {value:g}" for name, value in initial.items()),
        source=f"{cell.source}; layer normalization: Ba, Kiros, Hinton 2016, arXiv:1607.06450",
    )


@cache
def zoned_out(cell: Cell) -> Cell:
    """The cell with zoneout: where the stream `stay_h` is 1, the state h stays as it was.

        h = ...  becomes  h_new = ...   and at the end   h = stay_h * h + (1 - stay_h) * h_new

    Source: Krueger et al. 2017, arXiv:1606.01305; as there, a step reads what is new.

    Args:
        cell: any cell.

    Returns:
        The cell `NAME-zoneout`, with a stream `stay_h` (B, T, H) for every state h.

    >>> from comporta.cells import get
    >>> print(zoned_out(get("rnn")))
    h_new = tanh(W_h @ x + b_h + U_h @ h + c_h)
    h = stay_h * h + (1 - stay_h) * h_new
    """
    ends = [f"{s} = stay_{s} * {s} + (1 - stay_{s}) * {s}_new" for s in cell.states]
    streams = [f"stay_{state}" for state in cell.states]
    lines = [*_Rename(cell).lines, *ends]
    return _like(cell, f"{cell.name}-zoneout", lines, streams=streams)


@cache
def state_dropped(cell: Cell) -> Cell:
    """The cell with dropout on what its products read of the last state, by the streams `mask_h`.

    U @ h becomes U @ (mask_h * h). A cell none of whose products reads the state has it on its
    output, where others read it.

    Source: Gal & Ghahramani 2016, arXiv:1512.05287 (the same mask at all steps of a row).

    Args:
        cell: any cell.

    Returns:
        The cell `NAME-dropout`, with a stream `mask_h` (B, T, H) for every state h that is read so.

    >>> from comporta.cells import get
    >>> print(state_dropped(get("lightru")).text.splitlines()[1])
    f = sigmoid(W_f @ x + b_f + U_f @ (mask_h * h))
    """
    rewrite = _Mask(cell)
    if rewrite.found:
        streams = [f"mask_{state}" for state in cell.states if state in rewrite.found]
        return _like(cell, f"{cell.name}-dropout", rewrite.lines, streams=streams)
    out = cell.output
    lines = [*rewrite.lines, f"{out}_dropped = mask_{out} * {out}"]
    streams = [f"mask_{out}"]
    return _like(cell, f"{cell.name}-dropout", lines, streams=streams, output=f"{out}_dropped")


@cache
def resettable(cell: Cell) -> Cell:
    """The cell with a stream `begins`: where it is above 0, the step begins from states of 0.

    Args:
        cell: any cell.

    Returns:
        The cell `NAME-reset`, with the stream `begins` (B, T, H).

    >>> from comporta.cells import get
    >>> print(resettable(get("rnn")))
    h = tanh(W_h @ x + b_h + U_h @ where(begins > 0, 0, h) + c_h)
    """
    return _like(cell, f"{cell.name}-reset", _Begin(cell).lines, streams=["begins"])


@cache
def projected(cell: Cell) -> Cell:
    """The cell whose products, and whoever reads its output, see a projection of its output.

        h = ...   becomes   h_full = ...   and after it   h = Proj_h @ h_full

    U @ h reads the projection, every other h is `h_full`. Of an output that is not a state the
    projection is the output alone.

    Source: Sak, Senior, Beaufays 2014, arXiv:1402.1128 (LSTMP), for any cell.

    Args:
        cell: any cell.

    Returns:
        The cell `NAME-projection`, with the matrix `Proj_h`.

    Raises:
        CellError: the cell has one of these names already.

    >>> from comporta.cells import get
    >>> print(projected(get("lightru")))
    n = tanh(W_n @ x + b_n)
    f = sigmoid(W_f @ x + b_f + U_f @ h)
    h_full = (1 - f) * h_full + f * n
    h = Proj_h @ h_full
    """
    out = cell.output
    added = {f"{_PROJECTION}{out}", f"{out}_full"}
    if known := added & (cell.parameters.keys() | cell.dimensions.keys()):
        raise CellError(
            f"the cell {cell.name!r} has a {min(known)} already, a name that its projection needs; "
            "give it another one"
        )
    source = f"{cell.source}; projection: Sak, Senior, Beaufays 2014, arXiv:1402.1128"
    name = f"{cell.name}-projection"
    if out not in cell.states:
        line = f"{out}_narrow = {_PROJECTION}{out} @ {out}"
        return _like(cell, name, [*cell.text.splitlines(), line], output=f"{out}_narrow",
                     source=source)  # fmt: skip
    rewrite = _Project(cell)
    states = (*cell.states, f"{out}_full") if rewrite.keeps_full else cell.states
    return _like(cell, name, rewrite.lines, states=states, source=source)


def _like(
    cell: Cell,
    name: str,
    lines: list[str],
    *,
    states: Sequence[str] | None = None,
    streams: list[str] | None = None,
    output: str | None = None,
    initial: str | None = None,
    source: str | None = None,
) -> Cell:
    known = cell.to_json()
    known |= {"name": name, "text": "\n".join(lines), "output": output or cell.output}
    known["state"] = " ".join(states or cell.states)
    known["streams"] = " ".join((*cell.streams, *(streams or ())))
    known["initial"] = known["initial"] if initial is None else initial
    known["source"] = known["source"] if source is None else source
    return Cell.from_json(known)


class _Rewrite(ast.NodeTransformer):
    """Goes through the lines of a cell and knows which states a line has as they were before.

    Attributes:
        lines: the lines that came out.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.assigned: set[str] = set()
        self.line = ""
        text = "\n".join(line.strip() for line in cell.text.splitlines())
        self.lines = [ast.unparse(self.visit(line)) for line in ast.parse(text).body]

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        (target,) = node.targets
        assert isinstance(target, ast.Name)
        self.line = target.id
        value = self.visit(node.value)
        self.assigned.add(target.id)
        return ast.Assign([self.target(target)], value, lineno=node.lineno)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.cell.states:
            return node
        return self.new(node) if node.id in self.assigned else self.previous(node)

    def target(self, node: ast.Name) -> ast.Name:
        """What stands on the left of a line."""
        return node

    def new(self, node: ast.Name) -> ast.expr:
        """A state of this step that is read."""
        return node

    def previous(self, node: ast.Name) -> ast.expr:
        """A state of the last step that is read."""
        return node


class _Normalize(_Rewrite):
    def __init__(self, cell: Cell) -> None:
        self.gains: list[str] = []
        super().__init__(cell)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        inside = self.generic_visit(node)
        assert isinstance(inside, ast.expr)
        if not isinstance(node.op, ast.MatMult):
            return inside
        return self.norm(inside, ast.unparse(node.left).replace(".", "_"))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="tanh" | "sigmoid"), args=[ast.Name(id=state)]) if (
                self.line == self.cell.output
                and state in self.assigned.intersection(self.cell.states)
            ):
                shifted = ast.BinOp(
                    self.norm(node.args[0], state), ast.Add(), _name(f"shift_{state}")
                )
                return ast.Call(node.func, [shifted], [])
        inside = self.generic_visit(node)
        assert isinstance(inside, ast.expr)
        return inside

    def norm(self, node: ast.expr, of: str) -> ast.expr:
        gain = f"gain_{of}"
        if gain not in self.gains:
            self.gains.append(gain)
        return ast.BinOp(_name(gain), ast.Mult(), ast.Call(_name("layer_norm"), [node], []))


class _Rename(_Rewrite):
    def target(self, node: ast.Name) -> ast.Name:
        return _name(f"{node.id}_new") if node.id in self.cell.states else node

    def new(self, node: ast.Name) -> ast.expr:
        return _name(f"{node.id}_new")


class _Mask(_Rewrite):
    def __init__(self, cell: Cell) -> None:
        self.found: set[str] = set()
        self.depth = 0
        super().__init__(cell)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        product = isinstance(node.op, ast.MatMult)
        self.depth += product
        inside = self.generic_visit(node)
        self.depth -= product
        assert isinstance(inside, ast.expr)
        return inside

    def previous(self, node: ast.Name) -> ast.expr:
        if not self.depth:
            return node
        self.found.add(node.id)
        return ast.BinOp(_name(f"mask_{node.id}"), ast.Mult(), node)


class _Begin(_Rewrite):
    def previous(self, node: ast.Name) -> ast.expr:
        begins = ast.Compare(_name("begins"), [ast.Gt()], [ast.Constant(0)])
        return ast.Call(_name("where"), [begins, ast.Constant(0), node], [])


class _Project(_Rewrite):
    def __init__(self, cell: Cell) -> None:
        self.full, self.keeps_full = f"{cell.output}_full", False
        super().__init__(cell)
        after = max(i for i, line in enumerate(self.lines) if line.startswith(f"{self.full} = "))
        projection = f"{cell.output} = {_PROJECTION}{cell.output} @ {self.full}"
        self.lines.insert(after + 1, projection)

    def target(self, node: ast.Name) -> ast.Name:
        return _name(self.full) if node.id == self.cell.output else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.MatMult) and isinstance(node.right, ast.Name):
            return node
        inside = self.generic_visit(node)
        assert isinstance(inside, ast.expr)
        return inside

    def new(self, node: ast.Name) -> ast.expr:
        return _name(self.full) if node.id == self.cell.output else node

    def previous(self, node: ast.Name) -> ast.expr:
        if node.id != self.cell.output:
            return node
        self.keeps_full = True
        return _name(self.full)


def _name(name: str) -> ast.Name:
    return ast.Name(name)
