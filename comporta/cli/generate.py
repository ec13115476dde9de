"""comporta generate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comporta.cli.conditions import Class, Vector, fitting
from comporta.cli.output import Folder, Json, note_unknown, print_json
from comporta.errors import ConfigurationError


def generate(
    folder: Folder,
    prime: Annotated[
        str, typer.Option(help='Text to go on from; or first notes, such as "60,64,67 62".')
    ] = "",
    label: Class = None,
    vector: Vector = None,
    length: Annotated[
        int | None,
        typer.Option(
            help="Tokens or frames to draw. Without it: until the end, where there is one."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="How many texts or pieces.")] = 1,
    temperature: Annotated[
        float, typer.Option(help="Below 1 bolder in the frequent, 0 always the most probable.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among the K most probable tokens only.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the fewest most probable tokens that sum to P."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes what is drawn.")] = None,
    allow_unk: Annotated[
        bool, typer.Option("--allow-unk", help="Let `<unk>` be drawn; else it is drawn again.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="FILE.mid, or a folder of such files, for music.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write texts or music with a trained model.

    `comporta generate runs/shakespeare --prime "ROMEO:" --temperature 0.8`

    `comporta generate runs/names --class Portuguese --count 10`

    `comporta generate runs/chorales --length 64 --out chorale.mid`
    """
    from comporta.data import format_notes
    from comporta.models import Sampling
    from comporta.tasks import load

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    trained = load(folder)
    if not hasattr(trained, "generate"):
        raise ConfigurationError(
            f"{folder} holds a model that writes nothing by itself; try comporta predict"
        )
    given = fitting(trained.generate, folder, label=label, vector=vector)
    note_unknown(trained.encode(prime).unknown, "the prime")
    pieces = trained.generate(
        prime,
        length=length,
        count=count,
        sampling=sampling,
        seed=seed,
        allow_unk=allow_unk,
        **given,
    )
    files = [] if out is None else _write(trained, pieces, out)
    texts = [piece if isinstance(piece, str) else format_notes(piece) for piece in pieces]
    if as_json:
        written = {} if out is None else {"files": [str(file) for file in files]}
        print_json({"prime": prime, "seed": seed, "texts": texts} | written)
    elif out is None:
        print("\n\n".join(texts))
    else:
        print("\n".join(map(str, files)))


def _write(trained: Any, pieces: list[Any], out: Path) -> list[Path]:
    if not hasattr(trained, "write"):
        raise ConfigurationError("--out is for music; a text is printed to standard output")
    files: list[Path] = trained.write(pieces, out)
    return files
