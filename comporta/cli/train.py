"""comporta train language-model"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comporta.cli.output import Json, note, print_json
from comporta.cli.settings import gather
from comporta.errors import ConfigurationError

if TYPE_CHECKING:
    from comporta.training import Progress, RunFolder

DEFAULT_MINUTES = 5.0
INTERRUPTED = 130

_TEXT, _MODEL, _RUN = "The text", "The model", "The training"


def _option(flag: str, help: str, panel: str) -> typing.Any:
    return typer.Option(flag, help=help, rich_help_panel=panel, show_default=False)


Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILES",
        help="Text files, UTF-8. Without any: the source of the Python standard library.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the model, new or empty.")]
Config = Annotated[
    Path | None,
    typer.Option(help="A TOML file with any of these options; an option given here goes first."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in --out as if it had not stopped, bit for bit."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")]

Level = Annotated[str | None, _option("--level", "char, word or bpe. [default: char]", _TEXT)]
VocabSize = Annotated[
    int | None,
    _option("--vocab-size", "Most tokens. [default: char 5000, word 10000, bpe 2000]", _TEXT),
]
BatchSize = Annotated[
    int | None, _option("--batch-size", "Parallel streams of text. [default: 32]", _TEXT)
]
Window = Annotated[
    int | None, _option("--window", "Steps back-propagation goes back. [default: 100]", _TEXT)
]
CellName = Annotated[
    str | None,
    _option("--cell", "NAME of a cell, or FILE.txt with its equations. [default: gru]", _MODEL),
]
Embedding = Annotated[
    int | None, _option("--embedding", "Input size; 0 for one-hot. [default: 64]", _MODEL)
]
Hidden = Annotated[int | None, _option("--hidden", "Size of a layer. [default: 256]", _MODEL)]
Layers = Annotated[int | None, _option("--layers", "Recurrent layers. [default: 1]", _MODEL)]
FeedForward = Annotated[
    list[int] | None,
    _option("--feed-forward", "Size of a layer after them; may be repeated.", _MODEL),
]
Dropout = Annotated[
    float | None, _option("--dropout", "Probability of dropping a value. [default: 0.0]", _MODEL)
]
Tied = Annotated[
    bool | None, _option("--tied/--no-tied", "Embedding as output weights, too.", _MODEL)
]
Minutes = Annotated[
    float | None, _option("--minutes", "How long to train. [default: 5, if nothing else]", _RUN)
]
Epochs = Annotated[int | None, _option("--epochs", "Or: passes over the text.", _RUN)]
Steps = Annotated[int | None, _option("--steps", "Or: updates.", _RUN)]
Optimizer = Annotated[
    str | None, _option("--optimizer", "adamw, adam or sgd. [default: adamw]", _RUN)
]
Rate = Annotated[float | None, _option("--lr", "Highest learning rate. [default: 0.003]", _RUN)]
Decay = Annotated[
    float | None, _option("--weight-decay", "Weight decay of adamw. [default: 0.01]", _RUN)
]
Schedule = Annotated[
    str | None, _option("--schedule", "cosine or constant. [default: cosine]", _RUN)
]
Warmup = Annotated[int | None, _option("--warmup", "Steps of rising rate. [default: 100]", _RUN)]
ClipNorm = Annotated[
    float | None, _option("--clip-norm", "Largest gradient norm; 0: any. [default: 1.0]", _RUN)
]
ClipValue = Annotated[
    float | None,
    _option("--clip-value", "Largest gradient component; 0: any. [default: 0.0]", _RUN),
]
Every = Annotated[
    int | None, _option("--validate-every", "Steps. [default: a tenth of the run]", _RUN)
]
Patience = Annotated[
    int | None, _option("--patience", "Stop after so many validations without a better one.", _RUN)
]
Seed = Annotated[int | None, _option("--seed", "Of weights and dropout. [default: 0]", _RUN)]


def language_model(
    context: typer.Context,
    out: Out,
    files: Files = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    level: Level = None,
    vocab_size: VocabSize = None,
    batch_size: BatchSize = None,
    window: Window = None,
    cell: CellName = None,
    embedding: Embedding = None,
    hidden: Hidden = None,
    layers: Layers = None,
    feed_forward: FeedForward = None,
    dropout: Dropout = None,
    tied: Tied = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    steps: Steps = None,
    optimizer: Optimizer = None,
    lr: Rate = None,
    weight_decay: Decay = None,
    schedule: Schedule = None,
    warmup: Warmup = None,
    clip_norm: ClipNorm = None,
    clip_value: ClipValue = None,
    validate_every: Every = None,
    patience: Patience = None,
    seed: Seed = None,
) -> None:
    """Train a language model on text files; the last tenth of the text is held out.

    The best model on the held-out part is kept. Ctrl-C stops between two steps; a run stopped in
    any way, even killed, goes on with `--resume`.

    `comporta train language-model novel.txt --out runs/novel --minutes 10`
    """
    if resume and overwrite:
        raise ConfigurationError("--resume and --overwrite contradict each other; give one of them")
    from comporta.training import RunFolder
    from comporta.training.language_model import setting_kinds

    given = gather(config, context.params, setting_kinds())
    folder = RunFolder(out)
    progress = _train(given, folder, may_resume=resume, overwrite=overwrite)
    _report(progress, folder, as_json=as_json)
    if not progress.finished:
        raise typer.Exit(INTERRUPTED)


def _train(
    given: dict[str, object], folder: RunFolder, *, may_resume: bool, overwrite: bool
) -> Progress:
    from comporta.cli.progress import reporter
    from comporta.training.language_model import resume, start

    # Without a setting there is nothing to begin a run with, so a missing folder is a mistake.
    if may_resume and (folder.holds_a_run or not given):
        with reporter() as shown:
            return resume(given, folder, shown)
    if may_resume:
        note(f"nothing to resume in {folder.path}; beginning there")
    if not any(name in given for name in ("minutes", "epochs", "steps")):
        given = given | {"minutes": DEFAULT_MINUTES}
    with reporter() as shown:
        return start(given, folder, shown, overwrite=overwrite)


def _report(progress: Progress, folder: RunFolder, *, as_json: bool) -> None:
    best = None if progress.best is None else progress.best.to_json()
    if as_json:
        print_json(
            {
                "out": str(folder.path),
                "finished": progress.finished,
                "steps": progress.step,
                "seconds": progress.seconds,
                "best_step": progress.best_step,
                "validation": best,
            }
        )
        return
    state = "trained" if progress.finished else "stopped; go on with --resume"
    print(f"{folder.path}: {state} after {progress.step} steps, {progress.seconds:.0f} s")
    if best is not None:
        print(
            f"best validation at step {progress.best_step}: {best['nats_per_token']:.4f} nats a "
            f"token, perplexity {best['perplexity']:.3f}, "
            f"{best['bits_per_character']:.4f} bits a character"
        )
