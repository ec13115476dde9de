"""Pretrained vectors: only those that are wanted, exactly as the file has them."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from comporta.data import read_vectors
from comporta.errors import DataError

WORDS = ["the", "\xa0", "\x85", ". . .", "at name@domain.com", "mar", "7", "-1.5"]
WANTED = {"<unk>": 0, "mar": 1, ". . .": 2, "\x85": 3, "\xa0": 4, "sea": 5, "-1.5": 6}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.vec.gz"])
def test_vectors_come_back(tmp_path: Path, header: bool, ending: str, name: str) -> None:
    numbers = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)
    text = f"{len(WORDS)} 5{ending}" if header else ""
    for word, values in zip(WORDS, numbers, strict=True):
        text += " ".join([word, *map(repr, values.tolist())]) + ending
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    matrix, found = read_vectors(tmp_path / name, WANTED)
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(WANTED), 5)
    for word, row in WANTED.items():
        assert found[row] == (word in WORDS)
        expected = numbers[WORDS.index(word)] if word in WORDS else np.zeros(5)
        assert np.array_equal(matrix[row], expected), word


def test_the_first_of_two_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a 1 2\nb 3 4\na 5 6\n")
    matrix, found = read_vectors(tmp_path / "a", {"a": 1, "b": 0})
    assert matrix.tolist() == [[3, 4], [1, 2]]
    assert found.all()


def test_what_is_not_wanted_is_not_kept(tmp_path: Path) -> None:
    line = " ".join(["0.25"] * 100)
    (tmp_path / "a").write_text("".join(f"word{i} {line}\n" for i in range(4_000)))
    tracemalloc.start()
    matrix, found = read_vectors(tmp_path / "a", {"word3999": 0})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (matrix == 0.25).all()
    assert found.all()
    assert peak < 400_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nx 1\n", r"a, line 2: 1 values where the others have 2"),
        ("a 1 2\nx 1 2 3\n", r"a, line 2: 3 values where the others have 2"),
        ("a 1 2\n\n", r"a, line 2: 0 values where the others have 2"),
        ("2 2\na 1 2\nx 1 2 3\n", r"a, line 3: 3 values"),
        ("1 99999999999999999999\na 1 2\n", r"a, line 1: 99999999999999999999 values"),
        ("1 900000\na 1 2\n", r"a, line 2: 2 values where the others have 900000"),
        ("a 1 2\nb 1 two\n", r"a, line 2: could not convert .*two"),
        ("a 1 2\nb 1 nan\n", r"a, line 2: a value is not finite"),
        ("a 1 2\nb 1 1e99\n", r"a, line 2: a value is not finite"),
        ("a\nb\n", r"a, line 1: 0 values; write a word and its values"),
        ("a\t1\t2\n", r"a, line 1: 0 values; write a word and its values"),
        ("3 2\na 1 2\nb 3 4\n", r"a has 2 words, while its first line says 3"),
        ("1 2\na 1 2\nb 3 4\n", r"a has 2 words, while its first line says 1"),
        ("", r"a is empty"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / "a", {"a": 0, "b": 1})
