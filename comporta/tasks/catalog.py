"""The tasks by name, each imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comporta.errors import CheckpointError, ConfigurationError, nearest
from comporta.tasks.kind import Kind
from comporta.training.checkpoint import RunFolder

NAMES = ("language-model", "classifier", "generator", "tagger", "transcriber", "translator")


def kind(name: str) -> Kind[Any, Any, Any]:
    """The task of a name.

    Raises:
        ConfigurationError: there is none.

    >>> kind("language-model").name
    'language-model'
    """
    match name:
        case "language-model":
            from comporta.tasks import language_model

            return language_model.KIND
        case "classifier":
            from comporta.tasks import classifier

            return classifier.KIND
        case "generator":
            from comporta.tasks import generator

            return generator.KIND
        case "tagger":
            from comporta.tasks import tagger

            return tagger.KIND
        case "transcriber":
            from comporta.tasks import transcriber

            return transcriber.KIND
        case "translator":
            from comporta.tasks import translator

            return translator.KIND
    raise ConfigurationError(f"unknown task {name!r}{nearest(name, NAMES)}")


def load(path: str | Path) -> Any:
    """Load a trained model from the folder of its run: its best checkpoint.

    Nothing in the folder is executed; a cell of one's own comes along as its text.

    Args:
        path: the folder that was `--out` in training.

    Returns:
        The model, ready to be used: what it can do follows from its task.

    Raises:
        CheckpointError: no model there, a damaged one, or one of a newer format.
    """
    folder = RunFolder(path)
    task = folder.config().get("task")
    if task not in NAMES:
        raise CheckpointError(
            f"{folder.path} holds a model for {task!r}, which this Comporta does not know; "
            "upgrade it"
        )
    return kind(str(task)).load(folder)
