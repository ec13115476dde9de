"""LeNER-Br: entities in Portuguese legal texts."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--lower --characters 50 --word-dropout 20 --batch-size 16 --clip-norm 5 --epochs 15"
HELD_OUT = 0.15


def run(data: Path) -> list[Result]:
    """Train on the first texts of the training file, stop by its last, measure on the dev file."""
    RUNS.mkdir(parents=True, exist_ok=True)
    train, held_out = (RUNS / f"lener_br_{part}.conll" for part in ("train", "held_out"))
    # By sentence, words of one legal text would stand on both sides.
    sentences = (data / "lener_br" / "train.conll").read_text(encoding="utf-8").split("\n\n")
    cut = round(len(sentences) * (1 - HELD_OUT))
    for path, part in ((train, sentences[:cut]), (held_out, sentences[cut:])):
        path.write_text("\n\n".join(part) + "\n", encoding="utf-8")
    commands = Commands()
    figures = train_and_evaluate(
        commands,
        "lener_br",
        ["tagger", train, "--validation", held_out, *RECIPE.split()],
        [data / "lener_br" / "dev.conll"],
    )
    return [
        Result(
            task="lener_br",
            data="the first 85 % of the training file, its end to stop by; 1,176 dev sentences",
            metric="entity F1",
            ours=figures["f1"],
            bar="at least 0.84",
            reached=figures["f1"] >= 0.84,
            floor="0.178 (most frequent tag of each word)",
            published="0.8661 on the test file, with pretrained vectors (LSTM-CRF, README of "
            "peluz/lener-br)",
            parameters=parameters_of("lener_br"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
