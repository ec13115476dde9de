"""One long sequence as parallel streams, the way truncated back-propagation reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.errors import DataError

NO_TOKEN = -1
"""The input before the first token when there is no start symbol: the zero vector."""

IGNORED = -100
"""The target of a step that does not count (torch's own convention)."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """B streams of equal length over one sequence of tokens.

    Stream b holds tokens [b L, (b + 1) L) with L = ceil(N / B); the input of a step is the token
    before its target. Steps past the end of the sequence have the target `IGNORED`, so that
    every token is a target exactly once. Tokens are only read where a window lies, so that they may
    be a file that is mapped into memory.

    Args:
        tokens: (N,), the sequence.
        batch: B.
        start: the token that stands before the first one; `NO_TOKEN` for the zero vector.
    """

    tokens: NDArray[Any]
    batch: int
    start: int

    @classmethod
    def over(
        cls, tokens: Tensor | NDArray[Any], *, batch: int, start: int | None = None
    ) -> Streams:
        """Lay a sequence out as streams.

        Args:
            tokens: (N,), the sequence.
            batch: B, the number of streams.
            start: the token that stands before the first one; None for the zero vector.

        Returns:
            The streams.

        Raises:
            DataError: the sequence is shorter than the number of streams.

        >>> streams = Streams.over(torch.tensor([5, 6, 7, 8, 9]), batch=2)
        >>> inputs, targets = streams.window(0, 3)
        >>> inputs.tolist(), targets.tolist()
        ([[-1, 5, 6], [7, 8, -1]], [[5, 6, 7], [8, 9, -100]])
        """
        if len(tokens) < batch or len(tokens) == 0:
            raise DataError(
                f"a text of {len(tokens)} tokens cannot fill {batch} streams; give a longer text "
                "or a smaller batch"
            )
        first = NO_TOKEN if start is None else start
        return cls(tokens=np.asarray(tokens), batch=batch, start=first)

    @property
    def length(self) -> int:
        """L, the length of a stream."""
        return -(-len(self.tokens) // self.batch)

    def windows(self, length: int) -> int:
        """How many windows of at most `length` steps cover the streams.

        >>> Streams.over(torch.arange(10), batch=2).windows(2)
        3
        """
        return -(-self.length // length)

    def window(self, index: int, length: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets of one window.

        Args:
            index: which window, from 0.
            length: steps of a window; the last window may be shorter.

        Returns:
            Inputs and targets, (B, T) int64 each.

        >>> Streams.over(torch.arange(10), batch=2).window(2, 2)[1].tolist()
        [[4], [9]]
        """
        begin = index * length
        end = min(begin + length, self.length)
        inputs = np.full((self.batch, end - begin), NO_TOKEN, dtype=np.int64)
        targets = np.full((self.batch, end - begin), IGNORED, dtype=np.int64)
        for row in range(self.batch):
            first = row * self.length + begin
            here = self.tokens[first : first + end - begin]
            targets[row, : len(here)] = here
            inputs[row, : len(here)] = self._before(first, len(here))
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def _before(self, first: int, count: int) -> NDArray[Any]:
        """The tokens before each of so many."""
        if first == 0:
            return np.concatenate([[self.start], self.tokens[: count - 1]])
        return self.tokens[first - 1 : first - 1 + count]
