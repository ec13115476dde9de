"""Vocabularies: what round trips, what is unknown, and that the file alone rebuilds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from comporta.data import LEVELS, Vocabulary
from comporta.data.vocabulary import split_words
from comporta.errors import CheckpointError, ConfigurationError, DataError

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(UNICODE)
def test_characters_round_trip(text: str) -> None:
    vocabulary = Vocabulary.learn(text, level="char")
    encoded = vocabulary.encode(text)
    assert vocabulary.decode(encoded.ids.tolist()) == text
    assert encoded.unknown == {}


@given(UNICODE)
def test_byte_pairs_round_trip_text_never_seen(text: str) -> None:
    vocabulary = Vocabulary.learn("the cat sat on the mat", level="bpe", size=260)
    assert vocabulary.decode(vocabulary.encode(text).ids.tolist()) == text
    assert vocabulary.unk is None


@given(UNICODE)
def test_the_table_lookup_equals_the_tokenizer(text: str) -> None:
    vocabulary = Vocabulary.learn("the cat\nsat 🙂", level="char")
    library = Tokenizer.from_str(vocabulary.to_json())
    assert vocabulary.encode(text).ids.tolist() == library.encode(text).ids


@pytest.mark.parametrize("level", LEVELS)
def test_the_file_alone_rebuilds_the_vocabulary(level: str) -> None:
    text = "One two. Two three!\nThree 'four' (five)."
    vocabulary = Vocabulary.learn(text, level=level)
    again = Vocabulary.from_json(vocabulary.to_json(), level=level)
    assert again.encode(text).ids.tolist() == vocabulary.encode(text).ids.tolist()
    assert (again.unk, again.eos, again.start) == (
        vocabulary.unk,
        vocabulary.eos,
        vocabulary.start,
    )
    assert len(again) == len(vocabulary)


def test_the_most_frequent_tokens_stay_and_the_rest_is_counted() -> None:
    vocabulary = Vocabulary.learn("aaaabbbccd", level="char", size=3)
    assert vocabulary.encode("abcd c").ids.tolist() == [1, 2, 0, 0, 0, 0]
    assert vocabulary.encode("abcd c").unknown == {"c": 2, "d": 1, " ": 1}


def words(text: str, *, ended: bool = False) -> list[str]:
    vocabulary = Vocabulary.learn(text, level="word")
    return [vocabulary.token(i) for i in vocabulary.encode(text, ended=ended).ids.tolist()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("No. Yes", "No . <eos> Yes"),
        ("a\n\n b", "a <eos> b"),
        ("Why?! 'So.' he", "Why ? ! <eos> ' So . ' <eos> he"),
        ("3.14 don't", "3 . 14 don't"),
        ("end.\nnext", "end . <eos> next"),
    ],
)
def test_sentence_ends(text: str, tokens: str) -> None:
    assert words(text) == tokens.split()


def test_a_text_that_is_ended_ends_once() -> None:
    assert words("a b.", ended=True) == ["a", "b", ".", "<eos>"]
    assert words("a b.\n", ended=True) == ["a", "b", ".", "<eos>"]


def test_unknown_words_are_named() -> None:
    vocabulary = Vocabulary.learn("the cat sat. the cat", level="word", size=4)
    assert vocabulary.encode("the dog. The dog").unknown == {"dog": 2, ".": 1, "The": 1}


def test_what_stands_before_the_first_token() -> None:
    assert Vocabulary.learn("acgt", level="char").start is None
    line = Vocabulary.learn("a\nb", level="char")
    assert line.start is not None
    assert line.token(line.start) == "\n"
    pairs = Vocabulary.learn("a", level="bpe")
    assert pairs.start is not None
    assert pairs.token(pairs.start) == "\n"
    assert Vocabulary.learn("a", level="word").start == 1


def test_half_a_character_is_unknown_or_refused() -> None:
    assert Vocabulary.learn("a", level="char").encode("a\udce9").unknown == {"\udce9": 1}
    for level in ("word", "bpe"):
        with pytest.raises(DataError, match="surrogate"):
            Vocabulary.learn("a", level=level).encode("a\udce9")


def test_refusals() -> None:
    with pytest.raises(ConfigurationError, match="did you mean word"):
        Vocabulary.learn("a", level="words")
    with pytest.raises(ConfigurationError, match="at least 256"):
        Vocabulary.learn("a", level="bpe", size=100)
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        Vocabulary.from_json("{}", level="char")


@given(st.text(st.sampled_from("ab ÀéßØ9_'’,.-—!?(“”\u4e2d\u0416")))
def test_words_are_cut_as_the_vocabulary_cuts_them(text: str) -> None:
    vocabulary = Vocabulary.learn(f"{text} .", level="word")
    tokens = [vocabulary.token(index) for index in vocabulary.encode(text).ids.tolist()]
    assert split_words(text) == [token for token in tokens if token != "<eos>"]
