"""Sums of two three-digit numbers, as text: "123+456" becomes "579"."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate

PAIRS, TRAINING = 50_000, 45_000
RECIPE = "--level char --hidden 128 --embedding 32 --batch-size 128 --epochs 15 --hold-out 0.02"


def run(data: Path) -> list[Result]:
    """Make the sums, train on nine tenths of them, measure on the rest."""
    folder = RUNS / "sums-data"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{a}+{b}\t{a + b}\n" for a, b in pairs_of_numbers()]
    train, test = folder / "train.tsv", folder / "test.tsv"
    train.write_text("".join(lines[:TRAINING]))
    test.write_text("".join(lines[TRAINING:]))
    commands = Commands()
    figures = train_and_evaluate(commands, "sums", ["translator", train, *RECIPE.split()], [test])
    return [
        Result(
            task="sums",
            data="50,000 sums of three-digit numbers, none twice, not even as b+a; 45,000 to train",
            metric="exact",
            ours=figures["exact_match"],
            bar="at least 0.99",
            reached=figures["exact_match"] >= 0.99,
            floor="0 (copying)",
            published="0.99 in 100 epochs (Keras example, numbers of up to three digits)",
            parameters=parameters_of("sums"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]


def pairs_of_numbers() -> list[tuple[int, int]]:
    """Distinct pairs; of a+b and b+a only one is among them, in either order."""
    chance = random.Random(0)
    every = [(a, b) for a in range(100, 1000) for b in range(a, 1000)]
    return [pair if chance.random() < 0.5 else pair[::-1] for pair in chance.sample(every, PAIRS)]
