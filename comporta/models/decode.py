"""Reading probabilities off a model that writes tokens, and drawing text from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from comporta.errors import ConfigurationError
from comporta.models.language_model import step_losses
from comporta.nn import State

_CHUNK = 1024


class Writer(Protocol):
    """A model that writes one token after the other, such as a language model."""

    def __call__(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits (B, T, V) of what comes after inputs (B, T), and the state."""

    def step(
        self, inputs: Tensor, state: tuple[State, ...] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Logits (B, V) of what comes after inputs (B,), and the state."""

    def first_input(self, batch: int) -> Tensor:
        """(B,) what is fed before the first token."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature first, then top-k, then top-p.

    Args:
        temperature: divides the logits; below 1 is bolder in the frequent, 0 takes the most
            probable token always.
        top_k: draw among the k most probable tokens only (Fan et al. 2018, arXiv:1805.04833).
        top_p: draw among the fewest most probable tokens whose probabilities sum to at least p
            (Holtzman et al. 2020, arXiv:1904.09751).

    Raises:
        ConfigurationError: a value out of its range.

    >>> Sampling(top_p=1.5)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: top_p is 1.5; it must be above 0 and at most 1
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigurationError(
                f"temperature is {self.temperature}; it must be a number, 0 or more"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigurationError(f"top_k is {self.top_k}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


def probabilities(logits: Tensor, sampling: Sampling, *, forbidden: Collection[int] = ()) -> Tensor:
    """The distribution the next token is drawn from.

    A forbidden token is given probability 0 before anything else, which is the same as drawing
    again whenever it comes up.

    Args:
        logits: (V,).
        sampling: temperature, top-k and top-p.
        forbidden: tokens that may not be drawn.

    Returns:
        (V,) float64, summing to 1.

    >>> probabilities(torch.tensor([0.0, 0.0, -9.0]), Sampling(top_k=2), forbidden=[0]).argmax()
    tensor(1)
    """
    logits = logits.double()
    if forbidden:
        logits = logits.index_fill(
            0, torch.tensor(sorted(forbidden), device=logits.device), -torch.inf
        )
    if sampling.temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    ranked, order = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k is not None:
        ranked[sampling.top_k :] = -torch.inf
    ranked = ranked.softmax(0)
    if sampling.top_p is not None:
        before = ranked.cumsum(0) - ranked
        ranked = torch.where(before < sampling.top_p, ranked, 0.0)
        ranked = ranked / ranked.sum()
    return torch.zeros_like(ranked).scatter(0, order, ranked)


def randomness(*, length: int | None, count: int, seed: int | None) -> torch.Generator:
    """Where the randomness of what is drawn comes from.

    Args:
        length: of each sequence, or None.
        count: how many sequences.
        seed: fixes what is drawn; None draws anew each time.

    Raises:
        ConfigurationError: a length, a count or a seed below its least value.

    >>> randomness(length=None, count=0, seed=None)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: count is 0; it must be at least 1, and below 2**63
    """
    for name, value, least in (("length", length, 0), ("count", count, 1), ("seed", seed, 0)):
        if value is not None and not least <= value < 2**63:
            raise ConfigurationError(
                f"{name} is {value}; it must be at least {least}, and below 2**63"
            )
    generator = torch.Generator()
    _ = generator.seed() if seed is None else generator.manual_seed(seed)
    return generator


@torch.no_grad()
def generate(
    model: Writer,
    prime: Tensor,
    *,
    length: int,
    sampling: Sampling,
    generator: torch.Generator,
    forbidden: Collection[int] = (),
    stop: int | None = None,
) -> list[int]:
    """Draw tokens one after the other.

    Args:
        model: the model, in evaluation mode.
        prime: (N,) int64, the tokens to go on from; may be empty.
        length: how many tokens to draw.
        sampling: how to draw them.
        generator: where the randomness comes from, a generator of the CPU.
        forbidden: tokens that are never drawn.
        stop: end as soon as this token is drawn; it is not returned.

    Returns:
        The tokens drawn, without the prime.

    >>> from comporta.models import LanguageModel, LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(hidden=8), vocabulary=5)
    >>> prime, random = torch.tensor([1, 2]), torch.Generator().manual_seed(0)
    >>> len(generate(model, prime, length=7, sampling=Sampling(), generator=random))
    7
    """
    first = model.first_input(1)
    inputs = torch.cat([first, prime.to(first.device)])
    logits, state = model(inputs.unsqueeze(0))
    logits = logits[:, -1]
    tokens: list[int] = []
    while len(tokens) < length:
        weights = probabilities(logits[0], sampling, forbidden=forbidden).cpu()
        token = int(torch.multinomial(weights, 1, generator=generator))
        if token == stop:
            break
        tokens.append(token)
        logits, state = model.step(first.new_tensor([token]), state)
    return tokens


@torch.no_grad()
def log_probabilities(model: Writer, tokens: Tensor) -> Tensor:
    """log p(y_t | y_{<t}) of every token of a sequence; their sum is that of the sequence.

    Args:
        model: the model, in evaluation mode.
        tokens: (N,) int64.

    Returns:
        (N,) in nats.

    >>> from comporta.models import LanguageModel, LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(hidden=8), vocabulary=5)
    >>> log_probabilities(model, torch.tensor([1, 2])).shape
    torch.Size([2])
    """
    first = model.first_input(1)
    tokens = tokens.to(first.device)
    inputs = torch.cat([first, tokens[:-1]])
    state = None
    parts = []
    # In chunks, with the state carried: the logits of a long text would not fit in memory.
    for start in range(0, len(tokens), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        logits, state = model(inputs[None, chunk], state)
        parts.append(-step_losses(logits, tokens[None, chunk])[0])
    return torch.cat(parts).cpu() if parts else torch.zeros(0)
