"""Who runs a layer, in words."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from comporta.errors import ShapeError
from comporta.kernels import choose
from comporta.nn.checks import check_tensor
from comporta.nn.drop_in import GRU, LSTM, RNN
from comporta.nn.recurrent import Recurrent


def explain(layer: Recurrent | RNN | GRU | LSTM, x: Tensor | None = None) -> str:
    """Say which backend runs a layer, and why.

    Args:
        layer: a layer of this room.
        x: an input (B, T, D) that it would be given, batch first whatever the layer's own order;
            a single step of a single row unless given.

    Returns:
        "backend: reason", one line; a line for each layer of the stack where they differ.

    Raises:
        ShapeError: x does not fit the layer.
        BackendError: a backend was asked for with `comporta.kernels.use()` and cannot run this.

    >>> from comporta import kernels
    >>> with kernels.use("reference"):
    ...     print(explain(GRU(3, 5, num_layers=2)))
    reference: asked for with comporta.kernels.use()
    """
    like = next(iter(layer.weights().values()))
    x = like.new_zeros(1, 1, layer.input_size) if x is None else x
    x = check_tensor(x, what="the input", like=like)
    if x.ndim != 3 or x.shape[2] != layer.input_size:
        raise ShapeError(
            f"the input must have shape (B, T, D) with D = {layer.input_size}; it has "
            f"{tuple(x.shape)}"
        )
    reasons = []
    for number in range(layer.num_layers):
        weights: Mapping[str, Tensor] = layer.weights(number)
        if isinstance(layer, Recurrent):
            hidden, (_, wide) = layer.hidden_sizes[number], layer.widths[number]
            weights = layer.in_call().weights(weights)
        else:
            hidden = layer.hidden_size
            wide = hidden * (2 if layer.bidirectional else 1)
        state = [x.new_zeros(x.shape[0], hidden) for _ in layer.program.states]
        reasons.append(str(choose(layer.program, x, state, weights)))
        x = x.new_zeros(()).expand(*x.shape[:2], wide)
    if len(set(reasons)) == 1:
        return reasons[0]
    return "\n".join(f"layer {number}, {reason}" for number, reason in enumerate(reasons))
