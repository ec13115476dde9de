"""Labelled examples of any kind: which reader files need, and what they become as inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from comporta.data import (
    Series,
    read_labelled,
    read_labelled_files,
    read_sequences,
    read_series,
    read_unlabelled,
)
from comporta.data.files import MANIFESTS, folder_files
from comporta.errors import ConfigurationError, DataError
from comporta.tasks.classifier_data import MEDIA, ClassifierData
from comporta.tasks.inputs import TextInputs
from comporta.tasks.kind import Learned
from comporta.tasks.signals import AudioInputs, SeriesInputs, VideoInputs
from comporta.tasks.spelled import SpelledInputs

AnyInputs: TypeAlias = TextInputs | SpelledInputs | SeriesInputs | AudioInputs | VideoInputs


@dataclass(frozen=True)
class Label:
    """The label of one example.

    Args:
        text: as the file has it.
        where: its place, for messages.
    """

    text: str
    where: str


@dataclass(frozen=True)
class Example:
    """One example of any kind.

    Args:
        value: a text, an array (T, D), or the path of a file of sound or video.
        label: its label.
    """

    value: Any
    label: Label


class Source:
    """Reads examples of one kind, and makes the inputs of a model from them.

    Args:
        kind: one of KINDS.
        reading: how files are read.
        spelled: whether words come with their characters.
    """

    def __init__(self, kind: str, reading: ClassifierData, *, spelled: bool) -> None:
        self.kind, self._reading, self._spelled = kind, reading, spelled
        chosen = (reading.level, reading.vectors)
        if kind not in ("text", "fasta") and chosen != (None, None):
            raise ConfigurationError(
                f"level and vectors are for texts, and the data is {kind}; leave them out"
            )
        self._level = reading.level or ("char" if kind == "fasta" else "word")
        if spelled and (kind != "text" or self._level != "word"):
            raise ConfigurationError(
                "characters are those of words, and the data is not texts in words; leave "
                "characters out, or read texts with --level word"
            )
        self._channels: int | None = None

    def read(self, paths: Iterable[str | Path]) -> Iterator[Example]:
        """The examples of labelled files, one at a time.

        Raises:
            DataError: a file that cannot be read as the kind says, or an example without a label.
        """
        for path in paths:
            for value, label, where in self._labelled(Path(path)):
                if not label:
                    raise DataError(f"{where}: no label; {self._advice()}")
                yield Example(value, Label(label, where))

    def values(self, given: object) -> Iterator[Any]:
        """What there is to be labelled in one input of a prediction.

        Args:
            given: a text; an array (T, D), or a file of series; a file of sound or video.
        """
        if self.kind in ("audio", "video"):
            yield Path(str(given))
        elif self.kind == "series" and isinstance(given, str | Path):
            yield from self.unlabelled(Path(given))
        else:
            yield given

    def unlabelled(self, path: Path) -> Iterator[Any]:
        """The values of a file, or of a folder, which need no labels.

        Raises:
            DataError: it cannot be read as the kind says.
        """
        reading = self._reading
        match self.kind:
            case "text":
                found = read_unlabelled(path, text=reading.text, encoding=reading.encoding)
                yield from (each.text for each in found)
            case "fasta":
                yield from (record.sequence for record in read_sequences(path))
            case "series":
                yield from self._unlabelled_series(path)
            case _ if path.is_dir():
                yield from (file for file, _ in folder_files(path, MEDIA[self.kind]))
            case _ if path.suffix.lower() in MANIFESTS:
                yield from (file.path for file in read_labelled_files(path, ()))
            case _:
                yield path

    def learn(
        self, values: Callable[[], Iterable[Any]], training: Sequence[int]
    ) -> tuple[AnyInputs, Any]:
        """Inputs as the training examples ask for, and all examples stored.

        Args:
            values: goes through all examples, from the first, each time it is called.
            training: the numbers of those to learn from.
        """
        inputs: AnyInputs
        if self.kind in ("text", "fasta"):
            kept = set(training)
            inputs = self._of_texts(text for number, text in enumerate(values()) if number in kept)
            return inputs, inputs.store(values())
        stack = self._reading.stack
        if self.kind == "audio":
            inputs = AudioInputs.of(next(iter(values())), stack=stack)
        elif self.kind == "video":
            inputs = VideoInputs(size=self._reading.frame_size, every=stack)
        else:
            inputs = SeriesInputs(stack=stack)
        store = inputs.store(values())
        return inputs.fitted(store, training), store

    def _of_texts(self, texts: Iterable[str]) -> TextInputs | SpelledInputs:
        reading, size, lower = self._reading, self._reading.vocab_size, self._reading.lower
        if self._spelled:
            return SpelledInputs.learn(texts, size=size, lower=lower, vectors=reading.vectors)
        inputs = TextInputs.learn(texts, level=self._level, size=size, lower=lower)
        return inputs.with_vectors(reading.vectors)

    def from_learned(self, learned: Learned) -> AnyInputs:
        """The inputs that a run began with."""
        stack = self._reading.stack
        match self.kind:
            case "audio":
                return AudioInputs.from_learned(learned, stack=stack)
            case "video":
                return VideoInputs(size=self._reading.frame_size, every=stack)
            case "series":
                series = SeriesInputs.from_learned(learned, stack=stack)
                self._channels = len(series.mean) // stack
                return series
        if self._spelled:
            return SpelledInputs.from_learned(learned, lower=self._reading.lower)
        return TextInputs.from_learned(learned, level=self._level, lower=self._reading.lower)

    def _labelled(self, path: Path) -> Iterator[tuple[Any, str | None, str]]:
        reading = self._reading
        match self.kind:
            case "text":
                for text in read_labelled(
                    path, text=reading.text, label=reading.label, encoding=reading.encoding
                ):
                    yield text.text, text.label, f"{text.path}, line {text.line}"
            case "fasta":
                for record in read_sequences(path):
                    yield record.sequence, record.description, f"{path}, line {record.line}"
            case "series":
                for found in self._series(path, reading.label):
                    yield found.values, found.label, found.where
            case _:
                for file in read_labelled_files(path, MEDIA[self.kind]):
                    yield file.path, file.label, file.where

    def _series(self, path: Path, label: str | None) -> Iterator[Series]:
        """Series, all with the channels of the first one ever read."""
        reading = self._reading
        for found in read_series(path, label=label, series=reading.series, missing=reading.missing):
            channels = found.values.shape[1]
            self._channels = self._channels or channels
            if channels != self._channels:
                raise DataError(
                    f"{found.where}: {channels} channels, expected {self._channels} as in the "
                    "series of the training data"
                )
            yield found

    def _unlabelled_series(self, path: Path) -> Iterator[Any]:
        label = self._reading.label
        try:
            yield from (each.values for each in self._series(path, label))
        except ConfigurationError:
            if label is None:
                raise
            # A table to be labelled need not have the column of the labels.
            yield from (each.values for each in self._series(path, None))

    def _advice(self) -> str:
        if self.kind == "fasta":
            return "write it behind the name of the sequence, as in >NAME LABEL"
        return "every example needs one; in a table, name its column with --label"
