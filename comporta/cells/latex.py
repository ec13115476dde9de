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
    "layer_norm": r"\mathrm{LN}",
}
_INFIX = {"add": " + ", "sub": " - ", "mul": r" \odot ", "lt": " < ", "le": r" \le ",
          "gt": " > ", "ge": r" \ge "}  # fmt: skip
# How tightly an operation binds; an operand that binds less tightly gets brackets.
_BINDING = {"where": 0, "add": 1, "sub": 1, "neg": 1, "mul": 2, "pow": 3, "div": 3}
_PRODUCT = 3
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
            text = _number(value)
            ambiguous = (value < 0 and binding) or ("^" in text and binding == _TIGHTEST)
            return f"({text})" if ambiguous else text
        case Name(id=name, kind=kind):
            index = {"vector": "", "previous": "t-1"}.get(kind, "t")
            return _symbol(name, index)
        case Product(matrix=matrix, operand=operand, transposed=transposed):
            applied = isinstance(operand, Product)
            symbol = rf"{_symbol(matrix)}^{{\top}}" if transposed else _symbol(matrix)
            text = f"{symbol} {_print(operand, _PRODUCT if applied else _TIGHTEST)}"
            return f"({text})" if binding > _PRODUCT else text
        case Apply(op=op, operands=operands):
            text = _operation(op, operands)
            return f"({text})" if _BINDING.get(op, _TIGHTEST) < binding else text


def _number(value: float) -> str:
    """0.5 -> 0.5, 1e-05 -> 10^{-5}"""
    text, e, exponent = f"{value:.15g}".partition("e")
    if not e:
        return text
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(text, rf"{text} \cdot {power}")


def _operation(op: str, operands: tuple[Node, ...]) -> str:
    match op, operands:
        case "div", (a, b):
            return rf"\frac{{{_print(a)}}}{{{_print(b)}}}"
        case "neg", (a,):
            return f"-{_print(a, 2)}"
        case "mul", (a, b):
            left, right = _print(a, 2), _print(b, 3)
            sign = _INFIX[op]
            if isinstance(a, Number) or isinstance(b, Number):
                sign = r" \cdot " if isinstance(b, Number) or right[0].isdigit() else " "
            return f"{left}{sign}{right}"
        case "add", (a, Apply(op="neg") as b):
            return f"{_print(a, 1)} + ({_print(b)})"
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
