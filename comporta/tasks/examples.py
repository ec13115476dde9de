"""What tasks over many short sequences share: batches of examples, and no state carried on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comporta.data.batches import Batches
from comporta.errors import DataError
from comporta.training.task import Carried, Measure, StepLoss


class ExampleTask(ABC):
    """A task whose data is a set of examples; a subclass says what an example costs.

    Args:
        lengths: of the training examples.
        validation_lengths: of those held out.
        batch_size: most examples in a batch.
        seed: of the order of the examples.

    Raises:
        DataError: there are no examples to train on, or none to validate on.
    """

    unit = "examples"

    def __init__(
        self,
        lengths: NDArray[np.int64],
        validation_lengths: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        for part, found in (("training", lengths), ("validation", validation_lengths)):
            if not len(found):
                raise DataError(f"there are no {part} examples; give more data")
        self._batches = Batches(lengths, size=batch_size, seed=seed)
        self._validation_batches = Batches(validation_lengths, size=batch_size, seed=seed)

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
        return iter(self._validation_batches.in_order())

    def describe(self, loss: float) -> Mapping[str, str]:
        """Nothing but the loss itself."""
        return {}


def hold_out(count: int, share: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Split examples by chance into those to train on and those to validate on.

    Args:
        count: how many examples there are.
        share: the part of them to hold out; at least one example where it is not 0.
        seed: of the choice.

    Returns:
        The numbers of the training examples and of the others, both in order.

    >>> hold_out(5, 0.2, seed=0)
    ([0, 1, 3, 4], [2])
    """
    held = min(count, max(1, round(count * share))) if share else 0
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(count)[:held]] = True
    return np.flatnonzero(~chosen).tolist(), np.flatnonzero(chosen).tolist()


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device
