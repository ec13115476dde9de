"""What the training loop asks of a task, and the measure a validation gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

Carried = tuple[object, ...] | None
"""A recurrent state: tuples of tensors inside tuples, or None at the beginning."""


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """The loss of one update.

    Args:
        mean: (), what is differentiated.
        count: how many items (tokens, sentences, ...) it is the mean of.
        carried: the recurrent state after the window, for the next one; None where every update
            begins anew.
    """

    mean: Tensor
    count: int
    carried: Carried = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How well a model does on data held out.

    Args:
        loss: the mean loss.
        figures: what the task is judged by, by name, as it goes into JSON.
        summary: the same in a few words, for people.
        rank: what the best model has least of; the loss unless given.

    >>> Measure(loss=0.5, rank=-0.9).better_than(Measure(loss=0.4, rank=-0.8))
    True
    """

    loss: float
    figures: Mapping[str, float] = field(default_factory=dict)
    summary: str = ""
    rank: float | None = None

    def better_than(self, other: Measure | None) -> bool:
        """Whether it ranks below the other, or is the first that is a number at all."""
        highest = math.inf if other is None else other._rank
        return self._rank < highest

    @property
    def _rank(self) -> float:
        return self.loss if self.rank is None else self.rank


def perplexity(nats_per_token: float) -> float:
    """exp of a mean loss; infinity where a float cannot hold it.

    >>> perplexity(1000.0)
    inf
    """
    return math.exp(nats_per_token) if nats_per_token < 700 else math.inf


class Task(Protocol):
    """A model to train and the data to train it on; the loop knows nothing else of either.

    What an update sees is a function of the step alone, so that a run can be resumed at any step.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the data; the carried state is blank at the first of each."""

    @property
    def unit(self) -> str:
        """What a loss is the mean of, in the plural: tokens, sentences, frames."""

    def build(self) -> nn.Module:
        """A new model; all its randomness comes from torch's generator."""

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        """The loss of the update after `step` others, given the state carried to it."""

    def blank_state(self, model: nn.Module) -> Carried:
        """A state of the right structure, its values of no account, to load a saved one into."""

    def validate(self, model: nn.Module) -> Measure:
        """Measure the model, in evaluation mode, on data held out; no randomness."""

    def describe(self, loss: float) -> Mapping[str, str]:
        """Other words for a training loss, what matters most first; may be empty."""
