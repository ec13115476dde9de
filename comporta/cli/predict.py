"""comporta predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comporta.cli.output import Folder, Json, print_json
from comporta.cli.search import Beam, Bonus, LanguageModel, Weight, search_options
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
    beam: Beam = None,
    language_model: LanguageModel = None,
    weight: Weight = None,
    bonus: Bonus = None,
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
    options = search_options(
        trained.predict,
        folder,
        beam=beam,
        language_model=language_model,
        weight=weight,
        bonus=bonus,
    )
    found = trained.predict(wanted, **options)
    if as_json:
        print_json([each.to_json() for each in found])
        return
    for each in found:
        print(each)
