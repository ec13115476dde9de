"""A verb that agrees with a subject 5 to 50 words back: rnn, gru and lstm."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gates import HIDDEN, TEST, Agreement, train
from benchmarks.tasks.result import Result

STEPS = 3000
RATES = {"rnn": 3e-3, "gru": 5e-3, "lstm": 5e-3}
DISTANCES = range(5, 51, 5)


def run(data: Path) -> list[Result]:
    """Train each cell on sentences of every distance; no data is read."""
    figures = {}
    for cell in HIDDEN:
        trained = train(Agreement(), cell, steps=STEPS, lr=RATES[cell])
        problems = {distance: Agreement(distance=distance) for distance in DISTANCES}
        figures[cell] = trained.figures(
            accuracy={
                distance: problem.accuracy(*trained.outputs(problem))
                for distance, problem in problems.items()
            }
        )
    gru = figures["gru"]
    farthest = max(DISTANCES)
    others = ", ".join(f"{cell} {figures[cell]['accuracy'][farthest]:.3f}" for cell in HIDDEN)
    return [
        Result(
            task="agreement",
            data=f"English sentences, made anew; {TEST:,} of each distance for the test",
            metric=f"accuracy of gru at {farthest} words ({others})",
            ours=gru["accuracy"][farthest],
            floor="0.5 (chance)",
            parameters=gru["parameters"],
            seconds=gru["seconds"],
            commands=["python -m benchmarks.tasks agreement"],
            figures=figures,
        )
    ]
