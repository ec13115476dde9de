"""The commands, put together. Each imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

from collections.abc import Callable

import typer

from comporta.cli.cells import cells
from comporta.cli.evaluate import evaluate
from comporta.cli.generate import generate
from comporta.cli.predict import predict
from comporta.cli.score import score
from comporta.cli.train import SUMMARIES, train_command

app = typer.Typer(
    help="Gated recurrent networks: train a model on sequences, use it, measure it.\n\n"
    "Begin with `comporta train language-model FILE.txt --out DIR`; then `comporta generate DIR`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a model.", no_args_is_help=True)


def _deferred(name: str) -> Callable[[typer.Context], None]:
    """The command of a task, whose options are those of its recipe: read when it is called."""

    def run(context: typer.Context) -> None:
        inner = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        inner.command()(train_command(name))
        status = typer.main.get_command(inner).main(
            args=context.args,
            prog_name=context.command_path,
            standalone_mode=False,
            help_option_names=["-h", "--help"],
        )
        raise typer.Exit(status or 0)

    return run


for _name, _summary in SUMMARIES.items():
    train.command(
        _name,
        help=_summary,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(_deferred(_name))

app.add_typer(train, name="train")
app.command()(evaluate)
app.command()(predict)
app.command()(generate)
app.command()(score)
app.command()(cells)
