"""Random cells for hypothesis, in every word of the language.

Arguments are kept where functions are tame (the logarithm of something positive, a divisor away
from 0), so that rounding stays rounding and a difference is a mistake.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from comporta.cells import Cell
from comporta.cells.equation import FUNCTIONS

_SHAPES = [
    "({a} + {b})",
    "({a} - {b})",
    "({a} * {b})",
    "{a} / (1 + abs({b}))",
    "-({a})",
    "tanh({a})",
    "sigmoid({a})",
    "relu({a})",
    "softplus({a})",
    "sin({a})",
    "exp(-abs({a}))",
    "log(1 + ({a}) ** 2)",
    "sqrt(0.5 + abs({a}))",
    "abs({a})",
    "min({a}, {b})",
    "max({a}, 0.25)",
    "clip({a}, -0.5, {b})",
    "where({a} > {b}, {b}, 0.5 * h)",
    "where({a} <= 0.1, h, {b})",
    "where({a} < h, k, {b})",
    "where(l >= {a}, {a}, {b})",
    "layer_norm(h - 0.5 * tanh({a}))",
    "tanh({a}) ** 2",
    "sigmoid({a}) ** 3",
    "sigmoid({a}) ** 4",
    "(1 + softplus({a})) ** -1",
    "(1 + abs({a})) ** -2",
    "(2 + tanh({a})) ** 0.5",
    "(U @ tanh({a} + k))",
    "(U @ h + {a})",
    "(V @ (sigmoid({a}) * l))",
]
assert all(any(f"{word}(" in shape for shape in _SHAPES) for word in FUNCTIONS)


def _expression(names: list[str], depth: int) -> SearchStrategy[str]:
    leaf = st.sampled_from([*names, "h", "k", "l", "(W @ x)", "(R @ x)", "0.5", "-2", "1", "0"])
    if not depth:
        return leaf
    below = _expression(names, depth - 1)
    shaped = st.builds(
        lambda shape, a, b: shape.format(a=a, b=b), st.sampled_from(_SHAPES), below, below
    )
    return st.one_of(shaped, shaped, leaf)


@st.composite
def texts(draw: DrawFn) -> tuple[str, str]:
    """The text of a cell, and its states."""
    states = draw(st.sampled_from(["h", "h c", "c h"]))
    names = ["c"] if "c" in states else []
    lines, unused = [], []
    for name in draw(st.sampled_from([[], ["a"], ["a", "b"], ["a", "b", "d"]])):
        lines.append(f"{name} = {draw(_expression(names, 2))}")
        names.append(name)
        unused.append(name)
    rest = " + ".join([*unused, "W @ x"])
    lines += [f"{state} = tanh({draw(_expression(names, 2))} + {rest})" for state in states.split()]
    return "\n".join(lines), states


@st.composite
def random_cells(draw: DrawFn) -> Cell:
    """A cell that reads its input and assigns its states, of any phases."""
    text, state = draw(texts())
    return Cell("random", text, state=state)
