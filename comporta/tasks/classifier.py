"""The task of a classifier: a label, labels or a score for each sequence of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from comporta.errors import ConfigurationError, DataError
from comporta.models import Classifier, ClassifierConfig
from comporta.tasks.answers import answers_from, learn_answers
from comporta.tasks.classifier_data import ClassifierData, recognize
from comporta.tasks.examples import Division, ExampleTask, device_of
from comporta.tasks.kind import Kind, Learned
from comporta.tasks.sources import Source
from comporta.tasks.trained_classifier import TrainedClassifier, new_model
from comporta.training import files
from comporta.training.recipe import Parts, Recipe
from comporta.training.task import Measure

ClassifierRecipe = Recipe[ClassifierData, ClassifierConfig]


class ClassifierTask(ExampleTask):
    """Labelled examples as training data for a classifier.

    Args:
        recipe: what to train on and what model.
        learned: the inputs and the answers; learned from the training part when not given.

    Raises:
        DataError: a file that cannot be read, labels that are all the same, too few examples.
        ConfigurationError: settings that do not fit each other or the data.
    """

    def __init__(self, recipe: ClassifierRecipe, learned: Learned | None = None) -> None:
        data, output = recipe.data, recipe.model.output
        self.recipe = recipe
        if data.balance and output != "softmax":
            raise ConfigurationError(
                f"balance is for classes, and output is {output}; leave it out, or choose softmax"
            )
        kind = data.kind or recognize(Path(data.files[0]), series=data.series)
        source = Source(kind, data, spelled=recipe.model.characters > 0)
        labels = [example.label for example in source.read(data.files)]
        extra = [example.label for example in source.read(data.validation_files)]
        try:
            self.division = Division.of(
                len(labels), extra=len(extra), share=data.hold_out, seed=recipe.options.seed
            )
        except DataError as error:
            raise DataError(f"{labels[0].where}: {error}") from None
        everything = (*data.files, *data.validation_files)

        def values() -> Iterator[Any]:
            return (example.value for example in source.read(everything))

        if learned is None:
            self.answers = learn_answers(output, labels, self.division.training)
        else:
            self.answers = answers_from(output, learned.facts)
        # Before anything long: a label that training does not know is found here.
        self._targets = torch.from_numpy(self.answers.targets(labels + extra))
        if learned is None:
            self.inputs, self._store = source.learn(values, self.division.training)
        else:
            self.inputs = source.from_learned(learned)
            self._store = self.inputs.store(values())
        self.digest = files.digest_files(everything)
        self._kind = kind
        self._prior = self._log_shares() * data.balance if data.balance else None
        super().__init__(
            self._store.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    @property
    def learned(self) -> Learned:
        """The kind of the examples, what their inputs learned, and the answers."""
        inputs = self.inputs.learned()
        facts = {"kind": self._kind, **inputs.facts, **self.answers.facts}
        return Learned(facts=facts, texts=inputs.texts)

    @property
    def report(self) -> Mapping[str, object]:
        """Examples, lengths, labels, and how good an answer is that looks at nothing."""
        training, validation = self.division.training, self.division.validation
        return {
            "kind": self._kind,
            "training examples": len(training),
            "validation examples": len(validation),
            **self.inputs.report(self._store, validation),
            **self.answers.report(
                self._targets[training].numpy(), self._targets[validation].numpy()
            ),
        }

    def build(self) -> Classifier:
        """A new model."""
        return new_model(self.recipe.model, self.inputs, self.answers)

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """The loss of the answers, summed."""
        return self._loss(*self._outputs(model, examples)), len(examples)

    def validate(self, model: nn.Module) -> Measure:
        """Figures on the examples held out."""
        total, outputs, order = 0.0, [], []
        for examples in self.validation_batches():
            found, targets = self._outputs(model, examples)
            total += float(self._loss(found, targets))
            outputs.append(found.cpu())
            order += examples
        loss = total / len(order)
        found_answers = self.answers.decode(torch.cat(outputs))
        figures = self.answers.figures(found_answers, self._targets[order].numpy())
        shown = {name: value for name, value in figures.items() if name != "examples"}
        return Measure(
            loss=loss,
            figures=figures,
            summary=", ".join(f"{name.replace('_', ' ')} {v:.4f}" for name, v in shown.items()),
            rank=self.answers.rank(figures, loss) if self._prior is None else -figures["macro_f1"],
        )

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The summed loss; to balance classes, what a model gives need not say how frequent each
        is, because that is added here."""
        if self._prior is not None:
            outputs = outputs + self._prior.to(outputs)
        return self.answers.loss(outputs, targets)

    def _log_shares(self) -> Tensor:
        """The logarithm of the share of each class in the training part (K,)."""
        counts = self._targets[self.division.training].bincount(minlength=self.answers.size)
        # A class may have all its examples among those held out.
        return (counts.clamp(min=1) / counts.sum()).log()

    def _outputs(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, Tensor]:
        device = device_of(model)
        outputs: Tensor = model(*self._store.batch(examples, device))
        return outputs, self._targets[list(examples)].to(device)


def _trained(recipe: ClassifierRecipe, learned: Learned) -> TrainedClassifier:
    source = Source(learned.facts["kind"], recipe.data, spelled=recipe.model.characters > 0)
    inputs = source.from_learned(learned)
    answers = answers_from(recipe.model.output, learned.facts)
    model = new_model(recipe.model, inputs, answers)
    return TrainedClassifier(model, source, inputs, answers, batch_size=recipe.data.batch_size)


KIND = Kind(
    name="classifier",
    help="""Train a classifier on labelled sequences: texts, DNA, series of numbers, sound, video.

A part of the examples, or a validation file, is held out; the best model on it is kept.

`comporta train classifier questions.txt --out runs/questions --epochs 10`""",
    parts=Parts(ClassifierData, ClassifierConfig),
    prepare=ClassifierTask,
    trained=_trained,
)
