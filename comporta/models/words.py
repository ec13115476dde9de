"""Words as vectors: of an embedding, and of a recurrent encoder over their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from comporta.cells import Cell
from comporta.nn import Recurrent, pooling

_PARTS = 4
"""So many runs for the words of a batch."""


class Words(NamedTuple):
    """The words of a batch, each distinct form once.

    Args:
        numbers: (N,) int64, the number of each form in the vocabulary.
        characters: (N, C) int64, its characters.
        lengths: (N,) how many.
        places: (B, T) int64, which form stands where.
    """

    numbers: Tensor
    characters: Tensor
    lengths: Tensor
    places: Tensor


class CharacterEncoder(nn.Module):
    """The characters of a word as a vector: the last outputs of both directions.

        a_1 .. a_C = cells(E[c_1] .. E[c_C]),  v = [forward a_C; reverse a_1]

    Source: Lample et al. 2016, arXiv:1603.01360.

    Args:
        cell: of the recurrent layer.
        characters: how many characters there are.
        hidden: H, in each direction, and the size of the vectors of characters; `size` is 2H.

    >>> from comporta.cells import get
    >>> encoder = CharacterEncoder(get("gru"), 9, 4)
    >>> encoder(torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])).shape
    torch.Size([2, 8])
    """

    def __init__(self, cell: Cell, characters: int, hidden: int) -> None:
        super().__init__()
        self.size = 2 * hidden
        self.embedding = nn.Embedding(characters, hidden)
        self.recurrent = Recurrent(cell, hidden, hidden, bidirectional=True)

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """(N, C) int64 and the lengths (N,), each from 1 to C -> (N, 2H)."""
        # A few words are long, and would make all others as long: short and long ones apart.
        order = lengths.argsort()
        ends = [
            self._ends(characters[rows, : int(lengths[rows].max())], lengths[rows])
            for rows in order.chunk(_PARTS)
        ]
        return torch.cat(ends)[order.argsort()]

    def _ends(self, characters: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.recurrent(self.embedding(characters), lengths=lengths)
        forward, reverse = output.chunk(2, dim=2)
        return torch.cat([pooling.last(forward, lengths), reverse[:, 0]], dim=1)


class WordInput(nn.Module):
    """Words as vectors.

        x_t = [E[w_t]; encoder(characters of w_t)]

    In training a word becomes the unknown one by chance, the rarer the more often, so that the
    vector of the unknown word is learned, and so is what characters and neighbours say of words:

        p(w) = dropout / (dropout + count(w))

    Source: Kiperwasser & Goldberg 2016, arXiv:1603.04351. Forms of a word that stand several times
    in a batch are dropped together.

    Args:
        counts: V, how often the training data has each word; word 0 is the unknown one.
        size: of the vectors of words.
        encoder: of characters; None for words alone.
        dropout: as above; 0 for none.

    >>> module = WordInput([0, 7, 3, 1, 1], 3, encoder=None, dropout=0.25)
    >>> one = torch.tensor([2, 4])
    >>> module(Words(one, one.unsqueeze(1), one, torch.tensor([[0, 1, 0]]))).shape
    torch.Size([1, 3, 3])
    """

    counts: Tensor

    def __init__(
        self,
        counts: Sequence[int],
        size: int,
        *,
        encoder: CharacterEncoder | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.encoder = encoder
        self.size = size + (0 if encoder is None else encoder.size)
        self.embedding = nn.Embedding(len(counts), size)
        # It comes from the data anew, with the words.
        self.register_buffer("counts", torch.tensor(counts), persistent=False)
        # Of the length that vectors of characters and outputs of cells have, not of sqrt(size).
        bound = (3 / size) ** 0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)

    @torch.no_grad()
    def begin_with(self, vectors: Tensor, found: Tensor) -> None:
        """Begin with vectors learned elsewhere.

        Args:
            vectors: (V, size).
            found: (V,) bool, the words that have one; the others keep theirs.
        """
        weight = self.embedding.weight
        weight.copy_(torch.where(found.to(weight.device).unsqueeze(1), vectors.to(weight), weight))

    def forward(self, batch: Words) -> Tensor:
        """The vectors (B, T, D) of the words of a batch."""
        numbers = batch.numbers
        if self.training and self.dropout:
            chance = self.dropout / (self.dropout + self.counts[numbers])
            dropped = torch.rand(numbers.shape, device=numbers.device) < chance
            numbers = numbers.masked_fill(dropped, 0)
        forms: Tensor = self.embedding(numbers)
        if self.encoder is not None:
            spelled = self.encoder(batch.characters, batch.lengths)
            forms = torch.cat([forms, spelled], dim=1)
        return nn.functional.embedding(batch.places, forms)
