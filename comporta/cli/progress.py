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
    from comporta.training import Measure, Progress, Reporter

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
    """Smoothed loss, speed and time left, from what the loop tells."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first_step = 0
        self._tokens = 0
        self._nats = 0.0
        self._bits = 0.0
        self._weight = 0.0

    def begin(self, progress: Progress) -> None:
        """The clock of this process starts."""
        self._began, self._first_step = time.monotonic(), progress.step

    def line(self, progress: Progress, measure: Measure, width: int | None = None) -> str:
        """Loss, perplexity, bits per character, tokens a second and time left, in a line.

        Args:
            progress: where the run is.
            measure: of the last window.
            width: room for the line; where it is too little, what matters least is left out.
        """
        from comporta.training.task import perplexity

        self._tokens += measure.tokens
        self._weight = _SMOOTHING * self._weight + (1 - _SMOOTHING)
        self._nats = _SMOOTHING * self._nats + (1 - _SMOOTHING) * measure.nats_per_token
        self._bits = _SMOOTHING * self._bits + (1 - _SMOOTHING) * measure.bits_per_character
        seconds = max(1e-9, time.monotonic() - self._began)
        nats, bits = self._nats / self._weight, self._bits / self._weight
        parts = {
            "loss": f"loss {nats:.3f}",
            "perplexity": f"perplexity {perplexity(nats):.2f}",
            "bits": f"{bits:.3f} bits/char",
            "speed": f"{self._tokens / seconds:,.0f} tokens/s",
            "left": self._left(progress, seconds),
        }
        for least in ("perplexity", "speed", "bits", "loss"):
            if width is None or len("  ".join(parts.values())) <= width:
                break
            del parts[least]
        return "  ".join(parts.values())

    def _left(self, progress: Progress, seconds: float) -> str:
        if progress.total is None:
            return "timing the first steps"
        each = seconds / max(1, progress.step - self._first_step)
        left = round(each * (progress.total - progress.step))
        return f"{left // 60}:{left % 60:02d} left"


def _validation(progress: Progress, measure: Measure) -> str:
    best = " (best)" if progress.best_step == progress.step else ""
    return (
        f"step {progress.step}: validation loss {measure.nats_per_token:.4f}, perplexity "
        f"{measure.perplexity:.2f}, {measure.bits_per_character:.4f} bits/char{best}"
    )


class BarReporter:
    """A progress bar, with validations above it.

    Args:
        bar: a bar that is being shown.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._id: BarId | None = None
        self._pace = Pace()

    def began(self, progress: Progress) -> None:
        """Show the bar."""
        self._pace.begin(progress)
        self._id = self._bar.add_task("", total=progress.total, completed=progress.step)

    def stepped(self, progress: Progress, measure: Measure) -> None:
        """Move the bar."""
        assert self._id is not None
        # The number of the step, then a space on both sides of it.
        counter = 2 * len(str(progress.total or progress.step)) + 1 + 2
        room = self._bar.console.width - _LEAST_BAR - counter
        self._bar.update(
            self._id,
            completed=progress.step,
            total=progress.total,
            description=self._pace.line(progress, measure, room),
        )

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Print the measure above the bar."""
        self._bar.console.print(_validation(progress, measure), markup=False, highlight=False)


class LineReporter:
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._printed = 0.0

    def began(self, progress: Progress) -> None:
        """Say where training begins."""
        self._pace.begin(progress)
        total = "as many as the minutes hold" if progress.total is None else str(progress.total)
        self._print(f"from step {progress.step}, steps in all: {total}")

    def stepped(self, progress: Progress, measure: Measure) -> None:
        """Print a line when the last one is some time ago."""
        line = self._pace.line(progress, measure)
        if time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES:
            self._print(f"step {progress.step}/{progress.total or '?'}  {line}")

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Print the measure."""
        self._print(_validation(progress, measure))

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        print(line, file=sys.stderr, flush=True)
