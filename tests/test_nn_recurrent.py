"""Recurrent, for every cell of the catalog: pieces, rows, directions, layers, initial states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from comparator import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import comporta.nn
from comporta import cells
from comporta.cells import Cell
from comporta.errors import CellError, ConfigurationError
from comporta.nn import Recurrent

BATCH, TIME, INPUT, HIDDEN = 4, 7, 3, 5
CELLS = cells.names()


def make(cell: str | Cell, **options: Any) -> Recurrent:
    """A layer in float64 whose vectors are not 0, so that they can be seen to matter."""
    layer = Recurrent(cell, INPUT, HIDDEN, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return layer


def make_input(batch: int = BATCH, time: int = TIME) -> Tensor:
    return torch.randn(batch, time, INPUT, dtype=torch.float64)


def random_state(layer: Recurrent, batch: int = BATCH) -> tuple[Any, ...]:
    return tuple(
        type(state)(*(torch.randn_like(value) for value in state)) for state in layer.start(batch)
    )


def assert_same(found: Tensor, expected: Tensor, what: str = "output") -> None:
    """The same values along T steps, computed in another order."""
    assert_close(found, expected, dtype=torch.float64, terms=TIME, what=what)


def assert_same_state(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert type(a) is type(b)
        for name, x, y in zip(a._fields, a, b, strict=True):
            assert_same(x, y, f"{name} of layer {number}")


def gradients(layer: Recurrent, value: Tensor, *inputs: Tensor) -> list[Tensor]:
    towards = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    return list(torch.autograd.grad((value * towards).sum(), [*inputs, *layer.parameters()]))


@pytest.mark.parametrize(("cell", "torchs"), [("rnn", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")])
def test_equals_torch_with_weights_copied_by_name(cell: str, torchs: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    ours = make(cell, **options)
    named = getattr(comporta.nn, torchs)(INPUT, HIDDEN, dtype=torch.float64, **options)
    with torch.no_grad():
        for number in range(2):
            for direction in ("forward", "reverse"):
                packed = named.weights(number, direction)
                mine = ours.weights(number, direction)
                assert packed.keys() == mine.keys()
                for name, weight in mine.items():
                    packed[name].copy_(weight)
    reference = getattr(nn, torchs)(INPUT, HIDDEN, batch_first=True, dtype=torch.float64, **options)
    reference.load_state_dict(named.state_dict())
    x = make_input()
    expected, after = reference(x)
    output, state = ours(x)
    assert_same(output, expected)
    finals = after if isinstance(after, tuple) else (after,)
    for place, values in enumerate(state):
        for value, final in zip(values, finals, strict=True):
            assert_same(value, final[place])


@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_is_the_whole_sequence(cell: str) -> None:
    layer = make(cell, num_layers=2)
    x, state = make_input(), random_state(layer)
    expected, expected_state = layer(x, state)
    outputs = []
    for t in range(TIME):
        output, state = layer.step(x[:, t], state)
        assert output.shape == (BATCH, HIDDEN)
        outputs.append(output)
    assert_same(torch.stack(outputs, dim=1), expected)
    assert_same_state(state, expected_state)


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(0, TIME), max_size=4).map(sorted))
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_are_the_whole_sequence(cell: str, cuts: list[int]) -> None:
    """Chunks of any size, empty ones too; the state carries everything, gradients included."""
    layer = make(cell, num_layers=2)
    x, start = make_input().requires_grad_(), random_state(layer)
    expected, expected_state = layer(x, start)
    outputs, state = [], start
    for first, last in zip([0, *cuts], [*cuts, TIME], strict=True):
        output, state = layer(x[:, first:last], state)
        outputs.append(output)
    joined = torch.cat(outputs, dim=1)
    assert_same(joined, expected)
    assert_same_state(state, expected_state)
    pairs = zip(gradients(layer, joined, x), gradients(layer, expected, x), strict=True)
    for found, wanted in pairs:
        assert_close(found, wanted, dtype=torch.float64, terms=BATCH * TIME)


@pytest.mark.parametrize("lengths", [[7, 7, 7, 7], [7, 3, 1, 0], [0, 0, 0, 0], [2, 5, 2, 4]])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_padded_batch_is_its_rows_alone(
    cell: str, bidirectional: bool, lengths: list[int]
) -> None:
    layer = make(cell, num_layers=2, bidirectional=bidirectional)
    x, start = make_input().requires_grad_(), random_state(layer)
    output, state = layer(x, start, lengths=lengths)
    alone = []
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        begin = [type(s)(*(value[one] for value in s)) for s in start]
        expected, expected_state = layer(x[one, :length], begin)
        alone.append(nn.functional.pad(expected, (0, 0, 0, TIME - length)))
        assert_same_state([type(s)(*(value[one] for value in s)) for s in state], expected_state)
    expected = torch.cat(alone)
    assert_same(output, expected)
    if not any(lengths):
        assert_same_state(state, start)
        return
    pairs = zip(gradients(layer, output, x), gradients(layer, expected, x), strict=True)
    for found, wanted in pairs:
        assert_close(found, wanted, dtype=torch.float64, terms=BATCH * TIME)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_never_read(cell: str) -> None:
    """Not even by the gradient, where 0 times NaN would be NaN."""
    layer = make(cell, num_layers=2, bidirectional=True)
    lengths = [7, 3, 1, 0]
    x = make_input()
    spoilt = x.clone()
    for row, length in enumerate(lengths):
        spoilt[row, length:] = torch.nan
    found, expected = (layer(value, lengths=lengths)[0] for value in (spoilt, x))
    assert torch.equal(found, expected)
    pairs = zip(gradients(layer, found), gradients(layer, expected), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("cell", CELLS)
def test_the_reverse_direction_is_forward_on_flipped_rows(cell: str) -> None:
    layer, forward = make(cell, bidirectional=True), make(cell)
    with torch.no_grad():
        for name, weight in forward.weights().items():
            weight.copy_(layer.weights(0, "reverse")[name])
    x, lengths = make_input(), [7, 3, 1, 0]
    flipped = x.clone()
    for row, length in enumerate(lengths):
        flipped[row, :length] = x[row, :length].flip(0)
    output, state = layer(x, lengths=lengths)
    expected, expected_state = forward(flipped, lengths=lengths)
    for row, length in enumerate(lengths):
        assert_same(output[row, :length, HIDDEN:], expected[row, :length].flip(0))
    assert_same_state(state[1:], expected_state)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", CELLS)
def test_two_layers_are_one_after_the_other(cell: str, bidirectional: bool) -> None:
    layer = make(cell, num_layers=2, bidirectional=bidirectional)
    width = HIDDEN * (1 + bidirectional)
    parts = [
        Recurrent(cell, size, HIDDEN, bidirectional=bidirectional, dtype=torch.float64)
        for size in (INPUT, width)
    ]
    x, states = make_input(), []
    with torch.no_grad():
        for number, part in enumerate(parts):
            for direction in ("forward", "reverse")[: 1 + bidirectional]:
                for name, weight in part.weights(0, direction).items():
                    weight.copy_(layer.weights(number, direction)[name])
        expected = x
        for part in parts:
            expected, state = part(expected)
            states += state
    output, state = layer(x)
    assert_same(output, expected)
    assert_same_state(state, states)


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_carry_the_names_of_the_equations(cell: str) -> None:
    layer = Recurrent(cell, INPUT, HIDDEN, num_layers=2, bidirectional=True)
    expected = [
        f"layers.{place}.{name}"
        for place in ("0", "0_reverse", "1", "1_reverse")
        for name in cells.get(cell).parameters
    ]
    assert list(layer.state_dict()) == expected
    sizes = {"H": HIDDEN, "D": 2 * HIDDEN}
    for name, letters in cells.get(cell).parameters.items():
        weight = layer.weights(1, "reverse")[name]
        assert weight is layer.get_parameter(f"layers.1_reverse.{name}")
        assert weight.shape == tuple(sizes[letter] for letter in letters)


@pytest.mark.parametrize("cell", CELLS)
def test_without_biases(cell: str) -> None:
    """The layer without biases is the layer whose biases are 0."""
    without, zero = make(cell, bias=False), make(cell)
    assert zero.weights().keys() - without.weights().keys() == cells.get(cell).biases
    with torch.no_grad():
        for name, weight in zero.weights().items():
            if name in without.weights():
                weight.copy_(without.weights()[name])
            else:
                weight.zero_()
    x = make_input()
    assert_same(without(x)[0], zero(x)[0])


def test_dropout_acts_between_layers_in_training_only() -> None:
    layer = make("gru", num_layers=2, dropout=1.0)
    x = make_input()
    output, state = layer(x)
    upper = Recurrent("gru", HIDDEN, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in upper.weights().items():
            weight.copy_(layer.weights(1)[name])
    expected, _ = upper(torch.zeros(BATCH, TIME, HIDDEN, dtype=torch.float64))
    assert_same(output, expected)
    layer.eval()
    whole, whole_state = layer(x)
    assert not torch.equal(whole, output)
    assert_same_state(state[:1], whole_state[:1])


def test_dropout_keeps_the_mean() -> None:
    """Half the elements vanish between the layers, the others double, and each call draws anew."""
    cell = Cell("copy", "h = W @ x + 0 * h")
    layer = Recurrent(cell, 1, 1000, num_layers=2, dropout=0.5, dtype=torch.float64)
    with torch.no_grad():
        layer.weights(0)["W"].fill_(1.0)
        layer.weights(1)["W"].copy_(torch.eye(1000))
    seen, _ = layer(torch.ones(1, 1, 1, dtype=torch.float64))
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (seen == 0).double().mean().item() < 0.6
    assert not torch.equal(layer(torch.ones(1, 1, 1, dtype=torch.float64))[0], seen)


@pytest.mark.parametrize("cell", CELLS)
def test_a_learned_initial_state_is_a_state_and_is_learned(cell: str) -> None:
    layer = make(cell, num_layers=2, bidirectional=True, initial_state="learned")
    x = make_input()
    names = cells.get(cell).states
    learned = [
        [layer.get_parameter(f"initial.{place}.{name}") for name in names]
        for place in ("0", "0_reverse", "1", "1_reverse")
    ]
    with torch.no_grad():
        for values in learned:
            for value in values:
                value.uniform_(0.1, 1.0)
    given = [
        [value.detach().expand(BATCH, HIDDEN).clone().requires_grad_() for value in values]
        for values in learned
    ]
    output, _ = layer(x)
    expected, _ = layer(x, given)
    assert torch.equal(output, expected)
    output.sum().backward()
    expected.sum().backward()
    for values, rows in zip(learned, given, strict=True):
        for value, row in zip(values, rows, strict=True):
            assert value.shape == (HIDDEN,)
            assert value.grad is not None
            assert row.grad is not None
            assert_close(value.grad, row.grad.sum(0), dtype=torch.float64, terms=TIME * BATCH)
        assert any(bool(value.grad.any()) for value in values if value.grad is not None)
    layer.reset_parameters()
    assert all(not value.any() for values in learned for value in values)


def test_a_random_initial_state_is_drawn_in_training_only() -> None:
    layer = Recurrent("lstm", INPUT, 100, initial_state="random", num_layers=2)
    drawn = torch.stack([value for state in layer.start(200) for value in state])
    assert abs(drawn.std().item() - 0.1) < 0.002
    assert abs(drawn.mean().item()) < 0.002
    x = torch.randn(2, 3, INPUT)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert not any(value.any() for state in layer.start(2) for value in state)
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_a_random_initial_state_is_not_a_parameter() -> None:
    assert list(Recurrent("gru", 2, 3, initial_state="random").initial.parameters()) == []


def test_a_cell_of_ones_own() -> None:
    cell = Cell("leaky", "a = sigmoid(k)\nh = a * h + (1 - a) * tanh(W @ x + U @ h)")
    layer = Recurrent(cell, INPUT, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        layer.weights()["k"].normal_()
    x = make_input()
    w, u, a = layer.weights()["W"], layer.weights()["U"], layer.weights()["k"].sigmoid()
    h = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    for t in range(TIME):
        h = a * h + (1 - a) * torch.tanh(x[:, t] @ w.T + h @ u.T)
    output, state = layer(x)
    assert_same(output[:, -1], h)
    assert_same(state[0].h, h)


def test_the_output_need_not_be_a_state() -> None:
    cell = Cell("read-out", "h = tanh(W @ x + U @ h)\ny = relu(V @ h)", output="y")
    layer = Recurrent(cell, INPUT, HIDDEN)
    output, state = layer(torch.randn(2, 3, INPUT))
    assert_close(
        output[:, -1], (state[0].h @ layer.weights()["V"].T).relu().double(), dtype=torch.float32
    )


def test_steps_need_one_direction() -> None:
    layer = Recurrent("gru", INPUT, HIDDEN, bidirectional=True)
    with pytest.raises(ConfigurationError, match="cannot run step by step"):
        layer.step(torch.randn(2, INPUT))


def test_unknown_cells_are_named() -> None:
    with pytest.raises(ConfigurationError, match="did you mean"):
        Recurrent("grru", 2, 3)
    with pytest.raises(ConfigurationError, match=r"a name or a comporta\.Cell; it is a int"):
        Recurrent(3, 2, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="did you mean learned"):
        Recurrent("gru", 2, 3, initial_state="learnt")  # type: ignore[arg-type]
    with pytest.raises(CellError):
        Recurrent(Cell("none", ""), 2, 3)
