"""Beam and greedy search over any decoder that goes on step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError

S = TypeVar("S")
Step: TypeAlias = Callable[[Tensor, S], tuple[Tensor, S]]
"""(last tokens (N,), state of N rows) -> (log-probabilities of the next (N, V), state)."""


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that a search found.

    Args:
        tokens: without start and end.
        log_probability: of the sequence by the model, in nats, its end included.
        score: what hypotheses are ranked by; the greatest is the best.
    """

    tokens: list[int]
    log_probability: float
    score: float


def select(state: S, rows: Tensor) -> S:
    """The rows of a state, in the order asked for and as often as asked for.

    Args:
        state: tensors with the rows as first dimension, in tuples and named tuples, nested as
            they like; None stays None.
        rows: (N,) int64.

    Returns:
        The same nest, every tensor with N rows.

    Raises:
        ShapeError: something in it is neither a tensor nor a tuple.

    >>> select((torch.tensor([5, 6]), None), torch.tensor([1, 1]))
    (tensor([6, 6]), None)
    """
    return cast(S, _map(lambda tensor: tensor.index_select(0, rows), state))


def join(first: S, second: S) -> S:
    """The rows of one state, then those of another of the same nest.

    >>> join((torch.tensor([5]), None), (torch.tensor([6, 7]), None))
    (tensor([5, 6, 7]), None)
    """
    return cast(S, _map(lambda *pair: torch.cat(pair), first, second))


@torch.no_grad()
def beam_search(
    state: S,
    step: Step[S],
    *,
    width: int,
    start: int,
    end: int,
    longest: int,
    length_normalization: float = 0.0,
) -> list[list[Hypothesis]]:
    """The best sequences that a beam finds, for a batch of sentences at once.

        score(Y) = log p(Y) / lp(Y),  lp(Y) = ((5 + |Y|) / 6)^alpha,  |Y| with the end

    At each step every sentence keeps its `width` most probable beginnings. A sentence is done
    when `width` of its hypotheses have ended and none that goes on has a better score now.

    Source: Sutskever et al. 2014, arXiv:1409.3215; lp: Wu et al. 2016, arXiv:1609.08144.

    Args:
        state: before the first token, one row a sentence; as `select` takes it.
        step: the decoder. It is called with `width` rows for each sentence not yet done; rows
            that no possible beginning fills may follow any token, `end` too.
        width: how many hypotheses go on at each step; 1 is greedy search.
        start: the token fed first.
        end: the token that ends a sequence.
        longest: sequences are cut after this many tokens, ended or not.
        length_normalization: alpha; 0 ranks by log p, which favours short sequences.

    Returns:
        For each sentence at most `width` hypotheses, the best first.

    Raises:
        ConfigurationError: width or longest below 1, or alpha below 0.
        ShapeError: the state holds no tensor.

    >>> likely = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7]]).log()  # after 0, after 1
    >>> def step(tokens, state):
    ...     return likely[tokens], state
    >>> found = beam_search((torch.zeros(1),), step, width=2, start=0, end=2, longest=9)
    >>> [hypothesis.tokens for hypothesis in found[0]]
    [[1], []]
    """
    _check(width=width, longest=longest, alpha=length_normalization)
    first = _first(state)
    device, batch = first.device, first.shape[0]
    state = select(state, torch.arange(batch, device=device).repeat_interleave(width))
    finished: list[list[Hypothesis]] = [[] for _ in range(batch)]
    active = list(range(batch))
    history = torch.full((batch, width, 1), start, device=device)
    # All beginnings of a sentence are still the same one: one of them counts.
    scores = torch.tensor([0.0] + [-torch.inf] * (width - 1), device=device).repeat(batch, 1)
    for length in range(1, longest + 1):
        if not active:
            break
        penalty = ((5 + length) / 6) ** length_normalization
        following, state = step(history[:, :, -1].flatten(), state)
        best, parent, token = _candidates(scores, following)
        ended = token == end
        for row, place in (ended[:, :width] & (best[:, :width] > -torch.inf)).nonzero().tolist():
            tokens = history[row, parent[row, place], 1:].tolist()
            value = float(best[row, place])
            finished[active[row]].append(Hypothesis(tokens, value, value / penalty))
        scores, order = best.masked_fill(ended, -torch.inf).topk(width)
        parent, token = parent.gather(1, order), token.gather(1, order)
        history = torch.cat([_pick(history, parent), token.unsqueeze(2)], 2)
        leaders = (scores[:, 0] / penalty).tolist()
        going = [
            row
            for row, sentence in enumerate(active)
            if not _done(finished[sentence], leaders[row], width)
        ]
        rows = torch.tensor(going, dtype=torch.int64, device=device)
        state = select(state, (rows.unsqueeze(1) * width + parent[rows]).flatten())
        active, history, scores = [active[row] for row in going], history[rows], scores[rows]
    penalty = ((5 + longest) / 6) ** length_normalization
    for row, place in (scores > -torch.inf).nonzero().tolist():
        value = float(scores[row, place])
        hypothesis = Hypothesis(history[row, place, 1:].tolist(), value, value / penalty)
        finished[active[row]].append(hypothesis)
    return [_ranked(found)[:width] for found in finished]


