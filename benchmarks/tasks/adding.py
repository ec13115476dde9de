"""The adding problem over 200 steps: rnn, gru and lstm."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gates import HIDDEN, TEST, Adding, train
from benchmarks.tasks.result import Result

STEPS, RATE = 4000, 5e-3
BAR = 1e-3


def run(data: Path) -> list[Result]:
    """Train each cell; no data is read."""
    problem = Adding()
    figures = {}
    for cell in HIDDEN:
        trained = train(problem, cell, steps=STEPS, lr=RATE)
        outputs, examples = trained.outputs(problem)
        figures[cell] = trained.figures(error=float(problem.loss(outputs, examples)))
    gru = figures["gru"]
    others = ", ".join(f"{cell} {figures[cell]['error']:.2g}" for cell in ("rnn", "lstm"))
    return [
        Result(
            task="adding",
            data=f"two numbers of {problem.memory}, made anew; {TEST:,} for the test",
            metric=f"mean squared error of gru ({others})",
            ours=gru["error"],
            bar="below 0.001",
            reached=gru["error"] < BAR,
            floor="0.1667 (always 1)",
            published="5.3e-05 of gru at T = 600, 70k parameters (arXiv:1803.01271)",
            parameters=gru["parameters"],
            seconds=gru["seconds"],
            commands=["python -m benchmarks.tasks adding"],
            figures=figures,
        )
    ]
