"""Sentences of film reviews, positive or negative, in ten folds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.folds import cross_validate, groups
from benchmarks.tasks.result import Result
from comporta.data import read_labelled

RECIPE = (
    "--hidden 64 --embedding 64 --dropout 0.5 --token-dropout 0.3 --weight-decay 0.1 --epochs 4"
)


def run(data: Path) -> list[Result]:
    """Ten models, each measured on the tenth of the sentences it has not seen."""
    path = data / "movie_reviews" / "rt-polarity.all"
    rows = [(x.text, str(x.label)) for x in read_labelled(path, encoding="latin-1")]
    # Sentences that come twice are in one fold.
    folds = groups([text for text, _ in rows], parts=10, seed=0)
    found = cross_validate("movie_reviews", rows, folds, RECIPE)
    return [
        Result(
            task="movie_reviews",
            data=f"{len(rows):,} sentences, 10 folds at random (seed 0)",
            metric="accuracy (mean of the folds)",
            ours=found.accuracy,
            bar="at least 0.77",
            reached=found.accuracy >= 0.77,
            floor="0.5 (either class)",
            published="0.815 (CNN, pretrained vectors, Kim 2014, arXiv:1408.5882)",
            parameters=found.parameters,
            seconds=found.seconds,
            commands=found.commands,
            figures={"accuracies": found.accuracies},
        )
    ]
