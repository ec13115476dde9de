"""Sequences as files give them: reading, vocabularies, streams."""

from comporta.data.columns import (
    Sentence,
    bio_constraints,
    read_columns,
    read_words,
    recognize,
    spans,
    to_bio,
)
from comporta.data.labelled import (
    Labelled,
    as_score,
    read_labelled,
    read_unlabelled,
    split_labels,
)
from comporta.data.lines import read_lines
from comporta.data.pairs import Pair, read_pairs
from comporta.data.sequences import Record, read_sequences
from comporta.data.streams import IGNORED, NO_TOKEN, Streams
from comporta.data.text import embedded_corpus, read_text, read_texts, split
from comporta.data.vectors import read_vectors
from comporta.data.vocabulary import LEVELS, Encoded, Vocabulary, unknown_note

__all__ = [
    "IGNORED",
    "LEVELS",
    "NO_TOKEN",
    "Encoded",
    "Labelled",
    "Pair",
    "Record",
    "Sentence",
    "Streams",
    "Vocabulary",
    "as_score",
    "bio_constraints",
    "embedded_corpus",
    "read_columns",
    "read_labelled",
    "read_lines",
    "read_pairs",
    "read_sequences",
    "read_text",
    "read_texts",
    "read_unlabelled",
    "read_vectors",
    "read_words",
    "recognize",
    "spans",
    "split",
    "split_labels",
    "to_bio",
    "unknown_note",
]
