"""Series: every format gives back what was written, and refuses what is wrong with its place."""

from __future__ import annotations

import gzip
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from comporta.data import Series, read_series
from comporta.errors import ConfigurationError, DataError

Written = list[tuple[np.ndarray, str]]
TABLE = {"series": "id", "label": "kind"}


def write_npy(path: Path, written: Written) -> None:
    np.save(path, np.stack([values for values, _ in written]))


def write_equal(path: Path, written: Written) -> None:
    np.savez(path, x=np.stack([v for v, _ in written]), y=[label for _, label in written])


def write_fortran(path: Path, written: Written) -> None:
    x = np.asfortranarray(np.stack([v for v, _ in written]))
    np.savez(path, x=x, y=[label for _, label in written])


def write_lengths(path: Path, written: Written) -> None:
    lengths = [len(values) for values, _ in written]
    labels = [label for _, label in written]
    np.savez_compressed(path, x=np.concatenate([v for v, _ in written]), lengths=lengths, y=labels)


def write_separate(path: Path, written: Written) -> None:
    arrays = {f"x_{index}": values for index, (values, _) in enumerate(written)}
    np.savez(path, y=np.array([label for _, label in written]), **arrays)


def rows_of(written: Written) -> list[list[object]]:
    return [
        [f"s{index}", *step.tolist(), label]
        for index, (values, label) in enumerate(written)
        for step in values
    ]


def write_csv(path: Path, written: Written) -> None:
    separator = "\t" if path.suffix == ".tsv" else ","
    names = ["id", *(f"c{i}" for i in range(written[0][0].shape[1])), "kind"]
    lines = [names, *([str(cell) for cell in row] for row in rows_of(written))]
    path.write_text("".join(separator.join(line) + "\n" for line in lines))


def write_parquet(path: Path, written: Written) -> None:
    columns = list(zip(*rows_of(written), strict=True))
    names = ["id", *(f"c{i}" for i in range(len(columns) - 2)), "kind"]
    table = pyarrow.table(dict(zip(names, columns, strict=True)))
    parquet.write_table(table, path, row_group_size=3)


def write_ts(path: Path, written: Written) -> None:
    head = "# remark\n@problemName a b\n@univariate false\n@classLabel true up down\n@data\n"
    rows = (
        ":".join([*(",".join(map(str, channel)) for channel in values.T.tolist()), label]) + "\n"
        for values, label in written
    )
    path.write_text(head + "".join(rows))


WRITERS: dict[str, tuple[str, Callable[[Path, Written], None]]] = {
    "npy": (".npy", write_npy),
    "equal": (".npz", write_equal),
    "fortran": (".npz", write_fortran),
    "lengths": (".npz", write_lengths),
    "separate": (".npz", write_separate),
    "csv": (".csv", write_csv),
    "tsv": (".tsv", write_csv),
    "parquet": (".parquet", write_parquet),
    "ts": (".ts", write_ts),
}
ONLY_EQUAL = ("npy", "equal", "fortran")


@st.composite
def series(draw: st.DrawFn, equal: bool) -> Written:
    count, channels = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    length = draw(st.integers(1, 7))
    lengths = [length if equal else draw(st.integers(1, 7)) for _ in range(count)]
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    written = []
    for steps in lengths:
        values = generator.standard_normal((steps, channels)) * 10.0 ** generator.integers(-9, 9)
        values[generator.random(values.shape) < 0.1] = np.nan
        written.append((values, str(generator.choice(["up", "down"]))))
    return written


@pytest.mark.parametrize("layout", WRITERS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_written_comes_back(layout: str, data: st.DataObject) -> None:
    suffix, write = WRITERS[layout]
    written = data.draw(series(equal=layout in ONLY_EQUAL))
    columns = TABLE if suffix in (".csv", ".tsv", ".parquet") else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path, written)
        found = list(read_series(path, missing="mask", **columns))
    assert len(found) == len(written)
    for (values, label), back in zip(written, found, strict=True):
        gone = np.isnan(values)
        expected = np.hstack([np.where(gone, 0, values), gone]).astype(np.float32)
        assert back.values.dtype == np.float32
        np.testing.assert_array_equal(back.values, expected)
        assert back.label == (None if layout == "npy" else label)


def read(path: Path, **options: str) -> list[Series]:
    return list(read_series(path, **options))


