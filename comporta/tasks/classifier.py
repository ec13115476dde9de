"""The task of a classifier: a label for each text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from comporta.data import Labelled, read_labelled, read_unlabelled
from comporta.data.batches import Batches
from comporta.errors import ConfigurationError, DataError, nearest
from comporta.models import Classifier, ClassifierConfig
from comporta.models.checks import check_rates, check_sizes
from comporta.tasks.examples import Division, ExampleTask, device_of
from comporta.tasks.inputs import TextInputs, batch_of
from comporta.tasks.kind import Kind, Learned
from comporta.training import files
from comporta.training.recipe import Parts, Recipe
from comporta.training.task import Measure


@dataclass(frozen=True, kw_only=True)
class ClassifierData:
    """Examples to learn from, and how they are read.

    Args:
        files: files of labelled texts: lines `label text`, TSV, CSV, JSON Lines, or a folder with
            a file for each label; all may be gz.
        validation: a file to validate on; without it a part of the examples is held out.
        hold_out: the part held out, where there is no such file.
        text: column or field of the texts.
        label: column or field of the labels.
        encoding: of the files.
        level: char, word or bpe.
        vocab_size: most tokens; by default 5000 characters, 10000 words or 2000 byte pairs.
        batch_size: examples in a batch.

    Raises:
        ConfigurationError: a value out of its range.
    """

    files: tuple[str, ...] = ()
    validation: str | None = None
    hold_out: float = 0.1
    text: str | None = None
    label: str | None = None
    encoding: str = "utf-8"
    level: str = "word"
    vocab_size: int | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError("no files to train on; give files of labelled texts")
        check_sizes(self, batch_size=1)
        check_rates(self, "hold_out")

    @property
    def validation_files(self) -> tuple[str, ...]:
        """The validation file, if there is one."""
        return () if self.validation is None else (self.validation,)


ClassifierRecipe = Recipe[ClassifierData, ClassifierConfig]


class ClassifierTask(ExampleTask):
    """Labelled texts as training data for a classifier.

    Args:
        recipe: what to train on and what model.
        learned: the vocabulary and the classes; learned from the training part when not given.

    Raises:
        DataError: a file that cannot be read, fewer than two classes, too few examples.
    """

    def __init__(self, recipe: ClassifierRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        self.recipe = recipe
        labels = [str(example.label) for example in _read(data, data.files)]
        extra = sum(1 for _ in _read(data, data.validation_files))
        self.division = Division.of(
            len(labels), extra=extra, share=data.hold_out, seed=recipe.options.seed
        )
        if learned is None:
            kept = set(self.division.training)
            texts = (x.text for i, x in enumerate(_read(data, data.files)) if i in kept)
            self.inputs = TextInputs.learn(texts, level=data.level, size=data.vocab_size)
            self.classes = Classes.of(labels)
        else:
            self.inputs = TextInputs.from_learned(learned, level=data.level)
            self.classes = Classes(learned.facts["classes"])
        everything = (*data.files, *data.validation_files)
        self.digest = files.digest_files(everything)
        self._targets = np.array([self.classes.number(x) for x in _read(data, everything)])
        self._store = self.inputs.store(x.text for x in _read(data, everything))
        super().__init__(
            self._store.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    @property
    def learned(self) -> Learned:
        """The vocabulary and the classes."""
        return Learned(facts={"classes": self.classes.names}, texts=self.inputs.learned().texts)

    @property
    def report(self) -> Mapping[str, object]:
        """Examples, lengths, classes, the unknown rate and what the most frequent class gives."""
        validation = self._targets[self.division.validation]
        floor = np.bincount(validation, minlength=len(self.classes.names)).max() / len(validation)
        counts = Counter(self._targets[self.division.training].tolist())
        named = ", ".join(f"{self.classes.names[c]} {n}" for c, n in counts.most_common())
        return {
            "training examples": len(self.division.training),
            "validation examples": len(validation),
            "classes": named,
            **self.inputs.report(self._store, self.division.validation),
            "always the most frequent class": f"accuracy {floor:.3f}",
        }

    def build(self) -> Classifier:
        """A new model."""
        return new_model(self.recipe, self.inputs, self.classes)

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """Cross-entropy, summed."""
        logits, targets = self._answers(model, examples)
        return nn.functional.cross_entropy(logits, targets, reduction="sum"), len(examples)

    def validate(self, model: nn.Module) -> Measure:
        """Accuracy and macro F1 on the examples held out; the best model has the best accuracy."""
        total, found, expected = 0.0, [], []
        for examples in self.validation_batches():
            logits, targets = self._answers(model, examples)
            total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
            found += logits.argmax(1).tolist()
            expected += targets.tolist()
        figures = classification_figures(found, expected)
        accuracy, macro = figures["accuracy"], figures["macro_f1"]
        return Measure(
            loss=total / len(expected),
            figures=figures,
            summary=f"accuracy {accuracy:.4f}, macro F1 {macro:.4f}",
            rank=-accuracy,
        )

    def _answers(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, Tensor]:
        device = device_of(model)
        batch, lengths = batch_of(self._store, examples, device)
        targets = torch.from_numpy(self._targets[list(examples)]).to(device)
        return model(batch, lengths), targets


@dataclass(frozen=True)
class Classes:
    """The classes by name; their numbers are their places.

    Args:
        names: in order.
    """

    names: list[str]

    @classmethod
    def of(cls, labels: Sequence[str]) -> Classes:
        """The classes that labels name.

        Raises:
            DataError: they are all the same.
        """
        names = sorted(set(labels))
        if len(names) < 2:
            raise DataError(
                f"all {len(labels)} examples have the label {names[0]!r}; a classifier needs at "
                "least two classes"
            )
        return cls(names)

    def number(self, example: Labelled) -> int:
        """The number of an example's class.

        Raises:
            DataError: the label is none of the classes.
        """
        if example.label not in self.names:
            raise DataError(
                f"{example.path}, line {example.line}: the class {example.label!r} is not among "
                f"those of the training data{nearest(str(example.label), self.names)}"
            )
        return self.names.index(example.label)


@dataclass(frozen=True)
class Prediction:
    """What a classifier makes of an input.

    Args:
        label: the most probable class.
        probabilities: of every class.
    """

    label: str
    probabilities: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """The prediction as JSON data."""
        return {"label": self.label, "probabilities": self.probabilities}

    def __str__(self) -> str:
        return f"{self.label} ({self.probabilities[self.label]:.3f})"


class TrainedClassifier:
    """A classifier with all that it takes to use it.

    Args:
        recipe: that it was trained with.
        model: the model.
        inputs: what it reads.
        classes: what it answers.
    """

    def __init__(
        self, recipe: ClassifierRecipe, model: Classifier, inputs: TextInputs, classes: Classes
    ) -> None:
        self.recipe, self.model, self.inputs, self.classes = recipe, model.eval(), inputs, classes

    @torch.no_grad()
    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The class of each text.

        Args:
            texts: the texts.

        Returns:
            A prediction for each, in order.
        """
        store = self.inputs.store(texts)
        size, device = self.recipe.data.batch_size, device_of(self.model)
        found: dict[int, Prediction] = {}
        for examples in Batches(store.lengths, range(len(texts)), size=size, seed=0).in_order():
            shares = self.model(*batch_of(store, examples, device)).softmax(1).tolist()
            for example, row in zip(examples, shares, strict=True):
                shown = dict(zip(self.classes.names, row, strict=True))
                found[example] = Prediction(max(shown, key=shown.__getitem__), shown)
        return [found[example] for example in range(len(texts))]

    def read_inputs(self, path: Path) -> list[str]:
        """The texts of a file, which need no labels."""
        data = self.recipe.data
        return [x.text for x in read_unlabelled(path, text=data.text, encoding=data.encoding)]

    def evaluate_files(self, paths: list[Path]) -> dict[str, float]:
        """Accuracy and macro F1 on labelled files.

        Raises:
            DataError: a file that cannot be read, or a class that training has not seen.
        """
        examples = list(_read(self.recipe.data, [str(path) for path in paths]))
        expected = [self.classes.number(example) for example in examples]
        found = self.predict([example.text for example in examples])
        numbers = [self.classes.names.index(prediction.label) for prediction in found]
        return classification_figures(numbers, expected)


