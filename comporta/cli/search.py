"""Options of the commands that search for a text: what they are, and who takes which."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from comporta.errors import ConfigurationError

Beam = Annotated[
    int | None,
    typer.Option(help="Width of the beam that searches for a text; 1 is greedy search."),
]
LanguageModel = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="A language model that advises the beam of a transcriber."),
]
Weight = Annotated[
    float | None, typer.Option(help="How much the language model counts. [default: 0.5]")
]
Bonus = Annotated[
    float | None,
    typer.Option(help="What each token adds to the score in the beam. [default: 0]"),
]


def search_options(
    method: Callable[..., object], folder: str, *, language_model: str | None, **options: object
) -> dict[str, Any]:
    """The options that were given, the language model loaded, for a method of a trained model.

    Args:
        method: what is to be called with them.
        folder: of the model, for messages.
        language_model: the folder of one, or None.
        options: the others by name; None where one was not given.

    Raises:
        ConfigurationError: the method does not take an option that was given.
    """
    from comporta.tasks import load

    options["language_model"] = language_model
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in inspect.signature(method).parameters:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} is of no use to the model in {folder}; leave it out"
            )
    if language_model is not None:
        given["language_model"] = load(language_model)
    return given
