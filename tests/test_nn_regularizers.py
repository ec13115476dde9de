"""Regularizers and connections of layers: what they compute, when they act, what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from comparator import assert_close
from torch import Tensor

from comporta import kernels
from comporta.cells import Cell
from comporta.errors import ConfigurationError, ShapeError
from comporta.nn import Recurrent

B, T, D, H = 4, 6, 5, 8
RANDOM: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.4, "num_layers": 2},
    "input_dropout": {"input_dropout": 0.4},
    "state_dropout": {"state_dropout": 0.4},
    "weight_drop": {"weight_drop": 0.4},
    "zoneout": {"zoneout": 0.4},
    "zoneout of one state": {"zoneout": {"h": 0.4}},
}
EVERYTHING: dict[str, Any] = {
    "hidden_size": [8, 6, 6], "bidirectional": True, "layer_norm": True, "connections": "highway",
    "dropout": 0.1, "input_dropout": 0.2, "state_dropout": 0.3, "weight_drop": 0.2,
    "zoneout": {"h": 0.1, "c": 0.4}, "initial_state": "learned",
}  # fmt: skip
random_kinds = pytest.mark.parametrize("options", RANDOM.values(), ids=RANDOM)


def make(cell: str = "lstm", hidden: Any = H, **options: Any) -> Recurrent:
    return Recurrent(cell, D, hidden, dtype=torch.float64, **options)


def sequences() -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert_close(found, expected, dtype=torch.float64, terms=4 * T)


@random_kinds
def test_drawn_anew_in_every_call_and_the_same_under_a_seed(options: dict[str, Any]) -> None:
    layer, x = make(**options), sequences()
    torch.manual_seed(1)
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], first)


@random_kinds
def test_nothing_is_drawn_in_evaluation(options: dict[str, Any]) -> None:
    layer, x = make(**options).eval(), sequences()
    before = torch.get_rng_state()
    output, _ = layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    plain = make(num_layers=options.get("num_layers", 1))
    plain.load_state_dict(layer.state_dict())
    if "zoneout" not in options:
        assert torch.equal(output, plain(x)[0])


def test_zoneout_in_evaluation_is_the_mean() -> None:
    layer, x = make("rnn", zoneout=0.25).eval(), sequences()
    w = layer.weights()
    h, outputs = torch.zeros(B, H, dtype=torch.float64), []
    for t in range(T):
        new = torch.tanh(x[:, t] @ w["W_h"].T + w["b_h"] + h @ w["U_h"].T + w["c_h"])
        h = 0.25 * h + 0.75 * new
        outputs.append(h)
    assert_same(layer(x)[0], torch.stack(outputs, 1))


@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.999])
def test_as_many_states_stay_as_were_asked_for(p: float) -> None:
    cell = Cell("one", "h = 0 * (W @ x) + 1")
    layer = Recurrent(cell, 1, 1000, zoneout=p)
    with torch.no_grad():
        output, _ = layer(torch.zeros(10, 100, 1))
    first = (output[:, 0] == 0).double().mean().item()
    stays = (output == 0).double().mean().item()
    # A unit is 1 for ever after the first step in which it did not stay.
    assert abs(first - p) < 5 * (p * (1 - p) / 10_000) ** 0.5
    assert abs(stays - sum(p**t for t in range(1, 101)) / 100) < 0.01


def test_zoneout_of_one_keeps_the_state() -> None:
    layer, x = make("lstm", zoneout={"h": 1.0, "c": 0.0}), sequences()
    start = tuple(torch.randn(B, H, dtype=torch.float64) for _ in "hc")
    output, (after,) = layer(x, [start])
    assert torch.equal(output, start[0].unsqueeze(1).expand(B, T, H))
    assert not torch.equal(after[1], start[1])


def test_a_mask_is_one_for_all_steps() -> None:
    """A unit that products do not read in one step they read in none."""
    cell = Cell("sum", "h = W @ x + U @ h")
    layer = Recurrent(cell, 1, 200, state_dropout=0.5, dtype=torch.float64)
    with torch.no_grad():
        layer.weights()["W"].fill_(1.0)
        layer.weights()["U"].copy_(torch.eye(200))
    output, _ = layer(torch.ones(1, 3, 1, dtype=torch.float64))
    # Kept states are doubled where they are read: 1, 1 + 2 * 1, 1 + 2 * 3; the others begin anew.
    assert set(map(tuple, output[0].T.tolist())) == {(1.0, 3.0, 7.0), (1.0, 1.0, 1.0)}
    assert 0.3 < (output[0, 1] == 1).double().mean().item() < 0.7


def test_a_feature_is_dropped_for_a_whole_row() -> None:
    layer = Recurrent(Cell("copy", "h = W @ x + 0 * h"), 200, 200, input_dropout=0.5,
                      dtype=torch.float64)  # fmt: skip
    with torch.no_grad():
        layer.weights()["W"].copy_(torch.eye(200))
    output, _ = layer(torch.ones(2, 3, 200, dtype=torch.float64))
    assert set(output.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(output, output[:, :1].expand_as(output))
    assert not torch.equal(output[0], output[1])


def test_dropped_weights_get_no_gradient_and_inputs_keep_all_of_theirs() -> None:
    layer = make("gru", weight_drop=0.5)
    layer(sequences())[0].square().sum().backward()
    for name, weight in layer.weights().items():
        assert weight.grad is not None
        zeros = (weight.grad == 0).double().mean().item()
        assert (0.3 < zeros < 0.7) if name.startswith("U") else zeros == 0.0, name


def test_a_new_sequence_inside_a_row_in_both_directions() -> None:
    layer, x = make(bidirectional=True, num_layers=2), sequences()
    begins = torch.zeros(B, T, dtype=torch.bool)
    begins[:, 2] = True
    output, _ = layer(x, begins=begins)
    for part in (slice(0, 2), slice(2, T)):
        assert_same(output[:, part], layer(x[:, part])[0])


@pytest.mark.parametrize("kind", ["residual", "highway"])
def test_connections(kind: Any) -> None:
    layer, x = make("gru", num_layers=2, connections=kind), sequences()
    lower = make("gru")
    lower.load_state_dict(make("gru").state_dict() | {
        name: value for name, value in layer.state_dict().items() if name.startswith("layers.0")
    })  # fmt: skip
    below, _ = lower(x)
    upper = Recurrent("gru", H, H, dtype=torch.float64)
    for name, weight in upper.weights().items():
        weight.data.copy_(layer.weights(1)[name])
    above, _ = upper(below)
    if kind == "residual":
        expected = below + above
    else:
        gate: Any = layer.connections["1"].gate
        share = torch.sigmoid(below @ gate.weight.T + gate.bias)
        assert bool((gate.bias == -2).all())
        expected = share * above + (1 - share) * below
    assert list(layer.connections) == ["1"]
    assert_same(layer(x)[0], expected)


def test_a_size_for_each_layer() -> None:
    layer, x = make("lstm", [7, 3], bidirectional=True, initial_state="learned"), sequences()
    assert layer.widths == [(5, 14), (14, 6)]
    assert layer.hidden_sizes == (7, 3)
    output, state = layer(x)
    assert output.shape == (B, T, 6)
    assert [tuple(s.h.shape) for s in state] == [(B, 7), (B, 7), (B, 3), (B, 3)]  # type: ignore[attr-defined]
    again, _ = layer(x, layer.start(B))
    assert torch.equal(again, output)
    assert "[7, 3]" in repr(layer)
    with pytest.raises(ShapeError, match=r"\(B, H\) = \(4, 7\)"):
        layer(x, state[2:] + state[:2])


def test_all_at_once_is_the_reference() -> None:
    x, found = sequences().requires_grad_(), {}
    layer = make("lstm", EVERYTHING["hidden_size"], **{
        name: value for name, value in EVERYTHING.items() if name != "hidden_size"
    })  # fmt: skip
    begins = torch.rand(B, T) < 0.3
    for backend in ("cpu", "reference"):
        with kernels.use(backend):
            torch.manual_seed(1)
            output, _ = layer(x, begins=begins, lengths=[6, 3, 0, 5])
            wanted = [x, *layer.parameters()]
            found[backend] = [output, *torch.autograd.grad(output.square().sum(), wanted)]
    # In each of three layers and two directions 18 means bring roundings together.
    terms = 3 * 2 * 18 * B * T
    for one, other in zip(found["cpu"], found["reference"], strict=True):
        assert_close(one.detach(), other.detach(), dtype=torch.float64, terms=terms)


def test_all_at_once_travels_and_steps() -> None:
    x = sequences()
    options = {n: v for n, v in EVERYTHING.items() if n not in ("hidden_size", "bidirectional")}
    layer = make("lstm", [8, 6, 6], **options).eval()
    same: Recurrent = pickle.loads(pickle.dumps(layer))
    output, _ = layer(x)
    assert torch.equal(same(x)[0], output)
    assert repr(same) == repr(layer)
    state = None
    for t in range(T):
        y, state = layer.step(x[:, t], state)
        assert_same(y, output[:, t])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_dropout": 1.5}, "state_dropout must be a probability from 0 to 1; it is 1.5"),
        ({"weight_drop": "0.5"}, "weight_drop must be a probability"),
        ({"zoneout": -0.1}, "zoneout must be a probability"),
        ({"zoneout": {"c": 2}}, "zoneout of c must be a probability"),
        ({"zoneout": {"cc": 0.1}}, "zoneout names the state 'cc'.*did you mean c"),
        ({"layer_norm": 1}, "layer_norm must be True or False"),
        ({"connections": "residuel"}, "unknown connections 'residuel'.*did you mean residual"),
        ({"connections": "residual"}, "here the layers go from 5 to 8"),
        ({"hidden": [8, 4], "num_layers": 3}, "has 2 sizes and num_layers is 3"),
        ({"hidden": []}, "has 0 sizes"),
        ({"hidden": [8, 0]}, "hidden_size must be a positive integer; it is 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make("lstm", **options)


def test_a_cell_with_streams_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has the streams k, which a layer has no values"):
        Recurrent(Cell("masked", "h = k * (W @ x) + h", streams="k"), D, H)


@pytest.mark.parametrize(
    ("begins", "message"),
    [
        (torch.zeros(B, T), "bool; it is torch.float32"),
        ([[True]], "bool; it is list"),
        (torch.zeros(T, B, dtype=torch.bool), r"must have shape \(B, T\) = \(4, 6\)"),
    ],
)
def test_wrong_beginnings_are_refused(begins: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()(sequences(), begins=begins)
