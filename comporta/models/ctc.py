"""Decoding of connectionist temporal classification: from frames to labels.

At each of T frames the network gives probabilities of K symbols, one of them the blank. An
alignment is one symbol a frame; its labels are what remains when equal neighbours are merged and
blanks taken out. The probability of a labelling is the sum over its alignments.

Source: Graves et al. 2006, "Connectionist temporal classification".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError
from comporta.models.beam import Hypothesis, join, select

S = TypeVar("S")
_Array: TypeAlias = npt.NDArray[np.float64]
_Index: TypeAlias = npt.NDArray[np.int64]


class LanguageScorer(Protocol[S]):
    """A language model over the labels of a transcriber, which `prefix_beam` takes advice from.

    Its log-probabilities are (N, K), one column a symbol of the transcriber; the blank's is not
    read. Its states hold N rows, as `comporta.models.beam.select` takes them.
    """

    def start(self) -> tuple[Tensor, S]:
        """The log-probabilities (1, K) of the first label, and the state of one row."""

    def extend(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """The log-probabilities (N, K) of what follows the labels (N,), and the state then."""


def needed_steps(tokens: Sequence[int]) -> int:
    """The fewest frames that can be aligned with these labels: equal neighbours need a blank.

    >>> needed_steps([3, 5, 5])
    4
    """
    return len(tokens) + sum(before == after for before, after in itertools.pairwise(tokens))


def greedy(log_probabilities: Tensor, blank: int = 0) -> list[int]:
    """The labels of the most probable alignment: fast, but not always the most probable labels.

    Args:
        log_probabilities: (T, K).
        blank: which of the K symbols is the blank.

    Raises:
        ShapeError: the log-probabilities are not (T, K) with a blank among the K.

    >>> greedy(torch.eye(3)[[1, 1, 0, 1, 2]])
    [1, 1, 2]
    """
    return GreedyStream(blank).feed(log_probabilities)


class GreedyStream:
    """Greedy decoding of frames as they come: a label is given out with its first frame.

    Args:
        blank: which of the symbols is the blank.

    >>> stream = GreedyStream()
    >>> stream.feed(torch.eye(3)[[0, 1]]), stream.feed(torch.eye(3)[[1, 2, 0]])
    ([1], [2])
    """

    def __init__(self, blank: int = 0) -> None:
        self.blank = blank
        self._last = blank

    def feed(self, log_probabilities: Tensor) -> list[int]:
        """The labels that these frames add.

        Args:
            log_probabilities: (T, K), of the frames after those fed before; T may be 0.

        Raises:
            ShapeError: as of `greedy`.
        """
        _check(log_probabilities, self.blank)
        best = log_probabilities.argmax(1).tolist()
        frames = itertools.pairwise([self._last, *best])
        self._last = best[-1] if best else self._last
        return [symbol for last, symbol in frames if symbol not in (last, self.blank)]


class _Beam:
    """The prefixes of a frame, each in one row.

    Args:
        prefixes: what each is made of.
        blank: (N,) log-probability of its alignments that end with a blank.
        label: (N,) of those that end with its last label.
        bonus: (N,) what the language model and the length add to its score.
    """

    def __init__(
        self, prefixes: list[tuple[int, ...]], blank: _Array, label: _Array, bonus: _Array
    ) -> None:
        self.prefixes = prefixes
        self.blank = blank
        self.label = label
        self.bonus = bonus

    @property
    def total(self) -> _Array:
        """(N,) the log-probability of all alignments."""
        return np.logaddexp(self.blank, self.label)

    def advance(self, frame: _Array, blank: int) -> tuple[_Array, _Array, _Array]:
        """The next frame: what stays as it is, by last symbol, and what grows by one label.

        Args:
            frame: (K,) log-probabilities.
            blank: which symbol is the blank.

        Returns:
            For each prefix as it is, the log-probability with a blank at the end (N,) and with a
            label (N,); and of each prefix with one more label (N, K). Where that is a prefix of
            the beam, too, it counts there, and is -inf here.
        """
        total = self.total
        grown = total[:, None] + frame
        grown[:, blank] = -np.inf
        label = np.full_like(total, -np.inf)
        places = {prefix: row for row, prefix in enumerate(self.prefixes)}
        for row, prefix in enumerate(self.prefixes):
            if prefix:
                last = prefix[-1]
                label[row] = self.label[row] + frame[last]
                # The same label again is a new one only after a blank.
                grown[row, last] = self.blank[row] + frame[last]
        for row, prefix in enumerate(self.prefixes):
            parent = places.get(prefix[:-1]) if prefix else None
            if parent is not None:
                label[row] = np.logaddexp(label[row], grown[parent, prefix[-1]])
                grown[parent, prefix[-1]] = -np.inf
        return total + frame[blank], label, grown


@torch.no_grad()
def prefix_beam(
    log_probabilities: Tensor,
    *,
    width: int,
    blank: int = 0,
    scorer: LanguageScorer[S] | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> list[Hypothesis]:
    """The best labellings that a beam of prefixes finds, each with all its alignments.

        score(Y) = log p(Y) + weight * log p_language(Y) + bonus * |Y|

    The language model tells of labels and not of the end. With a beam wide enough for all
    prefixes the log-probabilities are exact.

    Source: Hannun et al. 2014, arXiv:1408.2873; the sum over alignments is Graves et al. 2006.

    Args:
        log_probabilities: (T, K).
        width: how many prefixes go on from frame to frame.
        blank: which of the K symbols is the blank.
        scorer: the language model, asked once for each new prefix, all of a frame together.
        weight: how much the language model counts.
        bonus: what each label adds to the score, to make up for what the language model takes.

    Returns:
        At most `width` hypotheses, the best first; their log-probability is that of the frames.

    Raises:
        ShapeError: the log-probabilities are not (T, K) with a blank among the K.
        ConfigurationError: width is below 1.

    >>> frames = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    >>> greedy(frames), [found.tokens for found in prefix_beam(frames, width=2)]
    ([], [[1], []])
    """
    _check(log_probabilities, blank)
    if width < 1:
        raise ConfigurationError(f"width is {width}; it must be at least 1")
    frames = log_probabilities.double().cpu().numpy()
    beam = _Beam([()], np.zeros(1), np.full(1, -np.inf), np.zeros(1))
    advice = _Advice(scorer, weight, bonus, symbols=frames.shape[1])
    for frame in frames:
        ends_blank, ends_label, grown = beam.advance(frame, blank)
        count, symbols = grown.shape
        gains = beam.bonus[:, None] + advice.gains
        stay = np.logaddexp(ends_blank, ends_label) + beam.bonus
        scores = np.concatenate([stay, (grown + gains).ravel()])
        best = np.argsort(-scores, kind="stable")[:width]
        best = best[scores[best] > -np.inf]
        kept = best[best < count]
        parents, labels = np.divmod(best[best >= count] - count, symbols)
        news = [
            (*beam.prefixes[parent], int(label))
            for parent, label in zip(parents, labels, strict=True)
        ]
        nothing = np.full(len(news), -np.inf)
        beam = _Beam(
            [beam.prefixes[row] for row in kept] + news,
            np.concatenate([ends_blank[kept], nothing]),
            np.concatenate([ends_label[kept], grown[parents, labels]]),
            np.concatenate([beam.bonus[kept], gains[parents, labels]]),
        )
        advice.follow(kept, parents, labels)
    hypotheses = [
        Hypothesis(list(prefix), float(total), float(total + extra))
        for prefix, total, extra in zip(beam.prefixes, beam.total, beam.bonus, strict=True)
    ]
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


class _Advice(Generic[S]):
    """What a label adds to the score of each prefix of a beam.

    `gains` is (N, K), or (1, K) where it is the same for all prefixes, without a language model.
    """

    def __init__(
        self, scorer: LanguageScorer[S] | None, weight: float, bonus: float, *, symbols: int
    ) -> None:
        self.scorer = scorer
        self.weight = weight
        self.bonus = bonus
        if scorer is None:
            self.gains: _Array = np.full((1, symbols), bonus)
        else:
            first, self.state = scorer.start()
            self.gains = self._weighted(first)

    def follow(self, kept: _Index, parents: _Index, labels: _Index) -> None:
        """Go on to the next beam: the rows kept, then those with one more label."""
        if self.scorer is None:
            return
        state = select(self.state, torch.from_numpy(kept))
        gains = self.gains[kept]
        if len(labels):
            before = select(self.state, torch.from_numpy(parents))
            following, after = self.scorer.extend(torch.from_numpy(labels), before)
            state, gains = join(state, after), np.concatenate([gains, self._weighted(following)])
        self.state, self.gains = state, gains

    def _weighted(self, log_probabilities: Tensor) -> _Array:
        gains: _Array = (self.weight * log_probabilities.double() + self.bonus).cpu().numpy()
        return gains


def _check(log_probabilities: Tensor, blank: int) -> None:
    if log_probabilities.ndim != 2 or not 0 <= blank < log_probabilities.shape[1]:
        raise ShapeError(
            f"the log-probabilities have shape {tuple(log_probabilities.shape)}; expected (T, K), "
            f"one column a symbol, the blank {blank} among them"
        )
