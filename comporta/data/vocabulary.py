"""Vocabularies of characters, words and byte pairs, all kept as a `tokenizer.json`.

The library `tokenizers` holds the rules and the table; a vocabulary adds what a language model
needs to know about them: which token is unknown, which ends a sentence, which stands before the
first one, and which pieces of a text were unknown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.errors import CheckpointError, ConfigurationError, DataError, nearest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNK = "<unk>"
EOS = "<eos>"
LEVELS = ("char", "word", "bpe")
DEFAULT_SIZE = {"char": 5_000, "word": 10_000, "bpe": 2_000}
_BYTES = 256
_SHOWN = 10
_CODE_POINTS = 0x110000

# A sentence ends at white space after . ! ? (and at most one closing mark) and at line ends.
_SENTENCE_END = r"(?<=[.!?])\s+|(?<=[.!?][\"'’”)\]])\s+|\s*\n\s*"
_WORD = r"<eos>|<unk>|\w+(?:['’]\w+)*|[^\w\s]"
_CLOSING = re.compile(r" (?=[.,;:!?)\]}’”])")
_OPENING = re.compile(r"(?<=[(\[{“‘]) ")


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A text as tokens.

    Args:
        ids: (N,) int64.
        unknown: the pieces of the text that became `<unk>`, with how often each occurred.
    """

    ids: Tensor
    unknown: dict[str, int]


def unknown_note(unknown: Mapping[str, int], where: str) -> str:
    """Which pieces of a text are unknown, the most frequent first.

    >>> unknown_note({"ß": 3, "ŷ": 1}, "the prime")
    "unknown in the prime, treated as <unk>: 'ß' (3), 'ŷ' (1)"
    """
    ranked = sorted(unknown, key=lambda piece: (-unknown[piece], piece))
    shown = ", ".join(f"{piece!r} ({unknown[piece]})" for piece in ranked[:_SHOWN])
    more = f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
    return f"unknown in {where}, treated as <unk>: {shown}{more}"


