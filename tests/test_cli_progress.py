"""The progress bar fits its terminal: the step and the time left can always be read."""

from __future__ import annotations

import io
import math
from types import MappingProxyType

import pytest
from rich.console import Console

from comporta.cli.progress import BarReporter, LineReporter, make_bar
from comporta.training import Measure, Progress


class Words:
    """What a language model says of its loss, one character a token."""

    unit = "tokens"
    report = MappingProxyType({"training tokens": 12345})

    def describe(self, loss: float) -> dict[str, str]:
        bits = f"{loss / math.log(2):.3f} bits/char"
        return {"bits": bits, "perplexity": f"perplexity {math.exp(loss):.2f}"}


MEASURE = Measure(loss=1.5, summary="perplexity 4.48, 2.1640 bits/char")


def drawn(width: int, *, total: int | None, step: int) -> str:
    """The bar as a terminal of that width shows it after a step."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    bar = make_bar(console)
    reporter = BarReporter(bar)
    reporter.began(Progress(total=total), Words())  # type: ignore[arg-type]
    reporter.stepped(Progress(step=step, total=total), 1.5, 3200)
    with console.capture() as shown:
        console.print(bar.get_renderable())
    (line,) = shown.get().splitlines()
    return line


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize(("total", "step"), [(950, 7), (123_456, 98_765), (None, 42)])
def test_the_step_is_never_cut_off(width: int, total: int | None, step: int) -> None:
    line = drawn(width, total=total, step=step)
    assert len(line) <= width
    assert f" {step}/{total or '?'} " in line
    assert line.rstrip().endswith("timing the first steps" if total is None else "left")
    assert "…" not in line


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (60, ["loss 1.500", "bits/char"]),
        (80, ["loss 1.500", "bits/char", "tokens/s"]),
        (100, ["loss 1.500", "perplexity 4.48", "bits/char", "tokens/s"]),
    ],
)
def test_what_is_shown_in_how_much_room(width: int, words: list[str]) -> None:
    line = drawn(width, total=1394, step=700)
    every = ("loss 1.500", "perplexity 4.48", "bits/char", "tokens/s")
    assert [word for word in every if word in line] == words
    assert f"{1.5 / math.log(2):.3f} bits/char" in line


def test_what_the_data_is_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    LineReporter().began(Progress(total=3), Words())  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines()[0] == "training tokens: 12,345"


def test_a_validation_fits_in_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    LineReporter().validated(Progress(step=123_456, total=200_000, best_step=123_456), MEASURE)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 80
    assert line.startswith("step 123456: validation loss 1.5000, perplexity 4.48, 2.1640 bits/char")
