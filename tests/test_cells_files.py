"""Cells as data: text files, JSON, pickles, copies; and cells as LaTeX."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comporta import cells
from comporta.cells import Cell
from comporta.errors import CellError

OWN = Cell(
    "own",
    "c = W @ x + k * c\ny = relu(c)  # what leaves\nh = tanh(c)",
    state="h c",
    output="y",
    source="a test",
    note="All there is to say.",
)
CELLS = [*map(cells.get, cells.names()), OWN]
EVERYTHING = ("name", "text", "source", "note", "states", "output")


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda cell: Cell.from_json(cell.to_json()),
        lambda cell: Cell.from_json(json.loads(json.dumps(cell.to_json()))),
        lambda cell: pickle.loads(pickle.dumps(cell)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["to_json", "json", "pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_round_trips(cell: Cell, duplicate: Callable[[Cell], Cell]) -> None:
    other = duplicate(cell)
    assert other == cell
    assert hash(other) == hash(cell)
    assert {k: getattr(other, k) for k in EVERYTHING} == {k: getattr(cell, k) for k in EVERYTHING}
    assert dict(other.parameters) == dict(cell.parameters)
    assert other.describe() == cell.describe()


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_json_is_plain_data(cell: Cell) -> None:
    data = cell.to_json()
    assert json.loads(json.dumps(data)) == data
    assert set(map(type, data.values())) == {str}


def test_a_pickle_holds_the_text_and_no_code() -> None:
    stored = pickle.dumps(OWN)
    assert b"y = relu(c)" in stored
    assert b"equation" not in stored


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "at least 'name' and 'text'"),
        ({"name": "a"}, "at least 'name' and 'text'"),
        (["a"], "at least 'name' and 'text'"),
        (None, "at least 'name' and 'text'"),
        ({"name": "a", "text": 3}, "the 'text' of a cell is a text; it is 3"),
        ({"name": None, "text": "h = W @ x"}, "the 'name' of a cell is a text; it is None"),
        ({"name": "a", "text": "h = W @ x", "state": ["h"]}, "the 'state' of a cell is a text"),
        ({"name": "a", "text": "h = W @ x", "output": 1}, "the 'output' of a cell is a text"),
        ({"name": "a", "text": "h = W @ x", "source": {}}, "the 'source' of a cell is a text"),
        ({"name": "a", "text": "h = foo(x)"}, "unknown function foo"),
    ],
)
def test_stored_cells_that_are_none(data: Any, words: str) -> None:
    with pytest.raises(CellError, match=words.replace("(", r"\(")):
        Cell.from_json(data)


def test_what_else_is_stored_is_ignored() -> None:
    """A later version may store more."""
    assert Cell.from_json({**OWN.to_json(), "later": "x"}) == OWN


def write(folder: Path, text: str | bytes, name: str = "my_cell.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_a_file_with_all_header_lines(cell: Cell, tmp_path: Path) -> None:
    data = cell.to_json()
    header = "".join(f"{key}: {value}\n" for key, value in data.items() if key != "text")
    found = cells.load(write(tmp_path, f"{header}\n{cell.text}\n"))
    assert found == cell
    assert {k: getattr(found, k) for k in EVERYTHING} == {k: getattr(cell, k) for k in EVERYTHING}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
def test_a_file_with_equations_alone(tmp_path: Path, mark: bytes, line_end: str) -> None:
    text = line_end.join(["# mine", "a = W @ x  # é", "h = tanh(a + U @ h)", ""])
    found = cells.load(str(write(tmp_path, mark + text.encode())))
    assert found == Cell("", "a = W @ x\nh = tanh(a + U @ h)")
    assert (found.name, found.source, found.note) == ("my_cell", "", "")


def test_headers_come_first_in_any_order(tmp_path: Path) -> None:
    text = "# a comment\n\n  state : c \nnote: one: two\nname: leaky\n\nc = W @ x + k * c\n"
    found = cells.load(write(tmp_path, text))
    assert (found.name, found.states, found.note) == ("leaky", ("c",), "one: two")
    with pytest.raises(CellError, match="not an equation"):
        cells.load(write(tmp_path, "h = W @ x\nname: late"))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("h = foo(W @ x)", 1, 5),
        ("name: mine\nstate: h\n\n\nh = foo(W @ x)\n", 5, 5),
        ("\n\n# comment\n  a = W @ x\n  h = foo(a)\n", 5, 5),
        ("name: mine\n\nh = W @ x + (", 3, 13),
    ],
)
def test_errors_point_into_the_file(tmp_path: Path, text: str, line: int, column: int) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CellError) as caught:
        cells.load(path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"line {line}, column {column} of {path}: ")
    assert text.splitlines()[line - 1].strip() in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the text is empty"),
        (b"name: a\n", "the text is empty"),
        (b"state: h c\nh = W @ x\n", "the state c is never assigned"),
        (b"h = W @ x # \xff\n", "not UTF-8"),
    ],
)
def test_files_that_are_no_cells(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(CellError) as caught:
        cells.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"cannot read the cell file .*none.*No such file"):
        cells.load(tmp_path / "none")
    with pytest.raises(CellError, match=r"cannot read the cell file .*directory"):
        cells.load(tmp_path)


def lines(cell: Cell) -> list[str]:
    """The LaTeX of each equation, right and left side in one."""
    first, *body, last = cell.latex().split("\n")
    assert (first, last) == (r"\begin{align*}", r"\end{align*}")
    assert all(line.endswith(r" \\") for line in body[:-1])
    return [line.removesuffix(r" \\").replace(" &= ", " = ") for line in body]


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_latex_is_well_formed(cell: Cell) -> None:
    for equation, line in zip(cell.equations, lines(cell), strict=True):
        depth = 0
        for place, letter in enumerate(line):
            depth += (letter == "{") - (letter == "}")
            assert depth >= 0, line[:place]
        assert depth == 0
        assert line.count("(") == line.count(")")
        stem = equation.name.partition("_")[0]
        assert line.startswith(stem if len(stem) == 1 else r"\mathrm")
        assert "_t " not in line


def test_latex_of_the_gru_is_that_of_the_papers() -> None:
    assert lines(cells.get("gru")) == [
        r"z_{t} = \sigma(W_{z} x_{t} + b_{z} + U_{z} h_{t-1} + c_{z})",
        r"r_{t} = \sigma(W_{r} x_{t} + b_{r} + U_{r} h_{t-1} + c_{r})",
        r"n_{t} = \tanh(W_{n} x_{t} + b_{n} + r_{t} \odot (U_{n} h_{t-1} + c_{n}))",
        r"h_{t} = z_{t} \odot h_{t-1} + (1 - z_{t}) \odot n_{t}",
    ]


def test_latex_tells_the_two_peepholes_apart() -> None:
    first, second = (
        next(line for line in lines(cells.get(name)) if line.startswith("o_"))
        for name in ("lstm-peephole", "lstm-peephole-output")
    )
    assert first.endswith(r"p_{o} \odot c_{t-1})")
    assert second.endswith(r"p_{o} \odot c_{t})")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("h - (k - l)", "h_{t-1} - (k - l)"),
        ("h - k - l", "h_{t-1} - k - l"),
        ("h * (k + l)", r"h_{t-1} \odot (k + l)"),
        ("h * k * l", r"h_{t-1} \odot k \odot l"),
        ("h / k", r"\frac{h_{t-1}}{k}"),
        ("h / k * l", r"\frac{h_{t-1}}{k} \odot l"),
        ("-h", "-h_{t-1}"),
        ("-(h + k)", "-(h_{t-1} + k)"),
        ("k * -h", r"k \odot (-h_{t-1})"),
        ("k + -h", "k + (-h_{t-1})"),
        ("k - -2", "k - (-2)"),
        ("2 * h", "2 h_{t-1}"),
        ("h * 0.5", r"h_{t-1} \cdot 0.5"),
        ("2 * tanh(h)", r"2 \tanh(h_{t-1})"),
        ("2 * 3 * h", r"2 \cdot 3 \odot h_{t-1}"),
        ("1e-05 * h", "10^{-5} h_{t-1}"),
        ("1.0507009873554805 * h", "1.05070098735548 h_{t-1}"),
        ("h ** 2", "h_{t-1}^{2}"),
        ("(h ** 2) ** 2", "(h_{t-1}^{2})^{2}"),
        ("(h / k) ** 2", r"(\frac{h_{t-1}}{k})^{2}"),
        ("(U @ h) ** 2", "(U h_{t-1})^{2}"),
        ("-h ** 2", "-h_{t-1}^{2}"),
        ("(-h) ** 2", "(-h_{t-1})^{2}"),
        ("U @ (h * k)", r"U (h_{t-1} \odot k)"),
        ("U @ (V @ h)", "U V h_{t-1}"),
        ("U @ tanh(h)", r"U \tanh(h_{t-1})"),
        ("sqrt(h)", r"\sqrt{h_{t-1}}"),
        ("abs(h)", "|h_{t-1}|"),
        ("clip(h, -1, 1)", r"\mathrm{clip}(h_{t-1}, -1, 1)"),
        ("max(h, 0)", r"\max(h_{t-1}, 0)"),
        ("where(h <= 0, k, l) + h",
         r"(\begin{cases} k & h_{t-1} \le 0 \\ l & \text{otherwise} \end{cases}) + h_{t-1}"),
        ("h * leak_rate2", r"h_{t-1} \odot \mathrm{leak}_{rate2}"),
        ("h * k_1_a", r"h_{t-1} \odot k_{1\_a}"),
        ("h * k1", r"h_{t-1} \odot k_{1}"),
    ],
)  # fmt: skip
def test_latex_says_what_is_computed(expression: str, expected: str) -> None:
    cell = Cell("a", f"e = {expression}\nh = W @ x + e")
    assert lines(cell)[0] == f"e_{{t}} = {expected}"
