"""A trained classifier: it labels sequences, and is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comporta.data.batches import Batches
from comporta.models import Classifier, ClassifierConfig
from comporta.tasks.answers import Answers
from comporta.tasks.examples import device_of
from comporta.tasks.predictions import Prediction
from comporta.tasks.sources import AnyInputs, Label, Source


class TrainedClassifier:
    """A classifier with all that it takes to use it.

    Args:
        model: the model.
        source: how files are read.
        inputs: what the model reads.
        answers: what its outputs mean.
        batch_size: inputs that are labelled together.
    """

    def __init__(
        self,
        model: Classifier,
        source: Source,
        inputs: AnyInputs,
        answers: Answers,
        *,
        batch_size: int,
    ) -> None:
        self.model, self._source, self._inputs = model.eval(), source, inputs
        self.answers, self._batch_size = answers, batch_size

    def predict(self, inputs: Iterable[Any]) -> Sequence[Prediction]:
        """The answer to each input.

        Args:
            inputs: texts; arrays (T, D) or files of series, of which each series counts; files of
                sound or video.

        Returns:
            A prediction for each, in order.

        Raises:
            DataError: an input that cannot be read.
        """
        values = (value for each in inputs for value in self._source.values(each))
        return self.answers.predictions(self._outputs(values))

    def read_inputs(self, path: Path) -> list[Any]:
        """The inputs in a file or a folder, which need no labels."""
        return list(self._source.unlabelled(path))

    def evaluate_files(self, paths: list[Path]) -> dict[str, float]:
        """Accuracy and macro F1, or the errors of scores, on labelled files.

        Raises:
            DataError: a file that cannot be read, or a label that training has not seen.
        """
        labels: list[Label] = [example.label for example in self._source.read(paths)]
        # A label that is not known is found before anything long.
        expected = self.answers.targets(labels)
        outputs = self._outputs(example.value for example in self._source.read(paths))
        return self.answers.figures(self.answers.decode(outputs), expected)

    @torch.no_grad()
    def _outputs(self, values: Iterable[Any]) -> Tensor:
        """The outputs of the model (N, size)."""
        store, device = self._inputs.store(values), device_of(self.model)
        found = torch.zeros(len(store), self.answers.size)
        batches = Batches(store.lengths, range(len(store)), size=self._batch_size, seed=0)
        for examples in batches.in_order():
            found[examples] = self.model(*store.batch(examples, device)).cpu()
        return found


def new_model(config: ClassifierConfig, inputs: AnyInputs, answers: Answers) -> Classifier:
    """A model for some inputs and answers."""
    return Classifier(config, inputs=inputs.module(config), outputs=answers.size)
