"""The task of a translator: for each text another one, as pairs show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from comporta.data import Pair
from comporta.models import Translator, TranslatorConfig
from comporta.tasks.examples import Division, ExampleTask, device_of
from comporta.tasks.kind import Kind, Learned
from comporta.tasks.trained_translator import TrainedTranslator, search, translation_figures
from comporta.tasks.translator_data import Sides, TranslatorData, TranslatorRecipe, read_all
from comporta.training import files
from comporta.training.recipe import Parts
from comporta.training.task import Carried, Measure, StepLoss, perplexity

_DECODED = 500
"""Pairs translated at each validation: searching takes longer than computing a loss."""
_RISE = 5
"""Epochs over which scheduled sampling rises."""


class TranslatorTask(ExampleTask):
    """Pairs of texts as training data for a translator.

    Args:
        recipe: what to train on and what model.
        learned: the vocabularies; learned from the training part when not given.

    Raises:
        DataError: a file that cannot be read, or too few pairs.
    """

    unit = "tokens"

    def __init__(self, recipe: TranslatorRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        self.recipe = recipe
        count, extra = (sum(1 for _ in self._read(f)) for f in (data.files, data.validation))
        self.division = Division.of(
            count, extra=extra, share=data.hold_out, seed=recipe.options.seed
        )
        self.sides = self._learn() if learned is None else Sides.from_learned(learned, data)
        self.digest = files.digest_files((*data.files, *data.validation))
        self._sources = self.sides.source.store(pair.source for pair in self._all())
        self._targets = self.sides.target.store(pair.target for pair in self._all())
        self._decoded = self.division.validation[:_DECODED]
        wanted = set(self._decoded)
        self._held_out_pairs = [p for i, p in enumerate(self._all()) if i in wanted]
        super().__init__(
            self._sources.lengths + self._targets.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    def _read(self, paths: Sequence[str]) -> Iterator[Pair]:
        return read_all(paths, encoding=self.recipe.data.encoding)

    def _all(self) -> Iterator[Pair]:
        # One after the other, for which files are parallel is said within each.
        return chain(self._read(self.recipe.data.files), self._read(self.recipe.data.validation))

    def _learn(self) -> Sides:
        kept = set(self.division.training)

        def pairs() -> Iterator[Pair]:
            return (x for i, x in enumerate(self._read(self.recipe.data.files)) if i in kept)

        return Sides.learn(pairs, self.recipe.data)

    @property
    def learned(self) -> Learned:
        """The vocabularies, and how long translations are."""
        return self.sides.learned()

    @property
    def report(self) -> Mapping[str, object]:
        """Pairs, lengths, vocabularies, unknown rates, and what copying the source gives."""
        validation = self.division.validation
        pairs = self._held_out_pairs
        floor = translation_figures([x.source for x in pairs], [x.target for x in pairs])
        return {
            "training pairs": len(self.division.training),
            "validation pairs": len(validation),
            "translated at each validation": len(self._decoded),
            "source": self.sides.source.report(self._sources, validation),
            "target": self.sides.target.report(self._targets, validation),
            "copying the source": f"BLEU {floor['bleu']:.2f}, exact {floor['exact_match']:.3f}",
        }

    def build(self) -> Translator:
        """A new model."""
        return self.sides.model(self.recipe.model)

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        """The mean loss of one batch, with label smoothing and scheduled sampling."""
        data = self.recipe.data
        risen = min(1.0, step / (_RISE * self.steps_per_epoch))
        losses = self._losses(
            model,
            self._batches.at(step),
            label_smoothing=data.label_smoothing,
            scheduled_sampling=risen * data.scheduled_sampling,
        )
        return StepLoss(mean=losses.mean(), count=len(losses))

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """Cross-entropy under the true targets, summed."""
        losses = self._losses(model, examples)
        return losses.sum(), len(losses)

    def validate(self, model: nn.Module) -> Measure:
        """The loss of all pairs held out; BLEU, chrF and exact match of 500, searched greedily.

        The best model has the least loss: smoother than BLEU, and of all pairs.
        """
        nats, tokens = 0.0, 0
        for examples in self.validation_batches():
            total, count = self.batch_loss(model, examples)
            nats, tokens = nats + float(total), tokens + count
        loss = nats / tokens
        found = search(
            cast(Translator, model),
            self.sides,
            self._sources,
            self._decoded,
            width=1,
            length_normalization=0.0,
            batch_size=self.recipe.data.batch_size,
        )
        figures = translation_figures(
            [self.sides.target.decode(best.tokens) for best in found],
            [pair.target for pair in self._held_out_pairs],
        )
        return Measure(
            loss=loss,
            figures={"nats_per_token": loss, "perplexity": perplexity(loss), **figures},
            summary=(
                f"perplexity {perplexity(loss):.2f}, BLEU {figures['bleu']:.2f}, "
                f"chrF {figures['chrf']:.2f}, exact {figures['exact_match']:.4f}"
            ),
        )

    def _losses(self, model: nn.Module, examples: Sequence[int], **options: float) -> Tensor:
        device = device_of(model)
        source, lengths = self._sources.batch(examples, device)
        targets = torch.from_numpy(self._targets.padded(examples, fill=-100)).long().to(device)
        return cast(Translator, model).losses(source, lengths, targets, **options)


def _trained(recipe: TranslatorRecipe, learned: Learned) -> TrainedTranslator:
    sides = Sides.from_learned(learned, recipe.data)
    return TrainedTranslator(recipe, sides.model(recipe.model), sides)


KIND = Kind(
    name="translator",
    help="""Train a translator on pairs of texts: languages, letters to phonemes, sums.

A part of the pairs, or validation files, is held out; the model with the least loss on it is kept.

`comporta train translator train.de train.en --level bpe --out runs/de-en --epochs 10`""",
    parts=Parts(TranslatorData, TranslatorConfig),
    prepare=TranslatorTask,
    trained=_trained,
)
