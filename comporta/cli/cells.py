"""comporta cells"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comporta.cli.output import Json, print_json

if TYPE_CHECKING:
    from comporta.cells import Cell


def find_cell(name: str) -> Cell:
    """The cell of a name, or of a text file."""
    from comporta.cells import get, load

    return load(name) if name.endswith(".txt") or Path(name).is_file() else get(name)


def cells(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE.txt", help="One cell, in full.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the cells, or show one: its equations, LaTeX, parameters and facts.

    A cell of your own is a text file with its equations, which is shown (and checked) the same
    way: `comporta cells my_cell.txt`.
    """
    from comporta.cells import get, names

    if name is not None:
        cell = find_cell(name)
        if as_json:
            print_json(_facts(cell) | {"latex": cell.latex()})
        else:
            print(f"{cell.describe()}\n\n{cell.latex()}")
        return
    listed = [get(each) for each in names()]
    if as_json:
        print_json([_facts(cell) for cell in listed])
        return
    print("\n\n".join(_block(cell) for cell in listed))


def _block(cell: Cell) -> str:
    linear = "linear in its state" if cell.is_linear else "not linear in its state"
    facts = f"states {' '.join(cell.states)}; recurrent phases {cell.phases}; {linear}"
    return f"{cell.name}: {cell.source}\n    {facts}\n{textwrap.indent(cell.text, '    ')}"


def _facts(cell: Cell) -> dict[str, object]:
    return cell.to_json() | {
        "states": list(cell.states),
        "parameters": {name: list(shape) for name, shape in cell.parameters.items()},
        "phases": cell.phases,
        "linear": cell.is_linear,
    }
