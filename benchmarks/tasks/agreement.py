"""A verb that agrees with a subject 5 to 50 words back: rnn, gru and lstm."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.gates import STARTS, TEST, Agreement, label, train
from benchmarks.tasks.result import Result

STEPS, SEEDS = 1500, 3
RATES = {"rnn": 3e-3, "gru": 5e-3, "lstm": 1e-2}
DISTANCES = (5, 10, 20, 30, 40, 50)


def run(data: Path) -> list[Result]:
    """Train each cell once a distance and seed; no data is read."""
    figures = {label(cell, chrono): measure(cell, chrono) for cell, chrono in STARTS}
    farthest = max(DISTANCES)
    shares = {name: found["accuracy"][farthest] for name, found in figures.items()}
    best = max(shares, key=lambda name: shares[name])
    others = ", ".join(f"{name} {share:.3f}" for name, share in shares.items() if name != best)
    return [
        Result(
            task="agreement",
            data=f"English sentences, made anew, {TEST:,} for the test; a model for each distance",
            metric=f"accuracy of {best} at {farthest} words, mean of {SEEDS} seeds ({others})",
            ours=shares[best],
            floor="0.5 (chance)",
            parameters=figures[best]["parameters"],
            seconds=sum(found["seconds"] for found in figures.values()),
            commands=["python -m benchmarks.tasks agreement"],
            figures=figures,
        )
    ]


def measure(cell: str, chrono: bool) -> dict[str, Any]:
    """One cell: its accuracy at each distance, the mean of all seeds and by seed."""
    by_seed, seconds = {}, 0.0
    for distance in DISTANCES:
        problem = Agreement(memory=distance)
        runs = [
            train(problem, cell, steps=STEPS, lr=RATES[cell], chrono=chrono, seed=seed)
            for seed in range(SEEDS)
        ]
        by_seed[distance] = [problem.accuracy(*trained.outputs(problem)) for trained in runs]
        seconds += sum(trained.seconds for trained in runs)
        print(f"{label(cell, chrono)}, {distance} words: {by_seed[distance]}", flush=True)
    return {
        "accuracy": {distance: mean(shares) for distance, shares in by_seed.items()},
        "by_seed": by_seed,
        "parameters": runs[0].parameters,
        "seconds": seconds,
    }
