"""The recurrent layers of the models that read a whole sequence."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from comporta.cells import Cell
from comporta.nn import Recurrent


class LayerSettings(Protocol):
    """The settings of recurrent layers, as a model's configuration names them."""

    @property
    def cell(self) -> Cell:
        """The recurrent cell."""

    @property
    def hidden(self) -> int:
        """H, in each direction."""

    @property
    def layers(self) -> int:
        """How many lie on each other."""

    @property
    def bidirectional(self) -> bool:
        """Whether a sequence is read from both ends."""

    @property
    def dropout(self) -> float:
        """Probability of dropping a value between two layers."""


def layers_over(inputs: nn.Module, config: LayerSettings) -> Recurrent:
    """The recurrent layers of a configuration over what an input module gives.

    Args:
        inputs: gives vectors (B, T, D); its `size` is D.
        config: the settings.

    Returns:
        The layers.

    >>> from comporta.models import ClassifierConfig, TokenInput
    >>> layer = layers_over(TokenInput(9, 3), ClassifierConfig(hidden=4))
    >>> layer.input_size, layer.hidden_size, layer.bidirectional
    (3, 4, True)
    """
    return Recurrent(
        config.cell,
        inputs.size,  # type: ignore[arg-type]
        config.hidden,
        num_layers=config.layers,
        bidirectional=config.bidirectional,
        # Between layers there is nothing to drop where there is one.
        dropout=config.dropout if config.layers > 1 else 0.0,
    )
