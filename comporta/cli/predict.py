"""comporta predict"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from comporta.cli.output import Folder, Json, print_json
from comporta.errors import ConfigurationError


def predict(
    folder: Folder,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Texts, or files of sound, numbers or video."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file of inputs, as it could be in training.")
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(help="Width of the beam that searches for a text; 1 is greedy search."),
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="A language model that advises the beam of a transcriber."
        ),
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="How much the language model counts. [default: 0.5]")
    ] = None,
    bonus: Annotated[
        float | None,
        typer.Option(help="What each token adds to the score in the beam. [default: 0]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a trained model makes of inputs.

    `comporta predict DIR "a question ?" --json`

    `comporta predict runs/speech a.wav b.flac --language-model runs/english`
    """
    from comporta.tasks import load

    trained = load(folder)
    if not hasattr(trained, "predict"):
        raise ConfigurationError(
            f"{folder} holds a model that predicts nothing by itself; try comporta generate or "
            "comporta score"
        )
    wanted = list(inputs or [])
    if file is not None:
        wanted += trained.read_inputs(file)
    if not wanted:
        raise ConfigurationError("nothing to predict; give inputs, or --file with some")
    options = {"beam": beam, "language_model": language_model, "weight": weight, "bonus": bonus}
    given = _fitting(trained, folder, options)
    if language_model is not None:
        given["language_model"] = load(language_model)
    found = trained.predict(wanted, **given)
    if as_json:
        print_json([each.to_json() for each in found])
        return
    for each in found:
        print(each)


def _fitting(trained: Any, folder: str, options: Mapping[str, object]) -> dict[str, Any]:
    """The options that were given, if this model predicts by them."""
    known = inspect.signature(trained.predict).parameters
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} is of no use to the model in {folder}; leave it out"
            )
    return given
