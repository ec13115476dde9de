"""Prints equations as LaTeX, from the same data that the kernels are made of."""

from __future__ import annotations

import re

from comporta.cells.equation import Apply, Equation, Name, Node, Number, Product

_NAMED = {
    "sigmoid": r"\sigma",
    "tanh": r"\tanh",
    "exp": r"\exp",
    "log": r"\log",
    "sin": r"\sin",
    "min": r"\min",
    "max": r"\max",
}
_INFIX = {"add": " + ", "sub": " - ", "mul": r" \odot ", "lt": " < ", "le": r" \le ",
          "gt": " > ", "ge": r" \ge "}  # fmt: skip
# How tightly an operation binds; an operand that binds less tightly gets brackets.
_BINDING = {"add": 1, "sub": 1, "neg": 1, "mul": 2}
_TIGHTEST = 9


def render(equations: tuple[Equation, ...]) -> str:
    """The equations as an `align*` block, states of the last step with the index t-1.

    >>> from comporta.cells.equation import parse
    >>> print(render(parse("h = tanh(W_h @ x + U_h @ h)", ("h",))))
    \\begin{align*}
    h_{t} &= \\tanh(W_{h} x_{t} + U_{h} h_{t-1})
    \\end{align*}
    """
    lines = [f"{_symbol(e.name, 't')} &= {_print(e.value)}" for e in equations]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


def _symbol(name: str, index: str = "") -> str:
    """W_z -> W_{z}, c_new with index t -> c_{new,t}."""
    stem, _, rest = name.partition("_")
    digits = re.fullmatch(r"([A-Za-z]+)(\d+)", stem)
    if digits:
        stem, rest = digits[1], ",".join(filter(None, (digits[2], rest)))
    if len(stem) > 1:
        stem = rf"\mathrm{{{stem}}}"
    subscript = ",".join(part for part in (rest.replace("_", r"\_"), index) if part)
    return f"{stem}_{{{subscript}}}" if subscript else stem


def _print(node: Node, binding: int = 0) -> str:
    match node:
        case Number(value=value):
            return f"{value:g}"
        case Name(id=name, kind=kind):
            index = {"vector": "", "previous": "t-1"}.get(kind, "t")
            return _symbol(name, index)
        case Product(matrix=matrix, operand=operand):
            return f"{_symbol(matrix)} {_print(operand, _TIGHTEST)}"
        case Apply(op=op, operands=operands):
            text = _operation(op, operands)
            return f"({text})" if _BINDING.get(op, _TIGHTEST) < binding else text


def _operation(op: str, operands: tuple[Node, ...]) -> str:
    match op, operands:
        case "div", (a, b):
            return rf"\frac{{{_print(a)}}}{{{_print(b)}}}"
        case "neg", (a,):
            return f"-{_print(a, 2)}"
        case "mul", (a, b):
            sign = " " if isinstance(a, Number) or isinstance(b, Number) else _INFIX[op]
            return f"{_print(a, 2)}{sign}{_print(b, 3)}"
        case "sub", (a, b):
            return f"{_print(a, 1)} - {_print(b, 2)}"
        case "pow", (a, b):
            return f"{_print(a, _TIGHTEST)}^{{{_print(b)}}}"
        case "sqrt", (a,):
            return rf"\sqrt{{{_print(a)}}}"
        case "abs", (a,):
            return f"|{_print(a)}|"
        case "where", (condition, a, b):
            return (
                rf"\begin{{cases}} {_print(a)} & {_print(condition)} \\ {_print(b)} & "
                r"\text{otherwise} \end{cases}"
            )
    if op in _INFIX:
        return _INFIX[op].join(_print(operand, 1) for operand in operands)
    name = _NAMED.get(op, rf"\mathrm{{{op}}}")
    return f"{name}({', '.join(map(_print, operands))})"
