"""First weights and their sources, names that torch keeps, and who runs a layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import comporta.nn
from comporta import cells, kernels
from comporta.cells import Cell
from comporta.cells.equation import Name, Node, Product, walk
from comporta.errors import ConfigurationError
from comporta.kernels import Program
from comporta.nn import Recurrent
from comporta.nn.initialization import recurrent_matrices

BATCH, TIME, INPUT, HIDDEN = 4, 7, 3, 5
CELLS = cells.names()


def matrices_of_the_state(cell: Cell) -> set[str]:
    """Those that stand before something in which the state of the last step is read."""
    moving: set[str] = set()
    found = set()

    def moves(node: Node) -> bool:
        names = [each for each in walk(node) if isinstance(each, Name)]
        return any(each.kind == "previous" or each.id in moving for each in names)

    for equation in cell.equations:
        products = [each for each in walk(equation.value) if isinstance(each, Product)]
        found |= {each.matrix for each in products if moves(each.operand)}
        if moves(equation.value):
            moving.add(equation.name)
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_first_weights_follow_the_sources(cell: str) -> None:
    layer = Recurrent(cell, 40, 30, num_layers=2, dtype=torch.float64)
    recurrent = matrices_of_the_state(cells.get(cell))
    assert recurrent_matrices(layer.program) == recurrent
    for name, weight in layer.weights().items():
        if name in recurrent:
            product = weight @ weight.T
            assert torch.allclose(product, torch.eye(30, dtype=torch.float64))
        elif weight.ndim == 2:
            bound = (6 / sum(weight.shape)) ** 0.5
            assert 0.95 * bound < weight.abs().max().item() <= bound
        else:
            assert bool((weight == cells.get(cell).initial.get(name, 0.0)).all()), name


def test_a_matrix_is_recurrent_by_what_it_multiplies_and_not_by_its_name() -> None:
    cell = Cell("odd", "a = tanh(U @ x)\nb = sigmoid(V @ a)\nh = tanh(W @ (b * h) + R @ a)")
    assert recurrent_matrices(Recurrent(cell, 2, 3).program) == {"W"}


def test_first_weights_in_half_precision() -> None:
    weight = Recurrent("gru", 3, 8, dtype=torch.bfloat16).weights()["U_z"].double()
    assert torch.allclose(weight @ weight.T, torch.eye(8, dtype=torch.float64), atol=0.05)


@pytest.mark.parametrize("name", ["half", "type", "to", "training", "forward"])
def test_a_parameter_that_torch_would_mistake_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"rename {name} in the text"):
        Recurrent(Cell("unlucky", f"h = tanh(W @ x + {name} * h)"), 2, 3)


def test_a_state_that_torch_would_mistake_is_refused_where_it_is_a_parameter() -> None:
    cell = Cell("unlucky", "half = tanh(W @ x + U @ half)", state="half")
    with pytest.raises(ConfigurationError, match="rename half"):
        Recurrent(cell, 2, 3, initial_state="learned")
    _, state = Recurrent(cell, 2, 3)(torch.randn(1, 1, 2))
    assert state[0].half.shape == (1, 3)


def test_explain_says_what_choose_says() -> None:
    layer = Recurrent("gru", INPUT, HIDDEN, num_layers=2, bidirectional=True)
    x = torch.randn(BATCH, TIME, INPUT)
    state = [torch.zeros(BATCH, HIDDEN)]
    said = str(kernels.choose(layer.program, x, state, layer.weights()))
    assert comporta.nn.explain(layer, x) == said
    assert comporta.nn.explain(comporta.nn.GRU(INPUT, HIDDEN), x) == said
    with kernels.use("reference"):
        assert comporta.nn.explain(layer) == "reference: asked for with comporta.kernels.use()"


def test_explain_tells_layers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(program: Program, x: Tensor, state: object, weights: object) -> kernels.Choice:
        return kernels.Choice("reference", f"inputs of {x.shape[2]}")

    monkeypatch.setattr("comporta.nn.explanation.choose", choose)
    layer = Recurrent("gru", INPUT, HIDDEN, num_layers=2)
    assert comporta.nn.explain(layer) == (
        f"layer 0, reference: inputs of {INPUT}\nlayer 1, reference: inputs of {HIDDEN}"
    )


def test_the_public_list() -> None:
    layers = {"GRU", "LSTM", "RNN", "Recurrent", "State", "detach", "explain", "spread_memory"}
    beside = {"CRF", "Attention", "AttentionPooling", "Memory", "LockedDropout", "Stream"}
    public = layers | beside
    assert set(comporta.nn.__all__) == public
    assert all(getattr(comporta.nn, name).__doc__ for name in public)
