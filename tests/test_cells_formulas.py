"""Each cell of the catalog against its formula, written a second time by hand in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import problems
import pytest
import torch
from problems import Problem
from torch import Tensor, nn

from comporta import cells

P = SimpleNamespace
States = tuple[Tensor, ...]


def gate(p: P, name: str, x: Tensor, h: Tensor | None = None) -> Tensor:
    """W x + b, + U h where h is given, + c where the cell has one: the argument of a gate."""
    total = x @ getattr(p, f"W_{name}").T + getattr(p, f"b_{name}")
    if h is not None:
        total = total + h @ getattr(p, f"U_{name}").T
    return total + getattr(p, f"c_{name}", 0)


def logistic(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def rnn(p: P, x: Tensor, h: Tensor) -> States:
    return (torch.tanh(gate(p, "h", x, h)),)


def rnn_relu(p: P, x: Tensor, h: Tensor) -> States:
    return (gate(p, "h", x, h).clamp_min(0),)


def gru(p: P, x: Tensor, h: Tensor) -> States:
    z, r = logistic(gate(p, "z", x, h)), logistic(gate(p, "r", x, h))
    n = torch.tanh(x @ p.W_n.T + p.b_n + r * (h @ p.U_n.T + p.c_n))
    return (z * h + (1 - z) * n,)


def gru_reset_before(p: P, x: Tensor, c: Tensor) -> States:
    u, r = logistic(gate(p, "u", x, c)), logistic(gate(p, "r", x, c))
    candidate = torch.tanh(gate(p, "n", x, r * c))
    return (u * candidate + (1 - u) * c,)


def gru_one_gate(p: P, x: Tensor, c: Tensor) -> States:
    candidate, u = torch.tanh(gate(p, "n", x, c)), logistic(gate(p, "u", x, c))
    return (u * candidate + (1 - u) * c,)


def lstm(p: P, x: Tensor, h: Tensor, c: Tensor) -> States:
    i, f, o = (logistic(gate(p, name, x, h)) for name in "ifo")
    c = i * torch.tanh(gate(p, "g", x, h)) + f * c
    return o * torch.tanh(c), c


def lstm_peephole(p: P, x: Tensor, h: Tensor, c: Tensor) -> States:
    i = logistic(gate(p, "i", x, h) + p.p_i * c)
    f = logistic(gate(p, "f", x, h) + p.p_f * c)
    o = logistic(gate(p, "o", x, h) + p.p_o * c)
    c = i * torch.tanh(gate(p, "g", x, h)) + f * c
    return o * torch.tanh(c), c


def lstm_peephole_output(p: P, x: Tensor, h: Tensor, c: Tensor) -> States:
    i = logistic(gate(p, "i", x, h) + p.p_i * c)
    f = logistic(gate(p, "f", x, h) + p.p_f * c)
    c = i * torch.tanh(gate(p, "g", x, h)) + f * c
    o = logistic(gate(p, "o", x, h) + p.p_o * c)
    return o * torch.tanh(c), c


def mingru(p: P, x: Tensor, h: Tensor) -> States:
    z = logistic(gate(p, "z", x))
    return ((1 - z) * h + z * gate(p, "n", x),)


def minlstm(p: P, x: Tensor, h: Tensor) -> States:
    f, i = logistic(gate(p, "f", x)), logistic(gate(p, "i", x))
    total = f + i
    return (f / total * h + i / total * gate(p, "n", x),)


FORMULAS: dict[str, Callable[..., States]] = {
    "rnn": rnn,
    "rnn-relu": rnn_relu,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
    "gru-one-gate": gru_one_gate,
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "lstm-peephole-output": lstm_peephole_output,
    "mingru": mingru,
    "minlstm": minlstm,
}
# The state that leaves a step is h, or c where the cell has no h.
PARAMETERS = {
    "rnn": "W_h b_h U_h c_h",
    "rnn-relu": "W_h b_h U_h c_h",
    "gru": "W_z b_z U_z c_z W_r b_r U_r c_r W_n b_n U_n c_n",
    "gru-reset-before": "W_u b_u U_u W_r b_r U_r W_n b_n U_n",
    "gru-one-gate": "W_n b_n U_n W_u b_u U_u",
    "lstm": "W_i b_i U_i c_i W_f b_f U_f c_f W_g b_g U_g c_g W_o b_o U_o c_o",
    "lstm-peephole": "W_i b_i U_i p_i W_f b_f U_f p_f W_g b_g U_g W_o b_o U_o p_o",
    "lstm-peephole-output": "W_i b_i U_i p_i W_f b_f U_f p_f W_g b_g U_g W_o b_o U_o p_o",
    "mingru": "W_z b_z W_n b_n",
    "minlstm": "W_f b_f W_i b_i W_n b_n",
}
STATES = {
    "rnn": "h",
    "rnn-relu": "h",
    "gru": "h",
    "gru-reset-before": "c",
    "gru-one-gate": "c",
    "lstm": "h c",
    "lstm-peephole": "h c",
    "lstm-peephole-output": "h c",
    "mingru": "h",
    "minlstm": "h",
}
PHASES = dict.fromkeys(FORMULAS, 1) | {"gru-reset-before": 2, "mingru": 0, "minlstm": 0}
# In the output gate of this one the new cell state is seen through p_o alone: still one product.
PAPERS = {
    "rnn": "Elman 1990",
    "rnn-relu": "Elman 1990",
    "gru": "1406.1078",
    "gru-reset-before": "1412.3555",
    "gru-one-gate": "1412.3555",
    "lstm": "Hochreiter",
    "lstm-peephole": "Gers, Schmidhuber 2000",
    "lstm-peephole-output": "Gers, Schmidhuber 2000",
    "mingru": "2410.01201",
    "minlstm": "2410.01201",
}


def by_hand(problem: Problem, name: str) -> problems.Answer:
    """The loop over the formula, as everybody writes it first."""
    problem = problems.leaves(problem)
    state, outputs = problem.state, []
    for t in range(problem.x.shape[1]):
        state = FORMULAS[name](P(**problem.weights), problem.x[:, t], *state)
        outputs.append(state[0])
    output = torch.stack(outputs, dim=1)
    loss = sum((v * t).sum() for v, t in zip((output, *state), problem.towards, strict=True))
    wanted = problems.inputs(problem)
    found = torch.autograd.grad(loss, list(wanted.values()))
    return {
        "output": output.detach(),
        **{n: value.detach() for n, value in zip(STATES[name].split(), state, strict=True)},
        **{f"d{n}": gradient for n, gradient in zip(wanted, found, strict=True)},
    }


def test_every_cell_has_a_formula_and_every_fact() -> None:
    for table in (FORMULAS, PARAMETERS, STATES, PHASES, PAPERS):
        assert set(table) == set(cells.names())


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_is_its_formula(name: str) -> None:
    """Values and all gradients of the reference, through autograd on both sides."""
    problem = problems.make(name, batch=3, time=6, depth=4, hidden=5)
    problems.check(problems.solve(problem, "reference"), by_hand(problem, name), problem)


@pytest.mark.parametrize("changed", cells.names())
@pytest.mark.parametrize("name", cells.names())
def test_formulas_tell_cells_apart(name: str, changed: str) -> None:
    """No two cells of the catalog with the same parameters are one cell."""
    if name == changed or PARAMETERS[name].split() != PARAMETERS[changed].split():
        assert (cells.get(name) == cells.get(changed)) == (name == changed)
        return
    problem = problems.make(name)
    with pytest.raises(AssertionError, match="is off by"):
        problems.check(problems.solve(problem, "reference"), by_hand(problem, changed), problem)


@pytest.mark.parametrize(
    ("name", "layer", "options", "order"),
    [
        ("rnn", nn.RNN, {}, "h"),
        ("rnn-relu", nn.RNN, {"nonlinearity": "relu"}, "h"),
        ("gru", nn.GRU, {}, "rzn"),
        ("lstm", nn.LSTM, {}, "ifgo"),
    ],
)
def test_a_cell_is_torchs(
    name: str, layer: type[nn.RNNBase], options: dict[str, Any], order: str
) -> None:
    problem = problems.make(name, batch=3, time=6, depth=4, hidden=5)
    theirs = layer(4, 5, batch_first=True, dtype=torch.float64, **options)
    w = problem.weights
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([w[f"W_{k}"] for k in order]))
        theirs.weight_hh_l0.copy_(torch.cat([w[f"U_{k}"] for k in order]))
        theirs.bias_ih_l0.copy_(torch.cat([w[f"b_{k}"] for k in order]))
        theirs.bias_hh_l0.copy_(torch.cat([w[f"c_{k}"] for k in order]))
    state = tuple(value.unsqueeze(0) for value in problem.state)
    output, after = theirs(problem.x, state if len(state) > 1 else state[0])
    after = after if isinstance(after, tuple) else (after,)
    found, finals = problems.forward(problem, "reference")
    expected = {"output": output, **{f"s{i}": s[0] for i, s in enumerate(after)}}
    answer = {"output": found, **{f"s{i}": s for i, s in enumerate(finals)}}
    problems.check(answer, {k: v.detach() for k, v in expected.items()}, problem)


@pytest.mark.parametrize("name", cells.names())
def test_facts(name: str) -> None:
    cell = cells.get(name)
    assert cell.name == name
    assert cell.states == tuple(STATES[name].split())
    assert cell.output == STATES[name].split()[0]
    assert list(cell.parameters) == PARAMETERS[name].split()
    shapes = {"W": ("H", "D"), "U": ("H", "H")}
    assert dict(cell.parameters) == {
        parameter: shapes.get(parameter[0], ("H",)) for parameter in PARAMETERS[name].split()
    }
    assert cell.phases == PHASES[name]
    assert cell.is_linear == name.startswith("min")
    assert cell.biases == {p for p in cell.parameters if p[0] in "bc"}
    assert set(cell.dimensions.values()) == {"H"}
    assert PAPERS[name] in cell.source
    assert cell.note.endswith(".")


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_describes_itself(name: str) -> None:
    cell = cells.get(name)
    said = cell.describe()
    assert all(line.strip() in said for line in cell.text.splitlines())
    assert cell.source in said
    assert cell.note in said
    assert f"states      {STATES[name]} (output {cell.output})" in said
    assert all(f"{p} ({', '.join(shape)})" in said for p, shape in cell.parameters.items())
    assert f"phases      {PHASES[name]} " in said
    assert f"linear      {'yes' if cell.is_linear else 'no'}" in said
    assert str(cell) == cell.text
    assert repr(cell) == f"Cell({name!r})"


@pytest.mark.parametrize("name", [n for n in FORMULAS if cells.get(n).is_linear])
def test_a_linear_cell_is_affine_in_its_state(name: str) -> None:
    """f(a + t (b - a)) = f(a) + t (f(b) - f(a)) for the whole run; and no other cell has that."""
    problem = problems.make(name, time=4)
    assert line_error(name, problem) < 1e-14


@pytest.mark.parametrize("name", [n for n in FORMULAS if not cells.get(n).is_linear])
def test_another_cell_is_not(name: str) -> None:
    assert line_error(name, problems.make(name, time=4)) > 1e-3


def line_error(name: str, problem: Problem) -> float:
    def end(t: float) -> Tensor:
        state = tuple(t * value for value in problem.state)
        for step in range(problem.x.shape[1]):
            state = FORMULAS[name](P(**problem.weights), problem.x[:, step], *state)
        return state[0]

    return float((end(3.0) - end(0.0) - 3.0 * (end(1.0) - end(0.0))).abs().max())
