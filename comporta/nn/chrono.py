"""Gates that begin with memories of every length."""

from __future__ import annotations

import torch

from comporta.errors import ConfigurationError
from comporta.nn.recurrent import Recurrent


@torch.no_grad()
def spread_memory(layer: Recurrent, steps: int) -> None:
    """Let fresh units keep their state for different times, up to so many steps.

        b = log(u),  u ~ Uniform(1, steps - 1)

    for the bias of the gate that keeps, and -b for that of one that writes: a unit whose gate is
    sigmoid(log(u)) forgets by a factor e in about u steps. Units of many speeds are clocks as well,
    so that a layer knows from the beginning how far it has come.

    Source: Tallec & Ollivier 2018, arXiv:1804.11188 (chrono initialization).

    Args:
        layer: a layer of a cell that says which gates keep its state (`Cell.keeps`).
        steps: how long the longest memory is to be, at least 3.

    Raises:
        ConfigurationError: too few steps, or a cell without such a gate.

    >>> layer = Recurrent("gru", 2, 3)
    >>> spread_memory(layer, 50)
    >>> bool((layer.layers["0"].b_z > 0).all())
    True
    """
    if steps < 3:
        raise ConfigurationError(f"a memory of {steps} steps; it must be at least 3")
    gates = layer.cell.keeps
    if not gates:
        raise ConfigurationError(
            f"the cell {layer.cell.name!r} does not say which gate keeps its state; leave the "
            'memory out, or write keeps = "..." in the cell, as lstm does: "b_f -b_i"'
        )
    for weights in layer.layers.values():
        values = dict(weights.named_parameters())
        first = next(iter(gates))
        kept = torch.empty_like(values[first]).uniform_(1, steps - 1).log()
        for name, sign in gates.items():
            values[name].copy_(sign * kept)
