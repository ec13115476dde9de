"""What a generator is given: a class, a vector, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError, DataError, nearest
from comporta.models import SeriesInput

Given: TypeAlias = str | NDArray[np.float32] | None
"""A class by its name, a vector (C,), or nothing."""

CONDITIONS = ("class", "vector", "nothing")


class Condition(Protocol):
    """One kind of condition: checked, encoded, and read by a module."""

    @property
    def facts(self) -> dict[str, Any]:
        """All that it takes to make this object again, as JSON."""

    def encode(self, given: Given, where: str) -> NDArray[Any]:
        """A condition as an array (1, ...); `where` names it in a message.

        Raises:
            DataError: it is none of those the model knows.
        """

    def store(self, given: Iterable[tuple[Given, str]]) -> Ragged:
        """Conditions with their places, encoded, on disk."""

    def module(self, size: int) -> nn.Module | None:
        """What turns a batch of conditions into vectors (B, size)."""


class NoCondition:
    """Nothing is given."""

    facts: dict[str, Any] = {}  # noqa: RUF012

    def encode(self, given: Given, where: str) -> NDArray[np.int8]:
        """Nothing, in the place of something (1,)."""
        if given is not None:
            raise DataError(f"{where}: this model was trained with nothing given; leave it out")
        return np.zeros(1, dtype=np.int8)

    def store(self, given: Iterable[tuple[Given, str]]) -> Ragged:
        """As many times nothing."""
        return Ragged((self.encode(None, where) for _, where in given), dtype=np.int8)

    def module(self, size: int) -> None:
        """No module."""
        return


class ClassCondition:
    """The name of a class.

    Args:
        names: of all classes, in order.

    >>> ClassCondition(["jazz", "rock"]).encode("rock", "song 3")
    array([1])
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names

    @classmethod
    def learn(cls, labels: Iterable[Given]) -> ClassCondition:
        """The classes that some examples have."""
        return cls(sorted({str(label) for label in labels if label is not None}))

    @property
    def facts(self) -> dict[str, Any]:
        """The names."""
        return {"classes": self.names}

    def encode(self, given: Given, where: str) -> NDArray[np.int64]:
        """The number of a class, (1,)."""
        if not isinstance(given, str):
            raise DataError(f"{where}: a class is needed{nearest('', self.names)}")
        if given not in self.names:
            raise DataError(
                f"{where}: the class {given!r} is not among those of the training data"
                f"{nearest(given, self.names)}"
            )
        return np.array([self.names.index(given)])

    def store(self, given: Iterable[tuple[Given, str]]) -> Ragged:
        """Numbers of classes."""
        return Ragged((self.encode(*each) for each in given), dtype=np.int64)

    def module(self, size: int) -> nn.Module:
        """A vector for each class."""
        return nn.Embedding(len(self.names), size)


class VectorCondition:
    """A vector of numbers, brought to a common scale.

    Args:
        mean: (C,) of the training data.
        deviation: (C,) the standard deviation of each number there.

    >>> VectorCondition.learn([np.array([1.0, 5.0]), np.array([3.0, 5.0])]).facts
    {'mean': [2.0, 5.0], 'deviation': [1.0, 0.0]}
    """

    def __init__(self, mean: list[float], deviation: list[float]) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def learn(cls, vectors: Iterable[Given]) -> VectorCondition:
        """The mean and the deviation of some vectors, gone through once.

        Source: Welford 1962, "Note on a method for calculating corrected sums".
        """
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for vector in vectors:
            count += 1
            change = np.asarray(vector, dtype=np.float64) - mean
            mean = mean + change / count
            squares = squares + change * (np.asarray(vector) - mean)
        return cls(mean.tolist(), np.sqrt(squares / max(1, count)).tolist())

    @property
    def facts(self) -> dict[str, Any]:
        """Mean and deviation."""
        return {"mean": self.mean, "deviation": self.deviation}

    def encode(self, given: Given, where: str) -> NDArray[np.float32]:
        """The vector as a row, (1, C)."""
        if given is None or isinstance(given, str):
            raise DataError(f"{where}: a vector of {len(self.mean)} numbers is needed")
        if given.shape != (len(self.mean),):
            raise DataError(
                f"{where}: a vector of {len(given)} numbers; those of the training data have "
                f"{len(self.mean)}"
            )
        if not np.isfinite(given).all():
            raise DataError(f"{where}: a vector with a number that is not finite; mend it")
        return given[None]

    def store(self, given: Iterable[tuple[Given, str]]) -> Ragged:
        """Vectors."""
        return Ragged((self.encode(*each) for each in given), dtype=np.float32)

    def module(self, size: int) -> nn.Module:
        """A linear map of what differs from the mean, in deviations."""
        scale = SeriesInput(self.mean, self.deviation)
        return nn.Sequential(scale, nn.Linear(len(self.mean), size, bias=False))


def learn_condition(kind: str, given: Iterable[Given]) -> Condition:
    """What there is to know about the conditions of the training data.

    Args:
        kind: class, vector or nothing.
        given: the conditions, gone through once.

    Raises:
        ConfigurationError: an unknown kind.

    >>> learn_condition("class", ["b", "a", "b"]).facts
    {'classes': ['a', 'b']}
    """
    match kind:
        case "class":
            return ClassCondition.learn(given)
        case "vector":
            return VectorCondition.learn(given)
        case "nothing":
            return NoCondition()
    raise ConfigurationError(f"unknown condition {kind!r}{nearest(kind, CONDITIONS)}")


def condition_from(facts: dict[str, Any]) -> Condition:
    """The condition that gave these facts.

    >>> condition_from({"classes": ["a", "b"]}).encode("b", "here").tolist()
    [1]
    """
    if "classes" in facts:
        return ClassCondition(facts["classes"])
    if "mean" in facts:
        return VectorCondition(facts["mean"], facts["deviation"])
    return NoCondition()


def condition_batch(
    condition: Condition, store: Ragged, examples: Sequence[int], device: torch.device
) -> Tensor | None:
    """The conditions of some examples as one batch (B, ...); None where nothing is given."""
    if isinstance(condition, NoCondition):
        return None
    return torch.from_numpy(store.padded(examples)[:, 0]).to(device)