@torch.no_grad()
def greedy(state: S, step: Step[S], *, start: int, end: int, longest: int) -> list[Hypothesis]:
    """The sequence of most probable tokens, one after the other, for each sentence.

    Args:
        state: before the first token, one row a sentence; as `select` takes it.
        step: the decoder.
        start: the token fed first.
        end: the token that ends a sequence.
        longest: sequences are cut after this many tokens, ended or not.

    Returns:
        One hypothesis a sentence, its score the log-probability.

    Raises:
        ConfigurationError: longest is below 1.
        ShapeError: the state holds no tensor.

    >>> likely = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7]]).log()  # after 0, after 1
    >>> def step(tokens, state):
    ...     return likely[tokens], state
    >>> greedy((torch.zeros(1),), step, start=0, end=2, longest=9)[0].tokens
    [1]
    """
    _check(width=1, longest=longest, alpha=0.0)
    first = _first(state)
    active = torch.arange(first.shape[0], device=first.device)
    tokens = torch.full_like(active, start)
    sequences: list[list[int]] = [[] for _ in range(len(active))]
    totals = torch.zeros(len(active), dtype=torch.float64, device=first.device)
    for _ in range(longest):
        following, state = step(tokens, state)
        values, tokens = following.max(1)
        totals[active] += values
        going = (tokens != end).nonzero().squeeze(1)
        active, tokens, state = active[going], tokens[going], select(state, going)
        for sentence, token in zip(active.tolist(), tokens.tolist(), strict=True):
            sequences[sentence].append(token)
        if not len(active):
            break
    return [
        Hypothesis(found, total, total)
        for found, total in zip(sequences, totals.tolist(), strict=True)
    ]


def _candidates(scores: Tensor, following: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best 2 * width ways to go on: log p, whom they follow, their token, each (B, 2W).

    Twice the width, for each of the beginnings can end once: `width` of them go on for sure.
    """
    batch, width = scores.shape
    vocabulary = following.shape[-1]
    totals = scores.unsqueeze(2) + following.view(batch, width, vocabulary)
    best, place = totals.flatten(1).topk(min(2, vocabulary) * width)
    return best, place // vocabulary, place % vocabulary


def _pick(history: Tensor, parent: Tensor) -> Tensor:
    """(B, W, t): the histories of the parents (B, W)."""
    return history.gather(1, parent.unsqueeze(2).expand(-1, -1, history.shape[2]))


def _done(finished: list[Hypothesis], leader: float, width: int) -> bool:
    """Whether a sentence has its hypotheses; the leader is the best score of those that go on."""
    if leader == -torch.inf:
        return True
    return len(finished) >= width and _ranked(finished)[width - 1].score >= leader


def _ranked(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def _first(state: object) -> Tensor:
    """Some tensor of a state, for its rows and its device."""
    found: list[Tensor] = []
    _map(found.append, state)
    if not found:
        raise ShapeError(f"a state must hold a tensor with one row a sentence; it is {state!r}")
    return found[0]


def _map(change: Callable[..., object], value: object, *others: object) -> object:
    match value:
        case None:
            return None
        case Tensor():
            return change(value, *others)
        case tuple():
            parts = [
                _map(change, *items)
                for items in zip(value, *cast(tuple[tuple[object, ...], ...], others), strict=True)
            ]
            make: Callable[..., object] = type(value)
            return make(*parts) if hasattr(value, "_fields") else tuple(parts)
    raise ShapeError(f"a state is made of tensors in tuples; it holds a {type(value).__name__}")


def _check(*, width: int, longest: int, alpha: float) -> None:
    for name, value in {"width": width, "longest": longest}.items():
        if value < 1:
            raise ConfigurationError(f"{name} is {value}; it must be at least 1")
    if not alpha >= 0:
        raise ConfigurationError(f"length_normalization is {alpha}; it must be 0 or more")
