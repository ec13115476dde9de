"""What every layer must bear: copies, files, dtypes, threads, extreme sizes, wrong calls."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import torch
from comparator import assert_close
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from comporta import cells, kernels
from comporta.cells import Cell
from comporta.errors import ConfigurationError, ShapeError
from comporta.nn import GRU, Recurrent, detach, explain
from comporta.nn.state import make_state

BATCH, TIME, INPUT, HIDDEN = 4, 6, 3, 5
CELLS = cells.names()
OWN = Cell("own", "h = tanh(W @ x + U @ h) * k", source="a test")


def make(cell: str | Cell = "lstm", **options: Any) -> Recurrent:
    return Recurrent(cell, INPUT, HIDDEN, **options)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("cell", [*CELLS, OWN], ids=[*CELLS, "own"])
def test_copies_compute_the_same_and_share_nothing(
    cell: str | Cell, duplicate: Callable[[Recurrent], Recurrent]
) -> None:
    layer = make(cell, num_layers=2, bidirectional=True, bias=False, initial_state="learned")
    x = torch.randn(BATCH, TIME, INPUT)
    expected, state = layer(x)
    other = duplicate(layer)
    found, found_state = other(x)
    assert torch.equal(found, expected)
    assert type(found_state[0]) is type(state[0])
    assert other.cell == layer.cell
    assert (other.cell.name, other.cell.source) == (layer.cell.name, layer.cell.source)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(layer(x)[0], expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_state_can_be_copied_and_stored(duplicate: Callable[[Any], Any]) -> None:
    _, state = make("lstm", num_layers=2)(torch.randn(BATCH, TIME, INPUT))
    state = detach(state)
    other = duplicate(state)
    for a, b in zip(state, other, strict=True):
        assert type(b) is type(a)
        assert b._fields == ("h", "c")
        assert torch.equal(a.h, b.h)
        assert torch.equal(a.c, b.c)
        assert b.h is not a.h


@pytest.mark.parametrize("cell", CELLS)
def test_state_dict_through_a_file(cell: str) -> None:
    layer, other = (make(cell, num_layers=2, initial_state="learned") for _ in range(2))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(BATCH, TIME, INPUT)
    assert torch.equal(other(x)[0], layer(x)[0])
    assigned = make(cell, num_layers=2, initial_state="learned")
    assigned.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(assigned(x)[0], layer(x)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_dtypes(cell: str, dtype: torch.dtype) -> None:
    layer = make(cell, num_layers=2).to(dtype)
    x = torch.randn(BATCH, TIME, INPUT).to(dtype)
    output, state = layer(x, lengths=[TIME, 3, 1, 0])
    assert {value.dtype for values in state for value in values} == {dtype}
    expected, _ = layer.double()(x.double(), lengths=[TIME, 3, 1, 0])
    assert_close(output, expected, dtype=dtype, terms=TIME)


@pytest.mark.parametrize("make_layer", [make, lambda: GRU(INPUT, HIDDEN, batch_first=True)])
def test_autocast_computes_in_the_dtype_of_the_weights(
    make_layer: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the processor does not multiply the shorter numbers."""
    monkeypatch.setattr(kernels, "gains_from", lambda half, x: False)
    layer = make_layer()
    x = torch.randn(BATCH, TIME, INPUT).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = layer(x)
    expected, _ = layer(x.float())
    assert torch.equal(output, expected)
    with pytest.raises(ShapeError, match="has dtype"):
        layer(x)


