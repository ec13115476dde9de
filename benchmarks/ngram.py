"""An n-gram language model to compare with: interpolated modified Kneser-Ney smoothing.

Source: Chen & Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling",
Harvard TR-10-98, section 3; with discounts of its own for every order.

Written here because nltk has only the unmodified form, in Python dictionaries (minutes for
millions of tokens), and KenLM must be compiled and estimates from files of words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where the counts of counts give none, as in a small alphabet seen often (KenLM's)."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The k-grams of a text, each named by its place in `keys`.

    Args:
        keys: sorted; (name of its first k - 1 tokens) * V + (its last token).
        counts: occurrences in the highest order; in the others, how many tokens stand before it.
        discounts: what is taken off a count of 0, 1, 2, and 3 or more.
        totals: by the name of the first k - 1 tokens, the sum of the counts.
        freed: by the same, the share of the total that discounting leaves to shorter contexts.
    """

    keys: Ints
    counts: Ints
    discounts: Floats
    totals: Floats
    freed: Floats

    @classmethod
    def of(cls, keys: Ints, counts: Ints, *, contexts: int, vocabulary: int) -> Order:
        """The tables of one order, from its k-grams and their counts."""
        discounts = estimate_discounts(counts)
        owners = keys // vocabulary
        totals = np.bincount(owners, counts, contexts).astype(np.float64)
        taken = np.bincount(owners, discounts[np.minimum(counts, 3)], contexts)
        freed = np.divide(taken, totals, out=np.ones_like(totals), where=totals > 0)
        return cls(keys=keys, counts=counts, discounts=discounts, totals=totals, freed=freed)

    def find(self, keys: Ints) -> Ints:
        """The names of k-grams, -1 for those never seen."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


def estimate_discounts(counts: Ints) -> Floats:
    """The discounts of counts 0, 1, 2 and 3 or more.

        Y = n1 / (n1 + 2 n2),   D_c = c - (c + 1) Y n_(c+1) / n_c

    where n_c is how many k-grams have the count c (Chen & Goodman 1998, equation 26).
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    if not n[1:5].all():
        return np.array([0.0, *FALLBACK])
    y = n[1] / (n[1] + 2 * n[2])
    # A discount below 0, or above its count, would be no discount; small texts give such values.
    found = [min(max(c - (c + 1) * y * n[c + 1] / n[c], 0.0), c) for c in (1, 2, 3)]
    return np.array([0.0, *found])


class KneserNey:
    """An interpolated modified Kneser-Ney model.

        p_k(w | h) = (c(h w) - D(c(h w))) / sum_v c(h v) + freed(h) p_(k-1)(w | h without its first)

    with p_0 = 1 / V, so that every token has a probability, seen in training or not. After a
    context that was never seen the shorter context has all the weight.

    Args:
        tokens: (N,), the training text, one sequence.
        vocabulary: V; tokens are 0 to V - 1.
        order: n; a token depends on the n - 1 before it.

    >>> model = KneserNey(np.array([0, 1, 0, 1, 1]), vocabulary=3, order=2)
    >>> model.probabilities(np.array([0, 1])).round(3).tolist()
    [0.333, 0.75]
    """

    def __init__(self, tokens: Ints, *, vocabulary: int, order: int = 5) -> None:
        _check(tokens, vocabulary)
        if not 1 <= order <= len(tokens):
            raise ValueError(
                f"order is {order} for a text of {len(tokens)} tokens; it must be at least 1, and "
                "the text at least as long"
            )
        self.vocabulary = vocabulary
        self.orders: list[Order] = []
        names = np.zeros(len(tokens) + 1, dtype=np.int64)
        keys = counts = names[:0]
        for k in range(1, order + 1):
            shorter, before = names, keys
            keys, names, counts = np.unique(
                shorter[:-1] * vocabulary + tokens[k - 1 :],
                return_inverse=True,
                return_counts=True,
            )
            if k > 1:
                # Every k-gram is one token that stands before its last k - 1.
                last = np.empty_like(keys)
                last[names] = shorter[1:]
                self._add(before, np.bincount(last, minlength=len(before)))
        self._add(keys, counts)

    def _add(self, keys: Ints, counts: Ints) -> None:
        contexts = len(self.orders[-1].keys) if self.orders else 1
        made = Order.of(keys, counts, contexts=contexts, vocabulary=self.vocabulary)
        self.orders.append(made)

    def probabilities(self, tokens: Ints) -> Floats:
        """The probability of each token of a sequence, given those before it.

        Args:
            tokens: (N,); the first has no context.

        Returns:
            (N,).
        """
        _check(tokens, self.vocabulary)
        found = np.full(len(tokens), 1 / self.vocabulary)
        # The name of the context before each token, and of the one after the last.
        context = np.zeros(len(tokens) + 1, dtype=np.int64)
        for k, order in enumerate(self.orders[: len(tokens)], start=1):
            owners = context[:-1]
            seen = owners >= 0
            # After a context that was never seen the key is negative, and never seen either.
            names = order.find(owners * self.vocabulary + tokens[k - 1 :])
            counts = np.where(names >= 0, order.counts[names], 0)
            kept = counts - order.discounts[np.minimum(counts, 3)]
            totals = np.where(seen, order.totals[owners], 0.0)
            own = np.divide(kept, totals, out=np.zeros_like(totals), where=totals > 0)
            found[k - 1 :] = own + np.where(seen, order.freed[owners], 1.0) * found[k - 1 :]
            context = names
        return found

    def nats(self, tokens: Ints) -> float:
        """Minus the log-probability of a sequence."""
        return -float(np.log(self.probabilities(tokens)).sum())


def _check(tokens: Ints, vocabulary: int) -> None:
    if not len(tokens) or not 0 <= tokens.min() <= tokens.max() < vocabulary:
        raise ValueError(
            f"tokens must be numbers from 0 to {vocabulary - 1}, at least one; "
            f"{len(tokens)} were given"
            + (f", from {tokens.min()} to {tokens.max()}" if len(tokens) else "")
        )
