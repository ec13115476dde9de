"""Streams: the bits of the whole sequence, one step at a time."""

from __future__ import annotations

from typing import Any

import problems
import pytest
import torch

from comporta import cells, kernels
from comporta.errors import ConfigurationError, ShapeError
from comporta.nn import Recurrent, Stream

B, T, D = 3, 7, 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", problems.CELLS)
def test_steps_of_the_kernel_have_the_bits_of_the_whole(name: str, dtype: torch.dtype) -> None:
    for hidden in (17, 32):
        problem = problems.make(name, batch=B, time=T, depth=D, hidden=hidden, dtype=dtype)
        further = tuple(s[:, :1].expand_as(s).contiguous() for s in problem.streams)
        expected, finals = kernels.run(
            problem.program, problem.x, problem.state, problem.weights, streams=further
        )
        stream = kernels.stream(
            problem.program, problem.x[:, 0].contiguous(), problem.state, problem.weights,
            [s[:, 0] for s in further],
        )  # fmt: skip
        found = [stream.step(problem.x[:, t].contiguous()).clone() for t in range(T)]
        assert torch.equal(torch.stack(found, 1), expected)
        assert all(map(torch.equal, stream.state, finals))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3, "initial_state": "learned", "layer_norm": True},
        {"num_layers": 2, "zoneout": 0.3, "state_dropout": 0.2, "dropout": 0.5},
        {"num_layers": 2, "connections": "residual", "weight_drop": 0.5},
    ],
)
def test_a_stream_is_the_layer_in_evaluation(options: dict[str, Any], backend: str) -> None:
    layer, x = Recurrent("lstm", D, 8, **options), torch.randn(B, T, D)
    with kernels.use(backend):
        stream = Stream(layer, B)
        found = [stream(x[:, t]) for t in range(T)]
        assert layer.training
        expected, after = layer.eval()(x)
    if backend == "cpu":
        assert torch.equal(torch.stack(found, 1), expected)
    torch.testing.assert_close(torch.stack(found, 1), expected)
    for one, other in zip(stream.state, after, strict=True):
        torch.testing.assert_close(one.c, other.c)  # type: ignore[attr-defined]


def test_a_stream_goes_on_from_a_state_and_leaves_it_alone() -> None:
    layer, x = Recurrent("gru", D, 8), torch.randn(B, T, D)
    _, state = layer(x)
    kept = state[0].h.clone()  # type: ignore[attr-defined]
    first, second = Stream(layer, B, state), Stream(layer, B, state)
    with torch.no_grad():
        expected, _ = layer.step(x[:, 0], state)
    assert torch.equal(first(x[:, 0]), expected)
    first(x[:, 1])
    assert torch.equal(second(x[:, 0]), expected)
    assert torch.equal(state[0].h, kept)  # type: ignore[attr-defined]


def test_a_stream_has_the_weights_it_was_made_with() -> None:
    layer, x = Recurrent("gru", D, 8), torch.randn(B, D)
    stream, again = Stream(layer, B), Stream(layer, B)
    before = stream(x)
    layer.reset_parameters()
    assert torch.equal(again(x), before)
    assert not torch.equal(Stream(layer, B)(x), before)


def test_what_a_stream_gave_stays() -> None:
    stream = Stream(Recurrent("gru", D, 8))
    first = stream(torch.randn(1, D))
    copy = first.clone()
    state = stream.state[0].h.clone()  # type: ignore[attr-defined]
    stream(torch.randn(1, D))
    assert torch.equal(first, copy)
    assert not torch.equal(stream.state[0].h, state)  # type: ignore[attr-defined]


def test_a_large_layer_streams_on_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Recurrent("gru", D, 530), torch.randn(1, 4, D)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stream = Stream(layer)
        found = [stream(x[:, t]) for t in range(4)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.stack(found, 1), layer.eval()(x)[0])


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_streams_from_a_layer(name: str) -> None:
    layer, x = Recurrent(name, D, 4, num_layers=2), torch.randn(1, T, D)
    stream = Stream(layer)
    found = torch.stack([stream(x[:, t]) for t in range(T)], 1)
    assert torch.equal(found, layer.eval()(x)[0])


def test_what_cannot_stream_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a bidirectional layer cannot run step by step"):
        Stream(Recurrent("gru", D, 8, bidirectional=True))
    with pytest.raises(ConfigurationError, match="batch must be a positive integer"):
        Stream(Recurrent("gru", D, 8), 0)
    layer = Recurrent("gru", D, 8)
    with pytest.raises(ShapeError, match=r"\(B, H\) = \(2, 8\)"):
        Stream(layer, 2, layer.start(3))
    assert layer.training
    stream = Stream(layer)
    for wrong in (torch.randn(2, D), torch.randn(1, D + 1), torch.randn(1, D).double()):
        with pytest.raises(ShapeError, match=r"a step of this stream is \(1, 5\) of torch.float32"):
            stream(wrong)
