"""What models over examples read: learned from the data, stored, and laid out as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from comporta.data import Vocabulary, read_vectors
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError
from comporta.models import TokenInput
from comporta.tasks.kind import Learned
from comporta.tasks.words import WordStore

_CHARACTERS_READ = 50_000_000
"""A vocabulary is learned from so many characters at most: more would not change it much."""

Example = TypeVar("Example", contravariant=True)


class Inputs(Protocol[Example]):
    """One kind of input: how examples become numbers, and numbers become vectors."""

    def encode(self, example: Example) -> NDArray[np.generic]:
        """An example as an array, its first dimension time."""

    def store(self, examples: Iterable[Example]) -> Ragged:
        """Examples, encoded, on disk."""

    def module(self, config: object) -> nn.Module:
        """The part of the model that reads a batch; its `size` is that of the vectors."""

    def learned(self) -> Learned:
        """All that it takes to make this object again."""


class TextInputs:
    """Texts as tokens.

    Args:
        vocabulary: the tokens.
        lower: whether texts are read in lower case.
        vectors: of the tokens that a file has vectors for (V, D), and which those are (V,).

    >>> inputs = TextInputs.learn(["one two", "two"], level="word", size=None)
    >>> inputs.encode("two three").tolist()
    [2, 0]
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        lower: bool = False,
        vectors: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None,
    ) -> None:
        self.vocabulary, self._lower, self._vectors = vocabulary, lower, vectors

    @classmethod
    def learn(
        cls, texts: Iterable[str], *, level: str, size: int | None, lower: bool = False
    ) -> TextInputs:
        """Learn the tokens of some texts.

        Args:
            texts: the training texts, gone through once.
            level: char, word or bpe.
            size: most tokens; None for the default of the level.
            lower: whether texts are read in lower case.
        """
        text = "\n".join(_first_characters(texts))
        text = text.lower() if lower else text
        return cls(Vocabulary.learn(text, level=level, size=size), lower=lower)

    @classmethod
    def from_learned(cls, learned: Learned, *, level: str, lower: bool = False) -> TextInputs:
        """The same inputs as a run began with."""
        text = learned.texts.get("tokenizer.json", "")
        return cls(Vocabulary.from_json(text, level=level), lower=lower)

    def with_vectors(self, path: str | None) -> TextInputs:
        """These inputs with vectors of their tokens from a file, where one is given.

        Raises:
            DataError: the file cannot be read as vectors.
        """
        if path is None:
            return self
        rows = {self.vocabulary.token(row): row for row in range(len(self.vocabulary))}
        return TextInputs(self.vocabulary, lower=self._lower, vectors=read_vectors(path, rows))

    def learned(self) -> Learned:
        """The vocabulary."""
        return Learned(texts={"tokenizer.json": self.vocabulary.to_json()})

    def encode(self, example: str) -> NDArray[np.int64]:
        """The tokens of a text (T,)."""
        text = example.lower() if self._lower else example
        ids: NDArray[np.int64] = self.vocabulary.encode(text).ids.numpy()
        return ids

    def store(self, examples: Iterable[str]) -> Ragged:
        """Texts as tokens on disk."""
        return Ragged(map(self.encode, examples), dtype=np.int32)

    def report(self, store: Ragged, validation: Sequence[int]) -> dict[str, object]:
        """Lengths, the vocabulary and how much of the validation part is unknown."""
        report: dict[str, object] = {
            "tokens of an example": lengths_of(store),
            "vocabulary": len(self.vocabulary),
        }
        if self.vocabulary.unk is not None:
            unknown = sum(int((store[i] == self.vocabulary.unk).sum()) for i in validation)
            tokens = int(store.lengths[list(validation)].sum())
            report["unknown in validation"] = f"{unknown / max(1, tokens):.2%}"
        if self._vectors is not None:
            report["tokens with vectors"] = f"{self._vectors[1].mean():.2%}"
        return report

    def module(self, config: object) -> TokenInput:
        """An embedding of the size that the model's configuration names.

        Raises:
            ConfigurationError: the vectors given are of another size.
        """
        module = TokenInput(
            len(self.vocabulary),
            config.embedding,  # type: ignore[attr-defined]
            dropout=config.token_dropout,  # type: ignore[attr-defined]
        )
        if self._vectors is not None:
            matrix, found = self._vectors
            check_vectors(matrix, module.size)
            module.begin_with(torch.from_numpy(matrix), torch.from_numpy(found))
        return module


def check_vectors(vectors: NDArray[np.float32], embedding: int) -> None:
    """Refuse vectors from a file (V, D) where D is not the embedding's size.

    Raises:
        ConfigurationError: it is not.

    >>> check_vectors(np.zeros((2, 3), np.float32), 4)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: the vectors have 3 values, ... give --embedding 3
    """
    size = vectors.shape[1]
    if size != embedding:
        raise ConfigurationError(
            f"the vectors have {size} values, and embedding is {embedding}; give --embedding {size}"
        )


def lengths_of(store: Ragged | WordStore) -> str:
    """The lengths of examples in a few words."""
    return f"{int(np.median(store.lengths))} (median), {int(store.lengths.max())} (most)"


def _first_characters(texts: Iterable[str]) -> Iterator[str]:
    read = 0
    for text in texts:
        yield text
        read += len(text)
        if read > _CHARACTERS_READ:
            return
