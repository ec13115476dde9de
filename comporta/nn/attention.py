"""Attention: what a query finds in a memory, as a weighted mean of the memory's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from comporta.errors import ConfigurationError, ShapeError, nearest
from comporta.nn.lengths import check_lengths, clear_padding, inside

Kind: TypeAlias = Literal["additive", "dot", "general"]
_KINDS = ("additive", "dot", "general")


class Memory(NamedTuple):
    """A memory made ready: what does not depend on the query is computed once, not every step.

    Its tensors have B as the first dimension, so rows are selected as those of a state.

    Args:
        values: (B, S, Dm), 0 beyond the length.
        keys: what queries are compared with: (B, S, A), (B, S, Dm) or (B, S, Dq), by kind.
        inside: (B, S) bool, the places within the length; None when all are.
    """

    values: Tensor
    keys: Tensor
    inside: Tensor | None


class Attention(nn.Module):
    """Content-based attention.

        additive   e_s = v . tanh(W q + b + U m_s)        Bahdanau et al. 2015, arXiv:1409.0473
        dot        e_s = q . m_s                          Luong et al. 2015, arXiv:1508.04025
        general    e_s = q . W m_s                        the same

        a = softmax(e) over the places s within the length,  context = sum_s a_s m_s

    Args:
        query_size: Dq.
        memory_size: Dm; for dot it must be Dq.
        kind: how a query and a place are compared.
        hidden: A, the length of v, Dq unless given; the other kinds have no v.

    Raises:
        ConfigurationError: an unknown kind, or sizes that do not fit it.

    >>> attention = Attention(4, 6)
    >>> context, weights = attention(torch.randn(2, 3, 4), torch.randn(2, 5, 6), lengths=[5, 2])
    >>> context.shape, weights.shape
    (torch.Size([2, 3, 6]), torch.Size([2, 3, 5]))

    Query by query, for a decoder:

    >>> memory = attention.read(torch.randn(2, 5, 6), [5, 2])
    >>> context, weights = attention.attend(torch.randn(2, 1, 4), memory)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        kind: Kind = "additive",
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        if kind not in _KINDS:
            raise ConfigurationError(f"unknown kind of attention {kind!r}{nearest(kind, _KINDS)}")
        if kind == "dot" and query_size != memory_size:
            raise ConfigurationError(
                f"dot attention needs queries as large as the memory: query_size is {query_size}, "
                f"memory_size is {memory_size}; make them equal, or take kind='general'"
            )
        self.kind = kind
        self.query_size = query_size
        self.memory_size = memory_size
        if kind == "additive":
            size = query_size if hidden is None else hidden
            self.query = nn.Linear(query_size, size)
            self.key = nn.Linear(memory_size, size, bias=False)
            self.score = nn.Linear(size, 1, bias=False)
        elif kind == "general":
            self.key = nn.Linear(memory_size, query_size, bias=False)

    def forward(
        self, query: Tensor, memory: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend with all queries at once.

        Args:
            query: (B, Q, Dq).
            memory: (B, S, Dm).
            lengths: (B,), how much of the memory counts, from 0 to S; S unless given.

        Returns:
            The context (B, Q, Dm) and the weights (B, Q, S). Weights beyond the length are
            exactly 0; a row of length 0 has context 0.

        Raises:
            ShapeError: a shape that does not fit.
        """
        return self.attend(query, self.read(memory, lengths))

    def read(self, memory: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Memory:
        """The memory made ready for any number of calls of `attend`.

        Args:
            memory: (B, S, Dm).
            lengths: (B,), from 0 to S; S unless given.

        Raises:
            ShapeError: a shape that does not fit.
        """
        if memory.ndim != 3 or memory.shape[2] != self.memory_size:
            raise ShapeError(
                f"the memory has shape {tuple(memory.shape)}; expected (B, S, Dm) with Dm = "
                f"{self.memory_size}"
            )
        batch, places, _ = memory.shape
        found = check_lengths(lengths, batch=batch, time=places, device=memory.device)
        if found is not None:
            memory = clear_padding(memory, found)
        keys = memory if self.kind == "dot" else self.key(memory)
        return Memory(memory, keys, None if found is None else inside(found, places))

    def attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Attend to a memory that `read` made ready.

        Args:
            query: (B, Q, Dq).
            memory: of B rows.

        Returns:
            The context (B, Q, Dm) and the weights (B, Q, S), as of `forward`.

        Raises:
            ShapeError: a shape that does not fit.
        """
        batch = memory.values.shape[0]
        if query.ndim != 3 or query.shape[0] != batch or query.shape[2] != self.query_size:
            raise ShapeError(
                f"the query has shape {tuple(query.shape)}; expected (B, Q, Dq) with B = {batch}, "
                f"Dq = {self.query_size}"
            )
        if self.kind == "additive":
            # (B, Q, 1, A) + (B, 1, S, A)
            sums = self.query(query).unsqueeze(2) + memory.keys.unsqueeze(1)
            scores = self.score(torch.tanh(sums)).squeeze(3)
        else:
            scores = query @ memory.keys.transpose(1, 2)
        within = None if memory.inside is None else memory.inside.unsqueeze(1)
        weights = _softmax(scores, within)
        return weights @ memory.values, weights


class AttentionPooling(nn.Module):
    """The mean of the vectors of a row, weighted by how much each matters.

        a = softmax(u . tanh(W x_t + b)) over the steps t within the length,  y = sum_t a_t x_t

    Source: Yang et al. 2016, "Hierarchical attention networks for document classification".

    Args:
        size: D; u has the same length.

    >>> pooled, weights = AttentionPooling(4)(torch.randn(2, 5, 4), lengths=[5, 2])
    >>> pooled.shape, weights.shape
    (torch.Size([2, 4]), torch.Size([2, 5]))
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, size)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(
        self, x: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pool each row.

        Args:
            x: (B, T, D).
            lengths: (B,), from 0 to T; T unless given.

        Returns:
            (B, D), 0 for a row of length 0, and the weights (B, T), exactly 0 beyond the length.

        Raises:
            ShapeError: a shape that does not fit.
        """
        if x.ndim != 3 or x.shape[2] != self.hidden.in_features:
            raise ShapeError(
                f"x has shape {tuple(x.shape)}; expected (B, T, D) with D = "
                f"{self.hidden.in_features}"
            )
        batch, time, _ = x.shape
        found = check_lengths(lengths, batch=batch, time=time, device=x.device)
        if found is not None:
            x = clear_padding(x, found)
        scores = self.score(torch.tanh(self.hidden(x))).squeeze(2)
        weights = _softmax(scores, None if found is None else inside(found, time))
        return (weights.unsqueeze(1) @ x).squeeze(1), weights


def _softmax(scores: Tensor, within: Tensor | None) -> Tensor:
    """The softmax over the last dimension among the places within; exactly 0 elsewhere."""
    if within is None:
        return scores.softmax(-1)
    # The least number, not -inf: of a row with nothing inside the softmax would be NaN.
    filled = torch.where(within, scores, torch.finfo(scores.dtype).min)
    return filled.softmax(-1) * within.to(scores.dtype)
