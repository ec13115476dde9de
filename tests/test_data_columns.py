"""Columns of words and tags, and schemes of tags held against seqeval."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from comporta.data import (
    bio_constraints,
    read_columns,
    read_words,
    recognize,
    spans,
    to_bio,
)
from comporta.errors import DataError

MARKS = ["O", *(f"{letter}-{label}" for letter in "BIES" for label in ("X", "Y"))]


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """What seqeval finds; it counts the last word in."""
    return [(start, end + 1, label) for label, start, end in get_entities(list(tags))]


def short_sequences() -> Iterator[tuple[str, ...]]:
    for length in range(5):
        yield from itertools.product(MARKS, repeat=length)


def test_entities_are_those_of_seqeval_in_every_short_sequence() -> None:
    for tags in short_sequences():
        assert spans(tags) == entities(tags), tags


@given(st.lists(st.sampled_from(MARKS), max_size=30))
def test_bio_keeps_the_entities(tags: list[str]) -> None:
    written = to_bio(tags, "bioes")
    assert entities(written) == entities(tags)
    assert len(written) == len(tags)
    assert legal(written)
    assert to_bio(written, "bio") == written


def legal(tags: Sequence[str]) -> bool:
    """BIO by its definition: every I follows a B or an I of the same label."""
    return all(
        tag[0] != "I" or before[1:] == tag[1:] for before, tag in itertools.pairwise(["O", *tags])
    )


def test_constraints_allow_exactly_the_legal_sequences() -> None:
    kinds = [mark for mark in MARKS if mark[0] in "OBI"]
    start, step = bio_constraints(kinds)
    assert start.dtype == step.dtype == bool
    assert start.shape == (5,)
    assert step.shape == (5, 5)
    for length in range(1, 5):
        for places in itertools.product(range(len(kinds)), repeat=length):
            allowed = start[places[0]] and all(step[i, j] for i, j in itertools.pairwise(places))
            assert bool(allowed) == legal([kinds[i] for i in places])


def test_plain_tags_are_free() -> None:
    start, step = bio_constraints(["NOUN", "VERB", "I"])
    assert start.all()
    assert step.all()


ENTITIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("XY")), min_size=1, max_size=8
)


def written_in(scheme: str, drawn: list[tuple[int, int, str]]) -> list[str]:
    """Entities, each a gap before it, a length and a label, in one of the schemes."""
    tags: list[str] = []
    for gap, length, label in drawn:
        tags += ["O"] * gap
        inner = [f"I-{label}"] * length
        if scheme == "bio" or (scheme == "iob1" and tags and tags[-1][2:] == label):
            inner[0] = f"B-{label}"
        if scheme == "bioes":
            inner[0], inner[-1] = f"B-{label}", f"E-{label}"
            inner = inner if length > 1 else [f"S-{label}"]
        tags += inner
    return tags


@given(ENTITIES, st.sampled_from(["iob1", "bio", "bioes"]))
def test_schemes_are_recognized_and_become_bio(
    drawn: list[tuple[int, int, str]], scheme: str
) -> None:
    tags = written_in(scheme, drawn)
    assert recognize([["O"], tags]) == scheme
    assert list(to_bio(tags, recognize([tags]))) == written_in("bio", drawn)


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        ([["NOUN", "VERB"], ["O"]], "none"),
        ([["B", "I", "O"]], "none"),
        ([["B-"], ["B-X"]], "none"),
        ([["O", "O"]], "none"),
        ([], "none"),
        ([["O", "B-X", "I-X"], ["O", "I-X"]], "bio"),
        ([["I-X", "B-X"], ["O", "I-X"]], "iob1"),
    ],
)
def test_schemes_at_the_edge(sentences: list[list[str]], scheme: str) -> None:
    assert recognize(sentences) == scheme


def test_a_tag_that_is_not_of_the_scheme() -> None:
    assert to_bio(["E-X", "NOUN"], "none") == ("E-X", "NOUN")
    with pytest.raises(DataError, match=r"'E-X' is not of the scheme bio; .* one of BI and"):
        to_bio(["O", "E-X"], "bio")
    with pytest.raises(DataError, match=r"'NOUN' is not of the scheme bioes; .* one of BIES"):
        to_bio(["NOUN"], "bioes")


def write(folder: Path, text: str) -> Path:
    path = folder / "a.conll"
    path.write_text(text, newline="")
    return path


def test_columns_by_spaces_tabs_or_a_separator(tmp_path: Path) -> None:
    path = write(
        tmp_path, "-DOCSTART- -X- O\r\n\r\nSão  NNP\tB-X \r\n# \xa0 O\r\n \t\r\n\n\x85 , O"
    )
    assert [(s.words, s.tags, s.lines) for s in read_columns(path)] == [
        (("São", "#"), ("B-X", "O"), (3, 4)),
        (("\x85",), ("O",), (7,)),
    ]
    assert [s.tags for s in read_columns(path, tag=1)] == [("NNP", "\xa0"), (",",)]
    path = write(tmp_path, "New York;B-X\nis;O\n")
    assert [s.words for s in read_columns(path, separator=";")] == [("New York", "is")]


def test_comments_stand_between_sentences_and_are_no_words(tmp_path: Path) -> None:
    path = write(tmp_path, "# a comment on all\n\nAna B-X\n\n# 1 of 2\n# O\n# x\nO O\n")
    assert [(s.words, s.lines) for s in read_columns(path)] == [
        (("Ana",), (3,)),
        (("#", "#", "O"), (6, 7, 8)),
    ]


def test_conllu(tmp_path: Path) -> None:
    rest = "\t_" * 6
    lines = ["# text = Vou à praia", f"1\tVou\tir\tVERB{rest}", f"2-3\tà\t_\t_{rest}"]
    lines += [f"2\ta\ta\tADP{rest}", f"3\to o\to\tDET{rest}", f"3.1\tx\tx\tX{rest}", ""]
    (sentence,) = read_columns(write(tmp_path, "\n".join(lines)), separator="\t", word=1, tag=3)
    assert sentence.words == ("Vou", "a", "o o")
    assert sentence.tags == ("VERB", "ADP", "DET")
    assert sentence.lines == (2, 4, 5)


def test_words_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "Ana\nri\n\n\nSim\n")
    assert [(s.words, s.tags, s.lines) for s in read_words(path)] == [
        (("Ana", "ri"), (), (1, 2)),
        (("Sim",), (), (5,)),
    ]
    path = write(tmp_path, "Ana B-X\nri O\n")
    assert [s.words for s in read_words(path)] == [("Ana", "ri")]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a O\n\nb B X\n", {}, r"a\.conll, line 3: 3 columns, while line 1 has 2"),
        ("a O\nb\n", {}, r"a\.conll, line 2: 1 columns, while line 1 has 2"),
        ("a O\n", {"tag": 2}, r"line 1: no column 2 for the tag; there are 2"),
        ("a O\n", {"word": -3}, r"line 1: no column -3 for the word"),
        ("a\tO\n\tO\n", {"separator": "\t"}, r"line 2: the word in column 0 is empty"),
        ("a\tO\nb\t\n", {"separator": "\t"}, r"line 2: the tag in column -1 is empty"),
        ("\n\n", {}, r"a\.conll has no words"),
        ("", {}, r"a\.conll is empty"),
    ],
)
def test_refusals(tmp_path: Path, text: str, options: dict[str, object], message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message):
        list(read_columns(path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "sentences", "tokens", "begun"),
    [
        ("wnut17/wnut17train.conll", 3_394, 62_730, 1_975),
        ("wnut17/emerging.dev.conll", 1_009, 15_733, 836),
        ("wnut17/emerging.test.annotated", 1_287, 23_394, 1_079),
        ("lener_br/train.conll", 7_827, 229_277, 8_894),
        ("lener_br/dev.conll", 1_176, 41_166, 1_818),
    ],
)
def test_real_entities(
    data_folder: Path, file: str, sentences: int, tokens: int, begun: int
) -> None:
    read = list(read_columns(data_folder / file))
    assert len(read) == sentences
    assert sum(len(s.words) for s in read) == sum(len(s.tags) for s in read) == tokens
    assert recognize(s.tags for s in read) == "bio"
    found = [spans(s.tags) for s in read]
    assert found == [entities(s.tags) for s in read]
    # An I that follows no entity begins one as well.
    assert begun <= sum(map(len, found)) < begun * 1.01
