"""The picture of the README: equation -> kernel -> speed, drawn from what is so.

    python benchmarks/picture.py

Writes docs/picture.svg: the equations of `gru` as the catalog has them, the kernel as the scheduler
derives it from them, and the speed of a training step as results/layers.md has it. Run it again
when any of them has changed; a test says so.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from comporta.cells import get
from comporta.kernels.gradient import differentiate
from comporta.kernels.program import compile_cell
from comporta.kernels.schedule import schedule

HERE = Path(__file__).parent
TABLE = HERE / "results" / "layers.md"
PICTURE = HERE.parent / "docs" / "picture.svg"
CELL = "gru"
CELLS = ("gru", "lstm", "rnn")
WIDTH, MARGIN = 960, 28
EQUATION_LINE, FIRST_LINE = 30, 92
BOX, GAP, INSET = 46, 12, 10
KERNEL_X = 440
CHART_Y, ROW, BAR = 348, 23, 13
PANELS_X, PANEL_WIDTH, BAR_WIDTH = 184, 260, 196

LIGHT = {
    "card": "#ffffff", "edge": "#d0d7de", "ink": "#1f2328", "dim": "#59636e", "slow": "#afb8c1",
    "input": "#0969da", "state": "#bc4c00", "block": "#1a7f37",
}  # fmt: skip
DARK = {
    "card": "#0d1117", "edge": "#3d444d", "ink": "#f0f6fc", "dim": "#9198a1", "slow": "#656c76",
    "input": "#4493f8", "state": "#f0883e", "block": "#3fb950",
}  # fmt: skip
SHAPES = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
.mono { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; }
.small { font-size: 12.5px; }
.head { font-weight: 600; font-size: 15px; }
.note { font-size: 13px; }
.end { text-anchor: end; }
.box { fill-opacity: 0.06; stroke-width: 1.5; }
.frame { fill: none; stroke-dasharray: 4 4; }
.one { stroke-dasharray: 2 3; }
"""
COLOURS = """text, .ink {{ fill: {ink}; }}
.dim {{ fill: {dim}; }} .slow {{ fill: {slow}; }}
.input {{ fill: {input}; }} .state {{ fill: {state}; }} .block {{ fill: {block}; }}
.box.input {{ stroke: {input}; }} .box.state {{ stroke: {state}; }}
.box.block {{ stroke: {block}; }} .one {{ stroke: {dim}; }}
.box.plain {{ stroke: {dim}; }}
.card {{ fill: {card}; stroke: {edge}; }} .frame, .rule {{ stroke: {edge}; }}
"""
STYLE = (
    SHAPES
    + COLOURS.format_map(LIGHT)
    + f"@media (prefers-color-scheme: dark) {{\n{COLOURS.format_map(DARK)}}}\n"
)

Speeds = dict[str, list[tuple[str, float]]]


def read_speeds(table: str) -> Speeds:
    """Cell -> (shape, torch.nn's time of a training step over ours), from the page of results."""
    speeds: Speeds = {cell: [] for cell in CELLS}
    pattern = r"^\| ([\w-]+) \| (\d+, \d+, \d+, \d+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|"
    for cell, shape, ratio in re.findall(pattern, table, re.MULTILINE):
        if cell in speeds:
            speeds[cell].append((shape, float(ratio)))
    return speeds


