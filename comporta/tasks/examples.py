"""What tasks over many short sequences share: batches of examples, and no state carried on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comporta.data.batches import Batches
from comporta.errors import DataError
from comporta.training.task import Carried, Measure, StepLoss


@dataclass(frozen=True)
class Division:
    """Which examples are for what, by their numbers.

    Args:
        training: those to learn from.
        validation: those to measure by.
    """

    training: list[int]
    validation: list[int]

    @classmethod
    def of(cls, count: int, *, extra: int, share: float, seed: int) -> Division:
        """Divide examples: those of a validation file are held out, or else some by chance.

        Args:
            count: examples in the training files; the first of all.
            extra: examples in the validation file, which come after them; 0 where there is none.
            share: the part of the first that is held out where there is no such file.
            seed: of the choice.

        Returns:
            The division.

        Raises:
            DataError: nothing is left to train on, or to validate on.

        >>> Division.of(5, extra=0, share=0.2, seed=0).validation
        [2]
        >>> Division.of(2, extra=1, share=0.2, seed=0)
        Division(training=[0, 1], validation=[2])
        """
        numbers = np.arange(count)
        if extra:
            return cls(numbers.tolist(), list(range(count, count + extra)))
        held = np.zeros(count, dtype=bool)
        some = max(1, round(count * share))
        held[np.random.default_rng(seed).permutation(count)[:some]] = True
        if count < 2 or held.all() or not share:
            raise DataError(
                f"there are {count} examples, of which {share:.0%} are to be held out; both "
                "parts need at least one: give more data, or a validation file"
            )
        return cls(numbers[~held].tolist(), numbers[held].tolist())


class ExampleTask(ABC):
    """A task whose data is a set of examples; a subclass says what an example costs.

    Args:
        lengths: of all examples.
        division: which are for training, which for validation.
        batch_size: most examples in a batch.
        seed: of the order of the examples.
    """

    unit = "examples"

    def __init__(
        self, lengths: NDArray[np.int64], division: Division, *, batch_size: int, seed: int
    ) -> None:
        self._batches = Batches(lengths, division.training, size=batch_size, seed=seed)
        self._held_out = Batches(lengths, division.validation, size=batch_size, seed=seed)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training examples."""
        return len(self._batches)

    @abstractmethod
    def build(self) -> nn.Module:
        """A new model."""

    @abstractmethod
    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """The summed loss of some training examples, and how many items it is the sum of."""

    @abstractmethod
    def validate(self, model: nn.Module) -> Measure:
        """Measure the model on the examples held out."""

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        """The mean loss of one batch."""
        total, count = self.batch_loss(model, self._batches.at(step))
        return StepLoss(mean=total / count, count=count)

    def blank_state(self, model: nn.Module) -> Carried:
        """None: nothing is carried from one batch to the next."""
        return None

    def validation_batches(self) -> Iterator[list[int]]:
        """All examples held out, those of about the same length together."""
        return iter(self._held_out.in_order())

    def describe(self, loss: float) -> Mapping[str, str]:
        """Nothing but the loss itself."""
        return {}


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device
