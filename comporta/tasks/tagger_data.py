"""The data of a tagger: which files of columns, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comporta.data import Sentence, read_columns
from comporta.errors import ConfigurationError
from comporta.models import TaggerConfig
from comporta.models.checks import check_rates, check_sizes
from comporta.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TaggerData:
    """Sentences to learn from, and how they are read.

    Args:
        files: files of columns (CoNLL): a line a word, a blank line after a sentence; may be gz.
        validation: a file to validate on; without it a part of the sentences is held out.
        hold_out: the part held out, where there is no such file.
        separator: what stands between columns, \\t for a tab; by default any number of spaces and
            tabs.
        word: column of the words, from 0; a negative number counts from the last.
        tag: column of the tags.
        encoding: of the files.
        vocab_size: most words with a vector of their own, the most frequent ones.
        lower: look words up in small letters; the encoder of characters sees them as they are.
        vectors: a text file of vectors of words (word2vec, GloVe) to begin with, of the size that
            embedding says.
        batch_size: sentences in a batch.

    Raises:
        ConfigurationError: a value out of its range.
    """

    files: tuple[str, ...] = ()
    validation: str | None = None
    hold_out: float = 0.1
    separator: str | None = None
    word: int = 0
    tag: int = -1
    encoding: str = "utf-8"
    vocab_size: int = 100_000
    lower: bool = False
    vectors: str | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError("no files to train on; give files of columns, a line a word")
        check_sizes(self, batch_size=1, vocab_size=2)
        check_rates(self, "hold_out")
        if self.separator == "":
            raise ConfigurationError("the separator is empty; leave it out for spaces and tabs")

    @property
    def between(self) -> str | None:
        """The separator; a shell passes on the two characters \\t as they are."""
        return None if self.separator is None else self.separator.replace("\\t", "\t")

    @property
    def validation_files(self) -> tuple[str, ...]:
        """The validation file, if there is one."""
        return () if self.validation is None else (self.validation,)


TaggerRecipe = Recipe[TaggerData, TaggerConfig]


def read_sentences(data: TaggerData, path: str) -> Iterator[Sentence]:
    """The tagged sentences of a file, read as the data says."""
    return read_columns(
        path, separator=data.between, word=data.word, tag=data.tag, encoding=data.encoding
    )
