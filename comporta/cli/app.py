"""The commands, put together. Each imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import typer

from comporta.cli.cells import cells
from comporta.cli.evaluate import evaluate
from comporta.cli.generate import generate
from comporta.cli.score import score
from comporta.cli.train import language_model

app = typer.Typer(
    help="Gated recurrent networks: train a model on text, let it write, ask how probable a "
    "sentence is.\n\nBegin with `comporta train language-model FILE.txt --out DIR`; "
    "then `comporta generate DIR`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a model.", no_args_is_help=True)
train.command("language-model")(language_model)
app.add_typer(train, name="train")
app.command()(generate)
app.command()(score)
app.command()(evaluate)
app.command()(cells)
