"""Reading line by line: what a line is, what is refused, and that little is held in memory."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comporta.data import read_lines, read_text
from comporta.errors import ConfigurationError, DataError


def texts(path: Path, **options: object) -> list[str]:
    numbers, lines = zip(*read_lines(path, **options), strict=True)  # type: ignore[arg-type]
    assert list(numbers) == list(range(1, len(lines) + 1))
    return list(lines)


@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"))))
def test_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    for name, end in [("unix", "\n"), ("dos", "\r\n")]:
        data = "".join("|" + line + end for line in [*lines, ""]).encode()
        (folder / name).write_bytes(data)
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        for path in (folder / name, folder / f"{name}.gz"):
            assert texts(path) == ["|" + line for line in [*lines, ""]]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    inside = "a\x85b\x0b\x0c\x1c\x1d\x1e\u2028\u2029c\rd"
    (tmp_path / "a").write_bytes(f"{inside}\n\n{inside}\r\r\nend".encode())
    assert texts(tmp_path / "a") == [inside, "", inside + "\r", "end"]


def test_a_packed_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert texts(tmp_path / "packed") == ["one", "two"]
    assert read_text(tmp_path / "packed") == "one\ntwo\n"


def test_a_byte_order_mark_is_dropped_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeff\ufeffa\n\ufeffb".encode())
    assert texts(tmp_path / "a") == ["\ufeffa", "\ufeffb"]


def test_bytes_of_another_encoding_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("maré\nmaré alta".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"a\.txt, line 1: byte 0xe9 at offset 3 .* not utf-8; .*--encoding latin-1"
    ):
        texts(path)
    assert texts(path, encoding="latin-1") == ["maré", "maré alta"]
    with pytest.raises(DataError, match="line 1: byte 0xe9 at offset 3 of the line is not ascii"):
        texts(path, encoding="ascii")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "cp037"])
def test_encodings_without_single_line_feeds_are_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("a\nb\n".encode(encoding))
    with pytest.raises(ConfigurationError, match=f"iconv -f {encoding}"):
        texts(tmp_path / "a", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-9", "hex"])
def test_an_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(ConfigurationError, match="unknown encoding"):
        texts(tmp_path / "a", encoding=encoding)


def test_what_cannot_be_opened_is_explained_as_for_a_whole_text(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "empty.gz").touch()
    (tmp_path / "nothing.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(range(256)) * 9)[:-30])
    for name in ("absent", "", "empty", "empty.gz", "nothing.gz", "cut.gz", "empty/file"):
        messages = set()
        for read in (texts, read_text):
            with pytest.raises(DataError) as error:
                read(tmp_path / name)
            messages.add(str(error.value))
        assert len(messages) == 1, messages


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may read anything, so the refusal is made here.
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="no permission to read"):
        texts(tmp_path / "a")


@pytest.mark.parametrize("cut", [5, 12, 40, -9, -1])
def test_a_packed_file_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    data = gzip.compress("".join(f"line {i * i}\n" for i in range(99)).encode())
    (tmp_path / "a.gz").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"a\.gz is not a whole gzip file"):
        texts(tmp_path / "a.gz")


def test_a_packed_file_that_is_damaged_or_none_at_all(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"some text\n" * 99))
    data[-6] ^= 1
    for content in (bytes(data), b"plain text\n"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(DataError, match="is not a whole gzip file"):
            texts(tmp_path / "a.gz")


def test_the_longest_line(tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n"):
        (tmp_path / "a").write_text("a\n" + "🙂" * 100 + end, newline="")
        assert len(texts(tmp_path / "a", longest=100)[1]) == 100
        with pytest.raises(DataError, match="a, line 2: longer than 99 characters"):
            texts(tmp_path / "a", longest=99)


def test_a_line_without_end_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"first\n")
        file.truncate(200_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="a, line 2: longer than 1,000,000 characters"):
        texts(tmp_path / "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_lines_come_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789\n" * 1_000_000)
    tracemalloc.start()
    reader = read_lines(tmp_path / "a")
    assert sum(1 for _ in zip(range(10_000), reader, strict=False)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_lines_of_real_files(data_folder: Path) -> None:
    reviews = data_folder / "movie_reviews" / "rt-polarity.all"
    assert len(texts(reviews, encoding="latin-1")) == 10_662
    assert "\x85" in reviews.read_bytes().decode("latin-1")
    with pytest.raises(DataError, match=r"rt-polarity\.all, line \d+: byte 0x"):
        texts(reviews)
    for part, count in [("train", 29_000), ("val", 1_014), ("test_2016_flickr", 1_000)]:
        for language in ("de", "en"):
            assert len(texts(data_folder / "multi30k" / f"{part}.{language}.gz")) == count
