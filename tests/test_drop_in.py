"""RNN, GRU and LSTM against torch.nn: values, gradients, call forms, names, first weights."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from comparator import assert_close
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import comporta.nn
from comporta.errors import ConfigurationError, ShapeError

# torch says so once, of its own projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
BATCH, TIME, INPUT, HIDDEN, PROJECTED = 4, 6, 3, 5, 2
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": PROJECTED}),
}
FORMS = ("time-major", "batch-first", "single", "packed", "packed-sorted")
# What the house promises of these layers, whatever the comparator would let pass.
PROMISED = {torch.float32: 1e-5, torch.float64: 1e-10}


def both(kind: str, *args: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """A layer of torch's and ours with the same arguments and weights."""
    name, extra = KINDS[kind]
    torchs = getattr(nn, name)(*args, **extra, **options)
    ours = getattr(comporta.nn, name)(*args, **extra, **options)
    ours.load_state_dict(torchs.state_dict())
    return torchs, ours


def make_input(form: str) -> tuple[Tensor, list[int] | None]:
    """An input in a call form; of packed ones, what is packed."""
    match form:
        case "time-major":
            return torch.randn(TIME, BATCH, INPUT), None
        case "batch-first":
            return torch.randn(BATCH, TIME, INPUT), None
        case "single":
            return torch.randn(TIME, INPUT), None
        case "packed":
            return torch.randn(BATCH, TIME, INPUT), [2, 6, 1, 6]
    return torch.randn(BATCH, TIME, INPUT), [6, 5, 5, 1]


def make_states(kind: str, form: str, layers: int) -> list[Tensor]:
    batch = () if form == "single" else (BATCH,)
    sizes = {"lstm": (HIDDEN, HIDDEN), "lstm-projected": (PROJECTED, HIDDEN)}.get(kind, (HIDDEN,))
    return [torch.randn(layers, *batch, size) for size in sizes]


def call(
    layer: nn.Module, x: Tensor, lengths: list[int] | None, states: list[Tensor] | None
) -> tuple[Any, list[Tensor]]:
    given = x
    if lengths is not None:
        is_sorted = lengths == sorted(lengths, reverse=True)
        given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=is_sorted)
    hx = None if states is None else tuple(states) if len(states) > 1 else states[0]
    output, after = layer(given, hx)
    return output, list(after) if isinstance(after, tuple) else [after]


def results(
    layer: nn.Module, x: Tensor, lengths: list[int] | None, states: list[Tensor] | None
) -> dict[str, Tensor]:
    """Outputs, final states and the gradients of everything, by name."""
    x = x.clone().requires_grad_()
    states = None if states is None else [state.clone().requires_grad_() for state in states]
    output, after = call(layer, x, lengths, states)
    data = output.data if isinstance(output, PackedSequence) else output
    found = {"output": data} | {f"final {i}": state for i, state in enumerate(after)}
    generator = torch.Generator().manual_seed(3)
    loss = sum(
        (value * torch.randn(value.shape, generator=generator).to(value)).sum()
        for value in found.values()
    )
    wanted = {"x": x, **dict(layer.named_parameters())}
    wanted |= {f"hx {i}": state for i, state in enumerate(states or [])}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return found | {f"d {n}": g for n, g in zip(wanted, gradients, strict=True)}


