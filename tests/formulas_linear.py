"""Formulas of linear recurrences and of cells that follow a differential equation.

With these the table of `formulas` is whole: take it from here.
"""

from __future__ import annotations

import torch
from formulas import FORMULAS, P, Step, alone, formula, gate, logistic, mix
from torch import Tensor, tanh
from torch.nn.functional import silu

__all__ = ["FORMULAS"]


@formula("mingru")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "z", x)), gate(p, "n", x), h))


@formula("minlstm")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    f, i = logistic(gate(p, "f", x)), logistic(gate(p, "i", x))
    return alone((f * h + i * gate(p, "n", x)) / (f + i))


@formula("trnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "f", x)), h, gate(p, "z", x)))


def typed(p: P, x: Tensor, last: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Step]:
    """z, f and o before their functions, and what the next step reads of x."""
    z, f, o = (gate(p, name, x) + before for name, before in zip("zfo", last, strict=True))
    return z, f, o, (x @ p.V_z.T, x @ p.V_f.T, x @ p.V_o.T)


@formula("tgru")
def _(p: P, x: Tensor, h: Tensor, *last: Tensor) -> Step:
    z, f, o, after = typed(p, x, last)
    h = logistic(f) * h + z * tanh(o)
    return h, (h, *after)


@formula("tlstm")
def _(p: P, x: Tensor, c: Tensor, *last: Tensor) -> Step:
    z, f, o, after = typed(p, x, last)
    c = mix(logistic(f), c, z)
    return c * tanh(o), (c, *after)


@formula("qrnn")
def _(p: P, x: Tensor, c: Tensor, *last: Tensor) -> Step:
    z, f, o, after = typed(p, x, last)
    c = mix(logistic(f), c, tanh(z))
    return c * logistic(o), (c, *after)


@formula("sru")
def _(p: P, x: Tensor, c: Tensor) -> Step:
    f, r = logistic(gate(p, "f", x) + p.v_f * c), logistic(gate(p, "r", x) + p.v_r * c)
    c = mix(f, c, x @ p.W_c.T)
    return mix(r, c, x @ p.W_h.T), (c,)


@formula("gilr")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "g", x)), h, tanh(gate(p, "h", x))))


@formula("hgrn")
def _(p: P, x: Tensor, c: Tensor) -> Step:
    c = mix(mix(p.l, torch.ones_like(c), logistic(gate(p, "f", x))), c, silu(gate(p, "c", x)))
    return logistic(gate(p, "g", x)) * c, (c,)


@formula("rg-lru")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    # a^(8 r) with a = sigmoid(-l): the base is a learned number between 0 and 1.
    a = logistic(-p.l) ** (8 * logistic(gate(p, "r", x)))
    return alone(a * h + (1 - a**2) ** 0.5 * logistic(gate(p, "i", x)) * (x @ p.W_h.T))


@formula("lmu")
def _(p: P, x: Tensor, h: Tensor, m: Tensor) -> Step:
    u = x @ p.W_u.T + h @ p.E_h.T + m @ p.E_m.T
    m = m @ p.A.T + u @ p.B.T
    h = tanh(gate(p, "h", x, h) + m @ p.V_h.T)
    return h, (h, m)


@formula("cornn")
def _(p: P, x: Tensor, h: Tensor, v: Tensor) -> Step:
    force = tanh(x @ p.W.T + h @ p.U.T + v @ p.V.T + p.b)
    v = v + 0.1 * (force - h - v)
    h = h + 0.1 * v
    return h, (h, v)


@formula("unicornn")
def _(p: P, x: Tensor, h: Tensor, v: Tensor) -> Step:
    step = 0.1 * logistic(p.a)
    v = v - step * (tanh(x @ p.W.T + p.b + p.u * h) + h)
    h = h + step * v
    return h, (h, v)


@formula("lem")
def _(p: P, x: Tensor, y: Tensor, z: Tensor) -> Step:
    p_, q = logistic(gate(p, "p", x, y)), logistic(gate(p, "q", x, y))
    z = mix(q, tanh(gate(p, "z", x, y)), z)
    y = mix(p_, tanh(gate(p, "y", x, z)), y)
    return y, (y, z)
