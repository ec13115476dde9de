"""A reporter for tests: shows nothing, remembers what it was told, and may stop the run."""

from __future__ import annotations

import signal

from comporta.training import Measure, Progress, Task


class Quiet:
    """Keeps the losses and the data report; interrupts the run as Ctrl-C does.

    Args:
        stop_at: the step after which it is interrupted; None to let it run.
    """

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.losses: list[float] = []
        self.report: dict[str, object] = {}

    def began(self, progress: Progress, task: Task) -> None:
        self.report = dict(getattr(task, "report", {}))

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        self.losses.append(loss)
        if progress.step == self.stop_at:
            signal.raise_signal(signal.SIGINT)

    def validated(self, progress: Progress, measure: Measure) -> None: ...
