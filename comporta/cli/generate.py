"""comporta generate"""

from __future__ import annotations

from typing import Annotated

import typer

from comporta.cli.output import Folder, Json, note_unknown, print_json


def generate(
    folder: Folder,
    prime: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    length: Annotated[
        int | None,
        typer.Option(
            help="Tokens to draw. Without it: until the sentence ends (words), or 500 tokens."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="How many texts.")] = 1,
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
    as_json: Json = False,
) -> None:
    """Write text with a trained model.

    `comporta generate runs/shakespeare --prime "ROMEO:" --temperature 0.8`
    """
    from comporta.models import Sampling
    from comporta.tasks import load

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    trained = load(folder)
    note_unknown(trained.encode(prime).unknown, "the prime")
    texts = trained.generate(
        prime, length=length, count=count, sampling=sampling, seed=seed, allow_unk=allow_unk
    )
    if as_json:
        print_json({"prime": prime, "seed": seed, "texts": texts})
    else:
        print("\n\n".join(texts))
