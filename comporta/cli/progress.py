"""How training goes, on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.progress import TaskID as BarId
from rich.table import Column

if TYPE_CHECKING:
    from comporta.training import Measure, Progress, Reporter, Task

_SECONDS_BETWEEN_LINES = 10.0
_SMOOTHING = 0.97
_LEAST_BAR = 8


@contextmanager
def reporter() -> Iterator[Reporter]:
    """The reporter that suits standard error; closed when the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineReporter()
        return
    with make_bar(console) as bar:
        yield BarReporter(bar)


def make_bar(console: Console) -> Bar:
    """The bar, the number of the step, and what `BarReporter` says; the bar gives way."""
    counter = MofNCompleteColumn(table_column=Column(no_wrap=True))
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    return Bar(BarColumn(bar_width=None), counter, text, console=console, expand=True)


class Pace:
    """Smoothed loss, speed and time left, from what the loop tells.

    Args:
        progress: where the run begins.
        task: what is trained.
    """

    def __init__(self, progress: Progress, task: Task) -> None:
        self._task = task
        self._began, self._first_step = time.monotonic(), progress.step
        self._count = 0
        self._loss = 0.0
        self._weight = 0.0

    def line(self, progress: Progress, loss: float, count: int, width: int | None = None) -> str:
        """Loss, the task's own words for it, speed and time left, in a line.

        Args:
            progress: where the run is.
            loss: of the last update.
            count: how many items it is the mean of.
            width: room for the line; where it is too little, what matters least is left out.
        """
        self._count += count
        self._weight = _SMOOTHING * self._weight + (1 - _SMOOTHING)
        self._loss = _SMOOTHING * self._loss + (1 - _SMOOTHING) * loss
        seconds = max(1e-9, time.monotonic() - self._began)
        mean = self._loss / self._weight
        words = self._task.describe(mean)
        parts = {
            "loss": f"loss {mean:.3f}",
            **words,
            "speed": f"{self._count / seconds:,.0f} {self._task.unit}/s",
            "left": self._left(progress, seconds),
        }
        first, *others = [*words] or ["loss"]
        for least in (*reversed(others), "speed", first, "loss"):
            if width is None or len("  ".join(parts.values())) <= width:
                break
            parts.pop(least, None)
        return "  ".join(parts.values())

    def _left(self, progress: Progress, seconds: float) -> str:
        if progress.total is None:
            return "timing the first steps"
        each = seconds / max(1, progress.step - self._first_step)
        left = round(each * (progress.total - progress.step))
        return f"{left // 60}:{left % 60:02d} left"


def _validation(progress: Progress, measure: Measure) -> str:
    best = " (best)" if progress.best_step == progress.step else ""
    words = f", {measure.summary}" if measure.summary else ""
    return f"step {progress.step}: validation loss {measure.loss:.4f}{words}{best}"


def _report(task: Task) -> list[str]:
    """What the task says of its data, a line each."""
    return [f"{name}: {_shown(value)}" for name, value in getattr(task, "report", {}).items()]


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


class BarReporter:
    """A progress bar, with validations above it.

    Args:
        bar: a bar that is being shown.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._id: BarId | None = None
        self._pace: Pace | None = None

    def began(self, progress: Progress, task: Task) -> None:
        """Say what the data is, and show the bar."""
        for line in _report(task):
            self._bar.console.print(line, markup=False, highlight=False)
        self._pace = Pace(progress, task)
        self._id = self._bar.add_task("", total=progress.total, completed=progress.step)

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """Move the bar."""
        assert self._id is not None
        assert self._pace is not None
        # The number of the step, then a space on both sides of it.
        counter = 2 * len(str(progress.total or progress.step)) + 1 + 2
        room = self._bar.console.width - _LEAST_BAR - counter
        self._bar.update(
            self._id,
            completed=progress.step,
            total=progress.total,
            description=self._pace.line(progress, loss, count, room),
        )

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Print the measure above the bar."""
        self._bar.console.print(_validation(progress, measure), markup=False, highlight=False)


class LineReporter:
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._pace: Pace | None = None
        self._printed = 0.0

    def began(self, progress: Progress, task: Task) -> None:
        """Say what the data is, and where training begins."""
        for line in _report(task):
            self._print(line)
        self._pace = Pace(progress, task)
        total = "as many as the minutes hold" if progress.total is None else str(progress.total)
        self._print(f"from step {progress.step}, steps in all: {total}")

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """Print a line when the last one is some time ago."""
        assert self._pace is not None
        line = self._pace.line(progress, loss, count)
        if time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES:
            self._print(f"step {progress.step}/{progress.total or '?'}  {line}")

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Print the measure."""
        self._print(_validation(progress, measure))

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        print(line, file=sys.stderr, flush=True)
