"""Which of nine speakers says a vowel: series of 12 channels, of unequal length."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--hidden 200 --pooling max --dropout 0.5 --batch-size 16 --epochs 40"


def run(data: Path) -> list[Result]:
    """Train on the archive's training series, measure on its test series."""
    folder = data / "japanese_vowels"
    train, test = (folder / f"JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST"))
    commands = Commands()
    figures = train_and_evaluate(
        commands, "japanese_vowels", ["classifier", train, *RECIPE.split()], [test]
    )
    return [
        Result(
            task="japanese_vowels",
            data="270 training and 370 test series of the UEA archive",
            metric="accuracy",
            ours=figures["accuracy"],
            bar="at least 0.975",
            reached=figures["accuracy"] >= 0.975,
            floor="0.238 (most frequent class)",
            published="0.941 (Kudo et al. 1999), 0.98-0.99 (LSTM-FCN, Karim et al. 2019, "
            "arXiv:1801.04503)",
            parameters=parameters_of("japanese_vowels"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
