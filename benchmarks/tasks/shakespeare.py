"""Tiny Shakespeare, one character after the other."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate
from comporta.data import read_text, split

RECIPE = "--hidden 256 --embedding 64 --dropout 0.2 --lr 0.005 --epochs 17"


def run(data: Path) -> list[Result]:
    """Train on the first 90 %; the last tenth chooses the checkpoint, and is what it is told on."""
    file = data / "shakespeare" / "input.txt"
    held_out = Path("runs") / "results" / "shakespeare-validation.txt"
    held_out.parent.mkdir(parents=True, exist_ok=True)
    held_out.write_bytes(split(read_text(file))[1].encode())
    commands = Commands()
    figures = train_and_evaluate(
        commands, "shakespeare", ["language-model", file, *RECIPE.split()], [held_out]
    )
    return [
        Result(
            task="shakespeare",
            data="1,115,394 characters, the last tenth for validation",
            metric="nats a character",
            ours=figures["nats_per_token"],
            bar="at most 1.50",
            reached=figures["nats_per_token"] <= 1.50,
            floor="1.561 (5-gram, modified Kneser-Ney)",
            published="1.88 (README of nanoGPT, on a CPU), 1.548 (minGRU, arXiv:2410.01201)",
            parameters=parameters_of("shakespeare"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
