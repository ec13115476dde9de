"""Gates that begin with memories of every length."""

from __future__ import annotations

import torch

from comporta.errors import ConfigurationError
from comporta.nn.recurrent import Recurrent

# The biases of gates that keep the state (1) or write it (-1), by the name of the cell.
_GATES = {
    "gru": {"b_z": 1},
    "gru-reset-before": {"b_u": -1},
    "gru-one-gate": {"b_u": -1},
    "lstm": {"b_f": 1, "b_i": -1},
}


@torch.no_grad()
def spread_memory(layer: Recurrent, steps: int) -> None:
    """Let fresh units keep their state for different times, up to so many steps.

        b = log(u),  u ~ Uniform(1, steps - 1)

    for the bias of the gate that keeps, and -b for that of one that writes: a unit whose gate is
    sigmoid(log(u)) forgets by a factor e in about u steps. Units of many speeds are clocks as well,
    so that a layer knows from the beginning how far it has come.

    Source: Tallec & Ollivier 2018, arXiv:1804.11188 (chrono initialization).

    Args:
        layer: a layer of gru, gru-reset-before, gru-one-gate or lstm.
        steps: how long the longest memory is to be, at least 3.

    Raises:
        ConfigurationError: too few steps, or another cell.

    >>> layer = Recurrent("gru", 2, 3)
    >>> spread_memory(layer, 50)
    >>> bool((layer.layers["0"].b_z > 0).all())
    True
    """
    if steps < 3:
        raise ConfigurationError(f"a memory of {steps} steps; it must be at least 3")
    gates = _GATES.get(layer.cell.name)
    if gates is None:
        raise ConfigurationError(
            f"which gate of the cell {layer.cell.name!r} keeps its state is not known; leave the "
            f"memory out, or take one of {', '.join(_GATES)}"
        )
    for weights in layer.layers.values():
        values = dict(weights.named_parameters())
        first = next(iter(gates))
        kept = torch.empty_like(values[first]).uniform_(1, steps - 1).log()
        for name, sign in gates.items():
            values[name].copy_(sign * kept)
