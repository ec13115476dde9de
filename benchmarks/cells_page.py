"""docs/cells.md: every cell of the catalog, its equations printed from the code.

python -m benchmarks.cells_page
"""

from __future__ import annotations

from benchmarks.tasks.result import ROOT
from comporta import cells
from comporta.cells import Cell

PAGE = ROOT / "docs" / "cells.md"


def lines() -> list[str]:
    """The page."""
    found = [
        "# Cells",
        "",
        "`comporta cells` lists them, `comporta cells NAME` prints one; this page is written by",
        "`python -m benchmarks.cells_page` from the same texts. Products: how many products of",
        "states follow one another in a step. Linear: linear in the state, gates of the input",
        "alone.",
        "",
        "| cell | states | products | linear | source |",
        "|---|---|---|---|---|",
    ]
    for cell in map(cells.get, cells.names()):
        linear = "yes" if cell.is_linear else ""
        found.append(
            f"| [`{cell.name}`](#{cell.name}) | {' '.join(cell.states)} | {cell.phases} | {linear} "
            f"| {cell.source} |"
        )
    for cell in map(cells.get, cells.names()):
        found += ["", f"## {cell.name}", "", *entry(cell)]
    return found


def entry(cell: Cell) -> list[str]:
    """One cell: where it comes from, its equations, as text and as mathematics."""
    begins = [f"Begins with {cell.to_json()['initial']}."] if cell.initial else []
    return [
        f"{cell.source}. {cell.note}",
        *begins,
        "",
        "```",
        *cell.text.splitlines(),
        "```",
        "",
        "```math",
        *cell.latex().splitlines(),
        "```",
    ]


def main() -> None:
    """Write the page."""
    PAGE.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
