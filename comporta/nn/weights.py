"""Packed weights and named ones: the only place that knows in which order torch packs gates."""

from __future__ import annotations

from torch import Tensor

CELLS = {"RNN_TANH": "rnn", "RNN_RELU": "rnn-relu", "GRU": "gru", "LSTM": "lstm"}
"""torch's name of a mode -> the cell that computes it."""

_GATES = {
    "RNN_TANH": ("h",),
    "RNN_RELU": ("h",),
    "GRU": ("r", "z", "n"),
    "LSTM": ("i", "f", "g", "o"),
}
_PACKED = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "c"}


def gates(mode: str) -> int:
    """How many gates a mode packs into one parameter."""
    return len(_GATES[mode])


def packed_names(bias: bool) -> tuple[str, ...]:
    """The kinds of packed parameters of one layer, in torch's order."""
    return tuple(name for name in _PACKED if bias or not name.startswith("bias"))


def unpack(mode: str, packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one layer by the names of the equations.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        packed: kind -> parameter: weight_ih (G H, D), weight_hh (G H, H), and with biases bias_ih
            and bias_hh (G H,), where G is the number of gates.

    Returns:
        Name -> view of the parameter: {"W_z": (H, D), "U_z": (H, H), "b_z": (H,), ...}. The views
        of one parameter are taken at once, so that their gradients are stacked at once as well.

    >>> import torch
    >>> packed = {"weight_ih": torch.arange(6.0).view(6, 1), "weight_hh": torch.zeros(6, 2)}
    >>> unpack("GRU", packed)["W_r"].tolist(), unpack("GRU", packed)["W_z"].tolist()
    ([[0.0], [1.0]], [[2.0], [3.0]])
    """
    names = _GATES[mode]
    return {
        f"{_PACKED[kind]}_{gate}": part
        for kind, parameter in packed.items()
        for gate, part in zip(
            names, parameter.view(len(names), -1, *parameter.shape[1:]).unbind(0), strict=True
        )
    }
