"""What the training loop asks of a task, and the measure a validation gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

Carried = tuple[object, ...] | None
"""A recurrent state: tuples of tensors inside tuples, or None at the beginning."""


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """The loss of one update.

    Args:
        mean: (), nats per token, what is differentiated.
        tokens: how many tokens it is the mean of.
        characters: about how many characters of text they are.
        carried: the recurrent state after the window, for the next one.
    """

    mean: Tensor
    tokens: int
    characters: int
    carried: Carried


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How well a model predicts a text.

    Args:
        nats: minus the log-probability of the whole text.
        tokens: its length in tokens.
        characters: its length in characters.

    >>> measure = Measure(nats=8 * math.log(2), tokens=4, characters=8)
    >>> measure.bits_per_token, measure.perplexity, measure.bits_per_character
    (2.0, 4.0, 1.0)
    """

    nats: float
    tokens: int
    characters: int

    @property
    def nats_per_token(self) -> float:
        """The mean loss."""
        return self.nats / self.tokens

    @property
    def bits_per_token(self) -> float:
        """The mean loss in bits."""
        return self.nats_per_token / math.log(2)

    @property
    def bits_per_character(self) -> float:
        """Bits a character, which compares across vocabularies."""
        return self.nats / math.log(2) / self.characters

    @property
    def perplexity(self) -> float:
        """exp of the mean loss."""
        return perplexity(self.nats_per_token)

    def to_json(self) -> dict[str, float]:
        """All of it as JSON data."""
        return {
            "nats_per_token": self.nats_per_token,
            "bits_per_token": self.bits_per_token,
            "perplexity": self.perplexity,
            "bits_per_character": self.bits_per_character,
            "tokens": self.tokens,
            "characters": self.characters,
        }


def perplexity(nats_per_token: float) -> float:
    """exp of a mean loss; infinity where a float cannot hold it.

    >>> perplexity(1000.0)
    inf
    """
    return math.exp(nats_per_token) if nats_per_token < 700 else math.inf


class Task(Protocol):
    """A model to train and the data to train it on; the loop knows nothing else of either.

    The order of updates is a function of the step alone, so that a run can be resumed at any
    step: update `index` of an epoch always sees the same data.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the data."""

    def build(self) -> nn.Module:
        """A new model; all its randomness comes from torch's generator."""

    def loss(self, model: nn.Module, index: int, carried: Carried) -> StepLoss:
        """The loss of update `index` of an epoch, given the state carried to it."""

    def blank_state(self, model: nn.Module) -> Carried:
        """A state of the right structure, its values of no account, to load a saved one into."""

    def validate(self, model: nn.Module) -> Measure:
        """Measure the model, in evaluation mode, on data held out; no randomness."""
