"""A trained language model: it writes, scores and is measured."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from comporta.data import Corpus, Encoded, Streams, Vocabulary, encode_pieces, unknown_note
from comporta.errors import DataError
from comporta.models import (
    LanguageModel,
    Sampling,
    generate,
    log_probabilities,
    randomness,
    step_losses,
)
from comporta.training.task import perplexity

_log = logging.getLogger(__name__)

UNENDED_LENGTH = 500
LONGEST_SENTENCE = 1000
_WINDOW = 1024


@dataclass(frozen=True, kw_only=True)
class Score:
    """How probable a text is.

    Args:
        text: the text.
        log_probability: sum over its tokens of log p(y_t | y_<t), in nats.
        steps: the text of each token with its own log-probability.
        unknown: the pieces scored as `<unk>`, with their counts.
    """

    text: str
    log_probability: float
    steps: tuple[tuple[str, float], ...]
    unknown: dict[str, int]

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return len(self.steps)

    @property
    def perplexity(self) -> float:
        """exp of the mean loss per token."""
        return perplexity(-self.log_probability / self.tokens)

    def to_json(self) -> dict[str, object]:
        """The score as JSON data, without its steps."""
        return {
            "text": self.text,
            "log_probability": self.log_probability,
            "perplexity": self.perplexity,
            "tokens": self.tokens,
        }


class TrainedLanguageModel:
    """A language model with its vocabulary: it writes, and says how probable a text is.

    Args:
        model: the model.
        vocabulary: its tokens.
    """

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary

    def encode(self, text: str, *, ended: bool = False) -> Encoded:
        """The tokens of a text, with the pieces of it that are unknown.

        Args:
            text: the text.
            ended: its end ends a sentence, too.
        """
        return self.vocabulary.encode(text, ended=ended)

    def generate(
        self,
        prime: str = "",
        *,
        length: int | None = None,
        count: int = 1,
        sampling: Sampling | None = None,
        seed: int | None = None,
        allow_unk: bool = False,
    ) -> list[str]:
        """Write texts.

        Args:
            prime: the text to go on from.
            length: tokens to draw; None to go on until the sentence ends (at most 1000 tokens),
                or for 500 tokens where the vocabulary knows no sentence ends.
            count: how many texts.
            sampling: temperature, top-k and top-p.
            seed: fixes what is drawn; None draws anew each time.
            allow_unk: draw `<unk>`, too; otherwise it is drawn again.

        Returns:
            The texts, the prime included.

        Raises:
            ConfigurationError: a length, a count or a seed below its least value.
        """
        generator = randomness(length=length, count=count, seed=seed)
        vocabulary = self.vocabulary
        start = self.encode(prime).ids
        until_end = length is None and vocabulary.eos is not None
        if length is None:
            length = LONGEST_SENTENCE if until_end else UNENDED_LENGTH
        forbidden = [] if allow_unk or vocabulary.unk is None else [vocabulary.unk]
        texts = []
        for _ in range(count):
            tokens = generate(
                self.model,
                start,
                length=length,
                sampling=sampling or Sampling(),
                generator=generator,
                forbidden=forbidden,
                stop=vocabulary.eos if until_end else None,
            )
            texts.append(vocabulary.decode(start.tolist() + tokens))
        return texts

    def score(self, text: str) -> Score:
        """How probable a text is; the end of a text of words counts as the end of a sentence.

        Args:
            text: the text.

        Returns:
            Its score.

        Raises:
            DataError: the text has no tokens.
        """
        encoded = self.encode(text, ended=True)
        if not len(encoded.ids):
            raise DataError(f"the text {text!r} has no tokens to score; give some words")
        values = log_probabilities(self.model, encoded.ids).double()
        names = [self.vocabulary.token(index) for index in encoded.ids.tolist()]
        return Score(
            text=text,
            log_probability=float(values.sum()),
            steps=tuple(zip(names, values.tolist(), strict=True)),
            unknown=encoded.unknown,
        )

    def evaluate(self, text: str) -> dict[str, float]:
        """Measure the model on a text, read from its beginning to its end in one go.

        Args:
            text: the text.

        Returns:
            The figures of `text_figures`.

        Raises:
            DataError: the text has no tokens.
        """
        return self._measure(self.encode(text).ids.numpy(), characters=len(text))

    def evaluate_files(self, paths: list[Path]) -> dict[str, float]:
        """Measure the model on text files, read as one text; what is unknown is logged."""
        corpus = Corpus(paths, level=self.vocabulary.level)
        tokens, unknown = encode_pieces(self.vocabulary, corpus.pieces())
        if unknown:
            _log.warning(unknown_note(unknown, "the text"))
        return self._measure(tokens, characters=corpus.characters)

    @torch.no_grad()
    def _measure(self, tokens: NDArray[Any], *, characters: int) -> dict[str, float]:
        if not len(tokens):
            raise DataError("the text has no tokens to measure the model on; give a longer one")
        stream = Streams.over(tokens, batch=1, start=self.model.start)
        device = next(self.model.parameters()).device
        nats, state = 0.0, None
        for index in range(stream.windows(_WINDOW)):
            inputs, targets = stream.window(index, _WINDOW)
            logits, state = self.model(inputs.to(device), state)
            nats += float(step_losses(logits, targets.to(device)).double().sum())
        return text_figures(nats=nats, tokens=len(tokens), characters=characters)


def text_figures(*, nats: float, tokens: int, characters: int) -> dict[str, float]:
    """How well a text is predicted, in all the units in use.

    Args:
        nats: minus the log-probability of the whole text.
        tokens: its length in tokens.
        characters: its length in characters.

    Returns:
        Nats and bits a token, perplexity, bits a character (which compare across vocabularies),
        and the two lengths.

    >>> text_figures(nats=8 * math.log(2), tokens=4, characters=8)["bits_per_character"]
    1.0
    """
    return {
        "nats_per_token": nats / tokens,
        "bits_per_token": nats / math.log(2) / tokens,
        "perplexity": perplexity(nats / tokens),
        "bits_per_character": nats / math.log(2) / characters,
        "tokens": tokens,
        "characters": characters,
    }
