"""Memories of every length: what the gates of a fresh layer keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from comporta.errors import ConfigurationError
from comporta.nn import Recurrent, spread_memory


@pytest.mark.parametrize(
    ("cell", "gate", "sign"),
    [("gru", "b_z", 1), ("gru-reset-before", "b_u", -1), ("gru-one-gate", "b_u", -1)],
)
def test_a_state_fades_at_the_speed_of_its_gate(cell: str, gate: str, sign: int) -> None:
    """With all else at 0 a state is multiplied by u / (1 + u) a step, u the memory drawn."""
    layer = Recurrent(cell, 1, 400).double()
    for weight in layer.parameters():
        torch.nn.init.zeros_(weight)
    spread_memory(layer, 50)
    u = (sign * dict(layer.named_parameters())[f"layers.0.{gate}"].detach()).exp()
    assert kstest(u.numpy(), "uniform", args=(1, 48)).pvalue > 0.001
    _, state = layer.step(torch.zeros(1, 1).double())
    ones = tuple(type(each)(*(torch.ones_like(value) for value in each)) for each in state)
    output, _ = layer.step(torch.zeros(1, 1).double(), ones)
    torch.testing.assert_close(output[0], u / (1 + u))


def test_the_input_gate_of_an_lstm_is_the_forget_gate_turned_round() -> None:
    layer = Recurrent("lstm", 2, 300, num_layers=2, bidirectional=True)
    spread_memory(layer, 20)
    for weights in layer.layers.values():
        values = dict(weights.named_parameters())
        assert values["b_i"].equal(-values["b_f"])
        assert 0 <= float(values["b_f"].detach().min()) < float(np.log(3))
        assert float(np.log(17)) < float(values["b_f"].detach().max()) <= float(np.log(19))
        assert not values["b_o"].any()


def test_cells_of_unknown_gates_and_short_memories_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'rnn' does not say"):
        spread_memory(Recurrent("rnn", 2, 3), 9)
    with pytest.raises(ConfigurationError, match="memory of 2 steps"):
        spread_memory(Recurrent("gru", 2, 3), 2)
