"""What models over examples read: learned from the data, stored, and laid out as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comporta.data import Vocabulary
from comporta.data.ragged import Ragged
from comporta.models import TokenInput
from comporta.tasks.kind import Learned

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

    >>> inputs = TextInputs.learn(["one two", "two"], level="word", size=None)
    >>> inputs.encode("two three").tolist()
    [2, 0]
    """

    dtype = np.int32

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def learn(cls, texts: Iterable[str], *, level: str, size: int | None) -> TextInputs:
        """Learn the tokens of some texts.

        Args:
            texts: the training texts, gone through once.
            level: char, word or bpe.
            size: most tokens; None for the default of the level.
        """
        text = "\n".join(_first_characters(texts))
        return cls(Vocabulary.learn(text, level=level, size=size))

    @classmethod
    def from_learned(cls, learned: Learned, *, level: str) -> TextInputs:
        """The same inputs as a run began with."""
        return cls(Vocabulary.from_json(learned.texts.get("tokenizer.json", ""), level=level))

    def learned(self) -> Learned:
        """The vocabulary."""
        return Learned(texts={"tokenizer.json": self.vocabulary.to_json()})

    def encode(self, example: str) -> NDArray[np.int64]:
        """The tokens of a text (T,)."""
        ids: NDArray[np.int64] = self.vocabulary.encode(example).ids.numpy()
        return ids

    def store(self, examples: Iterable[str]) -> Ragged:
        """Texts as tokens on disk."""
        return Ragged(map(self.encode, examples), dtype=np.int32)

    def report(self, store: Ragged, validation: Sequence[int]) -> dict[str, object]:
        """Lengths, the vocabulary and how much of the validation part is unknown."""
        report: dict[str, object] = {
            "tokens of an example": (
                f"{int(np.median(store.lengths))} (median), {int(store.lengths.max())} (most)"
            ),
            "vocabulary": len(self.vocabulary),
        }
        if self.vocabulary.unk is not None:
            unknown = sum(int((store[i] == self.vocabulary.unk).sum()) for i in validation)
            tokens = int(store.lengths[list(validation)].sum())
            report["unknown in validation"] = f"{unknown / max(1, tokens):.2%}"
        return report

    def module(self, config: object) -> TokenInput:
        """An embedding of the size that the model's configuration names."""
        return TokenInput(
            len(self.vocabulary),
            config.embedding,  # type: ignore[attr-defined]
            dropout=config.token_dropout,  # type: ignore[attr-defined]
        )


def batch_of(store: Ragged, examples: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Some examples as one batch.

    Args:
        store: encoded examples.
        examples: which, B of them.
        device: where the model is.

    Returns:
        The batch (B, T, ...): tokens as int64, numbers as float32, pictures as uint8; and the
        lengths (B,).
    """
    padded = torch.from_numpy(store.padded(examples))
    # A table of vectors is looked up by int64 alone, and tokens are kept smaller.
    batch = padded.long() if padded.dtype == torch.int32 else padded
    return batch.to(device), torch.from_numpy(store.lengths[list(examples)])


def _first_characters(texts: Iterable[str]) -> Iterator[str]:
    read = 0
    for text in texts:
        yield text
        read += len(text)
        if read > _CHARACTERS_READ:
            return
