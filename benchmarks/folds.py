"""Training on all folds but one, measuring on that one, for each in turn; splits by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.tasks.result import RUNS, Commands, parameters_of

Row = tuple[str, str]
"""A text and its label."""


@dataclass(frozen=True)
class CrossValidation:
    """What came of all folds.

    Args:
        accuracies: of each.
        seconds: of training, all folds together.
        parameters: of one model.
        commands: those of the first fold; the others differ in the number of the fold alone.
    """

    accuracies: list[float]
    seconds: float
    parameters: int
    commands: list[str]

    @property
    def accuracy(self) -> float:
        """The mean over the folds."""
        return mean(self.accuracies)


def groups(keys: Sequence[str], parts: int, seed: int) -> list[list[int]]:
    """Rows in so many parts by chance; rows of the same key are in the same part.

    Args:
        keys: of each row.
        parts: how many.
        seed: of the chance.

    Returns:
        The numbers of the rows in each part.
    """
    distinct = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(distinct))
    part = {distinct[key]: place % parts for place, key in enumerate(order)}
    return [[row for row, key in enumerate(keys) if part[key] == each] for each in range(parts)]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write texts and labels as a table that the product reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{label}\t{text}\n" for text, label in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def cross_validate(
    name: str, rows: Sequence[Row], folds: Sequence[Sequence[int]], recipe: str
) -> CrossValidation:
    """Train and measure once a fold.

    Args:
        name: of the runs and their files.
        rows: all examples.
        folds: the numbers of the rows in each.
        recipe: options of `comporta train classifier`.
    """
    commands, seconds, accuracies = Commands(), 0.0, []
    for number, fold in enumerate(folds):
        held = set(fold)
        train = [row for index, row in enumerate(rows) if index not in held]
        test = [row for index, row in enumerate(rows) if index in held]
        folder = RUNS / f"{name}-folds"
        training = write_rows(folder / f"train{number}.tsv", train)
        out = RUNS / f"{name}-{number}"
        trained = commands(
            "train", "classifier", training, *recipe.split(), "--out", out, "--overwrite"
        )
        figures = commands("evaluate", out, write_rows(folder / f"test{number}.tsv", test))
        seconds += trained["seconds"]
        accuracies.append(figures["accuracy"])
        print(f"fold {number}: accuracy {figures['accuracy']:.4f}", flush=True)
    return CrossValidation(accuracies, seconds, parameters_of(f"{name}-0"), commands.run[:2])
