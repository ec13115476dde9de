"""Surnames written for a language: from a class to characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.folds import Row, write_rows
from benchmarks.ngram import KneserNey
from benchmarks.tasks.names import divided
from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate
from comporta.data import read_labelled

RECIPE = "--hidden 256 --dropout 0.4 --batch-size 64 --epochs 25"
ORDER = 5


def run(data: Path) -> list[Result]:
    """Hold out a tenth of the names, train on the others, measure nats a character."""
    rows = [(x.text, str(x.label)) for x in read_labelled(data / "names")]
    train, test = divided(rows, seed=0)
    folder = RUNS / "names_generator-split"
    files = write_rows(folder / "train.tsv", train), write_rows(folder / "test.tsv", test)
    commands = Commands()
    figures = train_and_evaluate(
        commands,
        "names_generator",
        ["generator", files[0], *RECIPE.split()],
        [files[1]],
    )
    floor = five_gram(train, test)
    return [
        Result(
            task="names_generator",
            data=f"{len(train):,} and {len(test):,} surnames of 18 languages, 90/10 by distinct "
            "name (seed 0); the end of a name counts as a character",
            metric="nats a character",
            ours=figures["nats_per_token"],
            bar="below the 5-gram",
            reached=figures["nats_per_token"] < floor,
            floor=f"{floor:.3f} ({ORDER}-gram Kneser-Ney, the language as first symbol)",
            parameters=parameters_of("names_generator"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]


def five_gram(training: list[Row], test: list[Row]) -> float:
    """Nats a character of an n-gram model of the names, each behind the symbol of its language."""
    symbols: dict[str, int] = {"\n": 0}

    def encoded(rows: list[Row]) -> list[int]:
        found = []
        for name, language in rows:
            for symbol in (language * 2, *name, "\n"):
                found.append(symbols.setdefault(symbol, len(symbols)))
        return found

    tokens, held = (np.array(encoded(names)) for names in (training, test))
    languages = [symbols[language * 2] for _, language in training]
    model = KneserNey(tokens, vocabulary=len(symbols), order=ORDER)
    costs = -np.log(model.probabilities(held))
    written = ~np.isin(held, languages)
    return float(costs[written].mean())
