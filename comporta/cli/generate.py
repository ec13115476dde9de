"""comporta generate"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from comporta.cli.output import Folder, Json, note_unknown, print_json
from comporta.errors import ConfigurationError, DataError


def generate(
    folder: Folder,
    prime: Annotated[
        str, typer.Option(help='Text to go on from; or first notes, such as "60,64,67 62".')
    ] = "",
    label: Annotated[
        str | None, typer.Option("--class", help="Class to write for, if trained on classes.")
    ] = None,
    vector: Annotated[
        str | None,
        typer.Option(help='Vector to write for: "[0.5, 2]", or a JSON file with one in it.'),
    ] = None,
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
    from comporta.data.notes import format_notes
    from comporta.models import Sampling
    from comporta.tasks import load

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    trained = load(folder)
    values = None if vector is None else _vector(vector)
    conditions = {"class": ("label", label), "vector": ("vector", values)}
    given = _fitting(trained, folder, conditions)
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


def _fitting(
    trained: Any, folder: str, conditions: Mapping[str, tuple[str, object]]
) -> dict[str, object]:
    """The conditions that were given, if this model writes, and for such."""
    if not hasattr(trained, "generate"):
        raise ConfigurationError(
            f"{folder} holds a model that writes nothing by itself; try comporta predict"
        )
    known = inspect.signature(trained.generate).parameters
    given = {option: each for option, each in conditions.items() if each[1] is not None}
    for option, (name, _) in given.items():
        if name not in known:
            raise ConfigurationError(
                f"--{option} is for a generator, and {folder} holds another model; leave it out"
            )
    return dict(given.values())


def _vector(text: str) -> list[float]:
    """The numbers of a JSON list, or of a file with one."""
    path = Path(text)
    try:
        found = json.loads(path.read_text(encoding="utf-8") if path.is_file() else text)
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        found = found.get("vector")
    if not isinstance(found, list) or not all(isinstance(n, int | float) for n in found):
        raise DataError(
            f"--vector {text} is neither a list of numbers such as [0.5, 2] nor a file with one"
        )
    return found


def _write(trained: Any, pieces: list[Any], out: Path) -> list[Path]:
    if not hasattr(trained, "write"):
        raise ConfigurationError("--out is for music; a text is printed to standard output")
    files: list[Path] = trained.write(pieces, out)
    return files
