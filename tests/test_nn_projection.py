"""Projected layers: torch's LSTM with proj_size, formulas by hand, and every cell."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from comparator import assert_close
from torch import Tensor, nn

from comporta import cells, kernels
from comporta.cells import Cell
from comporta.cells.forms import projected
from comporta.errors import CellError, ConfigurationError, ShapeError
from comporta.nn import Recurrent, Stream, explain

B, T, D, H, P = 3, 6, 5, 19, 4
EVERYTHING: dict[str, Any] = {
    "layer_norm": True, "zoneout": 0.2, "state_dropout": 0.2, "weight_drop": 0.2,
    "input_dropout": 0.1, "initial_state": "learned", "connections": "residual",
}  # fmt: skip


def make(cell: str = "lstm", hidden: Any = H, **options: Any) -> Recurrent:
    return Recurrent(cell, D, hidden, projection_size=P, dtype=torch.float64, **options)


def sequences(width: int = D) -> Tensor:
    return torch.randn(B, T, width, dtype=torch.float64, requires_grad=True)


def assert_same(found: Tensor, expected: Tensor, *, amplified: int = 1) -> None:
    assert_close(found, expected, dtype=torch.float64, terms=amplified * 8 * B * T * H)


def test_the_lstm_is_torchs_with_proj_size() -> None:
    layer, x = make(), sequences()
    weights = layer.weights()
    theirs = nn.LSTM(D, H, proj_size=P, batch_first=True, dtype=torch.float64)
    kinds = {"weight_ih_l0": "W", "weight_hh_l0": "U", "bias_ih_l0": "b", "bias_hh_l0": "c"}
    with torch.no_grad():
        for name, kind in kinds.items():
            rows = torch.cat([weights[f"{kind}_{gate}"] for gate in "ifgo"])
            getattr(theirs, name).copy_(rows)
        theirs.weight_hr_l0.copy_(weights["Proj_h"])
    output, ((h, c),) = layer(x)
    expected, (h_n, c_n) = theirs(x)
    for found, right in ((output, expected), (h, h_n[0]), (c, c_n[0])):
        assert_same(found, right)
    d_output = torch.randn_like(output)
    ours = torch.autograd.grad(output, [x, weights["Proj_h"], weights["U_g"]], d_output)
    wanted = [x, theirs.weight_hr_l0, theirs.weight_hh_l0]
    d_x, d_projection, d_recurrent = torch.autograd.grad(expected, wanted, d_output)
    for found, right in zip(ours, (d_x, d_projection, d_recurrent[2 * H : 3 * H]), strict=True):
        assert_same(found, right)


def test_a_gru_reads_its_projection_in_products_and_itself_elsewhere() -> None:
    layer, x = make("gru", initial_state="random"), sequences()
    w = layer.weights()
    narrow, full = (torch.randn(B, size, dtype=torch.float64) for size in (P, H))
    output, (state,) = layer(x, (type(layer.start(B)[0])(narrow, full),))
    for t in range(T):
        a = {g: x[:, t] @ w[f"W_{g}"].T + w[f"b_{g}"] for g in "zrn"}
        b = {g: narrow @ w[f"U_{g}"].T + w[f"c_{g}"] for g in "zrn"}
        z, r = torch.sigmoid(a["z"] + b["z"]), torch.sigmoid(a["r"] + b["r"])
        full = z * full + (1 - z) * torch.tanh(a["n"] + r * b["n"])
        narrow = full @ w["Proj_h"].T
        assert_same(output[:, t], narrow)
    assert_same(state.h, narrow)
    assert_same(state.h_full, full)


# Every cell, and a fifth of them with all other forms at once: each is a long program to compile.
@pytest.mark.parametrize(
    ("cell", "options"),
    [*((cell, {}) for cell in cells.names()), *((cell, EVERYTHING) for cell in cells.names()[::5])],
)
def test_every_cell_has_a_projected_form(cell: str, options: dict[str, Any]) -> None:
    """Gradients of both backends, and the same bits whole, in pieces and step by step."""
    layer = Recurrent(cell, P, [9, H], projection_size=P, dtype=torch.float64, **options)
    x = sequences(P)
    parameters = [x, *layer.parameters()]
    answers = []
    for backend in ("cpu", "reference"):
        torch.manual_seed(1)
        with kernels.use(backend):
            output, _ = layer(x)
        assert output.shape == (B, T, P)
        answers.append(
            [output, *torch.autograd.grad(output.sum(), parameters, materialize_grads=True)]
        )
    for found, right in zip(*answers, strict=True):
        # Layer normalization divides by deviations, which may be small, and that in every layer.
        assert_same(found, right, amplified=32)
    layer.eval()
    with torch.no_grad():
        whole, after = layer(x)
        first, between = layer(x[:, :2])
        second, last = layer(x[:, 2:], between)
    assert torch.equal(torch.cat([first, second], 1), whole)
    stream = Stream(layer, batch=B)
    assert torch.equal(torch.stack([stream(x[:, t]) for t in range(T)], 1), whole)
    for ended in (last, stream.state):
        assert all(map(torch.equal, ended[1], after[1]))


def test_layers_directions_and_beginnings_have_the_size_of_the_projection() -> None:
    layer, x = make(hidden=[H, 11], bidirectional=True), sequences()
    assert layer.widths == [(D, 2 * P), (2 * P, 2 * P)]
    output, states = layer(x, lengths=[T, 2, 0])
    assert output.shape == (B, T, 2 * P)
    assert [(s.h.shape[1], s.c.shape[1]) for s in states] == [(P, H)] * 2 + [(P, 11)] * 2
    begins = torch.zeros(B, T, dtype=torch.bool)
    begins[:, 3] = True
    restarted, _ = layer(x, begins=begins)
    assert_same(restarted[:, 3:], layer(x[:, 3:])[0])
    assert explain(layer).startswith("cpu")
    assert "projection_size=4" in repr(layer)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])


@pytest.mark.parametrize("size", [0, H, H + 1, -1, 2.0, True])
def test_sizes_that_make_no_projection_are_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="projection_size must be a positive integer"):
        Recurrent("lstm", D, H, projection_size=size)


def test_a_state_without_projection_is_refused() -> None:
    layer = make()
    state = type(layer.start(B)[0])(*[torch.zeros(B, H, dtype=torch.float64)] * 2)
    with pytest.raises(ShapeError, match=r"h of the state of layer 0 must have shape"):
        layer(sequences(), (state,))


def test_names_that_the_projection_needs() -> None:
    taken = Cell("taken", "h = tanh(W @ x + Proj_h @ h)")
    with pytest.raises(CellError, match="has a Proj_h already"):
        projected(taken)


def test_an_output_that_is_no_state_alone_is_projected() -> None:
    cell = Cell("seen", "h = tanh(W @ x + U @ h)\ny = sigmoid(h)", output="y")
    assert projected(cell).states == ("h",)
    layer = Recurrent(cell, D, H, projection_size=P)
    assert layer(torch.randn(B, T, D))[0].shape == (B, T, P)
    assert layer.start(B)[0].h.shape == (B, H)
