"""Several models that answer together.

Where a few thousand texts are all that a model learns from, chance decides much of what it makes
of a test text; the mean of several models' probabilities has less of it (Hansen & Salamon 1990,
"Neural network ensembles").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from benchmarks.tasks.result import RUNS, Commands, measure

Answers = Sequence[Mapping[str, float]]
"""For each text the probabilities of its labels."""


@dataclass(frozen=True)
class Committee:
    """Models and what they make of the same texts.

    Args:
        expected: the label of each text.
        members: what each model answers.
    """

    expected: Sequence[str]
    members: Sequence[Answers]

    @property
    def together(self) -> dict[str, float]:
        """Accuracy and macro F1 of the mean of the members' probabilities."""
        return self._measure(
            [
                {label: mean(answer[label] for answer in answers) for label in answers[0]}
                for answers in zip(*self.members, strict=True)
            ]
        )

    @property
    def alone(self) -> list[dict[str, float]]:
        """Those of each member."""
        return [self._measure(answers) for answers in self.members]

    @property
    def figures(self) -> dict[str, Any]:
        """All of them."""
        return {**self.together, "alone": self.alone}

    def one(self, metric: str) -> str:
        """What one member comes to, in words."""
        found = [figures[metric] for figures in self.alone]
        return f"{mean(found):.4f} on average ({min(found):.4f} to {max(found):.4f})"

    def _measure(self, answers: Answers) -> dict[str, float]:
        return measure(self.expected, [max(answer, key=answer.__getitem__) for answer in answers])


def train_classifier(
    commands: Commands, name: str, training: Sequence[object], texts: Sequence[str]
) -> Answers:
    """Train a classifier, and ask it.

    Args:
        commands: what runs it.
        name: of the run; its folder is runs/results/NAME.
        training: arguments after `comporta train classifier`.
        texts: what it is asked.
    """
    import comporta

    out = RUNS / name
    commands("train", "classifier", *training, "--out", str(out), "--overwrite")
    return [answer.probabilities for answer in comporta.load(out).predict(texts)]
