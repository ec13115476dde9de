"""Words as numbers: which are known, which are rare, how they are spelled, and batches of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comporta.errors import CheckpointError
from comporta.tasks.words import WordInputs, WordStore

SENTENCES = st.lists(st.lists(st.text("abcAB", min_size=1, max_size=5), min_size=1), min_size=1)


def test_words_stand_by_frequency_and_the_rare_at_the_end() -> None:
    inputs = WordInputs.learn(["b", "a", "b", "c", "a", "b", "d"], size=100, lower=False)
    assert inputs.words == ["<unk>", "b", "a", "c", "d"]
    assert inputs.counts == {"b": 3, "a": 2, "c": 1, "d": 1}
    assert inputs.characters == ["<unk>", "b", "a"]
    assert inputs.spelling("abcz") == [2, 1, 0, 0]


def test_in_small_letters_words_are_counted_together_and_spelled_apart() -> None:
    inputs = WordInputs.learn(["Ab", "ab", "AB", "x"], size=100, lower=True)
    assert inputs.counts == {"ab": 3, "x": 1}
    assert inputs.number("aB") == 1
    assert inputs.spelling("aB") != inputs.spelling("ab")


def test_the_most_frequent_words_are_kept() -> None:
    inputs = WordInputs.learn(["b", "a", "b", "c", "a", "b", "d"], size=3, lower=False)
    assert inputs.words == ["<unk>", "b", "a"]
    assert inputs.number("c") == 0


def test_a_word_called_as_the_unknown_one_is_unknown() -> None:
    inputs = WordInputs.learn(["<unk>", "<unk>", "a"], size=9, lower=False)
    assert inputs.words == ["<unk>", "a"]
    assert inputs.number("<unk>") == 0


def test_of_an_endless_word_both_ends_are_spelled() -> None:
    inputs = WordInputs.learn(["ab", "ab"], size=9, lower=False)
    spelled = inputs.spelling("a" * 100_000 + "b" * 100_000)
    assert spelled == [1] * 32 + [2] * 32


@given(SENTENCES, st.booleans())
def test_it_comes_back_from_its_text(sentences: list[list[str]], lower: bool) -> None:
    words = [word for sentence in sentences for word in sentence]
    inputs = WordInputs.learn(words, size=9, lower=lower)
    again = WordInputs.from_json(inputs.to_json(), lower=lower)
    for word in [*words, "zz", "é"]:
        assert again.number(word) == inputs.number(word)
        assert again.spelling(word) == inputs.spelling(word)
    assert list(again.counts.items()) == list(inputs.counts.items())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": 3, "characters": []}'])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="train again"):
        WordInputs.from_json(text, lower=False)


@given(SENTENCES, st.data())
def test_a_batch_says_every_word_at_its_place(
    sentences: list[list[str]], data: st.DataObject
) -> None:
    inputs = WordInputs.learn([w for s in sentences[:2] for w in s], size=9, lower=False)
    store = WordStore(inputs, sentences)
    examples = data.draw(st.lists(st.integers(0, len(sentences) - 1), min_size=1))
    batch, lengths = store.batch(examples, "cpu")
    assert lengths.tolist() == [len(sentences[i]) for i in examples]
    for row, i in enumerate(examples):
        for column, word in enumerate(sentences[i]):
            place = int(batch.places[row, column])
            assert int(batch.numbers[place]) == inputs.number(word)
            spelled = batch.characters[place, : int(batch.lengths[place])]
            assert spelled.tolist() == inputs.spelling(word)
    distinct = {word for i in examples for word in sentences[i]}
    assert len(batch.numbers) == len(distinct), "a word is spelled once"
    assert batch.places.dtype == batch.numbers.dtype == batch.characters.dtype == torch.long


def test_the_share_of_unknown_words() -> None:
    inputs = WordInputs.learn(["a", "b"], size=9, lower=False)
    store = WordStore(inputs, [["a", "x", "y"], ["b"], ["x"]])
    assert store.unknown([0, 1]) == 0.5
    assert store.unknown([2]) == 1.0