def assert_equal_results(
    torchs: nn.Module,
    ours: nn.Module,
    x: Tensor,
    lengths: list[int] | None,
    states: list[Tensor] | None,
) -> None:
    """Ours in float32 and float64 against torch's in float64 on the same numbers."""
    truth = results(
        torchs.double(),
        x.double(),
        lengths,
        None if states is None else [state.double() for state in states],
    )
    for dtype, promised in PROMISED.items():
        found = results(
            ours.to(dtype),
            x.to(dtype),
            lengths,
            None if states is None else [state.to(dtype) for state in states],
        )
        assert found.keys() == truth.keys()
        for name, value in found.items():
            assert_close(value, truth[name], dtype=dtype, terms=BATCH * TIME, what=name)
            error = (value.double() - truth[name]).abs().max()
            assert error <= promised * truth[name].abs().max(), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_torchs(
    kind: str, layers: int, bidirectional: bool, form: str
) -> None:
    torchs, ours = both(
        kind, INPUT, HIDDEN, layers, bidirectional=bidirectional, batch_first=form == "batch-first"
    )
    x, lengths = make_input(form)
    states = make_states(kind, form, layers * (1 + bidirectional))
    assert_equal_results(torchs, ours, x, lengths, states)
    assert_equal_results(torchs, ours, x, lengths, None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_biases(kind: str, form: str) -> None:
    torchs, ours = both(
        kind, INPUT, HIDDEN, 2, bias=False, bidirectional=True, batch_first=form == "batch-first"
    )
    x, lengths = make_input(form)
    assert_equal_results(torchs, ours, x, lengths, make_states(kind, form, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [1, 2])
def test_short_sequences_and_single_rows(kind: str, time: int) -> None:
    torchs, ours = both(kind, INPUT, HIDDEN, 2)
    assert_equal_results(torchs, ours, torch.randn(time, 1, INPUT), None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_empty_batch(kind: str, batch_first: bool) -> None:
    torchs, ours = both(kind, INPUT, HIDDEN, 2, batch_first=batch_first)
    x = torch.randn((0, TIME, INPUT) if batch_first else (TIME, 0, INPUT))
    (expected, expected_after), (found, after) = (
        call(torchs, x, None, None),
        call(ours, x, None, None),
    )
    assert found.shape == expected.shape
    assert [a.shape for a in after] == [a.shape for a in expected_after]


@pytest.mark.parametrize("kind", KINDS)
def test_no_time_leaves_the_state_alone(kind: str) -> None:
    _, ours = both(kind, INPUT, HIDDEN, 2)
    states = make_states(kind, "time-major", 2)
    output, after = call(ours, torch.randn(0, BATCH, INPUT), None, states)
    assert output.shape == (0, BATCH, ours.proj_size or HIDDEN)
    assert all(torch.equal(a, b) for a, b in zip(after, states, strict=True))


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_output_is_packed_as_torchs(kind: str, enforce_sorted: bool) -> None:
    torchs, ours = both(kind, INPUT, HIDDEN, bidirectional=True)
    lengths = [6, 3, 3, 1] if enforce_sorted else [3, 1, 6, 3]
    rows = [torch.randn(length, INPUT) for length in lengths]
    packed = pack_sequence(rows, enforce_sorted=enforce_sorted)
    expected, _ = torchs(packed)
    found, _ = ours(packed)
    assert isinstance(found, PackedSequence)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None and b is None) or torch.equal(a, b), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_major_output_can_be_viewed(kind: str) -> None:
    _, ours = both(kind, INPUT, HIDDEN, bidirectional=True)
    output, _ = ours(torch.randn(TIME, BATCH, INPUT))
    columns = 2 * (ours.proj_size or HIDDEN)
    assert output.view(TIME * BATCH, columns).shape == (TIME * BATCH, columns)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_are_torchs_under_the_same_seed(
    kind: str, bidirectional: bool, bias: bool
) -> None:
    name, extra = KINDS[kind]
    made = []
    for module in (nn, comporta.nn):
        torch.manual_seed(7)
        layer = getattr(module, name)(
            INPUT, HIDDEN, 2, bias=bias, bidirectional=bidirectional, **extra
        )
        made.append((layer.state_dict(), torch.rand(3)))
    (expected, next_expected), (found, next_found) = made
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert torch.equal(next_found, next_expected), "the generator must be left where torch's is"


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_goes_both_ways(kind: str) -> None:
    name, extra = KINDS[kind]
    ours = getattr(comporta.nn, name)(INPUT, HIDDEN, 2, bidirectional=True, **extra)
    torchs = getattr(nn, name)(INPUT, HIDDEN, 2, bidirectional=True, **extra)
    torchs.load_state_dict(ours.state_dict())
    x, _ = make_input("time-major")
    assert_equal_results(torchs, ours, x, None, None)


ATTRIBUTES = ("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
              "bidirectional", "proj_size")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_are_torchs(kind: str) -> None:
    torchs, ours = both(
        kind, INPUT, HIDDEN, 2, bidirectional=True, dropout=0.5, batch_first=True, bias=True
    )
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(torchs, name), name
    for layer, (mine, theirs) in enumerate(zip(ours.all_weights, torchs.all_weights, strict=True)):
        for a, b in zip(mine, theirs, strict=True):
            assert torch.equal(a, b), layer
    assert ours.weight_hh_l1_reverse is ours.all_weights[3][1]
    ours.flatten_parameters()
    if kind.startswith("rnn"):
        assert ours.nonlinearity == torchs.nonlinearity
    assert repr(ours) == repr(torchs)


@pytest.mark.parametrize("kind", KINDS)
def test_positional_arguments_stand_where_torchs_do(kind: str) -> None:
    name = KINDS[kind][0]
    middle = ("relu",) if name == "RNN" else ()
    args = (INPUT, HIDDEN, 2, *middle, False, True, 0.25, True)
    torchs, ours = getattr(nn, name)(*args), getattr(comporta.nn, name)(*args)
    assert all(getattr(ours, key) == getattr(torchs, key) for key in ATTRIBUTES)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_by_name_are_views(kind: str) -> None:
    _, ours = both(kind, INPUT, HIDDEN, 2, bidirectional=True)
    with torch.no_grad():
        named = ours.weights(1, "reverse")
        assert {name[0] for name in named} == set("WUbcP" if ours.proj_size else "WUbc")
        for weight in named.values():
            weight.fill_(2.0)
    for name, parameter in ours.named_parameters():
        assert bool((parameter == 2.0).all()) == name.endswith("_l1_reverse"), name
    with pytest.raises(ConfigurationError, match="there is no layer 2"):
        ours.weights(2)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_between_layers_in_training_only(kind: str) -> None:
    torchs, ours = both(kind, INPUT, HIDDEN, 2, dropout=1.0)
    x = torch.randn(TIME, BATCH, INPUT)
    assert torch.allclose(ours(x)[0], torchs(x)[0], atol=1e-6)
    torchs.eval(), ours.eval()
    assert_equal_results(torchs, ours, x, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_copies(kind: str) -> None:
    _, ours = both(kind, INPUT, HIDDEN, 2)
    x = torch.randn(TIME, BATCH, INPUT)
    expected, _ = ours(x)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other(x)[0], expected)
        with torch.no_grad():
            other.weight_ih_l0.zero_()
        assert torch.equal(ours(x)[0], expected), "a copy must not share weights"


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward(kind: str) -> None:
    _, ours = both(kind, 2, 3)
    ours = ours.double()
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: ours(x)[0], (x,))


def wrong_calls() -> Iterator[tuple[str, tuple[Any, ...], str]]:
    x = torch.randn(TIME, BATCH, INPUT)
    yield "gru", ([[1.0]],), "must be a tensor; it is a list"
    yield "gru", (torch.randn(TIME, BATCH, INPUT + 1),), r"\(T, B, D\).*D = 3; it has \(6, 4, 4\)"
    yield "gru", (torch.randn(INPUT),), r"it has \(3,\)"
    yield "gru", (x.double(),), r"has dtype torch.float64 .*\.to\(torch.float32\)"
    yield "gru", (x.long(),), "embedding or torch.nn.functional.one_hot"
    yield "gru", (x.to("meta"),), "is on meta and the weights are on cpu"
    yield "gru", (x, torch.randn(1, BATCH + 1, HIDDEN)), r"\(1, 4, 5\), L counting .*\(1, 5, 5\)"
    yield "gru", (x, torch.randn(1, HIDDEN)), r"it has \(1, 5\)"
    yield "gru", (x[:, 0], torch.randn(1, 1, HIDDEN)), r"\(L, H\).* = \(1, 5\)"
    yield "gru", (x, torch.randn(1, BATCH, HIDDEN).double()), "h of hx has dtype"
    yield "gru", (x, (torch.randn(1, BATCH, HIDDEN),) * 2), "h of hx must be a tensor"
    yield "lstm", (x, torch.randn(1, BATCH, HIDDEN)), r"pair of tensors \(h, c\)"
    yield "lstm", (x, (torch.randn(1, BATCH, HIDDEN), torch.randn(1, BATCH, 2))), "c of hx must"
    yield "rnn", (pack_sequence([torch.randn(3, 2)]),), r"data of a PackedSequence .* \(3, 2\)"


@pytest.mark.parametrize(("kind", "args", "message"), list(wrong_calls()))
def test_wrong_calls_are_explained(kind: str, args: tuple[Any, ...], message: str) -> None:
    _, ours = both(kind, INPUT, HIDDEN)
    with pytest.raises(ShapeError, match=message):
        ours(*args)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be a positive integer; it is 0"),
        ({"input_size": 2.5}, "input_size must be a positive integer; it is 2.5"),
        ({"num_layers": -1}, "num_layers must be a positive integer"),
        ({"dropout": 1.5, "num_layers": 2}, "dropout must be a probability from 0 to 1"),
        ({"bias": 1}, "bias must be True or False"),
        ({"batch_first": "yes"}, "batch_first must be True or False"),
        ({"dtype": torch.int64}, "floating-point dtype"),
        ({"proj_size": HIDDEN}, r"proj_size must be a positive integer below .* \(5\); it is 5"),
        ({"proj_size": -1}, "proj_size must be a positive integer below"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        comporta.nn.LSTM(**{"input_size": INPUT, "hidden_size": HIDDEN, **options})


def test_an_unknown_nonlinearity_is_explained() -> None:
    with pytest.raises(ConfigurationError, match="did you mean tanh"):
        comporta.nn.RNN(INPUT, HIDDEN, nonlinearity="tahn")  # type: ignore[arg-type]


def test_dropout_of_a_single_layer_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="does nothing"):
        comporta.nn.GRU(INPUT, HIDDEN, dropout=0.5)
