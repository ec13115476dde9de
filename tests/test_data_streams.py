"""Streams: every token is a target once, after the token that stands before it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comporta.data import IGNORED, NO_TOKEN, Streams
from comporta.errors import DataError


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 9))
def test_every_token_once_and_after_its_predecessor(count: int, batch: int, length: int) -> None:
    batch = min(batch, count)
    tokens = torch.arange(100, 100 + count)
    streams = Streams.over(tokens, batch=batch, start=7)
    seen: list[int] = []
    for index in range(streams.windows(length)):
        inputs, targets = streams.window(index, length)
        assert inputs.shape == targets.shape
        assert targets.shape[0] == batch
        assert 1 <= targets.shape[1] <= length
        for before, target in zip(inputs.flatten(), targets.flatten(), strict=True):
            if target != IGNORED:
                seen.append(int(target))
                assert before == (7 if target == 100 else target - 1)
    assert sorted(seen) == tokens.tolist()


def test_windows_of_a_stream_follow_each_other() -> None:
    streams = Streams.over(torch.arange(20), batch=2)
    rows = torch.cat([streams.window(i, 3)[1] for i in range(streams.windows(3))], dim=1)
    assert rows.tolist() == [list(range(10)), list(range(10, 20))]


def test_without_a_start_symbol_the_first_input_is_no_token() -> None:
    inputs, _ = Streams.over(torch.arange(4), batch=1).window(0, 4)
    assert inputs.tolist() == [[NO_TOKEN, 0, 1, 2]]


def test_a_text_shorter_than_its_streams_is_refused() -> None:
    with pytest.raises(DataError, match="3 tokens cannot fill 4 streams"):
        Streams.over(torch.arange(3), batch=4)
