"""FASTA and FASTQ: records as they were written, and malformed ones refused with their line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comporta.data import Record, read_sequences
from comporta.errors import DataError

NAMES = st.text("abcxyz019_|.>@+", min_size=1)
LETTERS = st.text("ACGTNacgtn-*.", min_size=1, max_size=200)
RECORDS = st.lists(st.tuples(NAMES, st.sampled_from(["", "of two  words"]), LETTERS), min_size=1)


def header(name: str, description: str) -> str:
    return f"{name} {description}" if description else name


@given(records=RECORDS, width=st.integers(1, 70))
def test_fasta_comes_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str, str]], width: int
) -> None:
    text, expected = "", []
    for name, description, letters in records:
        expected.append(Record(name, description, letters, text.count("\n") + 1))
        lines = [letters[i : i + width] for i in range(0, len(letters), width)]
        text += "\n".join([">" + header(name, description), *lines, ""])
    path = tmp_path_factory.mktemp("fasta") / "a.fasta.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert list(read_sequences(path)) == expected


@given(records=RECORDS, data=st.data())
def test_fastq_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str, str]],
    data: st.DataObject,
) -> None:
    text, expected = "", []
    for line, (name, description, letters) in enumerate(records):
        expected.append(Record(name, description, letters, 4 * line + 1))
        size = len(letters)
        # Qualities may begin with @ or +, as headers do.
        quality = data.draw(st.text("@+!~I", min_size=size, max_size=size))
        text += f"@{header(name, description)}\n{letters}\n+\n{quality}\n"
    path = tmp_path_factory.mktemp("fastq") / "a.fastq"
    path.write_text(text)
    assert list(read_sequences(path)) == expected


def test_blank_lines_and_old_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\r\n>a b \r\nAC \r\n\r\nGT\r\n\r\n>c\r\nA\r\n")
    assert list(read_sequences(path)) == [Record("a", "b", "ACGT", 2), Record("c", "", "A", 7)]
    path.write_bytes(b"@a\nAC\n+a\nII\n\n@b\nG\n+\nI\n\n")
    assert list(read_sequences(path)) == [Record("a", "", "AC", 1), Record("b", "", "G", 6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACGT\n>a\nACGT\n", r"a, line 1: no header"),
        (">a\n>b\nAC\n", r"a, line 1: the record a has no sequence"),
        (">a\nAC\n>b", r"a, line 3: the record b has no sequence"),
        (">a\nAC\n> \nAC\n", r"a, line 3: the record has no name"),
        (">a\nAC\nA1C\n", r"a, line 3: the character '1'"),
        (">a\nAC GT\n", r"a, line 2: the character ' '"),
        ("@a\nAC\n+\nII\n@b\nAC\n+\n", r"a, line 5: the record is cut off after 3 of its 4 lines"),
        ("@a\nAC\n+\nI\n", r"a, line 4: 1 qualities for 2 letters"),
        ("@a\nAC\nGT\n+\nIIII\n", r"a, line 3: no \+ here"),
        ("@a\nAC\n+\nII\nb\nAC\n+\nII\n", r"a, line 5: no header"),
        ("@a\n\n+\n\n", r"a, line 1: the record a has no sequence"),
        ("@a\nA!\n+\nII\n", r"a, line 2: the character '!'"),
        ("\n\n", r"a has no sequences"),
        ("", r"a is empty"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_sequences(tmp_path / "a"))


def test_records_before_a_malformed_one_are_given(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(">a\nAC\n>b\n1\n")
    records = read_sequences(tmp_path / "a")
    assert next(records) == Record("a", "", "AC", 1)
    with pytest.raises(DataError, match="a, line 4"):
        next(records)
