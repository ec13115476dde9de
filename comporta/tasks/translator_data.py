"""Pairs of texts as a translator sees them: the settings, which files, and texts as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comporta.data import Pair, Vocabulary, read_pairs
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError
from comporta.models import Translator, TranslatorConfig
from comporta.models.checks import check_rates, check_sizes
from comporta.tasks.inputs import TextInputs
from comporta.tasks.kind import Learned
from comporta.training.recipe import Recipe

TABLES = (".tsv", ".tsv.gz")
_SOURCE, _TARGET = "source.tokenizer.json", "target.tokenizer.json"
_END = "<end>"


@dataclass(frozen=True, kw_only=True)
class TranslatorData:
    """Pairs to learn from, and how they are read and used.

    Args:
        files: two parallel files SOURCE TARGET, line by line, or tables of two columns whose names
            end in .tsv; all may be gz.
        validation: pairs to validate on, a table, or the option twice for two parallel files;
            without it a part of the pairs is held out.
        hold_out: the part held out, where there are no such files.
        encoding: of the files.
        level: char, word or bpe.
        target_level: level of the target, where it is another one.
        vocab_size: most tokens of each side; by default 5000 characters, 10000 words or 2000 byte
            pairs.
        target_vocab_size: most tokens of the target, where it is another number.
        batch_size: pairs in a batch.
        label_smoothing: probability taken from the right token and spread over all.
        scheduled_sampling: probability that the decoder reads its own prediction in training; it
            rises from 0 over the first five epochs.
        beam: width of the beam that translates after training; 1 is greedy search.
        length_normalization: how much the beam favours length; 0 for the plain log-probability.

    Raises:
        ConfigurationError: a value out of its range, or a source without a target.

    >>> TranslatorData(files=("train.de", "train.en", "more.de"))
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: more.de has no file of targets after it; give two files \
with as many lines, SOURCE TARGET, or tables whose names end in .tsv
    """

    files: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    hold_out: float = 0.1
    encoding: str = "utf-8"
    level: str = "word"
    target_level: str | None = None
    vocab_size: int | None = None
    target_vocab_size: int | None = None
    batch_size: int = 64
    label_smoothing: float = 0.0
    scheduled_sampling: float = 0.0
    beam: int = 5
    length_normalization: float = 0.6

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError(
                "no files to train on; give two parallel files, SOURCE TARGET, or a table"
            )
        parallel(self.files)
        parallel(self.validation)
        check_sizes(self, batch_size=1, beam=1)
        check_rates(self, "hold_out", "label_smoothing", "scheduled_sampling")
        if not 0 <= self.length_normalization < float("inf"):
            raise ConfigurationError(
                f"length_normalization is {self.length_normalization}; it must be 0 or more"
            )


TranslatorRecipe = Recipe[TranslatorData, TranslatorConfig]


def parallel(files: Sequence[str]) -> list[tuple[str, str | None]]:
    """Which files belong together: tables alone, others two by two, source and target.

    A name that ends in .tsv or .tsv.gz is a table, and so is a single file of any name.

    Raises:
        ConfigurationError: a source without a target.

    >>> parallel(["a.tsv", "b.de", "b.en"])
    [('a.tsv', None), ('b.de', 'b.en')]
    """
    if len(files) == 1:
        return [(files[0], None)]
    found: list[tuple[str, str | None]] = []
    rest = iter(files)
    for source in rest:
        target = None if source.endswith(TABLES) else next(rest, "")
        if target == "" or (target or "").endswith(TABLES):
            raise ConfigurationError(
                f"{source} has no file of targets after it; give two files with as many lines, "
                "SOURCE TARGET, or tables whose names end in .tsv"
            )
        found.append((source, target))
    return found


def read_all(files: Sequence[str], *, encoding: str) -> Iterator[Pair]:
    """The pairs of all files, in order."""
    for source, target in parallel(files):
        yield from read_pairs(source, target, encoding=encoding)


class Side:
    """One side of the pairs: texts as tokens.

    One symbol beyond the vocabulary ends every text; before its first token stands the same.

    Args:
        vocabulary: the tokens.

    >>> side = Side.learn(["one two", "two"], level="word", size=None)
    >>> side.encode("two one").tolist(), side.end, side.decode([2, 3])
    ([2, 3, 4], 4, 'two one')
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.end = len(vocabulary)

    @classmethod
    def learn(cls, texts: Iterable[str], *, level: str, size: int | None) -> Side:
        """Learn the tokens of some texts, gone through once."""
        return cls(TextInputs.learn(texts, level=level, size=size).vocabulary)

    def __len__(self) -> int:
        return len(self.vocabulary) + 1

    def encode(self, text: str) -> NDArray[np.int64]:
        """The tokens of a text (T,), the end included."""
        return np.append(self.vocabulary.encode(text).ids.numpy(), self.end)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens without an end: one line."""
        return self.vocabulary.decode(tokens).replace("\n", " ").strip()

    def names(self, tokens: Iterable[int]) -> list[str]:
        """The text of each token."""
        return [_END if i == self.end else self.vocabulary.token(i) for i in tokens]

    def store(self, texts: Iterable[str]) -> Ragged:
        """Texts as tokens on disk."""
        return Ragged(map(self.encode, texts), dtype=np.int32)

    def report(self, store: Ragged, validation: Sequence[int]) -> str:
        """Lengths, the vocabulary and how much of the validation part is unknown, in words."""
        lengths, held_out = store.lengths - 1, list(validation)
        shown = (
            f"{int(np.median(lengths))} tokens (median), {int(lengths.max())} (most); "
            f"vocabulary {len(self.vocabulary)}"
        )
        if self.vocabulary.unk is None:
            return shown
        unknown = sum(int((store[i] == self.vocabulary.unk).sum()) for i in held_out)
        share = unknown / max(1, int(lengths[held_out].sum()))
        return f"{shown}; unknown in validation {share:.2%}"


@dataclass(frozen=True)
class Sides:
    """The source and the target.

    Args:
        source: what is read.
        target: what is written.
        longest: most tokens of a translation: twice those of the longest target of training.
    """

    source: Side
    target: Side
    longest: int

    @classmethod
    def learn(cls, pairs: Callable[[], Iterable[Pair]], data: TranslatorData) -> Sides:
        """Learn the tokens of pairs, which are gone through three times."""
        source = Side.learn((x.source for x in pairs()), level=data.level, size=data.vocab_size)
        target = Side.learn(
            (x.target for x in pairs()),
            level=data.target_level or data.level,
            size=data.target_vocab_size or data.vocab_size,
        )
        longest = max(len(target.encode(x.target)) for x in pairs())
        return cls(source, target, 2 * longest)

    @classmethod
    def from_learned(cls, learned: Learned, data: TranslatorData) -> Sides:
        """The same sides as a run began with."""
        source, target = (
            Side(Vocabulary.from_json(learned.texts.get(name, ""), level=level))
            for name, level in ((_SOURCE, data.level), (_TARGET, data.target_level or data.level))
        )
        return cls(source, target, learned.facts["longest"])

    def learned(self) -> Learned:
        """The vocabularies, and how long translations are."""
        return Learned(
            facts={"longest": self.longest},
            texts={
                _SOURCE: self.source.vocabulary.to_json(),
                _TARGET: self.target.vocabulary.to_json(),
            },
        )

    def model(self, config: TranslatorConfig) -> Translator:
        """A new model between them."""
        return Translator(
            config,
            source_vocabulary=len(self.source),
            target_vocabulary=len(self.target),
            start=self.target.end,
            end=self.target.end,
        )
