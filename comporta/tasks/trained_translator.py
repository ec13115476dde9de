"""A trained translator: it translates, shows what it attended to, and is measured."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.data import read_lines, read_pairs, unknown_note
from comporta.data.batches import Batches
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError
from comporta.models import Translator, TranslatorState
from comporta.models.beam import Hypothesis, beam_search, greedy
from comporta.tasks.examples import device_of
from comporta.tasks.translator_data import TABLES, Sides, TranslatorRecipe, read_all

_log = logging.getLogger(__name__)


@torch.no_grad()
def search(
    model: Translator,
    sides: Sides,
    sources: Ragged,
    examples: Sequence[int],
    *,
    width: int,
    length_normalization: float,
    batch_size: int,
) -> list[Hypothesis]:
    """The best translation that a beam finds, for each of some sources.

    `<unk>` is never written.

    Args:
        model: in evaluation mode.
        sides: its vocabularies.
        sources: all encoded sources.
        examples: which of them.
        width: of the beam; 1 is greedy search.
        length_normalization: of the beam.
        batch_size: sources translated together.

    Returns:
        A hypothesis for each, in order.
    """
    unknown, end = sides.target.vocabulary.unk, sides.target.end

    def step(tokens: Tensor, state: TranslatorState) -> tuple[Tensor, TranslatorState]:
        following, state = model.step(tokens, state)
        if unknown is not None:
            following[:, unknown] = -torch.inf
        return following, state

    found: dict[int, Hypothesis] = {}
    batches = Batches(sources.lengths, examples, size=batch_size, seed=0)
    for batch in batches.in_order():
        source, lengths = sources.batch(batch, device_of(model))
        state = model.encode(source, lengths)
        if width == 1:
            best = greedy(state, step, start=end, end=end, longest=sides.longest)
        else:
            several = beam_search(
                state,
                step,
                width=width,
                start=end,
                end=end,
                longest=sides.longest,
                length_normalization=length_normalization,
            )
            best = [hypotheses[0] for hypotheses in several]
        found |= zip(batch, best, strict=True)
    return [found[example] for example in examples]


@dataclass(frozen=True)
class Alignment:
    """What a decoder attended to.

    Args:
        source: the tokens read, S of them, the end included.
        target: the tokens written, T of them, the end included.
        weights: (T, S), how much each source token counted when a target token was written.
    """

    source: list[str]
    target: list[str]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Translation:
    """A translation.

    Args:
        text: the translation.
        log_probability: of its tokens and its end, in nats.
        score: what the beam ranks by; the log-probability, divided for its length.
        attention: what was attended to, if it was asked for.
    """

    text: str
    log_probability: float
    score: float
    attention: Alignment | None = None

    def to_json(self) -> dict[str, object]:
        """The translation as JSON data, without the attention."""
        return {
            "translation": self.text,
            "log_probability": self.log_probability,
            "score": self.score,
        }

    def __str__(self) -> str:
        return self.text


class TrainedTranslator:
    """A translator with its vocabularies.

    Args:
        recipe: that it was trained with.
        model: the model.
        sides: the source and the target.
    """

    def __init__(self, recipe: TranslatorRecipe, model: Translator, sides: Sides) -> None:
        self.recipe, self.model, self.sides = recipe, model.eval(), sides

    def predict(
        self, texts: Sequence[str], *, beam: int | None = None, attention: bool = False
    ) -> list[Translation]:
        """Translate texts; what is unknown in them is logged.

        Args:
            texts: the texts.
            beam: width of the beam; the one of the recipe unless given. 1 is greedy search.
            attention: whether to return what was attended to as well.

        Returns:
            A translation for each, in order.

        Raises:
            ConfigurationError: a width below 1, or attention of a model that has none.
        """
        if attention and self.model.attention is None:
            raise ConfigurationError(
                "this translator was trained with attention none, so there is nothing to return; "
                "train with --attention additive or general"
            )
        unknown: Counter[str] = Counter()
        for text in texts:
            unknown.update(self.sides.source.vocabulary.encode(text).unknown)
        if unknown:
            _log.warning(unknown_note(unknown, "the source"))
        data = self.recipe.data
        sources = self.sides.source.store(texts)
        found = search(
            self.model,
            self.sides,
            sources,
            range(len(texts)),
            width=data.beam if beam is None else beam,
            length_normalization=data.length_normalization,
            batch_size=data.batch_size,
        )
        return [
            Translation(
                self.sides.target.decode(best.tokens),
                best.log_probability,
                best.score,
                self._alignment(sources[row], best.tokens) if attention else None,
            )
            for row, best in enumerate(found)
        ]

    def read_inputs(self, path: Path) -> list[str]:
        """The texts of a file: one a line, or the first column of a table."""
        encoding = self.recipe.data.encoding
        if path.name.endswith(TABLES):
            return [pair.source for pair in read_pairs(path, encoding=encoding)]
        return [text.strip() for _, text in read_lines(path, encoding=encoding)]

    def evaluate_files(
        self, paths: list[Path], *, beam: int | None = None
    ) -> dict[str, float | str]:
        """BLEU, chrF and exact match on pairs, with what sacrebleu calls its signatures.

        Args:
            paths: as in training.
            beam: width of the beam; the one of the recipe unless given.

        Raises:
            DataError: pairs that cannot be read.
            ConfigurationError: a width below 1.
        """
        files = [str(path) for path in paths]
        pairs = list(read_all(files, encoding=self.recipe.data.encoding))
        translations = self.predict([pair.source for pair in pairs], beam=beam)
        found = [translation.text for translation in translations]
        return translation_figures(found, [pair.target for pair in pairs]) | signatures()

    @torch.no_grad()
    def _alignment(self, source: NDArray[np.int32], tokens: list[int]) -> Alignment:
        written = [*tokens, self.sides.target.end]
        device = device_of(self.model)
        inputs = self.model.inputs(torch.tensor([written], device=device))
        read = torch.tensor(source, dtype=torch.int64, device=device).unsqueeze(0)
        weights = self.model(read, None, inputs)[1]
        return Alignment(
            self.sides.source.names(source.tolist()),
            self.sides.target.names(written),
            weights[0].cpu().numpy(),
        )


def translation_figures(found: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """BLEU and chrF, from 0 to 100, by sacrebleu; the share of translations that are exact.

    Sources: Papineni et al. 2002, "BLEU"; Popović 2015, "chrF"; Post 2018, arXiv:1804.08771.

    >>> translation_figures(["a b c d", "e"], ["a b c d", "f"])["exact_match"]
    0.5
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    references = [list(expected)]
    exact = sum(a == b for a, b in zip(found, expected, strict=True))
    return {
        "bleu": BLEU().corpus_score(list(found), references).score,
        "chrf": CHRF().corpus_score(list(found), references).score,
        "exact_match": exact / len(expected),
        "pairs": len(expected),
    }


def signatures() -> dict[str, str]:
    """How BLEU and chrF were computed, in the words of sacrebleu.

    >>> signatures()["bleu_signature"].split("|")[3]
    'tok:13a'
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    shown = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        metric.corpus_score(["a"], [["a"]])  # The number of references is known after a score.
        shown[f"{name}_signature"] = str(metric.get_signature())
    return shown
