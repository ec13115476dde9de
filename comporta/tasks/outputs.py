"""What a generator writes: the tokens of a text, or frames of keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.data import Encoded, Vocabulary
from comporta.data.midi import KEYS
from comporta.data.notes import format_notes, parse_notes
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError
from comporta.models import Conditioned, Sampling, generate, generate_keys, key_losses, step_losses
from comporta.tasks.inputs import TextInputs
from comporta.tasks.kind import Learned
from comporta.training.task import perplexity

_IGNORED = -100


class Output(Protocol):
    """One kind of output: sequences as arrays, their loss, and how they are drawn."""

    keys: bool
    unit: str

    @property
    def size(self) -> int:
        """V, how many tokens or keys there are."""

    @property
    def learned(self) -> Learned:
        """All that it takes to make this object again."""

    def store(self, sequences: Iterable[Any]) -> Ragged:
        """Sequences, encoded, on disk; padded with what does not count."""

    def parse(self, text: str) -> Encoded:
        """What a person writes as the beginning of a sequence, (N,) or (N, V)."""

    def targets(self, store: Ragged, examples: Sequence[int]) -> Tensor:
        """What is to be put out at each step, (B, T) or (B, T, V)."""

    def inputs(self, targets: Tensor) -> Tensor:
        """What was put out before each step."""

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B, T) in nats, 0 where nothing is to be put out."""

    def figures(self, nats: float, steps: int) -> dict[str, float]:
        """What sequences of so many steps cost, by the names people know."""

    def floor(self, training: Iterable[Any], validation: Iterable[Any]) -> float:
        """Nats a step when every step is drawn by its frequency, whatever came before."""

    def names(self, sequence: Tensor) -> list[str]:
        """Each step of an encoded sequence, for people."""

    def draw(
        self,
        model: Conditioned,
        prime: Tensor,
        *,
        length: int,
        sampling: Sampling,
        generator: torch.Generator,
        allow_unk: bool,
    ) -> Any:
        """One sequence, the prime included, as people use it."""


