"""A recurrent classifier: one answer for a whole sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.models.checks import check_choice, check_rates, check_sizes
from comporta.models.layers import layers_over
from comporta.models.words import Words
from comporta.nn import AttentionPooling, pooling, spread_memory

POOLINGS = ("last", "mean", "max", "attention")
OUTPUTS = ("softmax", "sigmoid", "score")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """What a classifier is made of, whatever it reads.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        output: softmax (one class of several), sigmoid (one of two, or any number of labels with
            commas between them) or score (a number).
        embedding: size of the vectors of tokens, or of the pictures of a video.
        hidden: H, the size of each recurrent layer, in each direction.
        layers: how many recurrent layers lie on each other.
        bidirectional: whether the sequence is read from both ends.
        pooling: what becomes of the steps: last (the final states), mean, max or attention.
        dropout: probability of dropping a value before, between and after the recurrent layers.
        token_dropout: p, the probability of dropping a whole token; of a word with characters that
            came n times in training, p / (p + n).
        characters: size of the recurrent encoder of the characters of a word, in each direction; 0
            for none.
        memory: steps that units of a fresh model keep their state for, from 1 up to so many; as in
            all cells unless given.

    Raises:
        ConfigurationError: a value out of its range.

    >>> ClassifierConfig(pooling="sum")
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: unknown pooling 'sum'; known: attention, last, max, mean
    """

    cell: Cell = field(default_factory=lambda: get("gru"))
    output: str = "softmax"
    embedding: int = 64
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = True
    pooling: str = "max"
    dropout: float = 0.3
    token_dropout: float = 0.0
    characters: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self, embedding=1, hidden=1, layers=1, characters=0)
        check_rates(self, "dropout", "token_dropout")
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("output", self.output, OUTPUTS)


class Classifier(nn.Module):
    """Recurrent layers over a sequence, their steps pooled, and one linear layer.

        a_1 .. a_T = cells(x_1 .. x_T)
        y = W pool(a_1 .. a_T) + b

    Max pooling: Conneau et al. 2017, arXiv:1705.02364; attention: Yang et al. 2016.

    Args:
        config: what it is made of.
        inputs: turns what a batch holds into vectors (B, T, D); its `size` is D.
        outputs: how many numbers it answers with: one a class, or one score.

    >>> from comporta.models import TokenInput
    >>> model = Classifier(ClassifierConfig(hidden=4), inputs=TokenInput(9, 3), outputs=2)
    >>> model(torch.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1]).shape
    torch.Size([2, 2])
    """

    def __init__(self, config: ClassifierConfig, *, inputs: nn.Module, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.recurrent = layers_over(inputs, config)
        if config.memory is not None:
            spread_memory(self.recurrent, config.memory)
        width = config.hidden * (2 if config.bidirectional else 1)
        self.attention = AttentionPooling(width) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(width, outputs)

    def forward(self, batch: Tensor | Words, lengths: Tensor | list[int]) -> Tensor:
        """One answer a row.

        Args:
            batch: what the inputs module reads, B rows.
            lengths: (B,), steps in each row.

        Returns:
            (B, outputs): logits of the classes, or scores.

        Raises:
            ShapeError: a shape that does not fit.
        """
        x = self.dropout(self.inputs(batch))
        output, _ = self.recurrent(x, lengths=lengths)
        answer: Tensor = self.output(self.dropout(self._pool(output, lengths)))
        return answer

    def _pool(self, output: Tensor, lengths: Tensor | list[int]) -> Tensor:
        if self.attention is not None:
            pooled: Tensor = self.attention(output, lengths)[0]
            return pooled
        match self.config.pooling:
            case "mean":
                return pooling.mean(output, lengths)
            case "max":
                return pooling.maximum(output, lengths)
        # The last steps of both directions: the last of the reverse one is the first in time.
        if not self.config.bidirectional:
            return pooling.last(output, lengths)
        forward, reverse = output.chunk(2, dim=2)
        return torch.cat([pooling.last(forward, lengths), reverse[:, 0]], dim=1)
