"""Beam search against all sequences there are, for a decoder whose state decides what follows."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError
from comporta.models.beam import Hypothesis, beam_search, greedy, join, select

V, START, END = 4, 0, 3


class Memory(NamedTuple):
    places: Tensor
    nothing: None = None


Nest = tuple[Tensor, Memory]


class Decoder:
    """p(token | last token, state): the state counts steps and sums tokens, in a nest of tuples."""

    def __init__(self, *, sharp: float = 1.5) -> None:
        self.table = (sharp * torch.randn(3, 7, V, V, dtype=torch.float64)).log_softmax(-1)
        self.rows: list[int] = []

    def start(self, batch: int) -> Nest:
        return torch.zeros(batch, dtype=torch.int64), Memory(torch.arange(batch) % 3)

    def __call__(self, tokens: Tensor, state: Nest) -> tuple[Tensor, Nest]:
        total, memory = state
        self.rows.append(len(tokens))
        total = (2 * total + tokens) % 7
        return self.table[memory.places, total, tokens], (total, memory)

    def log_probability(self, sentence: int, tokens: list[int]) -> float:
        """By following the tokens one by one."""
        total, last, value = 0, START, 0.0
        for token in tokens:
            total = (2 * total + last) % 7
            value += float(self.table[sentence % 3, total, last, token])
            last = token
        return value


def every(decoder: Decoder, sentence: int, longest: int, alpha: float) -> list[Hypothesis]:
    """All sequences that end within `longest` tokens or are cut there, the best first."""
    found = []
    for length in range(1, longest + 1):
        for tokens in itertools.product(range(V), repeat=length):
            if END in tokens[:-1] or (tokens[-1] != END and length < longest):
                continue
            value = decoder.log_probability(sentence, list(tokens))
            kept = list(tokens[:-1] if tokens[-1] == END else tokens)
            found.append(Hypothesis(kept, value, value / ((5 + length) / 6) ** alpha))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_what_enumeration_finds(alpha: float) -> None:
    decoder, longest = Decoder(), 4
    width = 3**longest
    found = beam_search(
        decoder.start(3),
        decoder,
        width=width,
        start=START,
        end=END,
        longest=longest,
        length_normalization=alpha,
    )
    for sentence, hypotheses in enumerate(found):
        expected = every(decoder, sentence, longest, alpha)[:width]
        assert [h.tokens for h in hypotheses] == [h.tokens for h in expected]
        for hypothesis, other in zip(hypotheses, expected, strict=True):
            assert hypothesis.log_probability == pytest.approx(other.log_probability)
            assert hypothesis.score == pytest.approx(other.score)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy_search(seed: int, alpha: float) -> None:
    torch.manual_seed(seed)
    decoder, longest = Decoder(), 12
    options = {"start": START, "end": END, "longest": longest}
    found = beam_search(decoder.start(6), decoder, width=1, length_normalization=alpha, **options)
    assert [len(hypotheses) for hypotheses in found] == [1] * 6
    best = greedy(decoder.start(6), decoder, **options)
    assert [hypotheses[0].tokens for hypotheses in found] == [h.tokens for h in best]
    for sentence, hypothesis in enumerate(best):
        ended = len(hypothesis.tokens) < longest
        tokens = hypothesis.tokens + [END] * ended
        value = decoder.log_probability(sentence, tokens)
        assert hypothesis.log_probability == pytest.approx(value)
        assert found[sentence][0].log_probability == pytest.approx(value)


def test_greedy_takes_the_most_probable_token_each_time() -> None:
    decoder = Decoder()
    (found,) = greedy(decoder.start(1), decoder, start=START, end=END, longest=9)
    total, last = 0, START
    for token in found.tokens:
        total = (2 * total + last) % 7
        assert int(decoder.table[0, total, last].argmax()) == token
        last = token


@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_sentence_does_not_depend_on_its_company(width: int) -> None:
    decoder = Decoder()
    options = {"width": width, "start": START, "end": END, "longest": 15}
    together = beam_search(decoder.start(3), decoder, length_normalization=0.6, **options)
    for sentence in range(3):
        state = select(decoder.start(3), torch.tensor([sentence]))
        alone = beam_search(state, decoder, length_normalization=0.6, **options)
        assert alone == together[sentence : sentence + 1]


def test_hypotheses_differ_and_come_best_first() -> None:
    decoder = Decoder()
    found = beam_search(decoder.start(3), decoder, width=4, start=START, end=END, longest=8)
    for hypotheses in found:
        assert len(hypotheses) == 4
        assert len({tuple(h.tokens) for h in hypotheses}) == 4
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_a_search_ends_when_its_sentences_have_ended() -> None:
    decoder = Decoder()
    decoder.table[:] = torch.tensor([0.02, 0.02, 0.01, 0.95], dtype=torch.float64).log()
    beam_search(decoder.start(5), decoder, width=2, start=START, end=END, longest=1000)
    assert len(decoder.rows) == 2
    decoder.rows.clear()
    greedy(decoder.start(5), decoder, start=START, end=END, longest=1000)
    assert decoder.rows == [5]


def test_a_token_of_probability_zero_is_never_taken() -> None:
    decoder = Decoder()
    decoder.table[:, :, :, 1] = -torch.inf
    found = beam_search(decoder.start(3), decoder, width=30, start=START, end=END, longest=3)
    expected = {tuple(h.tokens) for h in every(decoder, 0, 3, 0.0) if 1 not in h.tokens}
    for hypotheses in found:
        assert {tuple(h.tokens) for h in hypotheses} == expected


def test_length_normalization_makes_up_for_length() -> None:
    """p() = 0.4 and p(1) = 0.36; with alpha = 1 the scores are log 0.4 and 6 / 7 log 0.36."""
    likely = torch.tensor([[0, 0.6, 0.4], [0, 0.4, 0.6], [1, 0, 0]], dtype=torch.float64).log()

    def step(tokens: Tensor, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        return likely[tokens], state

    for alpha, expected in ((0.0, [[], [1]]), (1.0, [[1], []])):
        (found,) = beam_search(
            (torch.zeros(1),),
            step,
            width=2,
            start=0,
            end=2,
            longest=2,
            length_normalization=alpha,
        )
        assert [hypothesis.tokens for hypothesis in found] == expected
    assert found[0].score == pytest.approx(6 / 7 * math.log(0.36))


def test_rows_are_selected_and_joined_all_through_a_nest() -> None:
    state = (torch.tensor([5, 6, 7]), Memory(torch.tensor([[1], [2], [3]])))
    picked = select(state, torch.tensor([2, 0]))
    assert isinstance(picked[1], Memory)
    assert (picked[0].tolist(), picked[1].places.tolist()) == ([7, 5], [[3], [1]])
    both = join(picked, picked)
    assert (both[0].tolist(), both[1].places.tolist()) == ([7, 5] * 2, [[3], [1]] * 2)


def test_refusals() -> None:
    decoder = Decoder()
    options = {"start": START, "end": END}
    with pytest.raises(ConfigurationError, match="width is 0"):
        beam_search(decoder.start(1), decoder, width=0, longest=3, **options)
    with pytest.raises(ConfigurationError, match="longest is 0"):
        greedy(decoder.start(1), decoder, longest=0, **options)
    with pytest.raises(ConfigurationError, match="length_normalization is -1"):
        beam_search(
            decoder.start(1), decoder, width=1, longest=3, length_normalization=-1, **options
        )
    with pytest.raises(ShapeError, match="holds a list"):
        greedy([torch.zeros(1)], decoder, longest=3, **options)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="must hold a tensor"):
        greedy((), decoder, longest=3, **options)  # type: ignore[arg-type]