def test_a_table_without_names_is_one_series(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n\n5,6\n")
    (found,) = read(tmp_path / "a.csv")
    assert found.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.label is None


def test_one_array_of_two_dimensions_is_one_series(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    (found,) = read(tmp_path / "a.npy")
    assert found.values.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_name_may_be_a_word_that_means_missing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x,kind\nNA,1,nan\nnan,2,NA\n")
    found = read(tmp_path / "a.csv", **TABLE)
    assert [(s.values.item(), s.label) for s in found] == [(1, "nan"), (2, "NA")]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.ts.gz"])
def test_packed_files(tmp_path: Path, name: str) -> None:
    text = "x\n1\n2\n" if "csv" in name else "@univariate true\n@data\n1,2\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert [s.values.tolist() for s in read(tmp_path / name)] == [[[1], [2]]]


def test_labels_that_are_numbers_become_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 1)), y=[3, 10])
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 3, 1)), y=[0.5, 2])
    (tmp_path / "c.ts").write_text("@targetLabel true\n@data\n1,2:0.25\n")
    names = [[s.label for s in read(tmp_path / name)] for name in ("a.npz", "b.npz", "c.ts")]
    assert names == [["3", "10"], ["0.5", "2.0"], ["0.25"]]


HEAD = "@dimensions 2\n@classLabel true up down\n@data\n1,2:3,4:up\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "1,2:3,4:5,6:up\n", "line 5: 3 dimensions, expected 2"),
        (HEAD + "1,2:up\n", "line 5: 1 dimensions, expected 2"),
        ("@classLabel true up\n@data\n1:2:up\n\n1:up\n", "line 5: 1 dimensions, expected 2"),
        (HEAD + "1,2:3,x4:up\n", "line 5: 'x4' in dimension 2 is not a number"),
        (HEAD + "1,2:3,4_0:up\n", "line 5: '4_0' in dimension 2 is not a number"),
        (HEAD + "1,2:3,4\n", "line 5: no label"),
        (HEAD + "1,2:3,4:\n", "line 5: no label"),
        (HEAD + "1,2:3,4:left\n", "line 5: unknown label 'left'; the header declares up down"),
        (HEAD + "1,2:3:up\n", "line 5: dimension 2 has 1 values, dimension 1 has 2"),
        (HEAD + "1,?:3,4:up\n", "line 5: the value at step 2, channel 1 is missing"),
        (HEAD + "1,inf:3,4:up\n", "line 5: the value at step 2, channel 1 is infinite"),
        (HEAD + "1,1e39:3,4:up\n", "line 5: the value at step 2, channel 1 is infinite or too"),
        ("@dimensions 2\n", "no line @data"),
        ("@dimensions 2\n1,2:3,4\n", "line 2: a row before @data"),
        ("@dimensions two\n@data\n", "line 1: expected a whole number"),
        ("@classLabel up down\n@data\n", "line 1: expected true or false"),
        ("@timeStamps true\n@data\n", "line 1: values with time stamps"),
        ("@equalLength true\n@data\n1,2\n1,2,3\n", "line 4: 3 steps, expected 2"),
        ("@equalLength true\n@seriesLength 3\n@data\n1,2\n", "line 4: 2 steps, expected 3"),
        ("@data\n", "holds no series"),
        ("", "is empty"),
    ],
)
def test_a_wrong_ts_file_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.ts").write_text(text)
    with pytest.raises(DataError, match=rf"a\.ts.*{words}"):
        read(tmp_path / "a.ts")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,x,kind\na,1,up\na,big,up\n", "row 3, column 'x': .*'big'"),
        ("id,x,kind\na,1,up\na,2\n", "row 3: Expected 3 columns, got 2"),
        (
            "id,x,kind\na,1,up\na,2,down\n",
            "row 3: the label 'down' in a series that began with 'up'",
        ),
        ("id,x,kind\na,1,up\nb,1,up\na,2,up\n", "row 4: the series 'a' goes on after another"),
        ("id,x,kind\na,1,up\nb,1,\n", "row 3: no label"),
        ("id,x,kind\na,1,up\n,1,up\n", "row 3: no name of a series"),
        ("id,x,kind\na,1,up\nb,1,up\nb,,up\n", "rows from 3 .*'b'.* step 2, channel 1 is missing"),
        ("id,x,x,kind\na,1,1,up\n", "two columns 'x'"),
        ("id,kind\na,up\n", "no column of numbers beside kind and id"),
        ("id,x,kind\n", "holds no series"),
        ("", "cannot be read as a table: Empty CSV"),
        ("id,x,kind\na,1," + 3_000_000 * "u" + "\n", "a row is longer than a million bytes"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv.*{words}"):
        read(tmp_path / "a.csv", **TABLE)


def test_bytes_that_are_no_text_and_text_among_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,x\n\xff,1\n")
    with pytest.raises(DataError, match=r"row 2, column 'id': .*UTF8"):
        read(tmp_path / "a.csv", series="id")
    parquet.write_table(pyarrow.table({"x": [1.0], "word": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the column 'word' holds string from row 1"):
        read(tmp_path / "a.parquet")


ARRAYS: dict[str, tuple[dict[str, object], str]] = {
    "x": ({"x": np.zeros((2, 3))}, r"x has the shape \(2, 3\)"),
    "objects": ({"x": np.array([[[1]], None], dtype=object)}, "holds Python objects"),
    "object labels": ({"x": np.zeros((1, 2, 3)), "y": np.array([None])}, "holds Python objects"),
    "more labels": ({"x": np.zeros((2, 3, 1)), "y": [1, 2, 3]}, "y has 3 labels"),
    "fewer labels": ({"x": np.zeros((2, 3, 1)), "y": [1]}, "y has 1 labels"),
    "wide labels": ({"x": np.zeros((2, 3, 1)), "y": [[1], [2]]}, "one label a series"),
    "sum": ({"x": np.zeros((5, 1)), "lengths": [2, 2]}, "lengths sum to 4, but x has 5"),
    "no length": ({"x": np.zeros((2, 1)), "lengths": [2, 0]}, "at least 1"),
    "half": ({"x": np.zeros((2, 1)), "lengths": [1.5, 0.5]}, "whole numbers"),
    "gap": ({"x_0": np.zeros((2, 1)), "x_2": np.zeros((2, 1))}, "no x_1"),
    "names": ({"a": np.zeros(2), "b": np.zeros(2)}, "has the arrays a, b; expected x"),
    "channels": ({"x_0": np.zeros((2, 1)), "x_1": np.zeros((2, 2))}, "2 channels, but the first"),
    "steps": ({"x_0": np.zeros((0, 1))}, r"shape \(0, 1\) is no series"),
    "text": ({"x_0": np.array([["a"]])}, "expected numbers"),
    "missing": ({"x": np.full((1, 1, 1), np.nan)}, "series 0: the value at step 1, channel 1"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_wrong_archive_is_refused(tmp_path: Path, case: str) -> None:
    arrays, words = ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    write = next(write for ending, write in WRITERS.values() if ending == suffix)
    path = tmp_path / f"a{suffix}"
    write(path, [(np.random.default_rng(0).random((400, 2)), "up")])
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no array"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"a{suffix} cannot be read as a"):
            read(path)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"a\.npy"):
        read(tmp_path / "a.npy")


def test_options_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("id,x\na,1\n")
    (tmp_path / "a.ts").write_text("@data\n1\n")
    for name, options, words in [
        ("a.csv", {"missing": "drop"}, "refuse or mask"),
        ("a.csv", {"series": "ids"}, "no column 'ids'; did you mean id"),
        ("a.ts", {"label": "kind"}, "has no named columns"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            read(tmp_path / name, **options)
    for name, words in [("a.txt", "no known format"), ("b.csv", "no such file")]:
        with pytest.raises(DataError, match=words):
            read(tmp_path / name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"comporta\[tables\]"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("lengths", [None, np.full(1000, 500)])
def test_an_archive_larger_than_what_is_held(tmp_path: Path, lengths: np.ndarray | None) -> None:
    shape = (1000, 500, 10) if lengths is None else (500_000, 10)
    arrays = {} if lengths is None else {"lengths": lengths}
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(shape, np.float32), **arrays)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_series(tmp_path / "a.npz"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert peak < 2_000_000 < np.prod(shape)


def test_a_table_is_read_no_further_than_needed(tmp_path: Path) -> None:
    rows = "".join(f"{index // 50},{index}\n" for index in range(300_000))
    (tmp_path / "a.csv").write_text(f"id,x\n{rows}last,bad\n")
    found = read_series(tmp_path / "a.csv", series="id")
    assert next(found).values.ravel().tolist() == list(range(50))
    with pytest.raises(DataError, match="row 300002, column 'x'"):
        list(found)


@pytest.mark.parametrize(
    ("name", "channels", "shortest", "longest", "classes"),
    [
        ("japanese_vowels/JapaneseVowels_TRAIN.ts", 12, 7, 26, [30] * 9),
        (
            "japanese_vowels/JapaneseVowels_TEST.ts", 12, 7, 29,
            [31, 35, 88, 44, 29, 24, 40, 50, 29],
        ),
        ("basic_motions/BasicMotions_TRAIN.ts", 6, 100, 100, [10] * 4),
    ],
)  # fmt: skip
def test_archives_as_their_authors_describe_them(
    data_folder: Path, name: str, channels: int, shortest: int, longest: int, classes: list[int]
) -> None:
    found = read(data_folder / name)
    assert {s.values.shape[1] for s in found} == {channels}
    lengths = [len(s.values) for s in found]
    assert (min(lengths), max(lengths)) == (shortest, longest)
    counts = Counter(s.label for s in found)
    assert [counts[label] for label in sorted(counts, key=str)] == classes
