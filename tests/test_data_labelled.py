"""Labelled texts from every format: what is read, and what is refused where."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comporta.data import Labelled, as_score, read_labelled, read_unlabelled, split_labels
from comporta.errors import ConfigurationError, DataError

Found = list[tuple[str, str | None, int]]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def labelled(path: Path, **options: object) -> Found:
    read = list(read_labelled(path, **options))  # type: ignore[arg-type]
    assert all(example.path == path for example in read)
    return [(example.text, example.label, example.line) for example in read]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1).filter(str.strip)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_what_the_csv_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("label", "text"), *rows])
    lines = [2]
    for label, text in rows:
        lines.append(lines[-1] + 1 + (label + text).count("\n"))
    assert labelled(path) == [
        (text.strip(), label.strip(), line)
        for (label, text), line in zip(rows, lines, strict=False)
    ]


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_what_the_json_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("objects") / "a.jsonl"
    path.write_text("\n".join(json.dumps({"a": label, "b": text}) for label, text in rows))
    assert labelled(path, text="b", label="a") == [
        (text.strip(), label.strip(), line) for line, (label, text) in enumerate(rows, 1)
    ]


EXPECTED: Found = [("a fine film", "good", 1), ("so, so", "bad", 3)]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.txt", "good a fine film\n\nbad\tso, so\n", {}),
        ("a.txt.gz", "good   a fine film \r\n\r\n bad so, so", {}),
        ("a.tsv", "good\ta fine film\n\nbad\tso, so\n", {}),
        ("a.tsv.gz", "good\ta fine film\n\nbad\tso, so\n", {}),
        ("a.csv", 'good,a fine film\n\nbad,"so, so"\n', {}),
        ("a.csv", 'a fine film,good\n\n"so, so", bad\n', {"text": 0, "label": 1}),
        ("a.data", 'good, 7,  a fine film\n\nbad, 8,  "so, so"\n', {"text": "2", "label": "0"}),
        ("a.json", '{"label": "good", "text": "a fine film"}\n\n{"text": "so, so", "label": "bad"}',
         {}),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, name: str, text: str, options: dict[str, object]) -> None:
    assert labelled(write(tmp_path, name, text), **options) == EXPECTED


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("label\tid\ttext", {}),
        ("kind\tid\treview", {"text": "review", "label": "kind"}),
        ("label\tid\treview", {"text": "review"}),
        ("kind\tid\ttext", {"label": "kind"}),
        ("kind\tid\ttext", {"text": "text", "label": 0}),
    ],
)
def test_headers(tmp_path: Path, header: str, options: dict[str, object]) -> None:
    path = write(tmp_path, "a.tsv", f'{header}\ngood\t1\t"fine film\n')
    assert labelled(path, **options) == [('"fine film', "good", 2)]


def test_there_is_no_header_with_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "label\ttext\ngood\tfilm\n")
    assert labelled(path) == [("film", "good", 2)]
    assert labelled(path, text=1, label=0) == [("text", "label", 1), ("film", "good", 2)]


def test_numbers_in_json_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 4.5}\n{"text": "b", "label": true}')
    assert labelled(path) == [("a", "4.5", 1), ("b", "true", 2)]


def test_a_folder_of_labels(tmp_path: Path) -> None:
    write(tmp_path, "Irish.txt", "Adam\n\nAhearn ")
    write(tmp_path, "Arabic.txt", "Khoury\n")
    (tmp_path / "README").write_text("names")
    read = list(read_labelled(tmp_path))
    assert [(x.text, x.label, x.line, x.path.name) for x in read] == [
        ("Khoury", "Arabic", 1, "Arabic.txt"),
        ("Adam", "Irish", 1, "Irish.txt"),
        ("Ahearn", "Irish", 3, "Irish.txt"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.txt", "a fine film\n\n so, so\n", {}),
        ("a.csv", 'a fine film\n\n"so, so"\n', {}),
        ("a.tsv", "good\ta fine film\n\nbad\tso, so\n", {}),
        ("a.tsv", "good\ta fine film\t7\n\nbad\tso, so\t8\n", {"text": 1}),
        ("a.jsonl", '{"review": "a fine film"}\n\n{"review": "so, so"}', {"text": "review"}),
    ],
)
def test_texts_alone(tmp_path: Path, name: str, text: str, options: dict[str, object]) -> None:
    path = write(tmp_path, name, text)
    read = list(read_unlabelled(path, **options))  # type: ignore[arg-type]
    assert read == [Labelled(text, None, line, path) for text, _, line in EXPECTED]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "good film\nbad\n", {}, r"a\.txt, line 2: the text is empty"),
        ("a.txt", "\n\n", {}, r"a\.txt has no texts"),
        ("a.txt", "", {}, r"a\.txt is empty"),
        ("a.tsv", "a\tb\n\tb\n", {}, r"line 2: the label is empty"),
        ("a.tsv", "a\tb\nb\t \n", {}, r"line 2: the text is empty"),
        ("a.tsv", "a\tb\n\na\tb\tc\n", {}, r"line 3: 3 columns, while line 1 has 2"),
        ("a.tsv", "a\tb\tc\n", {}, r"line 1: 3 columns, none named; choose that of the text"),
        ("a.tsv", "a\n", {}, r"line 1: 1 columns"),
        ("a.tsv", "label\ttext\n", {}, r"a\.tsv has no texts"),
        ("a.csv", "a,b\n", {"text": 1, "label": 2}, r"line 1: no column 2 for the label; there"),
        ("a.csv", "kind,text\na,b\n", {"label": "kin"}, r"line 1: no column 'kin' .* mean kind"),
        ("a.csv", 'a,b\na,"b\nc\n', {}, r"line 2: the row that begins here cannot be read"),
        ("a.csv", 'a,b\na,"b"c\n', {}, r"line 2: the row that begins here cannot be read"),
        ("a.csv", 'a,"\n\nb"\na\n', {}, r"line 4: 1 columns, while line 1 has 2"),
        ("a.csv", "a,b\n,\n", {}, r"line 2: the text is empty"),
        ("a.jsonl", '[{"text": "a"}]', {}, r"line 1: not one JSON object"),
        ("a.jsonl", "[" * 100_000, {}, r"line 1: not one JSON object"),
        ("a.jsonl", '{\n"text": "a"}', {}, r"line 1: not one JSON object"),
        ("a.jsonl", '{"text": "a", "lable": "b"}', {}, r"line 1: no field 'label' .* mean lable"),
        ("a.jsonl", '{"text": 3, "label": "b"}', {}, r"line 1: the field 'text' is 3; the text"),
        ("a.jsonl", '{"text": "a", "label": null}', {}, r"line 1: the field 'label' is null"),
        ("a.jsonl", '{"text": "a", "label": ["b"]}', {}, r"line 1: the field 'label' is \[\"b\"\]"),
        ("a.jsonl", '{"text": "a", "label": ""}', {}, r"line 1: the label is empty"),
    ],
)
def test_refusals(
    tmp_path: Path, name: str, text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        labelled(write(tmp_path, name, text), **options)


def test_columns_that_contradict(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,b\n")
    for options, message in [
        ({"text": 1}, "choose the other"),
        ({"text": 1, "label": 1}, "same column"),
        ({"text": "label"}, "same column"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            labelled(path, **options)
    with pytest.raises(ConfigurationError, match="is a folder"):
        list(read_labelled(tmp_path, text=1))
    with pytest.raises(DataError, match=r"no files Label\.txt"):
        list(read_labelled(tmp_path))


def test_scores() -> None:
    for text, value in [("4", 4.0), ("-1e-3", -0.001), ("4.50", 4.5)]:
        assert as_score(text, "a.csv, line 1") == value
    for label in ("good", "nan", "inf", "3,5", None):
        with pytest.raises(DataError, match=r"a\.csv, line 7: the label .* is not a number"):
            as_score(label, "a.csv, line 7")


def test_several_labels() -> None:
    assert split_labels("drama, war ,comedy") == ("drama", "war", "comedy")
    assert split_labels("drama") == ("drama",)


def test_real_labels(data_folder: Path) -> None:
    for part, count in [("train", 5_452), ("test", 500)]:
        path = data_folder / "trec" / f"TREC.{part}.all"
        questions = labelled(path, encoding="latin-1")
        assert len(questions) == count
        assert {label for _, label, _ in questions} == set("012345")
    reviews = labelled(data_folder / "movie_reviews" / "rt-polarity.all", encoding="latin-1")
    assert Counter(label for _, label, _ in reviews) == {"0": 5_331, "1": 5_331}
    splice = labelled(data_folder / "dna_splice" / "splice.data", text=2, label=0)
    assert len(splice) == 3_190
    assert len({text for text, _, _ in splice}) == 3_005
    assert {len(text) for text, _, _ in splice} == {60}
    assert {label for _, label, _ in splice} == {"EI", "IE", "N"}
    names = list(read_labelled(data_folder / "names"))
    assert len({name.label for name in names}) == 18
    assert len(names) == 20_050
