"""Dropout for sequences: one mask for a whole row."""

from __future__ import annotations

from torch import Tensor, nn

from comporta.errors import ConfigurationError, ShapeError


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a row: a feature is dropped for a whole sequence.

        y_t = x_t * m / (1 - p),  m ~ Bernoulli(1 - p) drawn once a row

    Source: Gal & Ghahramani 2016, arXiv:1512.05287 (variational dropout).

    Args:
        p: probability that a feature is dropped, in training.

    Raises:
        ConfigurationError: p is not in [0, 1).

    >>> import torch
    >>> y = LockedDropout(0.5)(torch.ones(1, 3, 4))
    >>> bool((y == y[:, :1]).all())
    True
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = _check(p)

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of x (B, T, D); in evaluation x itself.

        Raises:
            ShapeError: x is not (B, T, D).
        """
        if x.ndim != 3:
            raise ShapeError(f"x has shape {tuple(x.shape)}; expected (B, T, D)")
        if not self.training or not self.p:
            return x
        return locked(x, self.p)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"


def locked(x: Tensor, p: float) -> Tensor:
    """Each feature of a row of x (B, T, D) dropped in all its steps, with probability p.

    >>> import torch
    >>> locked(torch.ones(1, 2, 3), 0.0).sum()
    tensor(6.)
    """
    return x * nn.functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), p)


def _check(p: float) -> float:
    if not 0 <= p < 1:
        raise ConfigurationError(f"dropout is {p}; it must be at least 0 and less than 1")
    return float(p)
