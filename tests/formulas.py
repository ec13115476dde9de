"""Each cell of the catalog a second time: one step of its formula by hand in plain torch.

A formula takes the weights, the input (B, D) and the states (B, H), and returns the output of the
step and the states after it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, tanh
from torch.nn.functional import softplus

P = SimpleNamespace
Step = tuple[Tensor, tuple[Tensor, ...]]
FORMULAS: dict[str, Callable[..., Step]] = {}


def formula(name: str) -> Callable[[Callable[..., Step]], Callable[..., Step]]:
    def add(function: Callable[..., Step]) -> Callable[..., Step]:
        FORMULAS[name] = function
        return function

    return add


def gate(p: P, name: str, x: Tensor, h: Tensor | None = None) -> Tensor:
    """W x + b, + U h where h is given, + c where the cell has one: the argument of a gate."""
    total = x @ getattr(p, f"W_{name}").T + getattr(p, f"b_{name}", 0)
    if h is not None:
        total = total + h @ getattr(p, f"U_{name}").T
    return total + getattr(p, f"c_{name}", 0)


def logistic(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def ramp(a: Tensor) -> Tensor:
    return a.clamp_min(0)


def alone(h: Tensor) -> Step:
    """The step of a cell with one state, which is its output."""
    return h, (h,)


def mix(share: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return share * one + (1 - share) * other


@formula("rnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(tanh(gate(p, "h", x, h)))


@formula("rnn-relu")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(ramp(gate(p, "h", x, h)))


@formula("indrnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(ramp(gate(p, "h", x) + torch.diag(p.u_h).matmul(h.T).T))


@formula("fastrnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(logistic(p.a) * tanh(gate(p, "n", x, h)) + logistic(p.b) * h)


@formula("fastgrnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    shared = torch.cat([x, h], 1) @ torch.cat([p.W, p.U], 1).T
    z, n = logistic(shared + p.b_z), tanh(shared + p.b_n)
    return alone((logistic(p.a) * (1 - z) + logistic(p.b)) * n + z * h)


@formula("antisymmetric")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    matrix = p.U_h - p.U_h.T - 0.01 * torch.eye(len(p.U_h), dtype=h.dtype)
    return alone(h + 0.01 * tanh(gate(p, "h", x) + h @ matrix.T))


@formula("antisymmetric-gated")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    turned = h @ (p.U - p.U.T - 0.01 * torch.eye(len(p.U), dtype=h.dtype)).T
    z = logistic(gate(p, "z", x) + turned)
    return alone(h + 0.01 * z * tanh(gate(p, "h", x) + turned))


@formula("scrn")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    c = (1 - 0.95) * gate(p, "c", x) + 0.95 * c
    s = logistic(gate(p, "s", x, h) + c @ p.P_s.T)
    h = tanh(s @ p.U_h.T + p.b_h + c @ p.P_h.T)
    return h, (h, c)


@formula("multiplicative-rnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    # The matrix between states, a product of three: one for each row, for its own input.
    matrix = p.U_h @ torch.diag_embed(x @ p.W_m.T) @ p.U_m
    return alone(tanh(gate(p, "h", x) + (matrix @ h.unsqueeze(2)).squeeze(2)))


@formula("leaky")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(p.a), tanh(gate(p, "h", x, h)), h))


@formula("gru")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z, r = logistic(gate(p, "z", x, h)), logistic(gate(p, "r", x, h))
    n = tanh(x @ p.W_n.T + p.b_n + r * (h @ p.U_n.T + p.c_n))
    return alone(mix(z, h, n))


@formula("gru-reset-before")
def _(p: P, x: Tensor, c: Tensor) -> Step:
    u, r = logistic(gate(p, "u", x, c)), logistic(gate(p, "r", x, c))
    return alone(mix(u, tanh(gate(p, "n", x, r * c)), c))


@formula("gru-one-gate")
def _(p: P, x: Tensor, c: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "u", x, c)), tanh(gate(p, "n", x, c)), c))


@formula("mgu")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    f = logistic(gate(p, "f", x, h))
    return alone(mix(f, tanh(gate(p, "n", x, f * h)), h))


@formula("ligru")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "z", x, h)), h, ramp(gate(p, "n", x, h))))


@formula("lightru")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "f", x, h)), tanh(gate(p, "n", x)), h))


@formula("miru1")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    r = logistic(gate(p, "r", x, h))
    return alone((h + tanh(gate(p, "n", x, r * h))) / 2)


@formula("miru2")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone((h + tanh(gate(p, "n", x, h / 2))) / 2)


@formula("mut1")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z, r = logistic(gate(p, "z", x)), logistic(gate(p, "r", x, h))
    n = tanh((r * h) @ p.U_n.T + tanh(x @ p.W_n.T) + p.b_n)
    return alone(mix(z, n, h))


@formula("mut2")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z, r = logistic(gate(p, "z", x, h)), logistic(gate(p, "r", x, h))
    return alone(mix(z, tanh(gate(p, "n", x, r * h)), h))


@formula("mut3")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z, r = logistic(gate(p, "z", x, tanh(h))), logistic(gate(p, "r", x, h))
    return alone(mix(z, tanh(gate(p, "n", x, r * h)), h))


@formula("brc")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    a, c = 1 + tanh(gate(p, "a", x) + p.u_a * h), logistic(gate(p, "c", x) + p.u_c * h)
    return alone(mix(c, h, tanh(gate(p, "h", x) + a * h)))


@formula("nbrc")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    a, c = 1 + tanh(gate(p, "a", x, h)), logistic(gate(p, "c", x, h))
    return alone(mix(c, h, tanh(gate(p, "h", x) + a * h)))


def _simple_gate(p: P, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    g = tanh((x @ p.W_g.T + p.b_g) * h @ p.U_g.T + p.c_g)
    return g, logistic(gate(p, "z", x, h))


@formula("sgu")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    g, z = _simple_gate(p, x, h)
    return alone(mix(z, softplus(g * h), h))


@formula("dsgu")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    g, z = _simple_gate(p, x, h)
    return alone(mix(z, logistic(g * h @ p.U_o.T), h))


@formula("sgrn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    own = x @ p.W.T + p.b
    return alone(tanh(mix(logistic(own + h @ p.U.T), h, own)))


@formula("star")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(tanh(mix(logistic(gate(p, "k", x, h)), tanh(gate(p, "n", x)), h)))


@formula("lstm")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    i, f, o = (logistic(gate(p, name, x, h)) for name in "ifo")
    c = i * tanh(gate(p, "g", x, h)) + f * c
    return o * tanh(c), (o * tanh(c), c)


@formula("lstm-peephole")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    i, f, o = (logistic(gate(p, n, x, h) + getattr(p, f"p_{n}") * c) for n in "ifo")
    c = i * tanh(gate(p, "g", x, h)) + f * c
    return o * tanh(c), (o * tanh(c), c)


@formula("lstm-peephole-output")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    i, f = (logistic(gate(p, n, x, h) + getattr(p, f"p_{n}") * c) for n in "if")
    c = i * tanh(gate(p, "g", x, h)) + f * c
    h = logistic(gate(p, "o", x, h) + p.p_o * c) * tanh(c)
    return h, (h, c)


@formula("lstm-original")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    c = c + logistic(gate(p, "i", x, h)) * tanh(gate(p, "g", x, h))
    h = logistic(gate(p, "o", x, h)) * tanh(c)
    return h, (h, c)


@formula("lstm-coupled")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    c = mix(logistic(gate(p, "f", x, h)), c, tanh(gate(p, "g", x, h)))
    h = logistic(gate(p, "o", x, h)) * tanh(c)
    return h, (h, c)


@formula("lstm-residual")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    i, f = (logistic(gate(p, n, x, h) + getattr(p, f"p_{n}") * c) for n in "if")
    c = i * tanh(gate(p, "g", x, h)) + f * c
    o = logistic(gate(p, "o", x, h) + p.p_o * c)
    h = o * (tanh(c) @ p.P.T + x @ p.W_h.T)
    return h, (h, c)


@formula("lstm-multiplicative")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    m = (x @ p.W_m.T + p.b_m) * (h @ p.U_m.T + p.c_m)
    i, f, o = (logistic(gate(p, name, x, m)) for name in "ifo")
    c = i * tanh(gate(p, "g", x, m)) + f * c
    return o * tanh(c), (o * tanh(c), c)


@formula("lstm-mogrifier")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    e, read = x @ p.W_e.T, h
    for number in range(1, 6):
        if number % 2:
            e = 2 * logistic(read @ getattr(p, f"Q_{number}").T) * e
        else:
            read = 2 * logistic(e @ getattr(p, f"R_{number}").T) * read

    def opened(name: str) -> Tensor:
        seen = e @ getattr(p, f"V_{name}").T + read @ getattr(p, f"U_{name}").T
        return seen + getattr(p, f"b_{name}")

    c = logistic(opened("f")) * c + logistic(opened("i")) * tanh(opened("g"))
    h = logistic(opened("o")) * tanh(c)
    return h, (h, c)


@formula("lstm-working-memory")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    def opened(name: str, seen: Tensor) -> Tensor:
        inner = tanh(seen @ getattr(p, f"P_{name}").T + getattr(p, f"q_{name}"))
        return logistic(gate(p, name, x, h) + inner)

    c = opened("i", c) * tanh(gate(p, "g", x, h)) + opened("f", c) * c
    h = opened("o", c) * tanh(c)
    return h, (h, c)


@formula("lstm-controller")
def _(p: P, x: Tensor, v: Tensor, c: Tensor) -> Step:
    f, i, o, k = (logistic(gate(p, name, x, v)) for name in "fiok")
    c = f * c + i * tanh(gate(p, "g", x, v))
    return o * tanh(c), (k * tanh(c), c)


@formula("janet")
def _(p: P, x: Tensor, c: Tensor) -> Step:
    s = gate(p, "f", x, c)
    return alone(logistic(s) * c + logistic(1 - s) * tanh(gate(p, "g", x, c)))


@formula("nas")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    a = [gate(p, str(number), x, h) for number in range(1, 9)]
    c = tanh(tanh(logistic(a[0]) * ramp(a[1])) + c) * tanh(logistic(a[2]) + ramp(a[3]))
    right = tanh(tanh(a[4]) * logistic(a[5])) + logistic(tanh(a[6]) + logistic(a[7]))
    h = tanh(c * tanh(right))
    return h, (h, c)


@formula("slstm")
def _(p: P, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> Step:
    # Without the exponent m that is taken out of c and n: e^m c and e^m n are the paper's own.
    f, i = gate(p, "f", x, h).exp(), gate(p, "i", x, h).exp()
    large = torch.maximum(gate(p, "f", x, h) + m, gate(p, "i", x, h))
    c = (f * m.exp() * c + i * tanh(gate(p, "g", x, h))) / large.exp()
    n = (f * m.exp() * n + i) / large.exp()
    h = logistic(gate(p, "o", x, h)) * c / torch.maximum(n, torch.ones_like(n))
    return h, (h, c, n, large)


@formula("atr")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    own, other = x @ p.W.T + p.b, h @ p.U.T
    return alone(logistic(own + other) * own + logistic(own - other) * h)


@formula("cfn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    t, i = logistic(gate(p, "t", x, h)), logistic(gate(p, "i", x, h))
    return alone(t * tanh(h) + i * tanh(gate(p, "h", x)))


@formula("ran")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    c = logistic(gate(p, "i", x, h)) * (x @ p.W_c.T) + logistic(gate(p, "f", x, h)) * c
    return tanh(c), (tanh(c), c)


@formula("ugrnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(mix(logistic(gate(p, "g", x, h)), h, tanh(gate(p, "n", x, h))))


@formula("intersection")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    depth, time = logistic(gate(p, "q", x, h)), logistic(gate(p, "p", x, h))
    y = mix(depth, x @ p.W_y.T, ramp(gate(p, "d", x, h)))
    return y, (mix(time, h, tanh(gate(p, "n", x, h))),)


@formula("minimalrnn")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z = tanh(gate(p, "z", x))
    return alone(mix(logistic(h @ p.U_u.T + z @ p.V_u.T + p.b_u), h, z))


def normal(a: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(a, a.shape[-1:])


def normal_gate(p: P, name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """What the input and what the state give to a gate, both with their bias."""
    read = getattr(p, f"gain_W_{name}") * normal(x @ getattr(p, f"W_{name}").T)
    past = getattr(p, f"gain_U_{name}") * normal(h @ getattr(p, f"U_{name}").T)
    return read + getattr(p, f"b_{name}"), past + getattr(p, f"c_{name}")


@formula("rnn-layer-norm")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    return alone(tanh(sum(normal_gate(p, "h", x, h))))


@formula("gru-layer-norm")
def _(p: P, x: Tensor, h: Tensor) -> Step:
    z, r = (logistic(sum(normal_gate(p, name, x, h))) for name in "zr")
    read, past = normal_gate(p, "n", x, h)
    return alone(mix(z, h, tanh(read + r * past)))


@formula("lstm-layer-norm")
def _(p: P, x: Tensor, h: Tensor, c: Tensor) -> Step:
    i, f, g, o = (sum(normal_gate(p, name, x, h)) for name in "ifgo")
    c = logistic(f) * c + logistic(i) * tanh(g)
    h = logistic(o) * tanh(p.gain_c * normal(c) + p.shift_c)
    return h, (h, c)
