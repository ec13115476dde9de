"""A recurrent language model: the input of a step is the target of the step before."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.errors import ConfigurationError, ShapeError
from comporta.models.checks import check_rates, check_sizes
from comporta.nn import Recurrent, State


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """What a language model is made of, whatever its vocabulary.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        embedding: size of the input vectors; 0 gives the tokens as one-hot vectors.
        hidden: H, the size of each recurrent layer.
        layers: how many recurrent layers lie on each other.
        dropout: probability of dropping a value between layers and before the output.
        feed_forward: sizes of the layers (linear, ReLU) between the recurrent part and the output.
        tied: use the embedding matrix as output weights, too.

    Raises:
        ConfigurationError: a size below its least value, or tied weights of unequal sizes.

    >>> LanguageModelConfig(layers=0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: layers is 0; it must be at least 1
    """

    cell: Cell = field(default_factory=lambda: get("gru"))
    embedding: int = 64
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.0
    feed_forward: tuple[int, ...] = ()
    tied: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, embedding=0, hidden=1, layers=1)
        if any(size < 1 for size in self.feed_forward):
            raise ConfigurationError(
                f"feed_forward is {list(self.feed_forward)}; every size must be at least 1"
            )
        check_rates(self, "dropout")
        if self.tied and self.embedding != self.last_size:
            raise ConfigurationError(
                f"tied weights need an embedding as large as the last layer: embedding is "
                f"{self.embedding}, the last layer has {self.last_size}; make them equal"
            )

    @property
    def last_size(self) -> int:
        """The size of the vectors the output layer reads."""
        return (self.hidden, *self.feed_forward)[-1]


class LanguageModel(nn.Module):
    """A language model of recurrent layers.

        x_t = E[y_{t-1}]                         embedding, or one-hot
        s_t, a_t = cells(x_t, s_{t-1})           the recurrent layers; a_t their output
        a_t = relu(A a_t + a)                    each feed-forward layer
        log p(y_t | y_{<t}) = log_softmax(V a_t + b)[y_t]

    Source: Mikolov et al. 2010, "Recurrent neural network based language model"; tied weights:
    Press & Wolf 2017, arXiv:1608.05859. Dropout on non-recurrent connections as in Zaremba et al.
    2014, arXiv:1409.2329, with one deliberate deviation: the input is not dropped, since a
    character dropped there is lost whole.

    Args:
        config: what it is made of.
        vocabulary: V, the number of tokens.
        start: the token fed before the first one; None for the zero vector.

    >>> model = LanguageModel(LanguageModelConfig(hidden=8), vocabulary=5)
    >>> logits, state = model(torch.tensor([[-1, 3, 2]]))
    >>> logits.shape
    torch.Size([1, 3, 5])
    """

    def __init__(
        self, config: LanguageModelConfig, *, vocabulary: int, start: int | None = None
    ) -> None:
        super().__init__()
        self.config, self.vocabulary, self.start = config, vocabulary, start
        size = config.embedding or vocabulary
        self.embedding = nn.Embedding(vocabulary, size) if config.embedding else None
        self.recurrent = Recurrent(
            config.cell,
            size,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        sizes = (config.hidden, *config.feed_forward)
        self.feed_forward = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(sizes)
        )
        self.output = nn.Linear(config.last_size, vocabulary)
        if config.tied and self.embedding is not None:
            # As output weights the usual unit-variance embedding would make logits far too large.
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            self.output.weight = self.embedding.weight

    def forward(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits of each next token.

        Args:
            inputs: (B, T) int64, the token before each step; -1 for the zero vector.
            state: the state after the step before, or None at the beginning.

        Returns:
            Logits (B, T, V) and the state after the last step.

        Raises:
            ShapeError: the inputs are not (B, T), or hold a number that is no token.
        """
        if inputs.ndim != 2:
            raise ShapeError(f"inputs have shape {tuple(inputs.shape)}; expected (B, T)")
        output, state = self.recurrent(self._vectors(inputs), state)
        return self._logits(output), state

    def step(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits of the next token, one step at a time.

        Args:
            inputs: (B,) int64, the last token; -1 for the zero vector.
            state: the state after the step before, or None at the beginning.

        Returns:
            Logits (B, V) and the state.

        Raises:
            ShapeError: the inputs hold a number that is no token.
        """
        output, state = self.recurrent.step(self._vectors(inputs), state)
        return self._logits(output), state

    def first_input(self, batch: int) -> Tensor:
        """(B,) what is fed before the first token: the start symbol, or -1 for the zero vector."""
        start = -1 if self.start is None else self.start
        return torch.full((batch,), start, device=self.output.weight.device)

    def _vectors(self, inputs: Tensor) -> Tensor:
        if inputs.numel() and not -1 <= int(inputs.min()) <= int(inputs.max()) < (self.vocabulary):
            raise ShapeError(
                f"inputs hold tokens from {int(inputs.min())} to {int(inputs.max())}; the model "
                f"knows 0 to {self.vocabulary - 1}, and -1 for no token"
            )
        tokens = inputs.clamp(min=0)
        known = (inputs >= 0).unsqueeze(-1)
        if self.embedding is None:
            ones = nn.functional.one_hot(tokens, self.vocabulary)
            return (ones * known).to(self.output.weight.dtype)
        vectors: Tensor = self.embedding(tokens)
        return vectors * known.to(vectors.dtype)

    def _logits(self, output: Tensor) -> Tensor:
        output = self.dropout(output)
        for layer in self.feed_forward:
            output = self.dropout(torch.relu(layer(output)))
        logits: Tensor = self.output(output)
        return logits


def step_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of every step; their sum over T is the loss of the sequence.

        loss_t = -log softmax(logits_t)[y_t]

    Args:
        logits: (B, T, V).
        targets: (B, T) int64; steps with -100 do not count.

    Returns:
        (B, T), in nats, 0 where the target does not count.

    >>> step_losses(torch.zeros(1, 2, 4), torch.tensor([[3, -100]])).exp()
    tensor([[4., 1.]])
    """
    # Flat, not (B, V, T): with the vocabulary last in memory it is many times as fast.
    losses: Tensor = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none"
    )
    return losses.view(targets.shape)
