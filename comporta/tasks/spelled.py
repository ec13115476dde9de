"""Texts as words with their characters: what a classifier reads when it has an encoder of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from comporta.data import read_vectors
from comporta.data.vocabulary import DEFAULT_SIZE, UNK, split_words
from comporta.errors import ConfigurationError
from comporta.models import ClassifierConfig
from comporta.models.words import WordInput
from comporta.tasks.inputs import check_vectors, lengths_of
from comporta.tasks.kind import Learned
from comporta.tasks.words import WordInputs, WordStore


class SpelledInputs:
    """Texts as words, each by a vector of its own and by its characters.

    Args:
        words: what numbers words and characters.
        vectors: of the words that a file has vectors for (V, D), and which those are (V,).

    >>> inputs = SpelledInputs.learn(["Who wrote it ?", "Who was it ?"], size=None, lower=False)
    >>> inputs.words.words
    ['<unk>', '?', 'Who', 'it', 'was', 'wrote']
    """

    def __init__(
        self, words: WordInputs, vectors: tuple[NDArray[np.float32], NDArray[np.bool_]] | None
    ) -> None:
        self.words, self._vectors = words, vectors

    @classmethod
    def learn(
        cls, texts: Iterable[str], *, size: int | None, lower: bool, vectors: str | None = None
    ) -> SpelledInputs:
        """Learn the words and characters of some texts.

        Args:
            texts: the training texts, gone through once.
            size: most words; None for the default.
            lower: whether words are looked up in small letters; characters stay as they are.
            vectors: a file of vectors of words to begin with.

        Raises:
            DataError: the file cannot be read as vectors.
            ConfigurationError: a size below 2.
        """
        size = DEFAULT_SIZE["word"] if size is None else size
        if size < 2:
            raise ConfigurationError(f"a vocabulary of {size} words is too small; give at least 2")
        words = (word for text in texts for word in split_words(text))
        found = WordInputs.learn(words, size=size, lower=lower)
        if vectors is None:
            return cls(found, None)
        return cls(found, read_vectors(vectors, {word: i for i, word in enumerate(found.words)}))

    @classmethod
    def from_learned(cls, learned: Learned, *, lower: bool) -> SpelledInputs:
        """The same inputs as a run began with."""
        text = learned.texts.get("tokenizer.json", "")
        return cls(WordInputs.from_json(text, lower=lower), None)

    def learned(self) -> Learned:
        """The words and the characters."""
        return Learned(texts={"tokenizer.json": self.words.to_json()})

    def store(self, examples: Iterable[str]) -> WordStore:
        """Texts as words on disk; one without words is an unknown word."""
        return WordStore(self.words, (split_words(text) or [UNK] for text in examples))

    def report(self, store: WordStore, validation: Sequence[int]) -> dict[str, object]:
        """Lengths, the words and characters, and how much of the validation part is unknown."""
        report: dict[str, object] = {
            "words of an example": lengths_of(store),
            "vocabulary": f"{len(self.words.words)} words",
            "characters": len(self.words.characters),
            "unknown in validation": f"{store.unknown(validation):.2%}",
        }
        if self._vectors is not None:
            report["words with vectors"] = f"{self._vectors[1].mean():.2%}"
        return report

    def module(self, config: ClassifierConfig) -> WordInput:
        """Vectors of words beside an encoder of their characters.

        Raises:
            ConfigurationError: the vectors given are of another size.
        """
        module = self.words.module(
            config.cell,
            size=config.embedding,
            characters=config.characters,
            dropout=config.token_dropout,
        )
        if self._vectors is not None:
            matrix, found = self._vectors
            check_vectors(matrix, config.embedding)
            module.begin_with(torch.from_numpy(matrix), torch.from_numpy(found))
        return module
