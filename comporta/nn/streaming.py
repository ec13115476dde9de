"""Stream: a layer run step by step where every microsecond counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from comporta import kernels
from comporta.errors import ConfigurationError, ShapeError
from comporta.nn.checks import check_size
from comporta.nn.connections import Connection
from comporta.nn.recurrent import Recurrent
from comporta.nn.state import State


class Stream:
    """A layer in evaluation, fed one step at a time, its weights packed once.

    `Recurrent.step` does the same and can be trained through; it takes its time to look at what it
    is given and to pack the weights, every time. A stream has them packed when it is made: change
    them later, and make another one. The bits are those of `forward` on the whole sequence.

    Args:
        layer: a layer of one direction.
        batch: B, how many sequences run beside each other.
        state: the state to begin with, as `forward` returns it; the initial state unless given.

    Raises:
        ConfigurationError: the layer has two directions.
        ShapeError: a state that does not fit.

    >>> layer = Recurrent("lstm", 3, 5)
    >>> stream = Stream(layer)
    >>> x = torch.randn(1, 4, 3)
    >>> outputs = [stream(x[:, t]) for t in range(4)]
    >>> torch.equal(torch.stack(outputs, 1), layer.eval()(x)[0])
    True
    """

    @torch.no_grad()
    def __init__(
        self, layer: Recurrent, batch: int = 1, state: Sequence[State] | None = None
    ) -> None:
        if layer.bidirectional:
            raise ConfigurationError(
                "a bidirectional layer cannot run step by step: its reverse direction begins at "
                "the last step; make a stream of a layer with bidirectional=False"
            )
        check_size("batch", batch)
        like = next(iter(layer.weights().values()))
        x = like.new_zeros(batch, layer.input_size)
        training = layer.training
        layer.eval()
        try:
            given = layer.start(batch) if state is None else tuple(state)
            # A layer refuses a state of another one.
            layer.step(x, given)
            call = layer.in_call()
        finally:
            layer.train(training)
        self._shape, self._dtype, self._device = x.shape, x.dtype, x.device
        joins = dict(layer.connections.items())
        self._layers: list[tuple[Callable[[Tensor], Tensor], Connection | None]] = []
        self._streams = []
        for number, values in enumerate(given):
            hidden, join = layer.hidden_sizes[number], joins.get(str(number))
            further = [s[:, 0] for s in call.streams(x.unsqueeze(1), hidden, reverse=False)]
            weights, states = call.weights(layer.weights(number)), call.states(values, hidden)
            stream = kernels.stream(call.program, x, states, weights, further)
            self._streams.append(stream)
            # The next layer reads what this one writes where it stands.
            output, _ = call.leave(stream.output, stream.state)
            self._layers.append((stream.step, join))
            x = output if join is None else like.new_zeros(x.shape)
        self._class, self._call, self._narrow = type(given[0]), call, layer.projection_size
        # Most streams are of one layer, and the bookkeeping of several would show.
        alone = len(self._layers) == 1 and not joins and self._narrow is None
        self._single = self._streams[0].step_anew if alone else None

    def __call__(self, x_t: Tensor) -> Tensor:
        """Run one step.

        Args:
            x_t: input of this step (B, D).

        Returns:
            Its output (B, H); no gradient flows through it.

        Raises:
            ShapeError: another shape, dtype or device than the stream was made for.
        """
        if x_t.shape != self._shape or x_t.dtype != self._dtype or x_t.device != self._device:
            raise ShapeError(
                f"a step of this stream is {tuple(self._shape)} of {self._dtype} on "
                f"{self._device}; it was given {tuple(x_t.shape)} of {x_t.dtype} on {x_t.device}"
            )
        x = x_t if x_t.is_contiguous() else x_t.contiguous()
        if self._single is not None:
            return self._single(x)
        with torch.no_grad():
            for step, join in self._layers:
                y = step(x)[:, : self._narrow]
                x = y if join is None else join(x, y)
        return x.clone()

    @property
    def state(self) -> tuple[State, ...]:
        """The state after the last step, as `forward` returns it."""
        last = [self._call.leave(stream.output, stream.state)[1] for stream in self._streams]
        return tuple(self._class(*[value.clone() for value in values]) for values in last)
