"""Batches of examples: every one once an epoch, by chance, and about of the same length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comporta.data.batches import Batches


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    size=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_an_epoch_has_every_example_once(lengths: list[int], size: int, seed: int) -> None:
    examples = list(range(0, len(lengths), 2))
    batches = Batches(lengths, examples, size=size, seed=seed)
    for epoch in (0, 3):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        found = [batches.at(step) for step in steps]
        assert sorted(i for batch in found for i in batch) == examples
        # All are full but one.
        assert sum(len(batch) < size for batch in found) <= 1
    ordered = [lengths[i] for batch in batches.in_order() for i in batch]
    assert ordered == sorted(lengths[i] for i in examples)


def test_a_batch_is_a_function_of_the_seed_and_the_step_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    one, other = (Batches(lengths, range(500), size=8, seed=1) for _ in range(2))
    steps = list(range(3 * len(one)))
    backwards = {step: other.at(step) for step in reversed(steps)}
    assert [one.at(step) for step in steps] == [backwards[step] for step in steps]
    assert Batches(lengths, range(500), size=8, seed=2).at(0) != one.at(0)
    assert one.at(0) != one.at(len(one))


@pytest.mark.parametrize("size", [8, 32])
def test_little_is_padded(size: int) -> None:
    lengths = np.random.default_rng(0).geometric(0.05, 4000)
    batches = Batches(lengths, range(4000), size=size, seed=0)
    found = [lengths[batches.at(step)] for step in range(len(batches))]
    padded = sum(int(each.max()) * len(each) for each in found)
    by_chance = sum(
        int(each.max()) * len(each) for each in np.split(lengths, range(size, 4000, size))
    )
    assert padded < 1.15 * lengths.sum() < 0.6 * by_chance
