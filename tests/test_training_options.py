"""Options of training: what contradicts, and the learning rate as a function of the step."""

from __future__ import annotations

import math

import pytest

from comporta.errors import ConfigurationError
from comporta.training import TrainingOptions


def test_the_learning_rate_rises_then_falls_by_half_a_cosine() -> None:
    options = TrainingOptions(steps=1, lr=2.0, warmup=10)
    rates = [options.learning_rate(step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    for step in range(10, 110):
        expected = 1 + math.cos(math.pi * (step - 10) / 100)
        assert rates[step] == pytest.approx(expected)


def test_a_constant_rate_and_a_total_not_yet_measured() -> None:
    options = TrainingOptions(steps=1, lr=2.0, warmup=10, schedule="constant")
    assert options.learning_rate(99, 100) == 2.0
    measured = TrainingOptions(minutes=1, lr=2.0, warmup=10)
    assert [measured.learning_rate(step, None) for step in (0, 9, 500)] == [0.2, 2.0, 2.0]


def test_warm_up_never_takes_more_than_a_tenth() -> None:
    options = TrainingOptions(steps=1, lr=1.0, warmup=100)
    assert max(range(50), key=lambda step: options.learning_rate(step, 50)) <= 5


def test_lengths() -> None:
    assert TrainingOptions(epochs=3).total_steps(7) == 21
    assert TrainingOptions(steps=5).total_steps(7) == 5
    assert TrainingOptions(minutes=5).total_steps(7) is None
    assert TrainingOptions(steps=5, validate_every=3).validation_interval(100) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minutes": 1.0, "steps": 2}, "minutes and steps contradict"),
        ({"steps": None}, "give minutes, epochs or steps"),
        ({"steps": 0}, "steps is 0"),
        ({"lr": 0.0}, "lr is 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"clip_norm": -1.0}, "clip_norm is -1"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"optimizer": "adamv"}, "did you mean adam or adamw"),
        ({"schedule": "cosin"}, "did you mean cosine"),
        ({"precision": "half"}, "unknown precision 'half'; known: bfloat16, float32"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        TrainingOptions(**({"steps": 5} | changes))  # type: ignore[arg-type]
