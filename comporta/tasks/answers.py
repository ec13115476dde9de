"""What a classifier answers with: a class, any number of labels, or a score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comporta.data import as_score, split_labels
from comporta.errors import DataError, nearest
from comporta.tasks.predictions import (
    LabelPrediction,
    LabelsPrediction,
    Prediction,
    ScorePrediction,
)
from comporta.tasks.sources import Label

_TIE = 1e-6
"""Of models equally accurate the one with the lower loss is better."""


class Answers(Protocol):
    """One kind of answer: labels as targets, their loss, and what outputs of a model mean."""

    @property
    def size(self) -> int:
        """How many numbers the model puts out."""

    @property
    def facts(self) -> dict[str, Any]:
        """All that it takes to make this object again, as JSON data."""

    def targets(self, labels: Sequence[Label]) -> NDArray[Any]:
        """Labels as numbers (N, ...); DataError with its place for one that cannot be."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The summed loss of outputs (B, size)."""

    def decode(self, outputs: Tensor) -> NDArray[Any]:
        """The answers of outputs (N, size), of the shape of targets."""

    def predictions(self, outputs: Tensor) -> Sequence[Prediction]:
        """The answers of outputs (N, size), as people read them."""

    def figures(self, found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
        """How good answers are, by the names people know."""

    def rank(self, figures: dict[str, float], loss: float) -> float:
        """What the best model has least of."""

    def report(self, training: NDArray[Any], validation: NDArray[Any]) -> dict[str, object]:
        """What the labels are, and the figures of an answer that looks at nothing."""


class Classes:
    """One class of several: a softmax over them.

    Args:
        names: of the classes; their numbers are their places.

    >>> classes = Classes(["no", "yes"])
    >>> classes.predictions(torch.tensor([[0.0, 2.0]]))[0].label
    'yes'
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._numbers = {name: number for number, name in enumerate(names)}

    @classmethod
    def learn(cls, labels: Sequence[Label], training: Sequence[int]) -> Classes:
        """The classes that labels name.

        Raises:
            DataError: they are all the same.
        """
        return cls(_distinct(labels, [label.text for label in labels]))

    @property
    def size(self) -> int:
        """One output a class."""
        return len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        """The classes."""
        return {"classes": self.names}

    def targets(self, labels: Sequence[Label]) -> NDArray[Any]:
        """The numbers (N,) of classes.

        Raises:
            DataError: a label is none of the classes.
        """
        return np.array([_number(self._numbers, x.text, x.where) for x in labels], dtype=np.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets, reduction="sum")

    def decode(self, outputs: Tensor) -> NDArray[Any]:
        """The most probable class of each row."""
        found: NDArray[Any] = outputs.argmax(1).numpy()
        return found

    def predictions(self, outputs: Tensor) -> list[LabelPrediction]:
        """The most probable class of each row, with the probabilities of all."""
        shares = [dict(zip(self.names, row, strict=True)) for row in outputs.softmax(1).tolist()]
        return [LabelPrediction(max(row, key=row.__getitem__), row) for row in shares]

    def figures(self, found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
        """Accuracy and macro F1, by scikit-learn."""
        return classification_figures(found, expected)

    def rank(self, figures: dict[str, float], loss: float) -> float:
        """Accuracy, negated."""
        return _TIE * loss - figures["accuracy"]

    def report(self, training: NDArray[Any], validation: NDArray[Any]) -> dict[str, object]:
        """The classes with their numbers of examples, and what the most frequent one gives."""
        counts = Counter(training.tolist())
        most = max(counts, key=counts.__getitem__)
        return {
            "classes": ", ".join(f"{self.names[c]} {n}" for c, n in counts.most_common()),
            "always the most frequent class": f"accuracy {(validation == most).mean():.3f}",
        }


class LabelSets:
    """Any number of labels, each for itself: a sigmoid for each.

    Where there are two labels in all and every example has one of them, one sigmoid, that of the
    second, says it all.

    Args:
        names: of the labels.
        binary: whether it is one of two.

    >>> labels = LabelSets(["a", "b", "c"], binary=False)
    >>> labels.targets([Label("c, a", "here")]).tolist()
    [[1.0, 0.0, 1.0]]
    >>> labels.predictions(torch.tensor([[-1.0, 1.0, 2.0]]))[0].labels
    ('b', 'c')
    """

    def __init__(self, names: list[str], *, binary: bool) -> None:
        self.names, self.binary = names, binary
        self._numbers = {name: number for number, name in enumerate(names)}

    @classmethod
    def learn(cls, labels: Sequence[Label], training: Sequence[int]) -> LabelSets:
        """The labels that examples have.

        Raises:
            DataError: they are all the same.
        """
        found = [split_labels(label.text) for label in labels]
        names = _distinct(labels, [name for each in found for name in each])
        return cls(names, binary=len(names) == 2 and all(len(each) == 1 for each in found))

    @property
    def size(self) -> int:
        """One output a label; one in all for one of two."""
        return 1 if self.binary else len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        """The labels, and whether it is one of two."""
        return {"classes": self.names, "binary": self.binary}

    def targets(self, labels: Sequence[Label]) -> NDArray[Any]:
        """1 where an example has a label (N, size), 0 elsewhere.

        Raises:
            DataError: a label that is none of those known, or several where there is one of two.
        """
        targets = np.zeros((len(labels), len(self.names)), dtype=np.float32)
        for row, label in enumerate(labels):
            several = split_labels(label.text)
            if self.binary and len(several) != 1:
                raise DataError(
                    f"{label.where}: {label.text!r} are {len(several)} labels; the training "
                    "data has one in every example"
                )
            targets[row, [_number(self._numbers, name, label.where) for name in several]] = 1
        return targets[:, 1:] if self.binary else targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, summed over the labels."""
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")

    def decode(self, outputs: Tensor) -> NDArray[Any]:
        """1 where a label is more probable than not."""
        found: NDArray[Any] = (outputs > 0).float().numpy()
        return found

    def predictions(self, outputs: Tensor) -> list[LabelsPrediction] | list[LabelPrediction]:
        """The labels of each row that are more probable than not, with all probabilities."""
        shares = outputs.sigmoid()
        if self.binary:
            # One of two is a class like others, and is read as one.
            pairs = torch.cat([-outputs, torch.zeros_like(outputs)], dim=1)
            return Classes(self.names).predictions(pairs)
        return [
            LabelsPrediction(tuple(name for name, share in row.items() if share > 0.5), row)
            for row in (dict(zip(self.names, each, strict=True)) for each in shares.tolist())
        ]

    def figures(self, found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
        """Accuracy (of rows with all labels right) and macro F1, by scikit-learn."""
        if self.binary:
            return classification_figures(found[:, 0], expected[:, 0])
        return classification_figures(found, expected)

    def rank(self, figures: dict[str, float], loss: float) -> float:
        """Accuracy, negated."""
        return _TIE * loss - figures["accuracy"]

    def report(self, training: NDArray[Any], validation: NDArray[Any]) -> dict[str, object]:
        """The labels with their numbers of examples, and what the most frequent answer gives."""
        counts = training.sum(0).astype(int).tolist()
        names = self.names[1:] if self.binary else self.names
        most = np.array(Counter(map(tuple, training.tolist())).most_common(1)[0][0])
        floor = float((validation == most).all(axis=1).mean())
        return {
            "labels": ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True)),
            "always the most frequent labels": f"accuracy {floor:.3f}",
        }


