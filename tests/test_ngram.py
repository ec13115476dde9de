"""The n-gram model of the benchmarks: sums to 1, by hand, and against a naive one."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.ngram import FALLBACK, KneserNey, estimate_discounts


def text(length: int, vocabulary: int, seed: int = 0) -> list[int]:
    """A random text with structure: a token often follows from the two before it."""
    chance = random.Random(seed)
    tokens = [0, 1]
    while len(tokens) < length:
        follows = (tokens[-1] + 2 * tokens[-2]) % vocabulary
        tokens.append(follows if chance.random() < 0.6 else chance.randrange(vocabulary))
    return tokens[:length]


class Naive:
    """The same model in dictionaries and recursion, from the definitions of the paper."""

    def __init__(self, tokens: list[int], vocabulary: int, order: int) -> None:
        self.vocabulary = vocabulary
        grams = {
            k: [tuple(tokens[i : i + k]) for i in range(len(tokens) - k + 1)]
            for k in range(1, order + 1)
        }
        self.counts = {k: Counter(gram[1:] for gram in set(grams[k + 1])) for k in range(1, order)}
        self.counts[order] = Counter(grams[order])
        self.discounts = {k: self.discount_table(self.counts[k]) for k in self.counts}

    @staticmethod
    def discount_table(counts: Counter[tuple[int, ...]]) -> tuple[float, ...]:
        n1, n2, n3, n4 = (sum(c == wanted for c in counts.values()) for wanted in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return FALLBACK
        y = n1 / (n1 + 2 * n2)
        exact = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return tuple(min(max(d, 0.0), c) for c, d in enumerate(exact, start=1))

    def probability(self, token: int, context: tuple[int, ...]) -> float:
        k = len(context) + 1
        shorter = 1 / self.vocabulary if k == 1 else self.probability(token, context[1:])
        follow = [self.counts[k][(*context, w)] for w in range(self.vocabulary)]
        if not sum(follow):
            return shorter
        taken = [self.discounts[k][min(c, 3) - 1] if c else 0.0 for c in follow]
        return (follow[token] - taken[token] + sum(taken) * shorter) / sum(follow)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_every_context_has_a_distribution(order: int) -> None:
    vocabulary = 4
    # Token 3 is never seen in training.
    model = KneserNey(np.array(text(200, 3)), vocabulary=vocabulary, order=order)
    for length in range(order + 1):
        for context in itertools.product(range(vocabulary), repeat=length):
            values = [
                model.probabilities(np.array([*context, token]))[-1] for token in range(vocabulary)
            ]
            assert min(values) > 0
            assert sum(values) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(("length", "vocabulary"), [(6, 3), (300, 5), (3000, 40)])
def test_a_naive_model_agrees(order: int, length: int, vocabulary: int) -> None:
    train = text(length, vocabulary)
    held_out = text(60, vocabulary + 1, seed=1)
    model = KneserNey(np.array(train), vocabulary=vocabulary + 1, order=order)
    naive = Naive(train, vocabulary + 1, order)
    expected = [
        naive.probability(token, tuple(held_out[max(0, i - order + 1) : i]))
        for i, token in enumerate(held_out)
    ]
    found = model.probabilities(np.array(held_out))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert model.nats(np.array(held_out)) == pytest.approx(-sum(map(math.log, expected)))


def test_a_bigram_model_by_hand() -> None:
    # a b a b b over {a, b, c}: ab twice, ba once, bb once. The discounts are the fallback.
    # Unigrams count what stands before: a: {b}, b: {a, b}, 3 in all; taken 1/2 and 1.
    a, b = Fraction(1, 2) / 3, Fraction(1) / 3
    freed = Fraction(3, 2) / 3
    a, b, c = (p + freed / 3 for p in (a, b, Fraction(0)))
    assert (a, b, c) == (Fraction(1, 3), Fraction(1, 2), Fraction(1, 6))
    # After b: a once and b once, 1/2 taken from each; after a: b twice, 1 taken.
    expected = {
        (1, 0): Fraction(1, 4) + a / 2,
        (1, 1): Fraction(1, 4) + b / 2,
        (1, 2): c / 2,
        (0, 0): a / 2,
        (0, 1): Fraction(1, 2) + b / 2,
        (0, 2): c / 2,
        (2, 0): a,
        (2, 1): b,
        (2, 2): c,
    }
    model = KneserNey(np.array([0, 1, 0, 1, 1]), vocabulary=3, order=2)
    for pair, probability in expected.items():
        assert model.probabilities(np.array(pair))[1] == pytest.approx(float(probability))


def test_discounts_of_the_paper() -> None:
    # n1 to n4 are 8, 4, 2, 1: Y = 1/2.
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 5])
    np.testing.assert_allclose(estimate_discounts(counts), [0, 0.5, 1.25, 2.0])


def test_it_learns() -> None:
    vocabulary = 6
    train, held_out = text(4000, vocabulary), text(500, vocabulary, seed=1)
    each = [
        KneserNey(np.array(train), vocabulary=vocabulary, order=order).nats(np.array(held_out))
        for order in (1, 3)
    ]
    assert each[1] < 0.8 * each[0]
    assert each[0] < 1.01 * 500 * math.log(vocabulary)


@pytest.mark.parametrize("tokens", [[], [-1], [3]])
def test_tokens_out_of_range_are_refused(tokens: list[int]) -> None:
    model = KneserNey(np.array([0, 1, 2, 0]), vocabulary=3, order=2)
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.probabilities(np.array(tokens, dtype=np.int64))
    with pytest.raises(ValueError, match="from 0 to 2"):
        KneserNey(np.array(tokens, dtype=np.int64), vocabulary=3, order=1)


def test_an_order_longer_than_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match="order is 4 for a text of 3 tokens"):
        KneserNey(np.array([0, 1, 0]), vocabulary=2, order=4)
