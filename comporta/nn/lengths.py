"""Sequences of unequal length: padding, lengths and PackedSequence. Only this module knows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from comporta.errors import ShapeError


def check_lengths(
    lengths: Tensor | Sequence[int] | None, *, batch: int, time: int, device: torch.device
) -> Tensor | None:
    """The lengths as kernels take them: (B,), int64; None when every row is T long.

    Raises:
        ShapeError: they are not B whole numbers from 0 to T.

    >>> check_lengths([3, 0], batch=2, time=3, device=torch.device("cpu"))
    tensor([3, 0])
    >>> check_lengths([3, 3], batch=2, time=3, device=torch.device("cpu"))
    """
    if lengths is None:
        return None
    try:
        numbers = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"lengths must be whole numbers, one a row; they are {lengths!r}"
        ) from None
    if numbers.ndim == 1 and not numbers.numel():
        numbers = numbers.long()  # An empty list says nothing of its dtype.
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise ShapeError(f"lengths must be whole numbers; they have dtype {numbers.dtype}")
    if numbers.shape != (batch,):
        raise ShapeError(
            f"lengths must have shape (B,) = ({batch},), one a row; they have "
            f"{tuple(numbers.shape)}"
        )
    if torch.compiler.is_compiling():
        # They are numbers only when the graph runs; what runs it looks at them then.
        return numbers.to(device=device, dtype=torch.int64)
    found = numbers.tolist()
    for row, length in enumerate(found):
        if not 0 <= length <= time:
            raise ShapeError(
                f"the length of row {row} is {length}; lengths lie between 0 and T = {time}"
            )
    if all(length == time for length in found):
        return None
    return numbers.to(device=device, dtype=torch.int64)


def inside(lengths: Tensor, time: int) -> Tensor:
    """(B, T) bool: which steps lie within the length of their row.

    >>> inside(torch.tensor([2, 0]), 3)
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)


def clear_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """The input (B, T, D) with 0 beyond the length of each row, whatever stood there.

    A kernel gives padding the gradient 0, and 0 times a NaN or an infinity that was left in the
    padding would spoil the gradient of the weights.

    >>> clear_padding(torch.full((1, 2, 1), torch.inf), torch.tensor([1])).flatten()
    tensor([inf, 0.])
    """
    return torch.where(inside(lengths, x.shape[1]).unsqueeze(2), x, 0.0)


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """A packed batch as a padded one, rows in the order in which they are packed.

    Returns:
        The data (B, T, D), a view of time-major memory, and the lengths (B,), int64, on the
        device of the data.
    """
    # Without its indices the batch stays in packed order, so nothing is permuted there and back.
    inner = PackedSequence(packed.data, packed.batch_sizes)
    padded, lengths = pad_packed_sequence(inner)
    return padded.transpose(0, 1), lengths.to(packed.data.device)


def pack_like(output: Tensor, packed: PackedSequence, lengths: Tensor) -> PackedSequence:
    """The output (B, T, H) of an unpacked batch, packed as that batch was."""
    inner = pack_padded_sequence(output, lengths.cpu(), batch_first=True)
    return PackedSequence(
        inner.data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    )
