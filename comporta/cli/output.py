"""What commands print: results to standard output, everything about them to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout.")
]
Folder = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder of a trained model (its --out).")
]


def print_json(data: object) -> None:
    """Print JSON; what is not a finite number becomes null, which JSON can hold.

    >>> print_json({"a": [1, math.inf]})
    {
      "a": [
        1,
        null
      ]
    }
    """
    print(json.dumps(_finite(data), indent=2, ensure_ascii=False))


def _finite(data: object) -> object:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(item) for item in data] if isinstance(data, list | tuple) else data


def note(message: str) -> None:
    """Say something about the result on standard error."""
    print(f"comporta: {message}", file=sys.stderr)


def note_unknown(unknown: Mapping[str, int], where: str) -> None:
    """Say which pieces of a text the model does not know, if there are any."""
    from comporta.data import unknown_note

    if unknown:
        note(unknown_note(unknown, where))
