"""A text of any length: counted once, then read again in pieces wherever it is needed."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comporta.data.lines import bad_line
from comporta.data.ragged import Ragged
from comporta.data.text import Piece, embedded_corpus, read_pieces, validation_start
from comporta.data.vocabulary import Vocabulary
from comporta.errors import DataError

LONGEST_WORD = 1_000_000

# Up to the last white space that something follows.
_SPACED = re.compile(r".*[ \t\r\n](?=\S)", re.DOTALL)


class Corpus:
    """Text files as one text, which may be larger than memory.

    Args:
        files: text files as of `read_pieces`; none for the embedded corpus.
        level: char, word or bpe: where a piece may end, so that the tokens of the pieces are
            those of the whole text. Between characters that is anywhere, else at white space.

    Raises:
        DataError: as `read_pieces`, or a pipe, which cannot be read again.

    >>> corpus = Corpus([], level="word")
    >>> corpus.characters, corpus.validation_start
    (3000000, 2700000)
    >>> "".join(corpus.pieces(10, 20))
    'of phased-'
    """

    def __init__(self, files: Sequence[str | Path], *, level: str) -> None:
        for path in map(Path, files):
            if path.is_fifo():
                raise DataError(
                    f"{path} is a pipe, and a text is read more than once; write it to a file first"
                )
        self._files, self._level = files, level
        self.characters = 0
        found = hashlib.sha256()
        for piece in self._read():
            self.characters += len(piece.text)
            found.update(piece.text.encode())
        self.digest = found.hexdigest()
        self.validation_start = validation_start(self.characters)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """A part of the text.

        Args:
            start: its first character.
            stop: the character after its last one; None for all that follow.

        Yields:
            Its pieces.

        Raises:
            DataError: a million characters without white space, where words are wanted.
        """
        part = self._part(start, self.characters if stop is None else stop)
        if self._level == "char":
            yield from (piece.text for piece in part)
            return
        rest = ""
        for piece in part:
            rest += piece.text
            spaced = _SPACED.match(rest)
            if spaced:
                # A sentence ends with all of its white space; a byte pair begins with a space.
                cut = spaced.end() - (self._level == "bpe")
                yield rest[:cut]
                rest = rest[cut:]
            if len(rest) > LONGEST_WORD:
                raise bad_line(
                    piece.path,
                    piece.line + piece.text.count("\n"),
                    f"more than {LONGEST_WORD:,} characters without white space, which is no text "
                    "of words; break the line, or take --level char",
                )
        yield rest

    def _part(self, start: int, stop: int) -> Iterator[Piece]:
        place = 0
        for piece in self._read():
            before, after = max(start - place, 0), max(stop - place, 0)
            text = piece.text[before:after]
            place += len(piece.text)
            if text:
                line = piece.line + piece.text.count("\n", 0, before)
                yield Piece(text, piece.path, line)
            if place >= stop:
                return

    def _read(self) -> Iterator[Piece]:
        if self._files:
            return read_pieces(self._files)
        return iter([Piece(embedded_corpus(), Path("the embedded corpus"), 1)])


def encode_pieces(
    vocabulary: Vocabulary, pieces: Iterable[str]
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """The tokens of a text that is read in pieces; they are kept in a temporary file.

    Args:
        vocabulary: the tokens.
        pieces: of the text, cut as `Corpus` does it.

    Returns:
        The tokens (N,), mapped into memory, and the pieces of the text that became `<unk>`, with
        how often each occurred.

    >>> vocabulary = Vocabulary.learn("abba", level="char")
    >>> tokens, unknown = encode_pieces(vocabulary, ["ab", "ca"])
    >>> tokens.tolist(), unknown
    ([1, 2, 0, 1], {'c': 1})
    """
    unknown: Counter[str] = Counter()

    def encoded() -> Iterator[NDArray[Any]]:
        for piece in pieces:
            found = vocabulary.encode(piece)
            unknown.update(found.unknown)
            yield found.ids.numpy()

    tokens = Ragged(encoded(), dtype=np.int32).values
    return tokens, dict(unknown)
