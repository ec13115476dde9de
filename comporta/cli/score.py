"""comporta score"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from comporta.cli.conditions import Class, Vector, fitting
from comporta.cli.output import Folder, Json, note_unknown, print_json
from comporta.errors import ConfigurationError

if TYPE_CHECKING:
    from comporta.tasks.trained_language_model import Score

_SHOWN = 60


def score(
    folder: Folder,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to score.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file whose lines are scored, too; empty ones are not.")
    ] = None,
    label: Class = None,
    vector: Vector = None,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Show the log-probability of every token.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how probable texts are: log p(text), the sum of log p(token | tokens before it).

    `comporta score DIR "The apple and pear salad" "The apple and pair salad"`
    """
    from comporta.data import read_text
    from comporta.tasks import load

    wanted = list(texts or [])
    if file is not None:
        wanted += [line for line in read_text(file).splitlines() if line.strip()]
    if not wanted:
        raise ConfigurationError("nothing to score; give texts, or --file with a text on each line")
    trained = load(folder)
    if not hasattr(trained, "score"):
        raise ConfigurationError(
            f"{folder} holds a model that scores no texts; try comporta predict"
        )
    given = fitting(trained.score, folder, label=label, vector=vector)
    scores = [trained.score(text, **given) for text in wanted]
    for found in scores:
        note_unknown(found.unknown, repr(_shortened(found.text)))
    if as_json:
        print_json([_as_json(found, per_token) for found in scores])
        return
    console = Console()
    table = Table("log p (nats)", "perplexity", "tokens", "text")
    for found in scores:
        numbers = (f"{found.log_probability:.3f}", f"{found.perplexity:.3f}", str(found.tokens))
        table.add_row(*numbers, Text(found.text))
    console.print(table)
    for found in scores if per_token else ():
        _print_tokens(console, found)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_json(found: Score, per_token: bool) -> dict[str, object]:
    steps = [{"token": token, "log_probability": value} for token, value in found.steps]
    return found.to_json() | ({"per_token": steps} if per_token else {})


def _print_tokens(console: Console, found: Score) -> None:
    table = Table("token", "log p", "sum", title=Text(found.text))
    total = 0.0
    for token, value in found.steps:
        total += value
        table.add_row(Text(repr(token)), f"{value:.3f}", f"{total:.3f}")
    console.print(table)
