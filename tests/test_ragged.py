"""Sequences of unequal length on disk: what is written is what is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comporta.data.ragged import Ragged


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6), max_size=8))
def test_what_is_written_is_read(rows: list[list[int]]) -> None:
    store = Ragged(iter(rows), dtype=np.int32)
    assert len(store) == len(rows)
    assert store.lengths.tolist() == [len(row) for row in rows]
    assert [store[i].tolist() for i in range(len(rows))] == rows


@pytest.mark.parametrize("rest", [(), (3,), (2, 2, 3)])
def test_padding_stands_behind_each_row(rest: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(length, *rest)).astype(np.float32) for length in (2, 0, 5, 1)]
    padded = Ragged(arrays, dtype=np.float32).padded([3, 2, 1, 2], fill=7)
    assert padded.shape == (4, 5, *rest)
    for row, index in enumerate([3, 2, 1, 2]):
        np.testing.assert_array_equal(padded[row, : len(arrays[index])], arrays[index])
        assert (padded[row, len(arrays[index]) :] == 7).all()


def test_no_rows_and_rows_without_steps() -> None:
    assert Ragged([], dtype=np.int32).lengths.tolist() == []
    store = Ragged([[], []], dtype=np.int32)
    assert store.padded([0, 1]).shape == (2, 0)
