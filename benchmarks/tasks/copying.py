"""Ten symbols copied after 500 steps: rnn, gru and lstm, the gated ones also begun with chrono."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gates import STARTS, TEST, Copying, label, train
from benchmarks.tasks.result import Result

STEPS, RATE = 10_000, 3e-3


def run(data: Path) -> list[Result]:
    """Train each cell; no data is read."""
    problem = Copying()
    figures = {}
    for cell, chrono in STARTS:
        trained = train(problem, cell, steps=STEPS, lr=RATE, chrono=chrono)
        outputs, examples = trained.outputs(problem)
        figures[label(cell, chrono)] = trained.figures(
            loss=float(problem.loss(outputs, examples)), recall=problem.recall(outputs, examples)
        )
    best = min(figures, key=lambda name: figures[name]["loss"])
    others = ", ".join(f"{name} {figures[name]['loss']:.4f}" for name in figures if name != best)
    return [
        Result(
            task="copying",
            data=f"10 symbols over {problem.memory} steps, made anew; {TEST:,} for the test",
            metric=f"nats a step of {best} ({others})",
            ours=figures[best]["loss"],
            floor=f"{problem.baseline:.4f} (without memory)",
            published="0.0197 of gru, 0.0204 of lstm at T = 1000, 16k parameters "
            "(arXiv:1803.01271)",
            parameters=figures[best]["parameters"],
            seconds=figures[best]["seconds"],
            commands=["python -m benchmarks.tasks copying"],
            figures=figures,
        )
    ]
