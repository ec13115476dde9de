"""Many vectors to one: the last, the mean or the maximum of each row, within its length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comporta.errors import ShapeError
from comporta.nn.lengths import check_lengths, clear_padding, inside


def last(x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
    """The last vector of each row.

    In the output of a bidirectional layer the last step of the reverse direction has seen that
    step alone; take `mean` or `maximum` there, or the states that the layer returns.

    Args:
        x: (B, T, D).
        lengths: (B,), from 0 to T; T unless given.

    Returns:
        (B, D); 0 for a row of length 0.

    Raises:
        ShapeError: x is not (B, T, D), or the lengths do not fit it.

    >>> last(torch.tensor([[[1.0], [3.0], [2.0]]]), [2])
    tensor([[3.]])
    """
    found = _lengths(x, lengths)
    if not x.shape[1]:
        return x.sum(1)
    rows = torch.arange(x.shape[0], device=x.device)
    return torch.where(found.unsqueeze(1) > 0, x[rows, (found - 1).clamp(min=0)], 0.0)


def mean(x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
    """The mean of the vectors of each row.

    Args:
        x: (B, T, D).
        lengths: (B,), from 0 to T; T unless given.

    Returns:
        (B, D); 0 for a row of length 0.

    Raises:
        ShapeError: x is not (B, T, D), or the lengths do not fit it.

    >>> mean(torch.tensor([[[1.0], [3.0], [2.0]]]), [2])
    tensor([[2.]])
    """
    found = _lengths(x, lengths)
    return clear_padding(x, found).sum(1) / found.clamp(min=1).unsqueeze(1)


def maximum(x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
    """The greatest value of each row in each of the D places.

    Args:
        x: (B, T, D).
        lengths: (B,), from 0 to T; T unless given.

    Returns:
        (B, D); 0 for a row of length 0.

    Raises:
        ShapeError: x is not (B, T, D), or the lengths do not fit it.

    >>> maximum(torch.tensor([[[1.0], [3.0], [9.0]]]), [2])
    tensor([[3.]])
    """
    found = _lengths(x, lengths)
    if not x.shape[1]:
        return x.sum(1)
    within = inside(found, x.shape[1]).unsqueeze(2)
    greatest = torch.where(within, x, -torch.inf).amax(1)
    return torch.where(found.unsqueeze(1) > 0, greatest, 0.0)


def _lengths(x: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor:
    if x.ndim != 3:
        raise ShapeError(f"x has shape {tuple(x.shape)}; expected (B, T, D)")
    batch, time, _ = x.shape
    found = check_lengths(lengths, batch=batch, time=time, device=x.device)
    return torch.full((batch,), time, device=x.device) if found is None else found
