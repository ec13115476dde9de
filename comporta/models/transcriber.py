"""A recurrent transcriber: text from frames, aligned by the model itself (CTC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.errors import ConfigurationError
from comporta.models.checks import check_rates, check_sizes
from comporta.models.language_model import LanguageModel
from comporta.models.layers import layers_over
from comporta.nn import LockedDropout, State


@dataclass(frozen=True, kw_only=True)
class TranscriberConfig:
    """What a transcriber is made of, whatever its symbols.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        hidden: H, the size of each recurrent layer, in each direction.
        layers: how many recurrent layers lie on each other.
        bidirectional: whether a recording is read from both ends; only a model that reads it
            from one end can transcribe while it is still being recorded.
        dropout: probability of dropping a value before, between and after the recurrent layers.

    Raises:
        ConfigurationError: a value out of its range.

    >>> TranscriberConfig(hidden=0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: hidden is 0; it must be at least 1
    """

    cell: Cell = field(default_factory=lambda: get("gru"))
    hidden: int = 128
    layers: int = 2
    bidirectional: bool = False
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_sizes(self, hidden=1, layers=1)
        check_rates(self, "dropout")


class Transcriber(nn.Module):
    """Recurrent layers; at each step probabilities of K symbols, the last of them the blank.

        a_1 .. a_T = cells(x_1 .. x_T)
        log p_t = log_softmax(W a_t + b)

    Source: Graves et al. 2006, "Connectionist temporal classification".

    Args:
        config: what it is made of.
        inputs: turns what a batch holds into vectors (B, T, D); its `size` is D.
        vocabulary: V, the number of tokens; K is one more.

    >>> from comporta.models import SeriesInput
    >>> inputs = SeriesInput([0.0, 0.0], [1.0, 1.0])
    >>> model = Transcriber(TranscriberConfig(hidden=4), inputs=inputs, vocabulary=5)
    >>> model(torch.randn(3, 7, 2), [7, 4, 1]).shape
    torch.Size([3, 7, 6])
    """

    def __init__(self, config: TranscriberConfig, *, inputs: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.blank = vocabulary
        self.dropout = LockedDropout(config.dropout)
        self.recurrent = layers_over(inputs, config)
        width = config.hidden * (2 if config.bidirectional else 1)
        self.output = nn.Linear(width, vocabulary + 1)

    def forward(self, batch: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """Probabilities of the symbols at every step.

        Args:
            batch: what the inputs module reads, B rows.
            lengths: (B,), steps in each row.

        Returns:
            Log-probabilities (B, T, K); those beyond the length of a row are of no account.

        Raises:
            ShapeError: a shape that does not fit.
        """
        output, _ = self.recurrent(self.dropout(self.inputs(batch)), lengths=lengths)
        return self._symbols(output)

    def advance(
        self, batch: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Go on with recordings as they come.

        Args:
            batch: what the inputs module reads, B rows.
            state: the state after the steps before, or None at the beginning.

        Returns:
            Log-probabilities (B, T, K) and the state after the last step.

        Raises:
            ShapeError: a shape that does not fit.
            ConfigurationError: the model is bidirectional.
        """
        self.check_streams()
        output, state = self.recurrent(self.inputs(batch), state)
        return self._symbols(output), state

    def check_streams(self) -> None:
        """Refuse to go on step by step where the end has to be known.

        Raises:
            ConfigurationError: the model is bidirectional.
        """
        if self.config.bidirectional:
            raise ConfigurationError(
                "a bidirectional transcriber needs the whole recording before its first symbol; "
                "train one with --no-bidirectional to transcribe a stream"
            )

    def _symbols(self, output: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(output))
        return logits.log_softmax(2)


def alignment_loss(
    log_probabilities: Tensor, lengths: Tensor, targets: Sequence[Tensor], *, blank: int
) -> Tensor:
    """What the targets cost: minus the log of the sum over all alignments.

        loss = -log sum of p(a) over all alignments a of the target,  p(a) = prod_t p_t(a_t)

    Source: Graves et al. 2006, "Connectionist temporal classification".

    Args:
        log_probabilities: (B, T, K).
        lengths: (B,), steps of each row.
        targets: B of them, (N,) int64 each.
        blank: which symbol is the blank.

    Returns:
        () the sum over the rows, in nats; infinite where a target needs more steps than there are.

    >>> even = torch.full((1, 2, 2), 0.5).log()
    >>> alignment_loss(even, torch.tensor([2]), [torch.tensor([0])], blank=1).exp()
    tensor(1.3333)
    """
    return nn.functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        torch.cat(list(targets)),
        lengths,
        torch.tensor([len(target) for target in targets]),
        blank=blank,
        reduction="sum",
    )


class Advisor:
    """A language model that a prefix beam takes advice from, symbol by symbol.

    Args:
        model: the language model, in evaluation mode.
        tokens: (K,) int64, the token of the language model for each symbol of the transcriber;
            that of the blank is of no account.

    >>> from comporta.models import LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(hidden=8), vocabulary=5)
    >>> advice, state = Advisor(model, torch.tensor([3, 4, 0])).start()
    >>> advice.shape
    torch.Size([1, 3])
    """

    def __init__(self, model: LanguageModel, tokens: Tensor) -> None:
        self.model = model
        self.tokens = tokens

    def start(self) -> tuple[Tensor, tuple[State, ...]]:
        """The log-probabilities (1, K) of the first symbol, and the state of one row."""
        return self._advice(self.model.first_input(1), None)

    def extend(self, tokens: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """The log-probabilities (N, K) of what follows the symbols (N,), and the state then."""
        return self._advice(self.tokens[tokens], state)

    def _advice(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        logits, state = self.model.step(inputs, state)
        return logits.log_softmax(1)[:, self.tokens], state
