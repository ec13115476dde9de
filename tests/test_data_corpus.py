"""A text in pieces is the text: the same characters, the same tokens, the same vocabulary."""

from __future__ import annotations

import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comporta.data import LEVELS, Corpus, Vocabulary, encode_pieces, read_texts, split
from comporta.data import corpus as corpus_module
from comporta.data import text as text_module
from comporta.data.text import read_pieces
from comporta.errors import DataError
from comporta.tasks.language_model import KIND, LanguageModelTask

# White space of every kind, sentence ends with and without closing marks, what a byte pair may
# join, separators that Python calls white space and the tokenizer does not.
ALPHABET = ["a", "é", "b2", "🙂", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u2028", "\xa0", "\x1c",
            ".", "!", "?”", "'s", "’t", "-", "<eos>", "<unk>", "。"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=40).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, size=st.integers(1, 9))
def test_tokens_of_pieces_are_those_of_the_whole(
    folder: Path, level: str, text: str, size: int
) -> None:
    (folder / "text").write_bytes(text.encode())
    vocabulary = Vocabulary.learn("a b2. é! 's " * 3, level=level, size=270)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module.read_pieces, "__kwdefaults__", {"size": size})
        corpus = Corpus([folder / "text"], level=level)
        tokens, unknown = encode_pieces(vocabulary, corpus.pieces())
        whole = vocabulary.encode(text)
        assert tokens.tolist() == whole.ids.tolist()
        assert unknown == whole.unknown
        assert "".join(corpus.pieces()) == text
        # A part that begins and ends in the middle of something is a text of its own.
        start, stop = len(text) // 3, len(text) - len(text) // 4
        part, _ = encode_pieces(vocabulary, corpus.pieces(start, stop))
        assert part.tolist() == vocabulary.encode(text[start:stop]).ids.tolist()
        learned = Vocabulary.learn(corpus.pieces(), level=level, size=270)
        assert learned.to_json() == Vocabulary.learn(text, level=level, size=270).to_json()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_files_in_pieces_are_the_files(tmp_path: Path, size: int, packed: bool) -> None:
    texts = ["maré\r\n🙂 alta", "um\ndois\n", "três"]
    for index, text in enumerate(texts):
        data = text.encode()
        (tmp_path / str(index)).write_bytes(gzip.compress(data) if packed else data)
    paths = [tmp_path / str(index) for index in range(3)]
    pieces = list(read_pieces(paths, size=size))
    whole = "maré\r\n🙂 alta\num\ndois\ntrês"
    assert "".join(piece.text for piece in pieces) == whole == read_texts(paths)
    assert all(1 <= len(piece.text) <= size for piece in pieces)
    for path, text in zip(paths[1:], texts[1:], strict=True):
        here = [piece for piece in pieces if piece.path == path]
        for index, piece in enumerate(here):
            before = "".join(earlier.text for earlier in here[:index])
            assert text.startswith(before + piece.text) or piece.text == "\n"
            assert piece.line == before.count("\n") + 1
    corpus = Corpus(paths, level="char")
    assert corpus.characters == len(whole)
    assert corpus.digest == hashlib.sha256(whole.encode()).hexdigest()
    train, held_out = split(whole)
    assert "".join(corpus.pieces(0, corpus.validation_start)) == train
    assert "".join(corpus.pieces(corpus.validation_start)) == held_out


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("data", "byte", "offset", "line"),
    [
        (b"ok\n\nok\n\xc3", "c3", 7, 4),
        ("é\né".encode() + b"\xe2\x82z", "e2", 5, 2),
        (b"a\n\xf0\x9f\x98", "f0", 2, 2),
    ],
)
def test_bytes_that_are_not_utf8_are_placed_whatever_the_pieces(
    tmp_path: Path, data: bytes, byte: str, offset: int, line: int, size: int
) -> None:
    (tmp_path / "a").write_bytes(data)
    words = rf"a is not UTF-8: byte 0x{byte} at offset {offset} \(line {line}\)"
    with pytest.raises(DataError, match=words):
        list(read_pieces([tmp_path / "a"], size=size))


def test_words_without_end_are_refused_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dna").write_text("two words\nand\n" + "ACGT" * 300)
    monkeypatch.setattr(corpus_module, "LONGEST_WORD", 1000)
    for level in ("word", "bpe"):
        corpus = Corpus([tmp_path / "dna"], level=level)
        with pytest.raises(DataError, match="dna, line 3: more than 1,000 characters without whi"):
            list(corpus.pieces())
    assert len("".join(Corpus([tmp_path / "dna"], level="char").pieces())) == 1214


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is a pipe, and a text is read more than once"):
        Corpus([tmp_path / "pipe"], level="char")


def test_a_task_reads_any_number_of_pieces_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("".join(f"{n} and {n} are {2 * n}.\n" for n in range(80)))
    for level in LEVELS:
        recipe = KIND.parts.recipe({"files": (str(tmp_path / "a"),), "level": level, "steps": 1})
        whole = LanguageModelTask(recipe)
        with monkeypatch.context() as patch:
            patch.setattr(text_module.read_pieces, "__kwdefaults__", {"size": 7})
            pieces = LanguageModelTask(recipe)
        assert pieces.report == whole.report
        assert pieces.digest == whole.digest
        assert pieces.learned == whole.learned
        for index in range(whole.steps_per_epoch):
            for one, other in zip(
                whole._train.window(index, 100), pieces._train.window(index, 100), strict=True
            ):
                assert one.tolist() == other.tolist()


def test_a_long_line_is_never_held_whole(tmp_path: Path) -> None:
    """Memory is bounded by the piece, not by the text: 20 million characters in one line."""
    path = tmp_path / "line.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(20):
            file.write(b"abcdefghi " * 100_000)
    vocabulary = Vocabulary.learn("abcdefghi ", level="char")
    tracemalloc.start()
    try:
        tokens, _ = encode_pieces(vocabulary, Corpus([path], level="char").pieces())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(tokens) == 20_000_000
    assert peak < 50_000_000
