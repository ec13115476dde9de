"""The language: what it reads, what it refuses and where it points, and that it runs nothing."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest

from comporta import cells
from comporta.cells import Cell
from comporta.cells.equation import FUNCTIONS
from comporta.errors import CellError, ComportaError

GOOD = "h = tanh(W @ x + U @ h)"
CALL = "only the functions of the language"
FOREIGN = "not part of the language"
NOT_AN_EQUATION = "not an equation"

# text, line, column, words of the message: what is wrong and how to mend it
WRONG = [
    ("h = sigmod(W @ x)", 1, 5, "unknown function sigmod; did you mean sigmoid"),
    ("h = foo(W @ x)", 1, 5, "unknown function foo"),
    (f"a = exp(h)\n{GOOD}", 1, 1, "a is never used; remove the line, or use a"),
    (f"{GOOD}\na = exp(h)", 2, 1, "a is never used"),
    ("a = W @ x\nb = a\na2 = b\nh = U @ h + b", 3, 1, "a2 is never used"),
    ("h = W @ x\nh = U @ h", 2, 1, "second time (first on line 1); give"),
    ("h = a + W @ x\na = exp(h)", 1, 5, "a is used before the line that assigns it"),
    ("a = a + W @ x\nh = a", 1, 5, "a is used before the line that assigns it"),
    ("h = x + h", 1, 5, "put a matrix in front of the input"),
    ("a = tanh(x)\nh = W @ x + U @ a + U @ h", 2, 21, "shapes do not fit"),
    ("h = W @ x + W @ h", 1, 13, "shapes do not fit: the operand of W"),
    ("h = U @ (h + x)", 1, 10, "shapes do not fit"),
    ("k = W @ x\nh = h * (k + x)", 2, 5, "input size D and of the hidden size H"),
    ("h = w * (W @ x + w @ h)", 1, 18, "left side of @ must be a matrix"),
    ("h = W @ x + V * h", 1, 13, "write V @ v, or v for a vector"),
    ("h = W", 1, 5, "W has a capital first letter, which means a matrix"),
    ("h = tanh(W @ x) @ h", 1, 5, "left side of @ must be a matrix"),
    ("h = W @ V @ x", 1, 5, "for chains write W @ (U @ v)"),
    ("h = W @ 2 + x", 1, 5, "must be followed by a vector, not a number"),
    ("H = W @ x", 1, 1, "a matrix cannot be assigned; write h"),
    ("x = W @ h\nh = x", 1, 1, "x is an input and cannot be assigned"),
    ("tanh = W @ x\nh = tanh", 1, 1, "tanh is a function of the language"),
    ("h = W @ x + exp", 1, 13, "exp is a function of the language"),
    ("h = tanh @ x", 1, 5, "left side of @ must be a matrix"),
    ("h = W @ x + é", 1, 13, "é is not a usable name; names are ASCII"),
    ("ñ = W @ x\nh = ñ", 1, 1, "names are ASCII"),
    ("h = Ŵ @ x", 1, 5, "names are ASCII"),
    ("h = _k * (W @ x)", 1, 5, "_k is not a usable name"),
    ("__class__ = W @ x\nh = __class__", 1, 1, "not a usable name"),
    ("h = tanh(W @ x, 2)", 1, 5, "takes 1 argument(s) and was given 2"),
    ("h = tanh()", 1, 5, "takes 1 argument(s) and was given 0"),
    ("h = min(W @ x)", 1, 5, "takes 2 argument(s) and was given 1"),
    ("h = min(h, W @ x, k)", 1, 5, "takes 2 argument(s) and was given 3"),
    ("h = clip(W @ x, 1)", 1, 5, "takes 3 argument(s) and was given 2"),
    ("h = where(h > 0, W @ x)", 1, 5, "takes 3 argument(s) and was given 2"),
    ("h = tanh(a=W @ x)", 1, 5, "plain arguments only"),
    ("h = min(*x)", 1, 5, "plain arguments only"),
    ("h = min(h, **x)", 1, 5, "plain arguments only"),
    ("h = where(h, W @ x, h)", 1, 11, "one comparison < <= > >="),
    ("h = where(0 < h < 1, W @ x, h)", 1, 11, "one comparison"),
    ("h = where(h == 0, W @ x, h)", 1, 11, "one comparison"),
    ("h = where(h > 0 and k > 0, W @ x, h)", 1, 11, "one comparison"),
    ("h = W @ x > 0", 1, 5, "first argument of where()"),
    ("h = W @ x + (h < 0)", 1, 14, "first argument of where()"),
    ("h = (W @ x) ** 5", 1, 16, "one of the numbers 2, 3, 4, -1, -2 and 0.5"),
    ("h = (W @ x) ** h", 1, 16, "the exponent must be one of"),
    ("h = 2 ** (W @ x)", 1, 11, "the exponent must be one of"),
    ("h = W @ x % 2", 1, 5, FOREIGN),
    ("h = W @ x // 2", 1, 5, FOREIGN),
    ("h = +(W @ x)", 1, 5, FOREIGN),
    ("h = ~(W @ x)", 1, 5, FOREIGN),
    ("h = not h", 1, 5, FOREIGN),
    ("h = x if h else h", 1, 5, FOREIGN),
    ("h = 1if x else 2", 1, 5, FOREIGN),
    ("h = h[0] + W @ x", 1, 5, FOREIGN),
    ("h = h.T + W @ x", 1, 5, FOREIGN),
    ("h = W @ x + h.real", 1, 13, FOREIGN),
    ("h = (x, h)", 1, 5, FOREIGN),
    ("h = [x for x in h]", 1, 5, FOREIGN),
    ("h = {x}", 1, 5, FOREIGN),
    ("h = lambda x: x", 1, 5, FOREIGN),
    ("h = (k := W @ x)", 1, 6, FOREIGN),
    ("h = f'{x}'", 1, 5, FOREIGN),
    ("h = await x", 1, 5, FOREIGN),
    ("h = yield", 1, 5, FOREIGN),
    ("h = ...", 1, 5, FOREIGN),
    ("h = 'x'", 1, 5, "only real numbers"),
    ("h = W @ x + b'1'", 1, 13, "only real numbers"),
    ("h = W @ x + 2j", 1, 13, "only real numbers"),
    ("h = W @ x + True", 1, 13, "only real numbers"),
    ("h = W @ x + None", 1, 13, "only real numbers"),
    ("h = W @ x + 1e999", 1, 13, "a number must be finite"),
    ("h = W @ x - -1e999", 1, 13, "a number must be finite"),
    ("h = W @ x + 1" + "0" * 400, 1, 13, "a number must be finite"),
    ("h = h.tanh() + W @ x", 1, 5, CALL),
    ("h = torch.tanh(W @ x)", 1, 5, CALL),
    ("h = (lambda: x)()", 1, 5, CALL),
    ("h = tanh(W @ x)(h)", 1, 5, CALL),
    ("h == W @ x", 1, 1, NOT_AN_EQUATION),
    ("tanh(W @ x)", 1, 1, NOT_AN_EQUATION),
    ("h: x = W @ x", 1, 1, NOT_AN_EQUATION),
    ("h += W @ x", 1, 1, NOT_AN_EQUATION),
    ("h = c = W @ x", 1, 1, NOT_AN_EQUATION),
    ("h, c = W @ x", 1, 1, NOT_AN_EQUATION),
    ("h.a = W @ x", 1, 1, NOT_AN_EQUATION),
    ("h[0] = W @ x", 1, 1, NOT_AN_EQUATION),
    ("import os", 1, 1, NOT_AN_EQUATION),
    ("del h", 1, 1, NOT_AN_EQUATION),
    ("pass", 1, 1, NOT_AN_EQUATION),
    ("while h: pass", 1, 1, NOT_AN_EQUATION),
    (f"{GOOD}\nprint(h)", 2, 1, NOT_AN_EQUATION),
    ("h = tanh(W @ x", 1, 9, "not an equation ('(' was never closed)"),
    ("a = W @ x\nh = tanh(a", 2, 9, "never closed"),
    ("h = W @ x +", 1, 12, NOT_AN_EQUATION),
    ("h = W x", 1, 7, NOT_AN_EQUATION),
    ("h := W @ x", 1, 3, NOT_AN_EQUATION),
    ("h = 'never closed", 1, 5, NOT_AN_EQUATION),
    ("h = W @ x$", 1, 10, NOT_AN_EQUATION),
    ("3 = W @ x", 1, 1, NOT_AN_EQUATION),
    ("h = W @ x\0", 1, 1, NOT_AN_EQUATION),
    ("  h = tanh(W @ x)\n    + U @ h\n", 2, 1, NOT_AN_EQUATION),
    (f"# a comment\n\n{GOOD} + foo(h)", 3, 27, "unknown function foo"),
    ("h = W @ x" + " + h" * 200, 1, 5, "nested more than 100 deep; name its parts"),
    ("h = W @ x + " + "tanh(" * 120 + "h" + ")" * 120, 1, 508, "name its parts"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), WRONG, ids=[w[0][:30] for w in WRONG])
def test_a_wrong_text_is_refused_where_it_is_wrong(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(CellError) as caught:
        Cell("wrong", text)
    error = caught.value
    message = str(error)
    assert words in message
    assert (error.line, error.column) == (line, column)
    shown, caret = message.splitlines()[-2:]
    assert message.startswith(f"line {line}, column {column}: ")
    assert shown.strip() == text.splitlines()[line - 1].strip()
    assert caret == " " * (4 + column - 1) + "^"


# What is wrong with the whole text has no place in it.
@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "the text is empty; write at least one equation"),
        ("# nothing\n\n", {}, "the text is empty"),
        (GOOD + " " * 20_000 + "# long", {}, "a cell has at most 20000"),
        ("h = " + "-" * 10_000 + "x", {}, "the text cannot be parsed"),
        (GOOD, {"state": "h c"}, "the state c is never assigned; add a line c = ..."),
        ("c = W @ x + c_0", {}, "declare other states (now: h)"),
        ("h = U @ h", {}, "the input x is never used; add a term such as W @ x"),
        (GOOD, {"state": ""}, "needs at least one state"),
        (GOOD, {"state": "h h"}, "declared twice"),
        (GOOD, {"state": "x"}, "cannot be a state; use a small letter other than x"),
        (GOOD, {"state": "H"}, "cannot be a state"),
        (GOOD, {"state": "h,c"}, "cannot be a state"),
        (GOOD, {"output": "y"}, "the output 'y' is not a value of hidden size"),
        ("a = tanh(x)\nh = W @ a + U @ h", {"output": "a"}, "not a value of hidden size"),
    ],
)
def test_what_is_wrong_with_the_whole(text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CellError) as caught:
        Cell("wrong", text, **options)
    assert words in str(caught.value)
    assert caught.value.line is None
    assert isinstance(caught.value, ComportaError)


def test_a_matrix_that_is_also_a_vector_is_refused() -> None:
    """Names decide: a capital is a matrix everywhere, so no name can be both."""
    with pytest.raises(CellError, match="W has a capital first letter"):
        Cell("wrong", "h = W @ x + W")


def test_every_word_of_the_language_is_read() -> None:
    arguments = {1: "W @ x", 2: "W @ x, h", 3: "h, W @ x, k"}
    for name, count in FUNCTIONS.items():
        given = "h > 0, W @ x, h" if name == "where" else arguments[count]
        cell = Cell("word", f"h = {name}({given})")
        assert "W" in cell.parameters
    for sign in ("<", "<=", ">", ">="):
        assert Cell("word", f"h = where(h {sign} 0, W @ x, -h)").parameters == {"W": ("H", "D")}
    for power in ("2", "3", "4", "-1", "-2", "0.5"):
        assert Cell("word", f"h = (W @ x) ** {power}").parameters == {"W": ("H", "D")}


def test_white_space_and_comments_mean_nothing() -> None:
    plain = Cell("a", "z = sigmoid(W @ x)\nh = z * h")
    spaced = Cell("b", "\n\n   # gate\n   z=sigmoid( W@x )   # of x\n\n\t  h = z*h\n\n")
    joined = Cell("c", "z = sigmoid(\n   W @ x\n); h = z * h")
    assert plain == spaced == joined
    assert hash(plain) == hash(spaced) == hash(joined)
    assert plain.text == str(plain) == "z = sigmoid(W @ x)\nh = z * h"


def test_a_cell_is_what_it_computes() -> None:
    assert Cell("a", GOOD, source="here") == Cell("b", GOOD, note="there")
    assert Cell("a", GOOD) != Cell("a", GOOD.replace("tanh", "sigmoid"))
    assert Cell("a", GOOD) != Cell("a", GOOD.replace("+", "-"))
    assert Cell("a", "c = h\nh = W @ x", state="h c") != Cell("a", "c = h\nh = W @ x", state="c h")
    assert Cell("a", "y = exp(h)\nh = W @ x + y") != Cell(
        "a", "y = exp(h)\nh = W @ x + y", output="y"
    )
    assert Cell("a", GOOD) != GOOD


def test_order_of_lines_says_which_step_a_state_is_of() -> None:
    before = Cell("before", "o = exp(c)\nc = W @ x + c\nh = o * c", state="h c")
    after = Cell("after", "c = W @ x + c\no = exp(c)\nh = o * c", state="h c")
    kinds = [{n.name: str(n.value) for n in cell.equations}["o"] for cell in (before, after)]
    assert "kind='previous'" in kinds[0]
    assert "kind='value'" in kinds[1]


def test_output_is_the_last_state_assigned_unless_said() -> None:
    text = "c = W @ x + c\ny = relu(c)\nh = h + y"
    assert Cell("a", text, state="c h").output == "h"
    assert Cell("a", text, state="h c").output == "h"
    assert Cell("a", text, state="c h", output="y").output == "y"


def test_shapes_are_inferred_through_every_operation() -> None:
    cell = Cell(
        "shapes",
        """
        a = tanh(k * x + V @ h)       # of the input size
        b = where(a > l, a, 0)
        n = W @ b + U @ (p * h) + q
        m = W_2 @ (R @ n)
        h = clip(n * m, -1, 1)
        """,
    )
    assert dict(cell.parameters) == {
        "k": ("D",), "V": ("D", "H"), "l": ("D",), "W": ("H", "D"), "U": ("H", "H"), "p": ("H",),
        "q": ("H",), "W_2": ("H", "H"), "R": ("H", "H"),
    }  # fmt: skip
    assert dict(cell.dimensions) == {"a": "D", "b": "D", "n": "H", "m": "H", "h": "H"}
    # q is only ever added, k multiplies, l is compared.
    assert cell.biases == {"q"}


def test_biases_are_added_and_nothing_else() -> None:
    cell = Cell(
        "biases",
        """
        i = exp(b - h) + a
        j = W @ x + (p + k) - i
        h = j * p + tanh(k) + lone
        """,
    )
    assert cell.biases == {"a", "b", "lone"}


@pytest.mark.parametrize(
    ("text", "state", "phases", "linear"),
    [
        ("h = W @ x + a * h", "h", 0, True),
        ("h = W @ x + h / (1 + exp(V @ x))", "h", 0, True),
        ("h = W @ x + (1 + exp(V @ x)) / h", "h", 0, False),
        ("h = W @ x + h * h", "h", 0, False),
        ("h = W @ x + exp(a) * -h", "h", 0, True),
        ("h = where(V @ x > 0, h, W @ x - h)", "h", 0, True),
        ("h = where(h > 0, h, W @ x)", "h", 0, False),
        ("h = W @ x + max(h, 0)", "h", 0, False),
        ("h = W @ x + U @ h", "h", 1, False),
        ("h = W @ x + U @ (V @ h)", "h", 2, False),
        ("h = tanh(U @ tanh(W @ x)) + h", "h", 0, True),
        ("a = U @ h\nb = V @ (a * h)\nh = R @ tanh(b + W @ x)", "h", 3, False),
        ("c = W @ x + c\nh = tanh(c)", "h c", 0, True),
        ("c = W @ x + c\nh = tanh(c) + h", "h c", 0, False),
        ("c = W @ x + c\nh = h * sigmoid(V @ x) + c", "h c", 0, True),
        ("c = W @ x + c\nh = h * c", "h c", 0, False),
        ("a = h ** 2\nh = W @ x + a", "h", 0, False),
    ],
)
def test_phases_and_linearity_are_derived(text: str, state: str, phases: int, linear: bool) -> None:
    cell = Cell("facts", text, state=state)
    assert (cell.phases, cell.is_linear) == (phases, linear)


@pytest.mark.parametrize("count", [60, 1000])
def test_long_chains_of_lines_are_no_burden(count: int) -> None:
    """Facts take one pass: naively, each of these lines would double the work."""
    lines = [f"a{i + 1} = a{i} * a{i}" if count < 100 else f"a{i + 1} = a{i} + h"
             for i in range(count)]  # fmt: skip
    cell = Cell("chain", "\n".join(["a0 = W @ x + h", *lines, f"h = a{count}"]))
    assert cell.phases == 0
    assert cell.is_linear == (count > 100)


@pytest.mark.parametrize(
    "text",
    [
        "h = __import__('os').system('touch executed')",
        "h = open('executed', 'w')",
        "h = eval(\"open('executed', 'w')\")",
        "h = exec('executed')",
        "h = (lambda: open('executed', 'w'))()",
        "h = [open('executed', 'w') for _ in x]",
        'h = f\'{open("executed", "w")}\'',
        "h = x.__class__.__base__.__subclasses__()",
        "h = W @ x + (y := open('executed', 'w'))",
        "import os\nos.mkdir('executed')\nh = W @ x",
        "@open('executed', 'w')\ndef h(): pass",
        "class h(open('executed', 'w')): pass",
        "h = 9 ** 9 ** 9 ** 9",
        "h = 'a' * 10 ** 10",
    ],
)
def test_nothing_is_executed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[str] = []
    for name in ("open", "eval", "exec"):
        genuine = getattr(builtins, name)

        def spy(*args: Any, _name: str = name, _genuine: Any = genuine, **options: Any) -> Any:
            called.append(_name)
            return _genuine(*args, **options)

        monkeypatch.setattr(builtins, name, spy)
    monkeypatch.setattr(os, "system", lambda command: called.append(command))
    with pytest.raises(CellError):
        Cell("evil", text)
    monkeypatch.undo()
    assert not called
    assert not list(tmp_path.iterdir())


def test_the_catalog() -> None:
    assert cells.names()[:3] == ["rnn", "rnn-relu", "indrnn"]
    assert len(set(cells.names())) == len(cells.names())
    assert all(cells.get(name).name == name for name in cells.names())
    for name, nearest in [("gruu", "gru"), ("LSTM", "lstm"), ("lstm_peephole", "lstm-peephole")]:
        with pytest.raises(ComportaError, match=f"unknown cell '{name}'.*{nearest}"):
            cells.get(name)
