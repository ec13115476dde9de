"""Sequences of unequal length, kept on disk and read by number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor


class Ragged:
    """Arrays of one type that differ in their first dimension, in a temporary file.

    They are written one after the other, and read through the system's memory mapping, so that
    data larger than memory can be gone through in any order. The file has no name: it is gone
    when the process is.

    Args:
        arrays: the sequences, each (T, ...) with its own T and the same rest; taken one at a time.
        dtype: what they are kept as.

    >>> words = Ragged([[3, 1, 2], [], [5]], dtype=np.int32)
    >>> len(words), words.lengths.tolist(), words[0].tolist()
    (3, [3, 0, 1], [3, 1, 2])
    """

    def __init__(self, arrays: Iterable[Any], *, dtype: DTypeLike) -> None:
        lengths: list[int] = []
        self._rest: tuple[int, ...] = ()
        with tempfile.TemporaryFile() as file:
            for array in arrays:
                values = np.ascontiguousarray(array, dtype=dtype)
                if len(values):
                    self._rest = values.shape[1:]
                lengths.append(len(values))
                file.write(values.tobytes())
            file.flush()
            self.lengths: NDArray[np.int64] = np.array(lengths, dtype=np.int64)
            self._starts = np.concatenate([[0], self.lengths.cumsum()])
            shape = (int(self.lengths.sum()), *self._rest)
            # A file of no bytes cannot be mapped. The mapping outlives the open file.
            self._values: NDArray[Any] = (
                np.memmap(file, dtype=dtype, mode="r", shape=shape)
                if shape[0]
                else np.empty(shape, dtype=dtype)
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self._values[self._starts[index] : self._starts[index + 1]]

    @property
    def values(self) -> NDArray[Any]:
        """All sequences one after the other, (sum of T, ...).

        >>> Ragged([[3, 1], [5]], dtype=np.int32).values.tolist()
        [3, 1, 5]
        """
        return self._values

    def padded(self, indices: Sequence[int], *, fill: float = 0) -> NDArray[Any]:
        """Some of the sequences as one array, the ends of the shorter ones filled.

        Args:
            indices: which, B of them.
            fill: what stands beyond the end of a sequence.

        Returns:
            (B, T, ...), T the longest of their lengths.

        >>> Ragged([[3, 1], [5]], dtype=np.int32).padded([1, 0], fill=-1).tolist()
        [[5, -1], [3, 1]]
        """
        longest = int(self.lengths[list(indices)].max(initial=0))
        shape = (len(indices), longest, *self._rest)
        padded = np.full(shape, fill, dtype=self._values.dtype)
        for row, index in enumerate(indices):
            values = self[index]
            padded[row, : len(values)] = values
        return padded

    def batch(self, examples: Sequence[int], device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Some sequences as one batch of a model.

        Args:
            examples: which, B of them.
            device: where the model is.

        Returns:
            The batch (B, T, ...): tokens as int64, numbers as float32, pictures as uint8; and the
            lengths (B,).

        >>> Ragged([[3, 1], [5]], dtype=np.int32).batch([1, 0], "cpu")
        (tensor([[5, 0],
                [3, 1]]), tensor([1, 2]))
        """
        padded = torch.from_numpy(self.padded(examples))
        # A table of vectors is looked up by int64 alone, and tokens are kept smaller.
        batch = padded.long() if padded.dtype == torch.int32 else padded
        return batch.to(device), torch.from_numpy(self.lengths[list(examples)])
