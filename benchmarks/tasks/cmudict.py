"""Letters to phonemes: the training part of the CMU Pronouncing Dictionary, split by word."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of

RECIPE = (
    "--level char --target-level word --embedding 128 --hidden 256 --attention general "
    "--dropout 0.1 --batch-size 64 --lr 2e-3 --epochs 20"
)


def run(data: Path) -> list[Result]:
    """Train on 90 % of the words, validate on 5 %, measure on 5 %.

    All pronunciations of a word are learned from; at the test any of them counts as right. As for
    the published figures, they are phonemes without stress.
    """
    dictionary = read(data / "cmudict" / "cmudict.train.txt")
    words = sorted(dictionary)
    random.Random(0).shuffle(words)
    held_out = len(words) // 20
    parts = {
        "train.tsv": words[2 * held_out :],
        "validation.tsv": words[held_out : 2 * held_out],
    }
    folder = RUNS / "cmudict-data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        rows = (f"{word}\t{spoken}\n" for word in part for spoken in dictionary[word])
        (folder / name).write_text("".join(rows))
    test, file = words[:held_out], folder / "test.txt"
    file.write_text("\n".join(test) + "\n")
    train, validation = (folder / name for name in parts)
    commands, out = Commands(), str(RUNS / "cmudict")
    commands(
        *("train", "translator", train, "--validation", validation, *RECIPE.split()),
        *("--out", out, "--overwrite"),
    )
    found = [each["translation"] for each in commands("predict", out, "--file", file)]
    error = word_error(found, [dictionary[word] for word in test])
    return [
        Result(
            task="cmudict",
            data=f"{len(words):,} words, 90 % for training, {len(test):,} for the test",
            metric="word error",
            ours=error,
            bar="at most 0.28",
            reached=error <= 0.28,
            floor="1 (copying)",
            published="0.236 (Yao & Zweig 2015, arXiv:1506.00196, on the full dictionary)",
            parameters=parameters_of("cmudict"),
            seconds=commands.seconds,
            commands=commands.run,
            figures={"word_error": error, "words": len(test)},
            remark="Two other recipes were measured before it: 0.322, 0.326.",
        )
    ]


def read(path: Path) -> dict[str, list[str]]:
    """The distinct pronunciations of each word; a line is `WORD number PHONEMES`."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, spoken = line.split(" ", 2)
        found[word][unstressed(spoken.strip())] = None
    return {word: list(several) for word, several in found.items()}


def unstressed(spoken: str) -> str:
    """Phonemes without the digits of stress.

    >>> unstressed("AH0 B AO1 R")
    'AH B AO R'
    """
    return re.sub(r"\d", "", spoken)


def word_error(found: list[str], expected: list[Collection[str]]) -> float:
    """The share of words for which none of the pronunciations was found."""
    wrong = sum(one not in several for one, several in zip(found, expected, strict=True))
    return wrong / len(found)
