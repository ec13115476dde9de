"""Decoding of frames against the sum over all alignments, and against the loss of torch."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError
from comporta.models.ctc import GreedyStream, greedy, needed_steps, prefix_beam

T, K = 5, 3


def emit(time: int = T, symbols: int = K) -> Tensor:
    return (1.5 * torch.randn(time, symbols, dtype=torch.float64)).log_softmax(1)


def labels(alignment: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank)


def every(frames: Tensor, blank: int = 0) -> dict[tuple[int, ...], float]:
    """The log-probability of each labelling, alignment by alignment."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    time, symbols = frames.shape
    for alignment in itertools.product(range(symbols), repeat=time):
        value = math.exp(sum(float(frames[t, k]) for t, k in enumerate(alignment)))
        found[labels(alignment, blank)] += value
    return {tokens: math.log(value) for tokens, value in found.items()}


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("time", range(T + 1))
def test_a_wide_beam_is_the_sum_over_all_alignments(time: int, blank: int) -> None:
    frames = emit(time)
    expected = every(frames, blank)
    found = prefix_beam(frames, width=10_000, blank=blank)
    assert {tuple(h.tokens) for h in found} == set(expected)
    for hypothesis in found:
        assert hypothesis.log_probability == pytest.approx(expected[tuple(hypothesis.tokens)])
        assert hypothesis.score == hypothesis.log_probability
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)


def test_a_wide_beam_is_the_loss_of_torch() -> None:
    frames = emit(6, 4)
    for hypothesis in prefix_beam(frames, width=10_000)[:200]:
        loss = torch.nn.functional.ctc_loss(
            frames.unsqueeze(1),
            torch.tensor([hypothesis.tokens], dtype=torch.int64),
            torch.tensor([6]),
            torch.tensor([len(hypothesis.tokens)]),
            reduction="sum",
        )
        assert -hypothesis.log_probability == pytest.approx(float(loss))


@pytest.mark.parametrize("seed", range(5))
def test_a_narrow_beam_never_counts_too_much(seed: int) -> None:
    torch.manual_seed(seed)
    frames = emit(7)
    expected = every(frames)
    for width in (1, 2, 8):
        found = prefix_beam(frames, width=width)
        assert 1 <= len(found) <= width
        assert len({tuple(h.tokens) for h in found}) == len(found)
        for hypothesis in found:
            exact = expected[tuple(hypothesis.tokens)]
            assert hypothesis.log_probability <= exact + 1e-9
    # What eight prefixes leave out is little.
    assert found[0].tokens == list(max(expected, key=lambda tokens: expected[tokens]))


class Bigrams:
    """p(label | label before), blank 0 never; counts how often it is asked."""

    def __init__(self) -> None:
        table = torch.randn(K, K, dtype=torch.float64)
        table[:, 0] = -torch.inf
        self.table = table.log_softmax(1)
        self.asked: list[int] = []

    def start(self) -> tuple[Tensor, tuple[Tensor]]:
        return self.table[:1], (torch.zeros(1, dtype=torch.int64),)

    def extend(self, tokens: Tensor, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        self.asked.append(len(tokens))
        # From the state and not the token alone, so that a row that went astray shows.
        total = (state[0] + tokens) % K
        return self.table[total], (total,)

    def log_probability(self, tokens: tuple[int, ...]) -> float:
        total, value = 0, 0.0
        for token in tokens:
            value += float(self.table[total, token])
            total = (total + token) % K
        return value


def test_a_language_model_is_added_to_the_score() -> None:
    frames, model = emit(), Bigrams()
    expected = every(frames)
    found = prefix_beam(frames, width=10_000, scorer=model, weight=0.7, bonus=0.3)
    assert {tuple(h.tokens) for h in found} == set(expected)
    for hypothesis in found:
        tokens = tuple(hypothesis.tokens)
        score = expected[tokens] + 0.7 * model.log_probability(tokens) + 0.3 * len(tokens)
        assert hypothesis.log_probability == pytest.approx(expected[tokens])
        assert hypothesis.score == pytest.approx(score)
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)
    # Asked once for each prefix, and all of a frame together.
    assert len(model.asked) <= T
    assert sum(model.asked) == len(found) - 1


def test_the_states_follow_their_prefixes_in_a_narrow_beam() -> None:
    frames, model = emit(12), Bigrams()
    for hypothesis in prefix_beam(frames, width=3, scorer=model, weight=2.0, bonus=1.0):
        tokens = tuple(hypothesis.tokens)
        extra = 2 * model.log_probability(tokens) + len(tokens)
        assert hypothesis.score == pytest.approx(hypothesis.log_probability + extra)


def test_a_language_model_decides_where_frames_do_not() -> None:
    frames = torch.tensor([[0.02, 0.49, 0.49]]).log()
    model = Bigrams()
    liked = int(model.table[0].argmax())
    assert prefix_beam(frames, width=4, scorer=model)[0].tokens == [liked]
    model.table[0] = torch.tensor([0.0, 1.0, 0.0]).log()
    assert prefix_beam(frames, width=4, scorer=model)[0].tokens == [1]
    assert [2] not in [h.tokens for h in prefix_beam(frames, width=4, scorer=model)]


def test_a_bonus_alone_counts_labels() -> None:
    frames = emit()
    expected = every(frames)
    found = prefix_beam(frames, width=10_000, bonus=5.0)
    best = max(expected, key=lambda tokens: expected[tokens] + 5 * len(tokens))
    assert found[0].tokens == list(best)
    assert found[0].score == pytest.approx(expected[best] + 5 * len(best))


@pytest.mark.parametrize("blank", [0, 1])
def test_greedy_is_the_most_probable_alignment(blank: int) -> None:
    for _ in range(20):
        frames = emit(6)
        best = max(
            itertools.product(range(K), repeat=6),
            key=lambda alignment: sum(float(frames[t, k]) for t, k in enumerate(alignment)),
        )
        assert greedy(frames, blank) == list(labels(best, blank))


def test_a_stream_cut_anywhere_is_the_whole() -> None:
    frames = emit(40)
    whole = greedy(frames)
    assert len(whole) > 10
    for size in (1, 2, 7):
        stream, found = GreedyStream(), []
        for chunk in frames.split(size):
            found += stream.feed(chunk)
            assert stream.feed(frames[:0]) == []
        assert found == whole


def test_needed_steps_is_the_least_time_that_aligns() -> None:
    fewest: dict[tuple[int, ...], int] = {}
    for time in range(7):
        for alignment in itertools.product(range(K), repeat=time):
            fewest.setdefault(labels(alignment, 0), time)
    for tokens in itertools.product((1, 2), repeat=3):
        assert needed_steps(tokens) == fewest[tokens]
    assert needed_steps([]) == 0


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"expected \(T, K\)"):
        greedy(torch.zeros(2, 3, 4))
    with pytest.raises(ShapeError, match="the blank 4"):
        prefix_beam(torch.zeros(2, 4), width=2, blank=4)
    with pytest.raises(ConfigurationError, match="width is 0"):
        prefix_beam(torch.zeros(2, 4), width=0)
