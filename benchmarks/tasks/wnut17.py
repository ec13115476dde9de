"""WNUT 2017: new and rare entities in noisy English."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--lower --characters 50 --word-dropout 20 --batch-size 16 --clip-norm 5 --epochs 15"


def run(data: Path) -> list[Result]:
    """Train on the training file, choose by the dev file, measure on the test file."""
    folder = data / "wnut17"
    commands = Commands()
    figures = train_and_evaluate(
        commands,
        "wnut17",
        [
            "tagger",
            folder / "wnut17train.conll",
            "--validation",
            folder / "emerging.dev.conll",
            *RECIPE.split(),
        ],
        [folder / "emerging.test.annotated"],
    )
    return [
        Result(
            task="wnut17",
            data="3,394 training, 1,009 dev and 1,287 test sentences",
            metric="entity F1",
            ours=figures["f1"],
            bar="0.38 is a stretch",
            reached=figures["f1"] >= 0.38,
            floor="0.059 (most frequent tag of each word)",
            published="0.4186 (the best of the shared task, with pretrained vectors, "
            "Derczynski et al. 2017)",
            parameters=parameters_of("wnut17"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
