"""Novels of Machado de Assis in characters and in words, beside an n-gram; one novel held out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comporta
from benchmarks.ngram import KneserNey
from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate
from comporta.data import read_text, read_texts

HELD_OUT = "memoriasBras.txt"
"""The Posthumous Memoirs of Brás Cubas; no recipe was chosen by what it gave here."""

ORDER = 5
SHARE = 0.9
"""A perplexity at most this many times that of the n-gram is the bar."""

RECIPES = {
    "characters": "--hidden 384 --embedding 64 --dropout 0.1 --lr 0.004 --epochs 5",
    "words": (
        "--level word --vocab-size 10000 --hidden 256 --embedding 256 --tied --dropout 0.5 "
        "--weight-decay 0.1 --batch-size 16 --window 35 --epochs 5"
    ),
}


def run(data: Path) -> Iterator[Result]:
    """Train on eight novels, whose last tenth chooses the checkpoint; measure on the ninth."""
    novels = sorted((data / "machado").glob("*.txt"))
    training = [path for path in novels if path.name != HELD_OUT]
    return (compare(level, training, data / "machado" / HELD_OUT) for level in RECIPES)


def compare(level: str, training: list[Path], held_out: Path) -> Result:
    """One level: the recurrent model, and the n-gram on the same tokens."""
    name = f"machado-{level}"
    commands = Commands()
    figures = train_and_evaluate(
        commands, name, ["language-model", *training, *RECIPES[level].split()], [held_out]
    )
    vocabulary = comporta.load(RUNS / name).vocabulary
    ngram = ngram_perplexity(vocabulary, read_texts(training), read_text(held_out))
    bar = SHARE * ngram
    return Result(
        task=name,
        data=f"8 novels ({len(vocabulary):,} tokens in the vocabulary), held out: {held_out.stem}",
        metric=f"perplexity per {level.removesuffix('s')}",
        ours=figures["perplexity"],
        bar=f"at most {bar:.4g} (10 % below the {ORDER}-gram)",
        reached=figures["perplexity"] <= bar,
        floor=f"{ngram:.4g} ({ORDER}-gram, modified Kneser-Ney, all text of the 8 novels)",
        parameters=parameters_of(name),
        seconds=commands.seconds,
        commands=commands.run,
        figures=figures | {"ngram_perplexity": ngram},
    )


def ngram_perplexity(vocabulary: Any, training: str, held_out: str) -> float:
    """The perplexity of the n-gram, learned from the training text, on the text held out."""
    learned = vocabulary.encode(training).ids.numpy()
    tokens = vocabulary.encode(held_out).ids.numpy()
    ngram = KneserNey(learned, vocabulary=len(vocabulary), order=ORDER)
    return math.exp(ngram.nats(tokens) / len(tokens))
