"""comporta train TASK: one command for each task, its options those of the task's recipe."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comporta.cli.output import Json, note, print_json
from comporta.cli.settings import described, gather
from comporta.errors import ConfigurationError

if TYPE_CHECKING:
    from comporta.tasks import Kind
    from comporta.training import Parts, Progress, RunFolder

DEFAULT_MINUTES = 5.0
INTERRUPTED = 130

SUMMARIES = {
    "language-model": "Text that goes on: each token from those before it.",
    "classifier": "A label or a score for a whole sequence.",
    "generator": "A text or music from a class, a vector or nothing.",
    "tagger": "A tag for every word or step: entities, parts of speech, slots.",
    "transcriber": "Text from sound, aligned by the model itself.",
    "translator": "A sequence for a sequence: languages, letters to phonemes, sums.",
}
"""The tasks with what each is, in a line; here, so that help need not import them."""

_PANELS = ("The data", "The model", "The training")
_COMMON: dict[str, Any] = {
    "out": Annotated[Path, typer.Option(help="Folder of the model, new or empty.")],
    "config": Annotated[
        Path | None,
        typer.Option(help="A TOML file with any of these options; those given here go first."),
    ],
    "resume": Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out as if it had not stopped, bit for bit."
        ),
    ],
    "overwrite": Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")],
    "as_json": Json,
}


def train_command(name: str) -> Callable[..., None]:
    """The function behind `comporta train NAME`, with an option for every setting."""
    from comporta.tasks import kind

    task = kind(name)

    def run(
        out: Path,
        config: Path | None,
        resume: bool,
        overwrite: bool,
        as_json: bool,
        **given: object,
    ) -> None:
        if resume and overwrite:
            raise ConfigurationError(
                "--resume and --overwrite contradict each other; give one of them"
            )
        _run(task, out, config, given, may_resume=resume, overwrite=overwrite, as_json=as_json)

    annotations = {"out": _COMMON["out"]} | _options(task.parts) | _COMMON
    blank = {"config": None, "resume": False, "overwrite": False, "as_json": False}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                each,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=inspect.Parameter.empty if each == "out" else blank.get(each),
            )
            for each, annotation in annotations.items()
        ]
    )
    run.__annotations__ = annotations
    run.__doc__ = task.help
    return run


def _options(parts: Parts[Any, Any]) -> dict[str, Any]:
    """The type of every setting as typer reads it, by name."""
    defaults = parts.defaults | {"minutes": "5, if nothing else"}
    options: dict[str, Any] = {}
    for part, panel in zip(parts.all, _PANELS, strict=True):
        kinds, helps = typing.get_type_hints(part), described(part)
        for field in part.__dataclass_fields__:
            if field == "files":
                shown = typer.Argument(metavar="FILES", help=helps[field], show_default=False)
                options[field] = Annotated[list[str] | None, shown]
                continue
            flag = "--" + field.replace("_", "-")
            kind = kinds[field]
            shown = typer.Option(
                f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
                help=helps[field] + _default(defaults[field]),
                rich_help_panel=panel,
                show_default=False,
            )
            options[field] = Annotated[_kind(kind), shown]
    return options


def _kind(kind: Any) -> Any:
    """The type of an option that may be left out."""
    if getattr(kind, "__name__", "") == "Cell":
        return str | None
    if typing.get_origin(kind) is tuple:
        return list[typing.get_args(kind)[0]] | None  # type: ignore[misc]
    return kind | None


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    # The cell's name stands for the cell.
    return f" [default: {getattr(value, 'name', value)}]"


def _run(
    task: Kind[Any, Any, Any],
    out: Path,
    config: Path | None,
    options: dict[str, object],
    *,
    may_resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from comporta.cli.progress import reporter
    from comporta.training import RunFolder

    given, folder = gather(config, options, task.parts.kinds), RunFolder(out)
    # Without a setting there is nothing to begin a run with, so a missing folder is a mistake.
    resumed = may_resume and (folder.holds_a_run or not given)
    if may_resume and not resumed:
        note(f"nothing to resume in {folder.path}; beginning there")
    if not resumed and not any(name in given for name in ("minutes", "epochs", "steps")):
        given = given | {"minutes": DEFAULT_MINUTES}
    with reporter() as shown:
        if resumed:
            progress = task.resume(given, folder, shown)
        else:
            progress = task.start(given, folder, shown, overwrite=overwrite)
    _report(progress, folder, as_json=as_json)
    if not progress.finished:
        raise typer.Exit(INTERRUPTED)


def _report(progress: Progress, folder: RunFolder, *, as_json: bool) -> None:
    best = progress.best
    if as_json:
        print_json(
            {
                "out": str(folder.path),
                "finished": progress.finished,
                "steps": progress.step,
                "seconds": progress.seconds,
                "best_step": progress.best_step,
                "validation": None if best is None else best.figures,
            }
        )
        return
    state = "trained" if progress.finished else "stopped; go on with --resume"
    print(f"{folder.path}: {state} after {progress.step} steps, {progress.seconds:.0f} s")
    if best is not None:
        print(f"best validation at step {progress.best_step}: loss {best.loss:.4f}, {best.summary}")