class Scores:
    """A number: the model's output is brought to mean and deviation of the training scores.

    Args:
        mean: of the training scores.
        deviation: of them.

    >>> Scores(3.0, 2.0).predictions(torch.tensor([[0.5]]))[0].score
    4.0
    """

    size = 1

    def __init__(self, mean: float, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def learn(cls, labels: Sequence[Label], training: Sequence[int]) -> Scores:
        """The scale of the training scores.

        Raises:
            DataError: one is no number, or they are all the same.
        """
        scores = [as_score(labels[number].text, labels[number].where) for number in training]
        if len(set(scores)) < 2:
            raise _all_the_same(labels)
        return cls(float(np.mean(scores)), float(np.std(scores)))

    @property
    def facts(self) -> dict[str, Any]:
        """Mean and deviation."""
        return {"score": [self.mean, self.deviation]}

    def targets(self, labels: Sequence[Label]) -> NDArray[Any]:
        """The scores (N,).

        Raises:
            DataError: a label that is no number.
        """
        return np.array([as_score(each.text, each.where) for each in labels])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared errors, in units of the deviation."""
        expected = (targets - self.mean) / self.deviation
        return (outputs[:, 0] - expected.to(outputs.dtype)).square().sum()

    def decode(self, outputs: Tensor) -> NDArray[Any]:
        """The scores, in the units of the labels."""
        found: NDArray[Any] = outputs[:, 0].double().numpy()
        return found * self.deviation + self.mean

    def predictions(self, outputs: Tensor) -> list[ScorePrediction]:
        """The score of each row."""
        return [ScorePrediction(score) for score in self.decode(outputs).tolist()]

    def figures(self, found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
        """Mean absolute error and coefficient of determination, by scikit-learn."""
        from sklearn.metrics import mean_absolute_error, r2_score

        # Of one score alone there is no variance to be explained.
        explained = float(r2_score(expected, found)) if len(expected) > 1 else math.nan
        return {
            "mae": float(mean_absolute_error(expected, found)),
            "r2": explained,
            "examples": len(expected),
        }

    def rank(self, figures: dict[str, float], loss: float) -> float:
        """The loss."""
        return loss

    def report(self, training: NDArray[Any], validation: NDArray[Any]) -> dict[str, object]:
        """The scale of the scores, and the error of always giving their mean."""
        return {
            "scores": f"{training.min():g} to {training.max():g}, mean {self.mean:.3f}",
            "always the mean": f"mae {np.abs(validation - self.mean).mean():.3f}, r2 at most 0",
        }


def learn_answers(output: str, labels: Sequence[Label], training: Sequence[int]) -> Answers:
    """The answers that labels ask for.

    Args:
        output: softmax, sigmoid or score.
        labels: all examples of the training files.
        training: the numbers of those to train on; scores are scaled by these.

    Raises:
        DataError: the labels are all the same, or are no scores where they should be.
    """
    kinds: dict[str, type[Classes] | type[LabelSets] | type[Scores]]
    kinds = {"softmax": Classes, "sigmoid": LabelSets, "score": Scores}
    return kinds[output].learn(labels, training)


def answers_from(output: str, facts: dict[str, Any]) -> Answers:
    """The answers that a run began with."""
    match output:
        case "softmax":
            return Classes(facts["classes"])
        case "sigmoid":
            return LabelSets(facts["classes"], binary=facts["binary"])
    return Scores(*facts["score"])


def classification_figures(found: object, expected: object) -> dict[str, float]:
    """Accuracy and macro F1, by scikit-learn.

    >>> classification_figures([0, 1, 1, 1], [0, 1, 1, 0])["accuracy"]
    0.75
    """
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(expected, found)),
        "macro_f1": float(f1_score(expected, found, average="macro", zero_division=0)),
        "examples": len(np.asarray(expected)),
    }


def _distinct(labels: Sequence[Label], names: Sequence[str]) -> list[str]:
    found = sorted(set(names))
    if len(found) < 2:
        raise _all_the_same(labels)
    return found


def _all_the_same(labels: Sequence[Label]) -> DataError:
    first = labels[0]
    return DataError(
        f"{first.where}: all {len(labels)} examples have the label {first.text!r}, as this one; "
        "there must be at least two labels to tell apart"
    )


def _number(numbers: dict[str, int], name: str, where: str) -> int:
    if name not in numbers:
        raise DataError(
            f"{where}: the class {name!r} is not among those of the training data"
            f"{nearest(name, numbers)}"
        )
    return numbers[name]
