"""Which examples go into which batch: together those of about the same length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POOL = 50
"""Batches sorted by length among themselves: little padding, and still much chance."""
_SLACK = 0.1


class Batches:
    """The batches of every epoch, a function of the seed and the epoch alone.

    An epoch is a permutation of the examples, cut into pools of 50 batches; a pool is sorted by
    length, give or take a tenth, and cut into batches, and the batches of all pools are shuffled.

    Args:
        lengths: of all examples there are.
        examples: the numbers of those that are meant.
        size: most examples in a batch.
        seed: of the permutations.

    >>> batches = Batches([3, 1, 2, 2, 9], [0, 1, 2, 4], size=2, seed=0)
    >>> len(batches), sorted(i for step in (2, 3) for i in batches.at(step))
    (2, [0, 1, 2, 4])
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        examples: Sequence[int],
        *,
        size: int,
        seed: int,
    ) -> None:
        self._lengths, self._examples = np.asarray(lengths), np.asarray(examples, dtype=np.int64)
        self._size, self._seed = size, seed
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)

    def __len__(self) -> int:
        return -(-len(self._examples) // self._size)

    def at(self, step: int) -> list[int]:
        """The examples of a step, counted from the first step of the first epoch."""
        epoch, index = divmod(step, len(self))
        return self._epoch(epoch)[index]

    def in_order(self) -> list[list[int]]:
        """All examples once, by length: for measuring, where the order does not matter."""
        order = np.argsort(self._lengths[self._examples], kind="stable")
        return self._cut(self._examples[order])

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(self._examples)
        pool = _POOL * self._size
        # Pools are whole batches, so that only the last batch of all can be short.
        batches = [
            batch
            for start in range(0, len(order), pool)
            for batch in self._cut(self._sorted(order[start : start + pool], random))
        ]
        return [batches[i] for i in random.permutation(len(batches))]

    def _sorted(
        self, examples: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.int64]:
        # Exact order would put the same examples of a small set together in every epoch.
        about = self._lengths[examples] * random.uniform(1, 1 + _SLACK, len(examples))
        return examples[np.argsort(about, kind="stable")]

    def _cut(self, order: NDArray[np.int64]) -> list[list[int]]:
        return [order[i : i + self._size].tolist() for i in range(0, len(order), self._size)]
