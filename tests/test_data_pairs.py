"""Pairs of texts: two files line by line, or one table, and what is refused where."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from comporta.data import Pair, read_pairs
from comporta.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


EXPECTED = [Pair("vier", "four", 1), Pair("zwei und zwei", "two and two", 2)]


@pytest.mark.parametrize(("left", "right"), [("a", "b"), ("a.gz", "b"), ("a", "b.gz")])
def test_parallel_files(tmp_path: Path, left: str, right: str) -> None:
    source = write(tmp_path / left, "vier \r\nzwei und zwei\r\n")
    target = write(tmp_path / right, "four\ntwo and two")
    assert list(read_pairs(source, target)) == EXPECTED


@pytest.mark.parametrize("name", ["a.tsv", "a.gz"])
def test_a_table(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "vier\tfour\nzwei und zwei\ttwo and two\n\n")
    assert list(read_pairs(path)) == EXPECTED


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ("a\n", "a\nb\nc\n", "/x has 1 lines, but .*/y has 3: line 2 of .*/y has no partner"),
        ("a\nb\nc\n", "a\nb\n", "/y has 2 lines, but .*/x has 3: line 3 of .*/x has no partner"),
        ("a\nb\n", "a\n\n", "/y, line 2: the target is empty; drop such pairs from both"),
        ("\t\nb\n", "a\nb\n", "/x, line 1: the source is empty; drop such pairs from both"),
        ("", "a\n", "/x is empty"),
        ("a\n", "", "/y is empty"),
    ],
)
def test_parallel_refusals(tmp_path: Path, left: str, right: str, message: str) -> None:
    source, target = write(tmp_path / "x", left), write(tmp_path / "y", right)
    with pytest.raises(DataError, match=message):
        list(read_pairs(source, target))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", "line 2: 1 columns; write source, a tab, target"),
        ("a\tb\tc\n", "line 1: 3 columns"),
        ("a\tb\n\tb\n", "line 2: the source is empty; drop the line"),
        ("a\t \n", "line 1: the target is empty; drop the line"),
        ("\n\n", "has no pairs"),
    ],
)
def test_refusals_of_a_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_pairs(write(tmp_path / "x.tsv", text)))


def test_the_advice_on_empty_sides_works(tmp_path: Path) -> None:
    source = write(tmp_path / "x", "a\n\nc\nd e\n")
    target = write(tmp_path / "y", "A\nB\n \nD\n")
    with pytest.raises(DataError) as error:
        list(read_pairs(source, target))
    command = str(error.value).split("of plain files, ")[1].split(" makes a table")[0]
    table = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    assert list(read_pairs(write(tmp_path / "z", table))) == [
        Pair("a", "A", 1),
        Pair("d e", "D", 2),
    ]


def test_real_pairs(data_folder: Path) -> None:
    folder = data_folder / "multi30k"
    for part, count in [("train", 29_000), ("val", 1_014), ("test_2016_flickr", 1_000)]:
        pairs = list(read_pairs(folder / f"{part}.de.gz", folder / f"{part}.en.gz"))
        assert len(pairs) == count
        assert [pair.line for pair in pairs] == list(range(1, count + 1))
    with pytest.raises(DataError, match=r"has 1000 lines, but .* has 1014: line 1001 of"):
        list(read_pairs(folder / "val.de.gz", folder / "test_2016_flickr.en.gz"))
