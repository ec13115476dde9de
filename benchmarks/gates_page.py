"""The table and the plot of what gates are for, from the results that are kept.

    make results TASK=adding; make results TASK=copying; make results TASK=agreement
    python -m benchmarks.gates_page

It writes benchmarks/results/gates.md and docs/gates.svg.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.gates import Copying
from benchmarks.machine import write_page
from benchmarks.tasks.result import KEPT, ROOT

PICTURE = ROOT / "docs" / "gates.svg"
COLORS = {"rnn": "#59636e", "gru": "#0969da", "lstm": "#bc4c00"}
_INK, _RULE = "#1f2328", "#d0d7de"

Figures = Mapping[str, Mapping[str, Any]]


def kept(name: str) -> Figures:
    """The figures of a task, by cell."""
    figures: Figures = json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    return figures


def table(adding: Figures, copying: Figures, agreement: Figures) -> list[str]:
    """All figures as Markdown."""
    distances = list(agreement["gru"]["accuracy"])
    heads = " | ".join(f"{distance}" for distance in distances)
    lines = [
        "![Error, loss and accuracy of rnn, gru and lstm](../../docs/gates.svg)",
        "",
        "## A verb that agrees with its subject N words back: accuracy (chance is 0.5)",
        "",
        "A model for each distance, the mean of several seeds: a seed learns it, or not at all. "
        "Chrono: gates that begin with memories of 1 to N steps (Tallec & Ollivier 2018).",
        "",
        f"| cell | parameters | {heads} |",
        "|---" * (2 + len(distances)) + "|",
    ]
    for cell, found in agreement.items():
        shares = " | ".join(f"{share:.3f}" for share in found["accuracy"].values())
        lines.append(f"| {cell} | {found['parameters']:,} | {shares} |")
    lines += [
        "",
        "## Adding two numbers of 200: mean squared error (always 1 gives 0.1667)",
        "",
        "| cell | parameters | error | training |",
        "|---|---|---|---|",
    ]
    lines += [
        f"{_row(cell, found)} {found['error']:.2e} {_time(found)}" for cell, found in adding.items()
    ]
    lines += [
        "",
        f"## Ten symbols over 500 steps: nats a step ({Copying().baseline:.4f} without memory)",
        "",
        "Chrono: gates that begin with memories of 1 to 500 steps (Tallec & Ollivier 2018).",
        "",
        "| cell | parameters | loss | symbols right (chance is 0.125) | training |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"{_row(cell, found)} {found['loss']:.4f} | {found['recall']:.3f} {_time(found)}"
        for cell, found in copying.items()
    ]
    return lines


def _row(cell: str, found: Mapping[str, Any]) -> str:
    return f"| {cell} | {found['parameters']:,} |"


def _time(found: Mapping[str, Any]) -> str:
    return f"| {found['seconds']:.0f} s, {found['curve'][-1][0]:,} steps |"


def draw(adding: Figures, copying: Figures, agreement: Figures) -> None:
    """The plot: accuracy over distance, and how the other two are learned."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {
        "font.size": 10.5,
        "svg.hashsalt": "gates",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _RULE,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.5,
        "axes.grid": True,
        "grid.color": _RULE,
        "grid.linewidth": 0.6,
        "text.color": _INK,
    }
    with pyplot.rc_context(style):
        figure, (words, numbers, symbols) = pyplot.subplots(1, 3, figsize=(12.5, 4.2))
        for cell, found in agreement.items():
            distances = [int(distance) for distance in found["accuracy"]]
            words.plot(distances, list(found["accuracy"].values()), marker="o", **_line(cell))
        _floor(words, 0.5, "chance")
        words.set(title="Verb and subject agree", ylim=(0.45, 1.02))
        words.set(xlabel="words from the subject to the verb", ylabel="accuracy")
        for cell, found in adding.items():
            numbers.plot(*zip(*found["curve"], strict=True), **_line(cell))
        _floor(numbers, 1 / 6, "always 1")
        numbers.set(title="Adding two numbers of 200", yscale="log")
        numbers.set(xlabel="steps of training", ylabel="mean squared error")
        for cell, found in copying.items():
            symbols.plot(*zip(*found["curve"], strict=True), **_line(cell))
        _floor(symbols, Copying().baseline, "without memory")
        symbols.set(title="Ten symbols over 500 steps", yscale="log")
        symbols.set(xlabel="steps of training", ylabel="nats a step")
        lines = words.get_lines()[: len(agreement)]
        figure.legend(handles=lines, loc="lower center", ncol=len(lines), frameon=False)
        figure.tight_layout(w_pad=2.5, rect=(0, 0.06, 1, 1))
        figure.savefig(PICTURE, metadata={"Date": None})


def _line(cell: str) -> dict[str, Any]:
    name, _, chrono = cell.partition(" ")
    return {"color": COLORS[name], "label": cell, "linestyle": "--" if chrono else "-"}


def _floor(axes: Any, height: float, label: str) -> None:
    axes.axhline(height, color=_INK, linewidth=1, linestyle=":")
    axes.annotate(label, (0.99, height), xycoords=("axes fraction", "data"), ha="right",
                  xytext=(0, -11), textcoords="offset points", fontsize=9)  # fmt: skip


def main() -> None:
    """Write the page and the plot."""
    figures = kept("adding"), kept("copying"), kept("agreement")
    draw(*figures)
    write_page("gates", "What gates are for", "python -m benchmarks.gates_page", table(*figures))


if __name__ == "__main__":
    main()
