"""The options that say what a generator is given: a class or a vector."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from comporta.errors import ConfigurationError, DataError

Class = Annotated[
    str | None, typer.Option("--class", help="Class, for a generator trained on classes.")
]
Vector = Annotated[
    str | None,
    typer.Option(
        help='Vector, for a generator trained on vectors: "[0.5, 2]", or a JSON file with one.'
    ),
]


def fitting(
    method: Callable[..., Any], folder: str, *, label: str | None, vector: str | None
) -> dict[str, object]:
    """What was given, as a method of a trained model takes it.

    Args:
        method: the method.
        folder: of the model, for messages.
        label: the class, if one was given.
        vector: the vector as it was typed, if one was.

    Raises:
        ConfigurationError: something given that this model has no use for.
        DataError: a vector that is none.
    """
    known = inspect.signature(method).parameters
    for option, name, value in (("class", "label", label), ("vector", "vector", vector)):
        if value is not None and name not in known:
            raise ConfigurationError(
                f"--{option} is for a generator, and {folder} holds another model; leave it out"
            )
    given: dict[str, object] = {} if label is None else {"label": label}
    return given if vector is None else given | {"vector": parse_vector(vector)}


def parse_vector(text: str) -> list[float]:
    """The numbers of a JSON list, or of a file with one, alone or as the field "vector".

    Raises:
        DataError: there is no such list.

    >>> parse_vector("[0.5, 2]")
    [0.5, 2]
    """
    typed = text.lstrip().startswith("[")
    try:
        found = json.loads(text if typed else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        found = found.get("vector")
    if not isinstance(found, list) or not all(isinstance(n, int | float) for n in found):
        raise DataError(
            f"--vector {text} is neither a list of numbers such as [0.5, 2] nor a file with one"
        )
    return found
