"""From minutes to a number of steps: the one place where the clock has a say."""

from __future__ import annotations

import time
from typing import Protocol

from comporta.training.options import VALIDATIONS, TrainingOptions

_MEASURED_SHARE = 0.05
_LEAST_STEPS = 10
_VALIDATION_SHARE = 0.2
_WARM_STEPS = 3


class _Elapsed(Protocol):
    seconds: float
    step: int


class Budget:
    """The time of a run: what has passed, and how many steps a number of minutes holds.

    The first steps are timed (a twentieth of the minutes, after a few that compile kernels); the
    number of steps that follows is fixed there and saved, so that a resumed run makes the same
    ones.

    Args:
        options: of the run.
        progress: where the run is when the clock starts.
    """

    def __init__(self, options: TrainingOptions, progress: _Elapsed) -> None:
        self._options = options
        self._first_step = progress.step + _WARM_STEPS
        self._started = time.monotonic() - progress.seconds
        self._measured_from: float | None = None

    def seconds(self) -> float:
        """Training time so far, that before an interruption included."""
        return time.monotonic() - self._started

    def is_measured(self, step: int) -> bool:
        """Whether enough steps have been timed; to be asked after every step."""
        if self._options.minutes is None or step < self._first_step:
            return False
        if self._measured_from is None:
            self._measured_from = self.seconds()
        enough = self.seconds() > 60 * self._options.minutes * _MEASURED_SHARE
        return enough and step - self._first_step >= _LEAST_STEPS

    def plan(self, step: int, validation_seconds: float) -> tuple[int, int]:
        """The number of steps of the run, and of those from one validation to the next.

        Args:
            step: the steps made so far.
            validation_seconds: how long the validation just made took.

        Returns:
            The steps made and those that the rest of the time holds, validations included; and
            the steps between validations, so many that these take a small part of the time.
        """
        assert self._options.minutes is not None
        assert self._measured_from is not None
        now = self.seconds()
        timed = now - validation_seconds - self._measured_from
        each = timed / (step - self._first_step)
        left = 60 * self._options.minutes - now
        every = self._options.validate_every
        if every is not None:
            each += validation_seconds / every
            return step + max(1, int(left / each)), every
        affordable = int(_VALIDATION_SHARE * left / max(1e-9, validation_seconds))
        validations = max(1, min(VALIDATIONS, affordable))
        total = step + max(1, int((left - validations * validation_seconds) / each))
        return total, -(-total // validations)