def text(x: float, y: float, content: str, style: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" class="{style}">{escape(content)}</text>'


def box(y: float, style: str, first: str, second: str, *, inset: int = 0) -> list[str]:
    """A stage of the kernel: what it does, and how."""
    left, width = KERNEL_X + inset, WIDTH - MARGIN - KERNEL_X - 2 * inset
    return [
        f'<rect x="{left}" y="{y:g}" width="{width}" height="{BOX}" rx="6" class="box {style}"/>',
        text(KERNEL_X + 24, y + 20, first, f"mono {style}"),
        text(KERNEL_X + 24, y + 37, second, "note dim"),
    ]


def equations() -> list[str]:
    """The text of the cell; its products in the colours of the boxes beside it."""
    plan = schedule(compile_cell(get(CELL)))
    kinds = dict.fromkeys(plan.hoisted.matrices, "input")
    kinds |= {matrix: "state" for group in plan.groups for matrix in group.matrices}

    def coloured(match: re.Match[str]) -> str:
        return f'<tspan class="{kinds[match[1]]}">{match[0]}</tspan>'

    found = [text(MARGIN, 40, "1  You write the equations", "head")]
    for number, line in enumerate(get(CELL).text.splitlines()):
        y = FIRST_LINE + number * EQUATION_LINE
        drawn = re.sub(r"\b([A-Z]_\w+) @ \w+", coloured, text(MARGIN, y, line, "mono"))
        found.append(drawn)
    below = FIRST_LINE + len(get(CELL).text.splitlines()) * EQUATION_LINE + 14
    for number, line in enumerate(
        (
            "Parsed, never executed. Gradients, the streaming step,",
            "the LaTeX and the parameters follow from these lines.",
        )
    ):
        found.append(text(MARGIN, below + 19 * number, line, "note dim"))
    return found


def kernel() -> list[str]:
    """The kernel as it is derived: what leaves the time loop, and the phases inside it."""
    program = compile_cell(get(CELL))
    plan, adjoint = schedule(program), differentiate(program)
    found = [text(KERNEL_X, 40, "2  Comporta derives the kernel", "head")]
    y = 58.0
    hoisted = f"[{' '.join(plan.hoisted.matrices)}] @ x"
    found += box(y, "input", hoisted, "one product for many steps at once, out of the time loop")
    top = y + BOX + GAP
    y = top + INSET
    for phase in plan.phases:
        for group in phase.groups:
            operand = group.operands[0].removesuffix(".prev")
            product = f"[{' '.join(group.matrices)}] @ {operand}"
            found += box(y, "state", product, "one register-tiled microkernel", inset=INSET)
            y += BOX + GAP
        if phase.statements:
            named = " ".join(s.name for s in phase.statements if "." not in s.name)
            block = f"{named}: {len(phase.statements)} operations"
            found += box(y, "block", block, "one elementwise block of vector code", inset=INSET)
            y += BOX + GAP
    y += INSET - GAP
    width, height = WIDTH - MARGIN - KERNEL_X, y - top
    found += [
        f'<rect x="{KERNEL_X}" y="{top:g}" width="{width}" height="{height:g}" rx="8" '
        'class="frame"/>',
        text(WIDTH - MARGIN - 24, top + INSET + 20, "↻ every step", "note dim end"),
    ]
    backward = sum(len(phase.statements) for phase in adjoint.phases)
    found += box(
        y + GAP,
        "plain",
        f"and backward: {len(adjoint.groups)} product, {backward} operations",
        "the adjoint, derived and scheduled the same way",
    )
    return found


def chart(speeds: Speeds) -> list[str]:
    """Bars of speed, a panel for each cell; the dashed line is torch.nn."""
    longest = max(speed for rows in speeds.values() for _, speed in rows)
    unit = BAR_WIDTH / longest
    top = CHART_Y + 58
    found = [
        f'<path d="M {MARGIN} {CHART_Y - 22} H {WIDTH - MARGIN}" class="rule"/>',
        text(
            MARGIN, CHART_Y + 8, "3  It runs: times the speed of torch.nn, a training step", "head"
        ),
        text(PANELS_X - 16, top - 12, "B, T, D, H", "note dim end"),
    ]
    bottom = top + ROW * max(map(len, speeds.values()))
    for column, (cell, rows) in enumerate(speeds.items()):
        left = PANELS_X + column * PANEL_WIDTH
        found.append(text(left, top - 12, cell, "mono"))
        for number, (shape, speed) in enumerate(rows):
            y = top + number * ROW
            if column == 0:
                found.append(text(PANELS_X - 16, y + BAR, shape, "mono small dim end"))
            style = "block" if speed >= 1 else "slow"
            found.append(
                f'<rect x="{left}" y="{y + 1}" width="{speed * unit:.1f}" height="{BAR}" rx="2" '
                f'class="{style}"/>'
            )
            label = max(speed, 1.0) * unit + 6
            found.append(text(round(left + label, 1), y + BAR, f"{speed:.2f}", "note dim"))
        one = round(left + unit, 1)
        found.append(f'<path d="M {one} {top - 4} V {bottom}" class="one"/>')
    return found


def picture(table: str) -> str:
    """The whole picture as SVG.

    Args:
        table: the page of results of benchmarks/layers.py.
    """
    speeds = read_speeds(table)
    rows = max(map(len, speeds.values()))
    height = CHART_Y + 58 + ROW * rows + 44
    measured = re.search(r"^(.+), (\d{4}-\d\d-\d\d)\. Command", table, re.MULTILINE)
    assert measured is not None, "the page of results says on which machine it was made"
    told = "; ".join(
        f"{cell} {', '.join(f'{speed:.2f}' for _, speed in found)}"
        for cell, found in speeds.items()
    )
    description = (
        f"Three parts. The equations of {CELL}: {'; '.join(get(CELL).text.splitlines())}. The "
        "kernel derived from them: one product of the input outside the time loop; inside it one "
        "product of the state and one elementwise block; and the same for the gradient. The speed "
        f"of a training step, in times that of torch.nn: {told}."
    )
    foot = f"Dashed: torch.nn = 1. {measured[1]}, {measured[2]}. benchmarks/results/layers.md"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title description">',
        '<title id="title">Equation, kernel, speed</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" class="card"/>',
        *equations(),
        *kernel(),
        *chart(speeds),
        text(MARGIN, height - 16, foot, "note dim"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Draw it."""
    PICTURE.write_text(picture(TABLE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written to {PICTURE}")


if __name__ == "__main__":
    main()