class TokenOutput:
    """Texts, each with a token at its end that the vocabulary itself does not have.

    Args:
        inputs: how texts become tokens.

    >>> output = TokenOutput.learn(["ab", "a"], level="char", size=None)
    >>> output.store(["ab"])[0].tolist(), output.end
    ([1, 3, 4], 4)
    """

    keys = False
    unit = "tokens"

    def __init__(self, inputs: TextInputs) -> None:
        self.vocabulary: Vocabulary = inputs.vocabulary
        self._inputs = inputs
        self.end = len(self.vocabulary)
        self.size = self.end + 1

    @classmethod
    def learn(cls, texts: Iterable[str], *, level: str, size: int | None) -> TokenOutput:
        """Learn the tokens of some texts."""
        return cls(TextInputs.learn(texts, level=level, size=size))

    @property
    def learned(self) -> Learned:
        """The vocabulary."""
        return self._inputs.learned()

    def store(self, sequences: Iterable[str]) -> Ragged:
        """Texts as tokens on disk, each with its end."""
        ended = (np.append(self._inputs.encode(text), self.end) for text in sequences)
        return Ragged(ended, dtype=np.int32)

    def parse(self, text: str) -> Encoded:
        """The tokens of a text (N,), without an end."""
        return self.vocabulary.encode(text)

    def targets(self, store: Ragged, examples: Sequence[int]) -> Tensor:
        """Tokens (B, T); beyond the end of a text -100."""
        return torch.from_numpy(store.padded(examples, fill=_IGNORED)).long()

    def inputs(self, targets: Tensor) -> Tensor:
        """The tokens before; -1 before the first."""
        first = targets.new_full((len(targets), 1), -1)
        return torch.cat([first, targets[:, :-1]], dim=1).clamp(min=-1)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Softmax cross-entropy of each token."""
        return step_losses(logits, targets)

    def figures(self, nats: float, steps: int) -> dict[str, float]:
        """Nats and bits a token, the end of a text being one, too, and the perplexity."""
        return {
            "nats_per_token": nats / steps,
            "bits_per_token": nats / steps / math.log(2),
            "perplexity": perplexity(nats / steps),
            "tokens": steps,
        }

    def floor(self, training: Iterable[Any], validation: Iterable[Any]) -> float:
        """Nats a token under the frequencies of tokens, one added to each."""
        counts = np.ones(self.size)
        for tokens in training:
            counts += np.bincount(tokens, minlength=self.size)
        costs = -np.log(counts / counts.sum())
        found = Counter[int]()
        for tokens in validation:
            found.update(tokens.tolist())
        return float(sum(costs[token] * n for token, n in found.items()) / found.total())

    def names(self, sequence: Tensor) -> list[str]:
        """The text of each token; that of the end is empty."""
        return [
            "" if index == self.end else self.vocabulary.token(index) for index in sequence.tolist()
        ]

    def draw(
        self,
        model: Conditioned,
        prime: Tensor,
        *,
        length: int,
        sampling: Sampling,
        generator: torch.Generator,
        allow_unk: bool,
    ) -> str:
        """A text; it ends by itself, or after so many tokens."""
        unknown = self.vocabulary.unk
        tokens = generate(
            model,
            prime,
            length=length,
            sampling=sampling,
            generator=generator,
            forbidden=[] if allow_unk or unknown is None else [unknown],
            stop=self.end,
        )
        return self.vocabulary.decode(prime.tolist() + tokens)


class KeyOutput:
    """Piano rolls: 88 keys, any number of which sound in a frame; a sequence has no end of its own.

    >>> output = KeyOutput()
    >>> output.targets(output.store([parse_notes("60 62,64")]), [0]).shape
    torch.Size([1, 2, 88])
    """

    keys = True
    unit = "frames"
    size = KEYS
    learned = Learned()

    def store(self, sequences: Iterable[NDArray[np.bool_]]) -> Ragged:
        """Rolls on disk."""
        return Ragged(sequences, dtype=np.int8)

    def parse(self, text: str) -> Encoded:
        """Frames (N, 88) of notes such as "60,64,67 62"."""
        return Encoded(ids=torch.from_numpy(parse_notes(text)), unknown={})

    def targets(self, store: Ragged, examples: Sequence[int]) -> Tensor:
        """Frames (B, T, 88); beyond the end of a roll -1."""
        return torch.from_numpy(store.padded(examples, fill=-1))

    def inputs(self, targets: Tensor) -> Tensor:
        """The frames before; silence before the first."""
        first = torch.zeros_like(targets[:, :1])
        return torch.cat([first, targets[:, :-1].clamp(min=0)], dim=1)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropies of all keys of a frame, summed."""
        return key_losses(logits, targets.clamp(min=0)) * (targets[:, :, 0] >= 0)

    def figures(self, nats: float, steps: int) -> dict[str, float]:
        """Nats a frame: those of all frames of all rolls, by the number of frames."""
        return {"nats_per_frame": nats / steps, "frames": steps}

    def floor(self, training: Iterable[Any], validation: Iterable[Any]) -> float:
        """Nats a frame where each key sounds as often as in training, whatever the others do."""
        frames, sounding = 2.0, np.ones(KEYS)
        for roll in training:
            frames += len(roll)
            sounding += roll.sum(axis=0)
        on, off = -np.log(sounding / frames), -np.log(1 - sounding / frames)
        nats, count = 0.0, 0
        for roll in validation:
            nats += float(np.where(roll, on, off).sum())
            count += len(roll)
        return nats / count

    def names(self, sequence: Tensor) -> list[str]:
        """The notes of each frame."""
        return format_notes(sequence.numpy()).split()

    def draw(
        self,
        model: Conditioned,
        prime: Tensor,
        *,
        length: int,
        sampling: Sampling,
        generator: torch.Generator,
        allow_unk: bool,
    ) -> NDArray[np.bool_]:
        """A roll of as many frames after the prime.

        Raises:
            ConfigurationError: top-k or top-p, which choose among tokens.
        """
        if sampling.top_k is not None or sampling.top_p is not None:
            raise ConfigurationError(
                "top_k and top_p choose among tokens, and keys are drawn each by itself; "
                "give a temperature alone"
            )
        frames = generate_keys(model, prime, length=length, sampling=sampling, generator=generator)
        roll: NDArray[np.bool_] = torch.cat([prime, frames]).numpy()
        return roll


def transposed(frames: Tensor, most: int) -> Tensor:
    """Rolls moved up or down the keyboard, each by a whole number drawn anew.

    Args:
        frames: (B, T, V), -1 beyond the end of a roll.
        most: keys to move by at most, never so far that a note would leave the keyboard.

    Returns:
        (B, T, V).

    >>> rolls = torch.eye(88, dtype=torch.int8)[None, 40:43]
    >>> transposed(rolls, 0).equal(rolls)
    True
    """
    moved = []
    for roll, way in zip(frames, torch.randint(-most, most + 1, (len(frames),)), strict=True):
        used = (roll > 0).any(0).nonzero()
        low, high = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        moved.append(roll.roll(max(-low, min(roll.shape[1] - 1 - high, int(way))), 1))
    return torch.stack(moved)
