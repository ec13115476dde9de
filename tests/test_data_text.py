"""Reading text: exact where it is text, a clear refusal with the place where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comporta.data import embedded_corpus, read_text, read_texts, split
from comporta.errors import DataError


def test_characters_come_back_as_they_were_written(tmp_path: Path) -> None:
    text = "a\r\nb\n\n🙂é\t\u2028 \x00end"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("data", "offset", "line"),
    [(b"\xff", 0, 1), (b"abc\nd\xe9f", 5, 2), (b"ok\n\nok\n\xc3", 7, 4)],
)
def test_bytes_that_are_not_utf8_are_placed(
    tmp_path: Path, data: bytes, offset: int, line: int
) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.txt is not UTF-8.*offset {offset} \(line {line}\)"):
        read_text(tmp_path / "a.txt")


def test_no_file_a_directory_and_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path, words in [
        (tmp_path / "absent", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "empty", "is empty"),
    ]:
        with pytest.raises(DataError, match=words):
            read_text(path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may read anything, so the refusal is made here.
    def refuse(self: Path, mode: str) -> bytes:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="no permission to read"):
        read_text(tmp_path / "a")


def test_files_never_share_a_line(tmp_path: Path) -> None:
    for name, text in [("a", "1"), ("b", "2\n"), ("c", "3")]:
        (tmp_path / name).write_text(text)
    assert read_texts([tmp_path / name for name in "abc"]) == "1\n2\n3"


def test_the_embedded_corpus_is_large_python_and_cut_exactly() -> None:
    corpus = embedded_corpus(300_000)
    assert len(corpus) == 300_000
    assert corpus.count("def ") > 100
    assert embedded_corpus(300_000) == corpus


def test_the_split_loses_nothing() -> None:
    text = "".join(map(chr, range(1000, 2003)))
    train, validation = split(text)
    assert train + validation == text
    assert len(validation) == 101