class Vocabulary:
    """The tokens of a text at one level: characters, words or byte pairs.

    - `char`: every character is a token; any character of the vocabulary round trips, line ends
      included.
    - `word`: words (with inner apostrophes) and single punctuation marks; `<eos>` stands at
      sentence ends, that is white space after `.`, `!` or `?`, and at line ends. Decoding joins
      words with spaces, punctuation to the word before it, and `<eos>` becomes a line end.
    - `bpe`: byte-level byte pair encoding; every text round trips, nothing is unknown.
      Source: Sennrich et al. 2016, arXiv:1508.07909; on bytes as in Radford et al. 2019.

    Args:
        tokenizer: the table and its rules.
        level: `char`, `word` or `bpe`.

    >>> vocabulary = Vocabulary.learn("abba\\n", level="char")
    >>> vocabulary.encode("bac").ids.tolist(), vocabulary.encode("bac").unknown
    ([2, 1, 0], {'c': 1})
    >>> vocabulary.decode([1, 2, 2, 3])
    'abb\\n'
    """

    def __init__(self, tokenizer: Tokenizer, *, level: str) -> None:
        self._tokenizer = tokenizer
        self.level = level
        table = tokenizer.get_vocab()
        self._tokens = sorted(table, key=table.__getitem__)
        self.unk: int | None = table.get(UNK)
        self.eos: int | None = table.get(EOS)
        # Before the first token stands what ends a line or a sentence, which training has seen
        # often; texts without line ends begin with the zero vector.
        line_end = EOS if level == "word" else "Ċ" if level == "bpe" else "\n"
        self.start: int | None = table.get(line_end)

    @classmethod
    def learn(
        cls, text: str | Iterable[str], *, level: str = "char", size: int | None = None
    ) -> Vocabulary:
        """Learn a vocabulary from a text.

        Args:
            text: the training text, or its pieces in order.
            level: `char`, `word` or `bpe`.
            size: most tokens to keep, `<unk>` and `<eos>` included; the most frequent stay. By
                default 5000 characters, 10000 words or 2000 byte pairs.

        Returns:
            The vocabulary.

        Raises:
            ConfigurationError: an unknown level, or a size the level cannot have.

        >>> Vocabulary.learn("One. Two! One", level="word").encode("One. Four").ids.tolist()
        [2, 4, 1, 0]
        """
        if level not in LEVELS:
            raise ConfigurationError(f"unknown level {level!r}{nearest(level, LEVELS)}")
        size = DEFAULT_SIZE[level] if size is None else size
        least = _BYTES if level == "bpe" else 3
        if size < least:
            raise ConfigurationError(
                f"a vocabulary of {size} tokens is too small for level {level}; "
                f"give at least {least}"
            )
        learn = {"char": _learn_characters, "word": _learn_words, "bpe": _learn_byte_pairs}
        return cls(learn[level]([text] if isinstance(text, str) else text, size), level=level)

    @classmethod
    def from_json(cls, text: str, *, level: str) -> Vocabulary:
        """Rebuild a vocabulary from the text of its `tokenizer.json`.

        Raises:
            CheckpointError: the text is not a tokenizer.

        >>> vocabulary = Vocabulary.learn("abc", level="char")
        >>> Vocabulary.from_json(vocabulary.to_json(), level="char").decode([3, 1])
        'ca'
        """
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_str(text), level=level)
        except Exception as error:
            # The library raises bare Exception for text that it cannot parse.
            raise CheckpointError(f"tokenizer.json is not a tokenizer: {error}") from None

    def to_json(self) -> str:
        """The vocabulary as the text of a `tokenizer.json`."""
        return str(self._tokenizer.to_str(pretty=True))

    def __len__(self) -> int:
        return len(self._tokens)

    def token(self, index: int) -> str:
        """The text of one token.

        >>> Vocabulary.learn("ab", level="char").token(1)
        'a'
        """
        return self._tokens[index] if self.level != "bpe" else self.decode([index])

    def encode(self, text: str, *, ended: bool = False) -> Encoded:
        """Turn a text into tokens.

        Args:
            text: the text.
            ended: the end of the text ends a sentence, too (only words know sentence ends).

        Returns:
            The tokens and what was unknown.

        Raises:
            DataError: the text holds half a character (a lone surrogate) and the level is not
                `char`.
        """
        if self.level == "char":
            return self._encode_characters(text)
        try:
            encoding = self._tokenizer.encode(text)
        except (UnicodeEncodeError, TypeError):
            raise DataError(
                "the text holds half a character (a lone surrogate), which no UTF-8 text can; "
                "give text that is UTF-8"
            ) from None
        ids = np.array(encoding.ids, dtype=np.int64)
        unknown: Counter[str] = Counter()
        if self.unk is not None and (ids == self.unk).any():
            offsets = encoding.offsets
            unknown.update(text[slice(*offsets[i])] for i in np.flatnonzero(ids == self.unk))
        if ended and self.eos is not None and ids.size and ids[-1] != self.eos:
            ids = np.append(ids, self.eos)
        return Encoded(ids=torch.from_numpy(ids), unknown=dict(unknown))

    def _encode_characters(self, text: str) -> Encoded:
        # Same result as the tokenizer's, by a table lookup: a corpus of millions of characters
        # takes milliseconds instead of many seconds.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ids = self._of_characters[codes]
        pieces, counts = np.unique(codes[ids == self.unk], return_counts=True)
        unknown = {chr(c): int(n) for c, n in zip(pieces, counts, strict=True)}
        return Encoded(ids=torch.from_numpy(ids), unknown=unknown)

    @cached_property
    def _of_characters(self) -> NDArray[np.int64]:
        """The token of every character there is."""
        assert self.unk is not None
        table = np.full(_CODE_POINTS, self.unk, dtype=np.int64)
        for index, token in enumerate(self._tokens):
            if len(token) == 1:
                table[ord(token)] = index
        return table

    def decode(self, ids: Iterable[int]) -> str:
        """Turn tokens back into text.

        Args:
            ids: the tokens.

        Returns:
            The text; exact for characters and byte pairs, readable for words.

        >>> words = Vocabulary.learn("(Yes), he said. No!", level="word")
        >>> words.decode(words.encode("(Yes), he said. No!").ids.tolist())
        '(Yes), he said.\\nNo!'
        """
        if self.level == "bpe":
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
        if self.level == "char":
            return "".join(self._tokens[i] for i in ids)
        lines = " ".join(self._tokens[i] for i in ids).split(EOS)
        return "\n".join(_OPENING.sub("", _CLOSING.sub("", line.strip())) for line in lines)


def split_words(text: str) -> list[str]:
    """The words of a text, and each mark between them, as level word cuts it.

    >>> split_words("Who's there, Sam?")
    ["Who's", 'there', ',', 'Sam', '?']
    """
    return re.findall(_WORD, text)


def _most_frequent(counts: Counter[str], special: list[str], size: int) -> dict[str, int]:
    # Ties go by the text of the token, so that the same text gives the same table everywhere.
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    kept = special + [token for token in ranked if token not in special][: size - len(special)]
    return {token: index for index, token in enumerate(kept)}


def _learn_characters(pieces: Iterable[str], size: int) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    counts: Counter[str] = Counter()
    for piece in pieces:
        counts.update(piece)
    tokenizer = Tokenizer(models.WordLevel(_most_frequent(counts, [UNK], size), UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _learn_words(pieces: Iterable[str], size: int) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    end = normalizers.Replace(Regex(_SENTENCE_END), f" {EOS} ")
    words = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    counts: Counter[str] = Counter()
    for piece in pieces:
        counts.update(word for word, _ in words.pre_tokenize_str(end.normalize_str(piece)))
    tokenizer = Tokenizer(models.WordLevel(_most_frequent(counts, [UNK, EOS], size), UNK))
    tokenizer.normalizer = end
    tokenizer.pre_tokenizer = words
    return tokenizer


def _learn_byte_pairs(pieces: Iterable[str], size: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer
