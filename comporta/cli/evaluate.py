"""comporta evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comporta.cli.output import Folder, Json, print_json


def evaluate(
    folder: Folder,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Data of the kind it was trained on.")
    ],
    as_json: Json = False,
) -> None:
    """Measure a trained model on data it has not seen.

    Text files for a language model are read as one text from beginning to end; nats and bits are
    per token, and bits per character compare across vocabularies.
    """
    from comporta.tasks import load

    measure = load(folder).evaluate_files(files)
    if as_json:
        print_json(measure)
        return
    for name, value in measure.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):20s}{shown}")
