"""One long sequence as parallel streams, the way truncated back-propagation reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
    every token is a target exactly once.

    Args:
        inputs: (B, L), the token before each target; `NO_TOKEN` or the start symbol first.
        targets: (B, L).
    """

    inputs: Tensor
    targets: Tensor

    @classmethod
    def over(cls, tokens: Tensor, *, batch: int, start: int | None = None) -> Streams:
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
        >>> streams.inputs.tolist(), streams.targets.tolist()
        ([[-1, 5, 6], [7, 8, -1]], [[5, 6, 7], [8, 9, -100]])
        """
        count = tokens.numel()
        if count < batch or count == 0:
            raise DataError(
                f"a text of {count} tokens cannot fill {batch} streams; give a longer text "
                "or a smaller batch"
            )
        length = -(-count // batch)
        missing = batch * length - count
        first = tokens.new_tensor([NO_TOKEN if start is None else start])
        inputs = torch.cat([first, tokens[:-1], tokens.new_full((missing,), NO_TOKEN)])
        targets = torch.cat([tokens, tokens.new_full((missing,), IGNORED)])
        return cls(inputs=inputs.view(batch, length), targets=targets.view(batch, length))

    def windows(self, length: int) -> int:
        """How many windows of at most `length` steps cover the streams.

        >>> Streams.over(torch.arange(10), batch=2).windows(2)
        3
        """
        return -(-self.targets.shape[1] // length)

    def window(self, index: int, length: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets of one window.

        Args:
            index: which window, from 0.
            length: steps of a window; the last window may be shorter.

        Returns:
            Inputs and targets, (B, T) each.

        >>> Streams.over(torch.arange(10), batch=2).window(2, 2)[1].tolist()
        [[4], [9]]
        """
        steps = slice(index * length, (index + 1) * length)
        return self.inputs[:, steps], self.targets[:, steps]
