"""Spoken digits of three speakers: recordings 0-4 of each digit are for the test."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--epochs 15"
TEST = 5


def run(data: Path) -> list[Result]:
    """Train on recordings 5-49, measure on recordings 0-4."""
    folder = RUNS / "fsdd_digits-manifests"
    train, test = manifests(data / "fsdd", folder)
    commands = Commands()
    figures = train_and_evaluate(
        commands, "fsdd_digits", ["classifier", train, *RECIPE.split()], [test]
    )
    return [
        Result(
            task="fsdd_digits",
            data="1,350 training and 150 test recordings of 3 speakers (official split)",
            metric="accuracy",
            ours=figures["accuracy"],
            bar="at least 0.985",
            reached=figures["accuracy"] >= 0.985,
            floor="0.1 (any digit)",
            published="0.984 on a random split (BiLSTM, README of eonu/fsdd)",
            parameters=parameters_of("fsdd_digits"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]


def manifests(recordings: Path, folder: Path) -> tuple[Path, Path]:
    """Tables of the recordings `DIGIT_SPEAKER_NUMBER.wav`: those for training, those for testing.

    Args:
        recordings: the folder they lie in.
        folder: where the tables go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"train.tsv": [], "test.tsv": []}
    for path in sorted(recordings.glob("*.wav")):
        digit, _, number = path.stem.split("_")
        part = "test.tsv" if int(number) < TEST else "train.tsv"
        lines[part].append(f"{path.resolve()}\t{digit}\n")
    for name, found in lines.items():
        (folder / name).write_text("path\tlabel\n" + "".join(found), encoding="utf-8")
    return folder / "train.tsv", folder / "test.tsv"
