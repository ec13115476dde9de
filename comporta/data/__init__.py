"""Sequences as files give them: reading, vocabularies, streams."""

from comporta.data.streams import IGNORED, NO_TOKEN, Streams
from comporta.data.text import embedded_corpus, read_text, read_texts, split
from comporta.data.vocabulary import LEVELS, Encoded, Vocabulary

__all__ = [
    "IGNORED",
    "LEVELS",
    "NO_TOKEN",
    "Encoded",
    "Streams",
    "Vocabulary",
    "embedded_corpus",
    "read_text",
    "read_texts",
    "split",
]
