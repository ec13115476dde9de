"""Real texts: read exactly, encoded without loss, and learned from; skipped where there are none.

Long texts are compared outside of `assert`: pytest would take minutes to show how two differ.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from pathlib import Path

import pytest
from reporters import Quiet

from comporta.cells import get
from comporta.data import Vocabulary, read_text, read_texts, split
from comporta.errors import DataError
from comporta.tasks.language_model import KIND
from comporta.training import RunFolder


@pytest.fixture(scope="module")
def shakespeare(data_folder: Path) -> Path:
    return data_folder / "shakespeare" / "input.txt"


@pytest.fixture(scope="module")
def novels(data_folder: Path) -> list[Path]:
    return sorted((data_folder / "machado").glob("*.txt"))


def unigram_nats(train: str, held_out: str) -> float:
    """Nats a character under the frequencies of the training text, one added to each."""
    counts = Counter(train)
    total = len(train) + len(set(train + held_out))
    return -sum(math.log((counts[c] + 1) / total) for c in held_out) / len(held_out)


def test_characters_of_a_book_come_back(shakespeare: Path) -> None:
    text = read_text(shakespeare)
    same = text.encode() == shakespeare.read_bytes()
    assert same
    vocabulary = Vocabulary.learn(text)
    encoded = vocabulary.encode(text)
    assert len(encoded.ids) == len(text) == 1_115_394
    assert len(vocabulary) == len(set(text)) + 1 == 66
    assert encoded.unknown == {}
    same = vocabulary.decode(encoded.ids.tolist()) == text
    assert same


def test_what_another_language_has_more_is_named_and_counted(
    shakespeare: Path, novels: list[Path]
) -> None:
    english, portuguese = read_text(shakespeare), read_texts(novels)
    assert len(portuguese) > 2_000_000
    encoded = Vocabulary.learn(english).encode(portuguese)
    known = set(english)
    new = Counter(c for c in portuguese if c not in known)
    assert {"ã", "ç", "—"} < set(new)
    assert encoded.unknown == new
    assert int((encoded.ids == 0).sum()) == sum(new.values())


def test_byte_pairs_of_one_language_write_all_others(data_folder: Path, novels: list[Path]) -> None:
    vocabulary = Vocabulary.learn(read_text(novels[0]), level="bpe", size=600)
    assert len(vocabulary) == 600
    texts = [read_text(path) for path in sorted((data_folder / "names").glob("*.txt"))]
    texts += [gzip.decompress((data_folder / "multi30k" / "val.de.gz").read_bytes()).decode()]
    texts += [split(read_text(novels[1]))[1]]
    assert len(texts) > 10
    for text in texts:
        same = vocabulary.decode(vocabulary.encode(text).ids.tolist()) == text
        assert same, text[:80]
    # In its own language a token is worth more than one byte, and more than in another.
    worth = [len(text.encode()) / len(vocabulary.encode(text).ids) for text in texts[-2:]]
    assert worth[1] > 1.5
    assert worth[1] > worth[0] > 1


def test_words_written_and_read_again_are_the_same_words(shakespeare: Path) -> None:
    train, held_out = split(read_text(shakespeare))
    vocabulary = Vocabulary.learn(train, level="word", size=5000)
    encoded = vocabulary.encode(held_out)
    again = vocabulary.encode(vocabulary.decode(encoded.ids.tolist())).ids
    # A quotation mark after a stop may open or close; sentence ends are only nearly the same.
    words = [ids[ids != vocabulary.eos] for ids in (encoded.ids, again)]
    assert len(words[0]) == len(words[1])
    assert bool((words[0] == words[1]).all())
    share = sum(encoded.unknown.values()) / len(encoded.ids)
    assert 0.01 < share < 0.1
    assert sum(encoded.unknown.values()) == int((encoded.ids == vocabulary.unk).sum())


def test_a_file_in_an_old_encoding_is_refused_where_it_stops_being_utf8(data_folder: Path) -> None:
    path = data_folder / "movie_reviews" / "rt-polarity.all"
    data = path.read_bytes()
    with pytest.raises(DataError, match="is not UTF-8") as error:
        read_text(path)
    place = next(i for i in range(len(data)) if data[i] > 0x7F)
    assert f"byte 0x{data[place]:02x} at offset {place}" in str(error.value)
    assert f"(line {data[:place].count(10) + 1})" in str(error.value)


@pytest.mark.parametrize("cell", ["gru", "lstm-peephole", "mingru"])
def test_a_few_seconds_beat_the_frequencies_of_characters(
    shakespeare: Path, tmp_path: Path, cell: str
) -> None:
    text = read_text(shakespeare)[:300_000]
    (tmp_path / "part.txt").write_text(text)
    settings: dict[str, object] = {
        "files": (str(tmp_path / "part.txt"),),
        "cell": get(cell),
        "hidden": 64,
        "window": 50,
        "steps": 80,
        "lr": 0.01,
    }
    folder = RunFolder(tmp_path / "run")
    progress = KIND.start(settings, folder, Quiet())
    train, held_out = split(text)
    bar = unigram_nats(train, held_out)
    assert 3 < bar < 3.5
    assert progress.best is not None
    assert progress.best.loss < bar - 0.5
    assert KIND.load(folder).evaluate(held_out)["nats_per_token"] < bar - 0.5