@pytest.mark.parametrize("size", [INPUT, INPUT + 1])
def test_autocast_computes_in_its_dtype(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does. Weights, outputs and gradients stay float32."""
    monkeypatch.setattr(kernels, "gains_from", lambda half, x: half == torch.bfloat16)
    layer = Recurrent("lstm", size, HIDDEN, num_layers=2, bidirectional=True)
    x = torch.randn(BATCH, TIME, size)
    found = []
    for is_on in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_on):
            output, state = layer(x)
        output.square().sum().backward()
        assert output.dtype == state[0].h.dtype == torch.float32
        found.append([output.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) == 1 + len(list(layer.parameters()))
    for exact, rough in zip(*found, strict=True):
        assert not torch.equal(exact, rough)
        assert_close(rough.bfloat16(), exact.double(), dtype=torch.bfloat16, terms=40, what="it")


@pytest.mark.parametrize("cell", CELLS)
def test_several_threads_at_once(cell: str) -> None:
    """Each thread gets the outputs and gradients that it would get alone."""
    layer = make(cell, num_layers=2)
    inputs = [torch.randn(BATCH, TIME + number, INPUT) for number in range(8)]

    def work(x: Tensor) -> list[Tensor]:
        output, _ = layer(x)
        return [output, *torch.autograd.grad(output.square().sum(), list(layer.parameters()))]

    expected = [work(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, inputs * 3))
    for number, results in enumerate(found):
        pairs = zip(results, expected[number % len(inputs)], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("batch", "time"), [(0, TIME), (BATCH, 0), (0, 0), (1, 1), (BATCH, 1)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_extreme_sizes(cell: str, bidirectional: bool, batch: int, time: int) -> None:
    layer = make(cell, num_layers=2, bidirectional=bidirectional)
    x = torch.randn(batch, time, INPUT, requires_grad=True)
    for lengths in (None, [time] * batch, [0] * batch):
        output, state = layer(x, lengths=lengths)
        assert output.shape == (batch, time, HIDDEN * (1 + bidirectional))
        assert len(state) == 2 * (1 + bidirectional)
        assert all(value.shape == (batch, HIDDEN) for values in state for value in values)
        if not time:
            assert not any(value.any() for values in state for value in values)
        if output.requires_grad:
            (output.sum() + sum(value.sum() for values in state for value in values)).backward()
    if not bidirectional and time:
        assert layer.step(torch.randn(batch, INPUT))[0].shape == (batch, HIDDEN)


def test_size_one_everywhere() -> None:
    output, _ = Recurrent("gru", 1, 1)(torch.randn(1, 1, 1))
    assert output.shape == (1, 1, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_strides_do_not_matter(cell: str) -> None:
    layer = make(cell)
    x = torch.randn(TIME, BATCH, 2 * INPUT)[:, :, ::2].transpose(0, 1)
    state = [type(s)(*(torch.randn(HIDDEN, BATCH).t() for _ in s)) for s in layer.start(BATCH)]
    expected, _ = layer(x.contiguous(), [type(s)(*(v.contiguous() for v in s)) for s in state])
    assert_close(layer(x, state)[0], expected.double(), dtype=torch.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_bits_do_not_depend_on_company(cell: str) -> None:
    """On the fused kernel chunks and steps, and rows alone, give the bits of the whole."""
    layer = Recurrent(cell, 19, 37, num_layers=2)
    x = torch.randn(32, 21, 19)
    if not explain(layer, x).startswith("cpu"):
        pytest.skip(f"not the fused kernel; {explain(layer, x)}")
    expected, expected_state = layer(x)
    rows = [layer(row)[0] for row in x.split(1)]
    assert torch.equal(torch.cat(rows), expected)
    for size in (1, 4, 20):
        state, outputs = None, []
        for chunk in x.split(size, dim=1):
            output, state = layer(chunk, state)
            outputs.append(output)
        assert torch.equal(torch.cat(outputs, dim=1), expected), size
        for a, b in zip(state or (), expected_state, strict=True):
            assert all(torch.equal(v, w) for v, w in zip(a, b, strict=True))
    state, outputs = None, []
    for x_t in x.unbind(1):
        output, state = layer.step(x_t, state)
        outputs.append(output)
    assert torch.equal(torch.stack(outputs, dim=1), expected)


def test_nan_and_infinity_flow_through() -> None:
    layer = make("gru")
    x = torch.randn(2, TIME, INPUT)
    x[1, 2] = torch.nan
    output, _ = layer(x)
    assert not output[0].isnan().any()
    assert not output[1, :2].isnan().any()
    assert output[1, 2:].isnan().all()


class Other(NamedTuple):
    h: Tensor


def test_detach_cuts_the_graph_and_keeps_the_classes() -> None:
    _, state = make("lstm", num_layers=2)(torch.randn(BATCH, TIME, INPUT))
    nest = {"encoder": state, "rest": [state[0].h, None, (state[1], Other(state[0].h))]}
    cut = detach(nest)
    assert type(cut["encoder"][0]) is type(state[0])
    assert cut["encoder"][0]._fields == ("h", "c")
    assert cut["rest"][1] is None
    assert isinstance(cut["rest"][2][1], Other)
    assert not cut["encoder"][1].c.requires_grad
    assert not cut["rest"][2][1].h.requires_grad
    assert state[0].h.requires_grad
    assert cut["rest"][0].data_ptr() == state[0].h.data_ptr()
    with pytest.raises(ShapeError, match="holds a float"):
        detach((1.0,))


def wrong_calls() -> list[tuple[dict[str, Any], str]]:
    x = torch.randn(BATCH, TIME, INPUT)
    h = torch.zeros(BATCH, HIDDEN)
    state = (make_state(("h", "c"), (h, h)),)
    return [
        ({"x": [[0.0]]}, r"must be a tensor; it is a list; torch\.as_tensor"),
        ({"x": pack_sequence([x[0]])}, "pad_packed_sequence"),
        ({"x": x[0]}, r"\(B, T, D\) with D = 3; it has \(6, 3\)"),
        ({"x": x[:, :, :2]}, r"with D = 3; it has \(4, 6, 2\)"),
        ({"x": x.double()}, r"has dtype torch.float64 and the weights have torch.float32"),
        ({"x": x.long()}, "through an embedding"),
        ({"x": x.to("meta")}, r"is on meta and the weights are on cpu.*\.to\(device\)"),
        ({"x": x, "state": h}, r"one named tuple for each of 0 .*it is a Tensor"),
        ({"x": x, "state": ()}, "it is 0 of them"),
        ({"x": x, "state": state * 2}, "it is 2 of them"),
        ({"x": x, "state": (h,)}, r"layer 0 must be a tuple \(h, c\).*it is a Tensor"),
        ({"x": x, "state": (make_state(("h",), (h,)),)}, "it has h, as for another cell"),
        ({"x": x, "state": (make_state(("c", "h"), (h, h)),)}, "it has c, h, as for another cell"),
        ({"x": x, "state": ((h,),)}, "it has 1 tensors, as for another cell"),
        (
            {"x": x, "state": ((h, h[:2]),)},
            r"c of the state of layer 0 .*\(4, 5\); it has \(2, 5\)",
        ),
        ({"x": x, "state": ((h, h[:1]),)}, r"must have shape \(B, H\) = \(4, 5\); it has \(1, 5\)"),
        ({"x": x, "state": ((h.double(), h),)}, "h of the state of layer 0 has dtype"),
        ({"x": x, "state": ((h, None),)}, "c of the state of layer 0 must be a tensor"),
        ({"x": x, "lengths": [1, 2, 3]}, r"lengths must have shape \(B,\) = \(4,\)"),
        ({"x": x, "lengths": [[1, 2, 3, 4]]}, r"they have \(1, 4\)"),
        ({"x": x, "lengths": [1, 2, 3, 7]}, "length of row 3 is 7; .* between 0 and T = 6"),
        ({"x": x, "lengths": torch.tensor([1, -2, 3, 4])}, "length of row 1 is -2"),
        ({"x": x, "lengths": [1.0, 2.0, 3.0, 4.0]}, "whole numbers; they have dtype torch.float32"),
        ({"x": x, "lengths": ["a"] * 4}, "lengths must be whole numbers, one a row"),
        ({"x": x, "lengths": 3}, r"they have \(\)"),
    ]


@pytest.mark.parametrize(("call", "message"), wrong_calls())
def test_wrong_calls_are_explained(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make("lstm")(**call)


def test_wrong_steps_are_explained() -> None:
    layer = make("lstm")
    with pytest.raises(ShapeError, match=r"\(B, D\) with D = 3; it has \(4, 6, 3\)"):
        layer.step(torch.randn(BATCH, TIME, INPUT))
    _, state = layer.step(torch.randn(BATCH, INPUT))
    with pytest.raises(ShapeError, match=r"must have shape \(B, H\) = \(2, 5\)"):
        layer.step(torch.randn(2, INPUT), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers must be a positive integer; it is 0"),
        ({"num_layers": True}, "num_layers must be a positive integer; it is True"),
        ({"dropout": -0.1, "num_layers": 2}, "dropout must be a probability"),
        ({"dropout": "0.5"}, "dropout must be a probability"),
        ({"bidirectional": 1}, "bidirectional must be True or False; it is 1"),
        ({"dtype": torch.complex64}, "floating-point dtype"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make("gru", **options)


@pytest.mark.parametrize("layer", [2, -1])
def test_layers_that_do_not_exist(layer: int) -> None:
    with pytest.raises(ConfigurationError, match=f"no layer {layer}; layers are 0 to 1"):
        make("gru", num_layers=2).weights(layer)


def test_directions_that_do_not_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"no direction 'reverse' here; there is forward$"):
        make("gru").weights(0, "reverse")
    with pytest.raises(ConfigurationError, match=r"there is forward and reverse$"):
        make("gru", bidirectional=True).weights(0, "backward")


def test_explain_refuses_an_input_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="with D = 3"):
        explain(make("gru"), torch.randn(1, 1, 4))


def test_printing_shows_what_was_asked_for() -> None:
    layer = make("gru", num_layers=2, dropout=0.5, initial_state="learned")
    assert layer.extra_repr() == "'gru', 3, 5, num_layers=2, dropout=0.5, initial_state='learned'"


def test_parametrizations_of_torch_apply() -> None:
    layer = make("gru")
    nn.utils.parametrizations.spectral_norm(layer.layers["0"], "U_n")
    layer.eval()
    assert torch.linalg.matrix_norm(layer.weights()["U_n"], 2).item() == pytest.approx(1, abs=0.2)
    assert layer(torch.randn(2, 3, INPUT))[0].isfinite().all()


def test_functional_calls_of_torch_apply() -> None:
    layer = make("gru")
    x = torch.randn(2, 3, INPUT)
    doubled = {name: 2 * value.detach() for name, value in layer.named_parameters()}
    output, _ = torch.func.functional_call(layer, doubled, (x,))
    other = copy.deepcopy(layer)
    other.load_state_dict(doubled)
    assert torch.equal(output, other(x)[0])


def test_layers_on_the_meta_device_have_shapes_only() -> None:
    layer = make("gru", device="meta")
    assert layer(torch.randn(2, 3, INPUT, device="meta"))[0].shape == (2, 3, HIDDEN)
