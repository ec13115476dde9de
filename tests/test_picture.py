"""The README's picture is the one that the committed figures and the equations give."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.picture import CELLS, PICTURE, TABLE, picture, read_speeds
from comporta.cells import get

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_up_to_date() -> None:
    drawn = picture(TABLE.read_text(encoding="utf-8"))
    assert drawn == PICTURE.read_text(encoding="utf-8"), "run: python benchmarks/picture.py"


def test_bars_are_as_long_as_the_figures_say() -> None:
    table = "\n".join(
        [
            "A machine, 2 threads, 2026-01-31. Command: `x`.",
            "| gru | 1, 2, 3, 4 | 8.00 | 2.00 | 4.00 | 9.00 | 1.00 | 9.00 |",
            "| lstm | 1, 2, 3, 4 | 1.00 | 2.00 | 0.50 | 9.00 | 1.00 | 9.00 |",
            "| lstm-peephole | 1, 2, 3, 4 | 1.00 | 1.00 | 1.00 | 9.00 | 1.00 | 9.00 |",
            "| rnn | 1, 2, 3, 4 | 3.00 | 1.00 | 3.00 | 9.00 | 1.00 | 9.00 |",
        ]
    )
    drawn = ElementTree.fromstring(picture(table))
    bars = [rect for rect in drawn.iter(f"{SVG}rect") if rect.get("class") in ("block", "slow")]
    widths = [float(rect.get("width", 0)) for rect in bars]
    assert [width / widths[0] for width in widths] == [1.0, 0.5 / 4, 3 / 4]
    assert [rect.get("class") for rect in bars] == ["block", "slow", "block"]


def test_it_says_in_words_what_it_shows() -> None:
    table = TABLE.read_text(encoding="utf-8")
    drawn = ElementTree.fromstring(picture(table))
    told = drawn.findtext(f"{SVG}desc") or ""
    assert drawn.findtext(f"{SVG}title")
    assert all(line in told for line in get("gru").text.splitlines())
    for cell, speeds in read_speeds(table).items():
        assert f"{cell} {', '.join(f'{speed:.2f}' for _, speed in speeds)}" in told
        assert len(speeds) == 8
    assert set(read_speeds(table)) == set(CELLS)
