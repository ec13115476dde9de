"""From minutes to a number of steps: the one place where the clock has a say."""

from __future__ import annotations

import time
from typing import Protocol

from comporta.training.options import VALIDATIONS, TrainingOptions

_MEASURED_SHARE = 0.05
_LEAST_STEPS = 10
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

    def total_steps(self, step: int, validation_seconds: float) -> int:
        """The number of steps of the run.

        Args:
            step: the steps made so far.
            validation_seconds: how long the validation just made took.

        Returns:
            The steps made and those that the rest of the time holds, validations included.
        """
        assert self._options.minutes is not None
        assert self._measured_from is not None
        now = self.seconds()
        timed = now - validation_seconds - self._measured_from
        each = timed / (step - self._first_step)
        left = 60 * self._options.minutes - now
        if self._options.validate_every is None:
            left -= VALIDATIONS * validation_seconds
        else:
            each += validation_seconds / self._options.validate_every
        return step + max(1, int(left / each))
