"""comporta evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comporta.cli.output import Folder, Json, note_unknown, print_json


def evaluate(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Text files, UTF-8.")],
    as_json: Json = False,
) -> None:
    """Measure a trained model on text it has not seen.

    The files are read as one text from beginning to end. Nats and bits are per token; bits per
    character compare across vocabularies.
    """
    from comporta.data import read_texts
    from comporta.training import load

    text = read_texts(files)
    trained = load(folder)
    note_unknown(trained.encode(text).unknown, "the text")
    measure = trained.evaluate(text).to_json()
    if as_json:
        print_json(measure)
        return
    for name, value in measure.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):20s}{shown}")
