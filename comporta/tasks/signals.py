"""Inputs that are signals: series of numbers, sound as log-mel frames, video as pictures.

Each has the interface of `comporta.tasks.inputs.Inputs`. They are stored as they are measured, and
`fitted` then learns the scale of the training examples from what is stored.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from comporta.data.audio import Audio, log_mel, read_audio
from comporta.data.ragged import Ragged
from comporta.data.video import read_frames
from comporta.errors import DataError
from comporta.models import FrameInput, SeriesInput
from comporta.tasks.inputs import lengths_of
from comporta.tasks.kind import Learned

_log = logging.getLogger(__name__)

_ANY_RATE = 8000

X = TypeVar("X")
S = TypeVar("S", bound="_Scaled[Any]")


@dataclass(frozen=True, kw_only=True)
class _Scaled(ABC, Generic[X]):
    """Steps of numbers, each channel brought to mean 0 and deviation 1 by the model.

    Args:
        stack: so many steps behind each other are read as one.
        mean: of each channel in the training examples; empty until it is learned.
        deviation: of each channel, likewise.
    """

    stack: int = 1
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @abstractmethod
    def encode(self, example: X) -> NDArray[np.generic]:
        """An example as (T, D) float32."""

    def store(self, examples: Iterable[X]) -> Ragged:
        """Examples on disk."""
        return Ragged(map(self.encode, examples), dtype=np.float32)

    def fitted(self: S, store: Ragged, training: Sequence[int]) -> S:
        """These inputs, with the mean and the deviation of some of the examples stored.

        Args:
            store: all examples.
            training: the numbers of those to learn from.
        """
        steps = max(1, int(store.lengths[list(training)].sum()))
        mean = sum(store[i].sum(0, dtype=np.float64) for i in training) / steps
        spread = sum(((store[i] - mean) ** 2).sum(0) for i in training) / steps
        return replace(self, mean=tuple(mean.tolist()), deviation=tuple(np.sqrt(spread).tolist()))

    def learned(self) -> Learned:
        """The scale of each channel."""
        return Learned(facts={"mean": list(self.mean), "deviation": list(self.deviation)})

    def module(self, config: object) -> SeriesInput:
        """What brings the channels to one scale; it has nothing that a configuration names."""
        return SeriesInput(list(self.mean), list(self.deviation))

    def report(self, store: Ragged, validation: Sequence[int]) -> dict[str, object]:
        """Lengths and channels."""
        return {"steps of an example": lengths_of(store), "channels": len(self.mean)}


class SeriesInputs(_Scaled[NDArray[Any]]):
    """Numeric series: an example is an array (T, D).

    Args:
        stack: so many steps behind each other are read as one.
        mean: of each channel in the training examples; empty until it is learned.
        deviation: of each channel, likewise.

    >>> inputs = SeriesInputs(stack=2)
    >>> inputs.encode(np.array([[1.0], [2.0], [3.0]])).tolist()
    [[1.0, 2.0], [3.0, 3.0]]
    >>> inputs.fitted(Ragged([[[1.0]], [[3.0]], [[9.0]]], dtype=np.float32), [0, 1]).mean
    (2.0,)
    """

    @classmethod
    def from_learned(cls, learned: Learned, *, stack: int) -> SeriesInputs:
        """The same inputs as a run began with."""
        return cls(stack=stack, **_scale(learned))

    def encode(self, example: NDArray[Any]) -> NDArray[np.generic]:
        """A series (T, D) as (T / stack, stack D) float32."""
        return stacked(np.asarray(example, dtype=np.float32), self.stack)


@dataclass(frozen=True, kw_only=True)
class AudioInputs(_Scaled[Path]):
    """Recordings as log-mel frames: an example is a file.

    Args:
        stack: so many frames behind each other are read as one.
        mean: of each channel in the training examples; empty until it is learned.
        deviation: of each channel, likewise.
        rate: samples a second; a file of another rate is resampled.
        bins: filters a frame.

    >>> AudioInputs(rate=8000, stack=3).features(np.zeros(8000, np.float32)).shape
    (33, 120)
    """

    rate: int
    bins: int = 40

    @classmethod
    def of(cls, first: Path, *, stack: int) -> AudioInputs:
        """Inputs at the rate of a recording, usually the first one.

        Raises:
            DataError: it cannot be read.
        """
        return cls(rate=read_audio(first, _ANY_RATE).original_rate, stack=stack)

    @classmethod
    def from_learned(cls, learned: Learned, *, stack: int) -> AudioInputs:
        """The same inputs as a run began with."""
        return cls(rate=learned.facts["rate"], stack=stack, **_scale(learned))

    def learned(self) -> Learned:
        """The rate, and the scale of each channel."""
        return Learned(facts={"rate": self.rate, **super().learned().facts})

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The frames of samples (N,) at the rate of these inputs: (T / stack, stack bins).

        Raises:
            DataError: the samples are shorter than one window.
        """
        return stacked(log_mel(samples, self.rate, bins=self.bins), self.stack)

    def encode(self, example: Path) -> NDArray[np.generic]:
        """The frames of a recording (T / stack, stack bins).

        Raises:
            DataError: it cannot be read, or is shorter than one window.
        """
        return self._frames(example, read_audio(example, self.rate))

    def store(self, examples: Iterable[Path]) -> Ragged:
        """The frames of recordings on disk; that some were resampled is said once."""
        resampled: list[str] = []

        def frames() -> Iterator[NDArray[np.generic]]:
            for path in examples:
                audio = read_audio(path, self.rate)
                if audio.original_rate != self.rate:
                    resampled.append(f"{path} has {audio.original_rate}")
                yield self._frames(path, audio)

        store = Ragged(frames(), dtype=np.float32)
        if resampled:
            _log.warning(
                "%d of %d recordings were resampled to %d samples a second (%s)",
                *(len(resampled), len(store), self.rate, resampled[0]),
            )
        return store

    def report(self, store: Ragged, validation: Sequence[int]) -> dict[str, object]:
        """The rate, lengths and channels."""
        return {"samples a second": self.rate, **super().report(store, validation)}

    def _frames(self, path: Path, audio: Audio) -> NDArray[np.float32]:
        try:
            return self.features(audio.samples)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class VideoInputs:
    """Video as pictures: an example is a file.

    Args:
        size: of a picture, in pixels each way.
        every: one picture of so many is kept.
    """

    size: int = 32
    every: int = 1

    def encode(self, example: Path) -> NDArray[np.generic]:
        """The pictures of a video (T, size, size, 3) uint8.

        Raises:
            DataError: it cannot be read.
        """
        return read_frames(example, size=self.size, every=self.every)

    def store(self, examples: Iterable[Path]) -> Ragged:
        """The pictures of videos on disk."""
        return Ragged(map(self.encode, examples), dtype=np.uint8)

    def fitted(self, store: Ragged, training: Sequence[int]) -> VideoInputs:
        """The same: pictures have a scale of their own."""
        return self

    def learned(self) -> Learned:
        """Nothing is learned from videos."""
        return Learned()

    def module(self, config: object) -> FrameInput:
        """A small convolution; its vectors are as large as a configuration's embedding."""
        return FrameInput(self.size, config.embedding)  # type: ignore[attr-defined]

    def report(self, store: Ragged, validation: Sequence[int]) -> dict[str, object]:
        """Lengths."""
        return {"frames of an example": lengths_of(store)}


def stacked(steps: NDArray[np.float32], stack: int) -> NDArray[np.float32]:
    """So many steps behind each other as one; the last step fills up the last of them.

    Args:
        steps: (T, D), T at least 1.
        stack: how many.

    Returns:
        (T / stack rounded up, stack D).
    """
    missing = -len(steps) % stack
    filled = np.concatenate([steps, np.repeat(steps[-1:], missing, axis=0)])
    return filled.reshape(-1, stack * steps.shape[1])


def _scale(learned: Learned) -> dict[str, Any]:
    return {name: tuple(learned.facts[name]) for name in ("mean", "deviation")}
