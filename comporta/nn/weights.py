"""Packed weights and named ones: the only place that knows in which order torch packs gates."""

from __future__ import annotations

from functools import cache

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


@cache
def names(mode: str, bias: bool) -> tuple[tuple[str, ...], ...]:
    """For each packed parameter of a layer the names of the equations it holds, in order.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        bias: whether the biases are there.

    >>> names("GRU", bias=False)
    (('W_r', 'W_z', 'W_n'), ('U_r', 'U_z', 'U_n'))
    """
    return tuple(
        tuple(f"{_PACKED[kind]}_{gate}" for gate in _GATES[mode]) for kind in packed_names(bias)
    )