def classification_figures(found: Sequence[int], expected: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro F1, by scikit-learn.

    >>> classification_figures([0, 1, 1, 1], [0, 1, 1, 0])["accuracy"]
    0.75
    """
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(expected, found)),
        "macro_f1": float(f1_score(expected, found, average="macro", zero_division=0)),
        "examples": len(expected),
    }


def new_model(recipe: ClassifierRecipe, inputs: TextInputs, classes: Classes) -> Classifier:
    """A model of a recipe."""
    return Classifier(recipe.model, inputs=inputs.module(recipe.model), outputs=len(classes.names))


def _read(data: ClassifierData, paths: Sequence[str]) -> Iterator[Labelled]:
    for path in paths:
        yield from read_labelled(path, text=data.text, label=data.label, encoding=data.encoding)


def _trained(recipe: ClassifierRecipe, learned: Learned) -> TrainedClassifier:
    inputs = TextInputs.from_learned(learned, level=recipe.data.level)
    classes = Classes(learned.facts["classes"])
    return TrainedClassifier(recipe, new_model(recipe, inputs, classes), inputs, classes)


KIND = Kind(
    name="classifier",
    help="""Train a classifier on labelled sequences.

A part of the examples, or a validation file, is held out; the most accurate model on it is kept.

`comporta train classifier questions.txt --out runs/questions --epochs 10`""",
    parts=Parts(ClassifierData, ClassifierConfig),
    prepare=ClassifierTask,
    trained=_trained,
)
