"""Words as they stand in columns: the vocabulary, their spellings, and batches of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.cells import Cell
from comporta.data.ragged import Ragged
from comporta.data.vocabulary import UNK
from comporta.errors import CheckpointError
from comporta.models.words import CharacterEncoder, WordInput, Words

_LONGEST = 64
"""Of longer words, addresses for the most part, the characters in the middle are left out."""


class WordInputs:
    """Words and their characters as numbers.

    Args:
        counts: how often the training data has each word, by falling frequency; their numbers are
            their places, after 0 for the unknown word.
        characters: by their numbers; the unknown one is 0.
        lower: whether words are looked up in small letters; characters stay as they are.

    >>> inputs = WordInputs.learn(["One", "two", "one", "One"], size=9, lower=False)
    >>> inputs.words, inputs.number("two"), inputs.number("three")
    (['<unk>', 'One', 'one', 'two'], 3, 0)
    """

    def __init__(
        self, counts: Mapping[str, int], *, characters: Sequence[str], lower: bool
    ) -> None:
        self.counts, self.characters, self.lower = dict(counts), characters, lower
        self.words = [UNK, *counts]
        self._words = {word: number for number, word in enumerate(self.words)}
        self._characters = {character: number for number, character in enumerate(characters)}

    @classmethod
    def learn(cls, words: Iterable[str], *, size: int, lower: bool) -> WordInputs:
        """Learn the words and characters of training data.

        Args:
            words: of the training data, one after the other.
            size: most words to keep, the most frequent ones.
            lower: whether words are looked up in small letters.
        """
        forms = Counter(words)
        counts: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for form, count in forms.items():
            counts[form.lower() if lower else form] += count
            for character in form:
                letters[character] += count
        counts.pop(UNK, None)
        kept = _ranked(counts)[: size - 1]
        # Characters that came once stand for those that never came, so that these have a vector.
        known = [character for character in _ranked(letters) if letters[character] > 1]
        return cls({word: counts[word] for word in kept}, characters=[UNK, *known], lower=lower)

    @classmethod
    def from_json(cls, text: str, *, lower: bool) -> WordInputs:
        """Rebuild the object from its JSON text.

        Raises:
            CheckpointError: the text is not of such an object.
        """
        try:
            found = json.loads(text)
            return cls(dict(found["words"]), characters=list(found["characters"]), lower=lower)
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(
                "tokenizer.json holds no words and characters; train again"
            ) from None

    def to_json(self) -> str:
        """The words and characters as JSON text."""
        found = {"words": self.counts, "characters": self.characters}
        return json.dumps(found, ensure_ascii=False, indent=1)

    def number(self, word: str) -> int:
        """The number of a word; 0 if it is unknown."""
        return self._words.get(word.lower() if self.lower else word, 0)

    def spelling(self, word: str) -> list[int]:
        """The numbers of its characters."""
        if len(word) > _LONGEST:
            word = word[: _LONGEST // 2] + word[-_LONGEST // 2 :]
        return [self._characters.get(character, 0) for character in word]

    def module(self, cell: Cell, *, size: int, characters: int, dropout: float) -> WordInput:
        """The part of a model that reads batches of a store.

        Args:
            cell: of the encoder of characters.
            size: of the vectors of words.
            characters: size of the encoder; 0 for none.
            dropout: how often words become the unknown one in training; see `WordInput`.
        """
        encoder = CharacterEncoder(cell, len(self.characters), characters) if characters else None
        return WordInput([0, *self.counts.values()], size, encoder=encoder, dropout=dropout)


class WordStore:
    """Sentences on disk, each distinct word spelled once.

    Args:
        inputs: what numbers words and characters.
        sentences: words of each sentence; taken one at a time.

    >>> inputs = WordInputs.learn(["ab", "b", "ab"], size=9, lower=False)
    >>> batch, lengths = WordStore(inputs, [["ab", "c", "ab"], ["b"]]).batch([0, 1], "cpu")
    >>> batch.numbers.tolist(), batch.places.tolist(), lengths.tolist()
    ([1, 0, 2], [[0, 1, 0], [2, 0, 0]], [3, 1])
    """

    def __init__(self, inputs: WordInputs, sentences: Iterable[Sequence[str]]) -> None:
        forms: dict[str, int] = {}
        self._places = Ragged(
            ([forms.setdefault(word, len(forms)) for word in words] for words in sentences),
            dtype=np.int32,
        )
        self._numbers: NDArray[np.int64] = np.array([inputs.number(form) for form in forms])
        self._spellings = Ragged(map(inputs.spelling, forms), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words in each sentence."""
        return self._places.lengths

    def forms(self, example: int) -> list[int]:
        """The words of a sentence, each distinct form by a number of its own."""
        found: list[int] = self._places[example].tolist()
        return found

    def unknown(self, examples: Sequence[int]) -> float:
        """The share of words that are unknown in some sentences."""
        found = sum(int((self._numbers[self._places[i]] == 0).sum()) for i in examples)
        return found / max(1, int(self.lengths[list(examples)].sum()))

    def batch(self, examples: Sequence[int], device: torch.device | str) -> tuple[Words, Tensor]:
        """Some sentences as one batch.

        Args:
            examples: which, B of them.
            device: where the model is.

        Returns:
            The words, and the lengths (B,).
        """
        present = np.unique(np.concatenate([self._places[i] for i in examples]))
        places = np.zeros((len(examples), int(self.lengths[list(examples)].max())), dtype=np.int64)
        for row, i in enumerate(examples):
            places[row, : self.lengths[i]] = np.searchsorted(present, self._places[i])
        words = Words(
            _tensor(self._numbers[present], device),
            _tensor(self._spellings.padded(present.tolist()), device),
            _tensor(self._spellings.lengths[present], device),
            _tensor(places, device),
        )
        return words, torch.from_numpy(self.lengths[list(examples)])


def _tensor(values: NDArray[Any], device: torch.device | str) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)


def _ranked(counts: Counter[str]) -> list[str]:
    # Ties go by the text, so that the same data gives the same table everywhere.
    return sorted(counts, key=lambda token: (-counts[token], token))
