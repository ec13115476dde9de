"""A recurrent tagger: an answer for every step of a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.errors import ConfigurationError
from comporta.models.checks import check_choice, check_rates, check_sizes
from comporta.models.layers import layers_over
from comporta.nn import CRF, LockedDropout
from comporta.nn.lengths import inside

OUTPUTS = ("softmax", "crf", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class TaggerConfig:
    """What a tagger is made of.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        embedding: size of the vectors of words.
        characters: size of the recurrent encoder of the characters of a word, in each direction;
            0 for words alone.
        hidden: H, the size of each recurrent layer, in each direction.
        layers: how many recurrent layers lie on each other.
        bidirectional: whether the sequence is read from both ends.
        output: softmax, each tag for itself; crf, the tags of a sequence as a whole; or sigmoid,
            any number of labels a word, written A|B in the file. By default crf where the tags mark
            entities, else softmax.
        dropout: probability of dropping a value before, between and after the recurrent layers.
        word_dropout: D, where a word that the training data has n times becomes the unknown word
            with probability D / (D + n), in training; 0 for never.

    Raises:
        ConfigurationError: a value out of its range.

    >>> TaggerConfig(output="crv")
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: unknown output 'crv'; did you mean crf?
    """

    cell: Cell = field(default_factory=lambda: get("lstm"))
    embedding: int = 100
    characters: int = 32
    hidden: int = 128
    layers: int = 1
    bidirectional: bool = True
    output: str | None = None
    dropout: float = 0.5
    word_dropout: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self, embedding=1, characters=0, hidden=1, layers=1)
        check_rates(self, "dropout")
        if not 0 <= self.word_dropout < math.inf:
            raise ConfigurationError(f"word_dropout is {self.word_dropout}; it must be 0 or more")
        if self.output is not None:
            check_choice("output", self.output, OUTPUTS)


class Tagger(nn.Module):
    """Recurrent layers over a sequence, and one linear layer at every step.

        a_1 .. a_T = cells(x_1 .. x_T)
        e_t = W a_t + b
        softmax:  p(y_t = k) = softmax(e_t)[k]
        crf:      p(y_1 .. y_T) as of `comporta.nn.CRF` with the emissions e
        sigmoid:  p(y_tk = 1) = sigmoid(e_t)[k]

    Source: Huang, Xu, Yu 2015, arXiv:1508.01991. Dropout keeps one mask for all steps of a row (Gal
    & Ghahramani 2016, arXiv:1512.05287), except between two layers above each other.

    Args:
        config: what it is made of.
        inputs: turns what a batch holds into vectors (B, T, D); its `size` is D.
        tags: K, how many tags there are.
        output: softmax, crf or sigmoid.
        starts: (K,) bool, the tags a sequence may begin with; all unless given.
        steps: (K, K) bool, [i, j] says whether tag j may follow tag i; all unless given. Tags of
            a softmax are chosen among the sequences that these allow, too.

    Raises:
        ConfigurationError: starts or steps are not bool of these shapes.

    >>> from comporta.models import TokenInput
    >>> config = TaggerConfig(hidden=4)
    >>> model = Tagger(config, inputs=TokenInput(9, 3), tags=2, output="crf").eval()
    >>> scores = model(torch.tensor([[1, 2, 3]]), [3])
    >>> scores.shape, len(model.decode(scores, [3])[0])
    (torch.Size([1, 3, 2]), 3)
    """

    def __init__(
        self,
        config: TaggerConfig,
        *,
        inputs: nn.Module,
        tags: int,
        output: str,
        starts: Tensor | None = None,
        steps: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.answer = config, output
        self.inputs = inputs
        self.recurrent = layers_over(inputs, config)
        self.dropout = LockedDropout(config.dropout)
        width = config.hidden * (2 if config.bidirectional else 1)
        self.output = nn.Linear(width, tags)
        self.field: CRF | None = None
        if output == "crf" or (output == "softmax" and steps is not None):
            self.field = CRF(tags, starts=starts, steps=steps)
            # The steps of a softmax cost nothing, and stay so: they are allowed or not.
            self.field.requires_grad_(output == "crf")

    def forward(self, batch: Any, lengths: Tensor | list[int]) -> Tensor:
        """The scores of every tag at every step.

        Args:
            batch: what the inputs module reads, B rows.
            lengths: (B,), steps in each row.

        Returns:
            (B, T, K).

        Raises:
            ShapeError: a shape that does not fit.
        """
        x = self.dropout(self.inputs(batch))
        output, _ = self.recurrent(x, lengths=lengths)
        scores: Tensor = self.output(self.dropout(output))
        return scores

    def loss(self, scores: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """-log p of the right tags of all rows, summed.

        Args:
            scores: (B, T, K), from `forward`.
            targets: (B, T) int64; with a sigmoid (B, T, K) of 0 and 1. Anything beyond the length.
            lengths: (B,).

        Returns:
            (), in nats.

        Raises:
            DataError: with a CRF, tags that it does not allow.
        """
        if self.answer == "crf":
            assert self.field is not None
            return self.field.loss(scores, targets, lengths).sum()
        within = inside(lengths.to(scores.device), scores.shape[1])
        if self.answer == "sigmoid":
            return nn.functional.binary_cross_entropy_with_logits(
                scores[within], targets[within].to(scores.dtype), reduction="sum"
            )
        return nn.functional.cross_entropy(scores[within], targets[within], reduction="sum")

    @torch.no_grad()
    def decode(self, scores: Tensor, lengths: Tensor | list[int]) -> list[Tensor]:
        """The most probable tags of each row, by the algorithm of Viterbi where tags depend.

        Args:
            scores: (B, T, K), from `forward`.
            lengths: (B,).

        Returns:
            For each row its tags, (T,) int64; with a sigmoid which labels are more probable than
            not, (T, K) bool. T is the length of the row.
        """
        if self.field is not None:
            # Of a softmax, too: what makes its scores into log p is equal for all tags of a step.
            rows = self.field.decode(scores, lengths)
            return [torch.tensor(row, dtype=torch.long) for row in rows]
        found = scores > 0 if self.answer == "sigmoid" else scores.argmax(2)
        return [row[:length].cpu() for row, length in zip(found, lengths, strict=True)]
