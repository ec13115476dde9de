"""The first part of a model: what turns the data of a batch into vectors for the recurrent part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from comporta.errors import ShapeError


class TokenInput(nn.Module):
    """Tokens as vectors of an embedding.

        x_t = E[y_t]

    In training whole tokens are dropped: those of a batch that are the same together, as in Gal &
    Ghahramani 2016, arXiv:1512.05287.

    Args:
        vocabulary: V, the number of tokens.
        size: D, of the vectors.
        dropout: probability of dropping a token.

    >>> TokenInput(5, 3)(torch.tensor([[1, 4]])).shape
    torch.Size([1, 2, 3])
    """

    def __init__(self, vocabulary: int, size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, size)
        # Vectors of length 1 on the average: longer ones of rare tokens would be mostly noise.
        bound = (3 / size) ** 0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)

    @torch.no_grad()
    def begin_with(self, vectors: Tensor, known: Tensor) -> None:
        """Take vectors learned elsewhere, and draw the others to their scale.

        Args:
            vectors: (V, D).
            known: (V,) bool, which of them count.
        """
        scale = vectors[known].std() if known.sum() > 1 else torch.ones(())
        # On the device of the vectors, whatever the model is built on.
        drawn = scale * torch.randn(vectors.shape, device=vectors.device)
        self.embedding.weight.copy_(torch.where(known.unsqueeze(1), vectors, drawn))

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (B, T, D) of tokens (B, T) int64.

        Raises:
            ShapeError: the tokens are not (B, T).
        """
        if tokens.ndim != 2:
            raise ShapeError(f"tokens have shape {tuple(tokens.shape)}; expected (B, T)")
        if not self.training or not self.dropout:
            vectors: Tensor = self.embedding(tokens)
            return vectors
        kept = torch.rand(self.embedding.num_embeddings, device=tokens.device) >= self.dropout
        scale = kept[tokens] / (1 - self.dropout)
        vectors = self.embedding(tokens)
        return vectors * scale.unsqueeze(-1)


class SeriesInput(nn.Module):
    """Numbers brought to a common scale.

        x_t = (v_t - mean) / deviation

    Args:
        mean: (D,) of each channel in the training data.
        deviation: (D,) the standard deviation of each; 0 where a channel never changes.

    >>> SeriesInput([1.0], [2.0])(torch.tensor([[[5.0]]]))
    tensor([[[2.]]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: list[float], deviation: list[float]) -> None:
        super().__init__()
        self.size = len(mean)
        self.register_buffer("mean", torch.tensor(mean))
        # A channel that never changes says nothing; it must not become a division by 0.
        self.register_buffer("deviation", torch.tensor([d or 1.0 for d in deviation]))

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return (values - self.mean) / self.deviation
