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
_PROJECTION = "weight_hr"


def gates(mode: str) -> int:
    """How many gates a mode packs into one parameter."""
    return len(_GATES[mode])


def packed_names(bias: bool, projects: bool = False) -> tuple[str, ...]:
    """The kinds of parameters of one layer, in torch's order."""
    packed = tuple(name for name in _PACKED if bias or not name.startswith("bias"))
    return (*packed, _PROJECTION) if projects else packed


@cache
def names(mode: str, bias: bool, projection: str | None = None) -> tuple[tuple[str, ...], ...]:
    """For each packed parameter of a layer the names of the equations it holds, in order.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        bias: whether the biases are there.
        projection: the name of the matrix that projects, if one does.

    >>> names("GRU", bias=False)
    (('W_r', 'W_z', 'W_n'), ('U_r', 'U_z', 'U_n'))
    """
    packed = [
        tuple(f"{_PACKED[kind]}_{gate}" for gate in _GATES[mode]) for kind in packed_names(bias)
    ]
    return (*packed, (projection,)) if projection else tuple(packed)
