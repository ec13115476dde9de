"""Layers on layers, in one direction or both: the unroll over any cell, written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from comporta import kernels
from comporta.errors import ConfigurationError
from comporta.kernels.reference import Run
from comporta.nn.checks import autocasts
from comporta.nn.connections import Connection
from comporta.nn.regularizers import InCall

DIRECTIONS = ("forward", "reverse")


def names(num_layers: int, bidirectional: bool) -> list[str]:
    """The name of each layer and direction, in the order of weights and states.

    >>> names(2, bidirectional=True)
    ['0', '0_reverse', '1', '1_reverse']
    """
    suffixes = ("", "_reverse") if bidirectional else ("",)
    return [f"{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes]


def position(layer: int, direction: str, *, num_layers: int, bidirectional: bool) -> int:
    """The place of a layer and direction in that order.

    Raises:
        ConfigurationError: there is no such layer or direction.

    >>> position(1, "reverse", num_layers=2, bidirectional=True)
    3
    """
    if layer not in range(num_layers):
        raise ConfigurationError(f"there is no layer {layer}; layers are 0 to {num_layers - 1}")
    known = DIRECTIONS if bidirectional else DIRECTIONS[:1]
    if direction not in known:
        raise ConfigurationError(
            f"there is no direction {direction!r} here; there is {' and '.join(known)}"
        )
    return layer * len(known) + known.index(direction)


def run(
    x: Tensor,
    states: Sequence[Sequence[Tensor]] | None,
    weights: Sequence[Mapping[str, Tensor]],
    *,
    call: InCall,
    bidirectional: bool,
    lengths: Tensor | None,
    connections: Mapping[int, Connection] | None = None,
    half: torch.dtype | None = None,
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Run a stack of layers over a batch of sequences, in the dtype of the weights.

    Args:
        x: input (B, T, D).
        states: the states before the first step, each (B, H), for each layer and direction:
            layer by layer, forward before reverse; None for 0.
        weights: the weights by name, for each layer and direction in the same order.
        call: the step, the same in every layer, and what regularizes it.
        bidirectional: whether each layer also runs from the last step to the first; both outputs
            are the next layer's input (B, T, 2H).
        lengths: as for `comporta.kernels.run`.
        connections: layer -> what joins its input and its output, where it is not its output alone.
        half: what kernels compute in, where it is not the dtype of the weights.

    Returns:
        The output of the last layer, (B, T, H) or (B, T, 2H), and the states after the last step
        in the order of `states`.
    """
    if autocasts(x):
        # Left on, it would run the reference's products in half precision, and a state that passes
        # hundreds of them loses what it carries. Fused kernels keep states in float32.
        asked = torch.get_autocast_dtype(x.device.type)
        half = asked if kernels.gains_from(asked, x) else None
        with torch.autocast(x.device.type, enabled=False):
            return run(
                x, states, weights, call=call, bidirectional=bidirectional, lengths=lengths,
                connections=connections, half=half,
            )  # fmt: skip
    after: list[tuple[Tensor, ...]] = []
    directions, plain = 2 if bidirectional else 1, call.is_plain
    kernel = kernels.run if half is None else _in_half(half, kernels.run)
    for first in range(0, len(weights), directions):
        layer = first // directions
        read = x if plain else call.enter(layer, x)
        outputs = []
        for place in range(first, first + directions):
            given, reverse = weights[place], place > first
            state = None if states is None else states[place]
            streams: Sequence[Tensor] = ()
            if not plain:
                hidden = call.hidden(given)
                given = call.weights(given)
                state = None if state is None else call.states(state, hidden)
                streams = call.streams(read, hidden, reverse=reverse)
            output, final = kernel(
                call.program, read, state, given,
                streams=streams, lengths=lengths, reverse=reverse,
            )  # fmt: skip
            if not plain:
                output, final = call.leave(output, final)
            outputs.append(output)
            after.append(final)
        y = torch.cat(outputs, dim=2) if bidirectional else outputs[0]
        join = (connections or {}).get(layer)
        x = y if join is None else join(x, y)
    return x, after


def _in_half(half: torch.dtype, run: Run) -> Run:
    """A run of a layer on tensors brought to a dtype; what it gives is brought back."""

    def cast(
        program: kernels.Program, x: Tensor, state: Sequence[Tensor] | None,
        weights: Mapping[str, Tensor], *, streams: Sequence[Tensor], **options: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
        stored = kernels.Weights.of(weights)
        output, after = run(
            program, x.to(half), None if state is None else [each.to(half) for each in state],
            kernels.Weights([each.to(half) for each in stored.tensors], stored.names),
            streams=[each.to(half) for each in streams], **options,
        )  # fmt: skip
        return output.to(x.dtype), tuple(each.to(x.dtype) for each in after)

    return cast
