"""Sequences as files give them: reading, vocabularies, streams."""

from comporta.data.audio import (
    AUDIO_FILES,
    Audio,
    MelStream,
    Utterance,
    audio_seconds,
    log_mel,
    read_audio,
    read_transcripts,
)
from comporta.data.captions import Caption, read_captions
from comporta.data.columns import (
    Sentence,
    bio_constraints,
    read_columns,
    read_words,
    recognize,
    spans,
    to_bio,
)
from comporta.data.corpus import Corpus, encode_pieces
from comporta.data.files import LabelledFile, read_labelled_files
from comporta.data.labelled import (
    Labelled,
    as_score,
    read_labelled,
    read_unlabelled,
    split_labels,
)
from comporta.data.lines import read_lines
from comporta.data.midi import read_midi, write_midi
from comporta.data.music import Roll, read_rolls
from comporta.data.notes import format_notes, parse_notes
from comporta.data.pairs import Pair, read_pairs
from comporta.data.sequences import Record, read_sequences
from comporta.data.series import Series, read_series
from comporta.data.streams import IGNORED, NO_TOKEN, Streams
from comporta.data.text import embedded_corpus, read_text, read_texts, split
from comporta.data.vectors import read_vectors
from comporta.data.video import VIDEO_FILES, read_frames, write_video
from comporta.data.vocabulary import LEVELS, Encoded, Vocabulary, unknown_note

__all__ = [
    "AUDIO_FILES",
    "IGNORED",
    "LEVELS",
    "NO_TOKEN",
    "VIDEO_FILES",
    "Audio",
    "Caption",
    "Corpus",
    "Encoded",
    "Labelled",
    "LabelledFile",
    "MelStream",
    "Pair",
    "Record",
    "Roll",
    "Sentence",
    "Series",
    "Streams",
    "Utterance",
    "Vocabulary",
    "as_score",
    "audio_seconds",
    "bio_constraints",
    "embedded_corpus",
    "encode_pieces",
    "format_notes",
    "log_mel",
    "parse_notes",
    "read_audio",
    "read_captions",
    "read_columns",
    "read_frames",
    "read_labelled",
    "read_labelled_files",
    "read_lines",
    "read_midi",
    "read_pairs",
    "read_rolls",
    "read_sequences",
    "read_series",
    "read_text",
    "read_texts",
    "read_transcripts",
    "read_unlabelled",
    "read_vectors",
    "read_words",
    "recognize",
    "spans",
    "split",
    "split_labels",
    "to_bio",
    "unknown_note",
    "write_midi",
    "write_video",
]
