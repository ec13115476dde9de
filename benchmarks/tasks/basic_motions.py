"""Standing, running, walking or badminton, from an accelerometer and a gyroscope."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--hidden 32 --pooling max --dropout 0.3 --batch-size 8 --epochs 40"


def run(data: Path) -> list[Result]:
    """Train on the archive's training series, measure on its test series."""
    folder = data / "basic_motions"
    train, test = (folder / f"BasicMotions_{part}.ts" for part in ("TRAIN", "TEST"))
    commands = Commands()
    figures = train_and_evaluate(
        commands, "basic_motions", ["classifier", train, *RECIPE.split()], [test]
    )
    return [
        Result(
            task="basic_motions",
            data="40 training and 40 test series of the UEA archive",
            metric="accuracy",
            ours=figures["accuracy"],
            bar="1.00",
            reached=figures["accuracy"] == 1,
            floor="0.25 (any class)",
            published="about 1.00 (several methods, Ruiz et al. 2021, "
            "doi:10.1007/s10618-020-00727-3)",
            parameters=parameters_of("basic_motions"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
