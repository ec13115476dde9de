"""comporta evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comporta.cli.output import Folder, Json, print_json
from comporta.cli.search import Beam, Bonus, LanguageModel, Weight, search_options


def evaluate(
    folder: Folder,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Data of the kind it was trained on.")
    ],
    beam: Beam = None,
    language_model: LanguageModel = None,
    weight: Weight = None,
    bonus: Bonus = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on data it has not seen.

    Text files for a language model are read as one text from beginning to end; nats and bits are
    per token, and bits per character compare across vocabularies.

    `comporta evaluate runs/speech test.tsv --language-model runs/english --json`
    """
    from comporta.tasks import load

    trained = load(folder)
    options = search_options(
        trained.evaluate_files,
        folder,
        beam=beam,
        language_model=language_model,
        weight=weight,
        bonus=bonus,
    )
    measure = trained.evaluate_files(files, **options)
    if as_json:
        print_json(measure)
        return
    for name, value in measure.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):20s}{shown}")
