"""A recurrent generator: one thing in, or nothing, and a sequence out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.errors import ShapeError
from comporta.models.checks import check_rates, check_sizes
from comporta.models.decode import Sampling
from comporta.nn import LockedDropout, Recurrent, State


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """What a generator is made of, whatever it writes.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        embedding: size of the vectors that an output and the condition become.
        hidden: H, the size of each recurrent layer.
        layers: how many recurrent layers lie on each other.
        dropout: probability of dropping a feature before, between and after the recurrent layers.

    Raises:
        ConfigurationError: a value out of its range.

    >>> GeneratorConfig(dropout=1.0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: dropout is 1.0; it must be at least 0 and less than 1
    """

    cell: Cell = field(default_factory=lambda: get("gru"))
    embedding: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_sizes(self, embedding=1, hidden=1, layers=1)
        check_rates(self, "dropout")


class Generator(nn.Module):
    """Recurrent layers whose last output is their next input, along with a condition.

        x_t = E y_{t-1} + C(c)                   y_0 = 0
        a_t, s_t = cells(x_t, s_{t-1})
        z_t = V a_t + b
        p(y_t) = softmax(z_t)                    tokens, y_t one-hot
        p(y_t[k]) = sigmoid(z_t[k])              keys, each by itself

    Source: tokens as in Karpathy & Fei-Fei 2015, arXiv:1412.2306, and Vinyals et al. 2015, "Show
    and tell", arXiv:1411.4555; keys as in Boulanger-Lewandowski et al. 2012, arXiv:1206.6392.
    Deliberate deviation: those give the condition c at the first step alone; here every step has
    it, so that a long sequence need not remember it.

    Args:
        config: what it is made of.
        size: V, the number of tokens or keys.
        keys: whether it writes keys, any number of them at a time, and not one token.
        condition: C, a module that turns conditions into vectors (B, embedding); None for none.

    >>> model = Generator(GeneratorConfig(hidden=8), size=5)
    >>> logits, state = model(torch.tensor([[-1, 3, 2]]))
    >>> logits.shape
    torch.Size([1, 3, 5])
    """

    def __init__(
        self,
        config: GeneratorConfig,
        *,
        size: int,
        keys: bool = False,
        condition: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.size, self.keys = config, size, keys
        self.embedding = (
            nn.Linear(size, config.embedding, bias=False)
            if keys
            else nn.Embedding(size, config.embedding)
        )
        self.condition = condition
        self.recurrent = Recurrent(
            config.cell,
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = LockedDropout(config.dropout)
        self.output = nn.Linear(config.hidden, size)

    def forward(
        self,
        inputs: Tensor,
        condition: Tensor | None = None,
        state: tuple[State, ...] | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """What comes after each step.

        Args:
            inputs: what was put out before each step: tokens (B, T) int64, -1 for none; or keys
                (B, T, V), 1 where a key sounds.
            condition: (B, ...), what the condition module reads; None where there is none.
            state: the state after the step before, or None at the beginning.

        Returns:
            Logits (B, T, V) and the state after the last step.

        Raises:
            ShapeError: inputs of another shape, or a condition that lacks or is too much.
        """
        vectors = self._embedded(inputs)
        if (condition is None) != (self.condition is None):
            wanted = "no condition" if self.condition is None else "a condition"
            raise ShapeError(f"this generator takes {wanted}; give what it was made for")
        if self.condition is not None:
            vectors = vectors + self.condition(condition).unsqueeze(1)
        output, state = self.recurrent(self.dropout(vectors), state)
        logits: Tensor = self.output(self.dropout(output))
        return logits, state

    def _embedded(self, inputs: Tensor) -> Tensor:
        shape = ("B", "T", str(self.size)) if self.keys else ("B", "T")
        if inputs.ndim != len(shape) or (self.keys and inputs.shape[2] != self.size):
            raise ShapeError(
                f"inputs have shape {tuple(inputs.shape)}; expected ({', '.join(shape)})"
            )
        if self.keys:
            return self.embedding(inputs.to(self.output.weight.dtype))  # type: ignore[no-any-return]
        known = (inputs >= 0).unsqueeze(-1)
        vectors: Tensor = self.embedding(inputs.clamp(min=0))
        return vectors * known.to(vectors.dtype)


class Conditioned:
    """A generator with its condition filled in: written with as a language model is.

    Args:
        model: the generator.
        condition: (1, ...), what its condition module reads; None where it has none.

    >>> model = Generator(GeneratorConfig(hidden=8), size=5, condition=nn.Embedding(2, 64))
    >>> logits, _ = Conditioned(model, torch.tensor([1])).step(torch.tensor([3]))
    >>> logits.shape
    torch.Size([1, 5])
    """

    def __init__(self, model: Generator, condition: Tensor | None = None) -> None:
        self._model, self._condition = model, condition

    def __call__(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits (1, T, V) after inputs (1, T, ...), and the state."""
        logits, state = self._model(inputs, self._condition, state)
        return logits, state

    def step(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits (1, V) after one input (1, ...), and the state."""
        logits, state = self(inputs.unsqueeze(1), state)
        return logits.squeeze(1), state

    def first_input(self, batch: int) -> Tensor:
        """What is fed before the first output: no token (1,), or no key (1, V)."""
        device = self._model.output.weight.device
        if self._model.keys:
            return torch.zeros(batch, self._model.size, device=device)
        return torch.full((batch,), -1, device=device)


def key_losses(logits: Tensor, keys: Tensor) -> Tensor:
    """Minus the log-probability of every frame: the sum over its keys, each by itself.

        loss_t = -sum_k y_t[k] log p_t[k] + (1 - y_t[k]) log(1 - p_t[k]),  p = sigmoid(logits)

    Source: Boulanger-Lewandowski et al. 2012, arXiv:1206.6392.

    Args:
        logits: (B, T, V).
        keys: (B, T, V), 1 where a key sounds.

    Returns:
        (B, T), in nats.

    >>> key_losses(torch.zeros(1, 1, 2), torch.tensor([[[1, 0]]])).exp()
    tensor([[4.]])
    """
    losses: Tensor = nn.functional.binary_cross_entropy_with_logits(
        logits, keys.to(logits.dtype), reduction="none"
    ).sum(2)
    return losses


@torch.no_grad()
def generate_keys(
    model: Conditioned,
    prime: Tensor,
    *,
    length: int,
    sampling: Sampling,
    generator: torch.Generator,
) -> Tensor:
    """Draw frames one after the other, each key by itself.

    Args:
        model: the model with its condition, in evaluation mode.
        prime: (N, V), the frames to go on from; N may be 0.
        length: how many frames to draw.
        sampling: the temperature divides the logits; at 0 a key sounds where that is more
            probable than not. Top-k and top-p are of tokens.
        generator: where the randomness comes from, a generator of the CPU.

    Returns:
        (length, V) bool, without the prime.

    >>> model = Conditioned(Generator(GeneratorConfig(hidden=8), size=3, keys=True))
    >>> random = torch.Generator().manual_seed(0)
    >>> generate_keys(
    ...     model, torch.zeros(0, 3), length=4, sampling=Sampling(), generator=random
    ... ).shape
    torch.Size([4, 3])
    """
    first = model.first_input(1)
    logits, state = model(torch.cat([first, prime.to(first)]).unsqueeze(0))
    logits = logits[:, -1]
    frames: list[Tensor] = []
    while len(frames) < length:
        scaled = logits.cpu().double() / (sampling.temperature or 1.0)
        if sampling.temperature:
            frame = torch.rand(scaled.shape, generator=generator, dtype=scaled.dtype)
            frame = frame < scaled.sigmoid()
        else:
            frame = scaled > 0
        frames.append(frame[0])
        logits, state = model.step(frame.to(first), state)
    return torch.stack(frames) if frames else prime.new_zeros(0, prime.shape[1], dtype=torch.bool)
