"""Several models of one recipe that differ in their seed alone, and answer together.

Where a few thousand texts are all that a model learns from, chance decides much of what it makes
of a test text; the mean of several models' probabilities has less of it (Hansen & Salamon 1990,
"Neural network ensembles").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.tasks.result import RUNS, Commands, measure, train_and_evaluate


@dataclass(frozen=True)
class Committee:
    """What the models come to.

    Args:
        together: the figures of the mean of their probabilities.
        alone: those of each model.
    """

    together: dict[str, float]
    alone: list[dict[str, Any]]

    @property
    def figures(self) -> dict[str, Any]:
        """All of them."""
        return {**self.together, "alone": self.alone}

    def one(self, metric: str) -> str:
        """What one model comes to, in words."""
        found = [figures[metric] for figures in self.alone]
        return f"{mean(found):.4f} on average ({min(found):.4f} to {max(found):.4f})"


def train_committee(
    commands: Commands, name: str, training: Sequence[object], test: Path, *, members: int,
    **reading: Any,
) -> Committee:  # fmt: skip
    """Train so many models, of the seeds 0, 1, ..., and measure them alone and together.

    Args:
        commands: what runs them.
        name: of the run; folders are runs/results/NAME-SEED.
        training: arguments after `comporta train`.
        test: texts and labels.
        members: how many models.
        reading: how the test is read; see `comporta.data.read_labelled`.
    """
    import comporta
    from comporta.data import read_labelled

    rows = list(read_labelled(test, **reading))
    alone = []
    totals = [dict[str, float]() for _ in rows]
    for seed in range(members):
        member = f"{name}-{seed}"
        line = [*training, "--seed", str(seed)]
        alone.append(train_and_evaluate(commands, member, line, [test]))
        answers = comporta.load(RUNS / member).predict([row.text for row in rows])
        for total, answer in zip(totals, answers, strict=True):
            for label, p in answer.probabilities.items():
                total[label] = total.get(label, 0.0) + p
    answered = [max(total, key=total.__getitem__) for total in totals]
    return Committee(measure([str(row.label) for row in rows], answered), alone)
