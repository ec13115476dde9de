"""Dropout for sequences: whole rows of values, and whole tokens."""

from __future__ import annotations

import torch
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
        return x * nn.functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), self.p)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"


class TokenDropout(nn.Module):
    """Dropout of whole tokens: each is another, such as the unknown one, with probability p.

    Where that other has the zero vector in the embedding (`padding_idx` of `torch.nn.Embedding`)
    whole vectors are dropped. Nothing is scaled up.

    Source: Gal & Ghahramani 2016, arXiv:1512.05287, who drop every occurrence of a word in a
    sequence together; here, as in Bowman et al. 2016, arXiv:1511.06349, each occurrence alone.

    Args:
        p: probability that a token is dropped, in training.
        index: the token that takes its place.

    Raises:
        ConfigurationError: p is not in [0, 1).

    >>> TokenDropout(0.5, index=0).eval()(torch.tensor([[3, 4]]))
    tensor([[3, 4]])
    """

    def __init__(self, p: float, *, index: int) -> None:
        super().__init__()
        self.p = _check(p)
        self.index = index

    def forward(self, tokens: Tensor) -> Tensor:
        """Drop tokens, int64 of any shape; in evaluation they are themselves."""
        if not self.training or not self.p:
            return tokens
        dropped = torch.rand(tokens.shape, device=tokens.device) < self.p
        return tokens.masked_fill(dropped, self.index)

    def extra_repr(self) -> str:
        """The probability and the token, for printing."""
        return f"p={self.p}, index={self.index}"


def _check(p: float) -> float:
    if not 0 <= p < 1:
        raise ConfigurationError(f"dropout is {p}; it must be at least 0 and less than 1")
    return float(p)
