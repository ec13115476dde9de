"""The settings of a classifier's data, and which kind of examples files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from comporta.data import AUDIO_FILES, VIDEO_FILES, read_lines
from comporta.data.files import MANIFESTS
from comporta.data.series import MISSING
from comporta.errors import ConfigurationError
from comporta.models.checks import check_choice, check_rates, check_sizes

KINDS = ("text", "fasta", "series", "audio", "video")

_SERIES_FILES = (".ts", ".npy", ".npz", ".parquet")
_FASTA_FILES = (".fasta", ".fa", ".fna", ".faa", ".fastq", ".fq")
MEDIA = {"audio": AUDIO_FILES, "video": VIDEO_FILES}


@dataclass(frozen=True, kw_only=True)
class ClassifierData:
    """Examples to learn from, and how they are read.

    Args:
        files: labelled texts (lines `label text`, TSV, CSV, JSON Lines, a folder with a file for
            each label), FASTA or FASTQ, series (.ts, .npy, .npz, tables), or folders with a
            subfolder for each label, or manifests, of sound or video; texts may be gz.
        validation: a file to validate on; without it a part of the examples is held out.
        hold_out: the part held out, where there is no such file.
        kind: text, fasta, series, audio or video; recognized from the files unless given.
        text: column or field of the texts.
        label: column or field of the labels.
        series: column that names the series, in a table of numbers.
        missing: what becomes of missing numbers: refuse, or mask.
        encoding: of texts.
        level: char, word or bpe; by default char for FASTA and FASTQ, word for other texts.
        vocab_size: most tokens; by default 5000 characters, 10000 words or 2000 byte pairs.
        lower: whether texts are read in lower case.
        vectors: a file of vectors to begin with (word2vec, fastText, GloVe).
        stack: steps of numbers or sound read as one; of video, one frame of so many is read.
        frame_size: pixels of a frame of video, each way.
        batch_size: examples in a batch.
        balance: how far rare classes count as much as frequent ones, from 0 (not) to 1 (quite); the
            best model is then that with the best macro F1. Menon et al. 2021, arXiv:2007.07314.

    Raises:
        ConfigurationError: a value out of its range.
    """

    files: tuple[str, ...] = ()
    validation: str | None = None
    hold_out: float = 0.1
    kind: str | None = None
    text: str | None = None
    label: str | None = None
    series: str | None = None
    missing: str = "refuse"
    encoding: str = "utf-8"
    level: str | None = None
    vocab_size: int | None = None
    lower: bool = False
    vectors: str | None = None
    stack: int = 1
    frame_size: int = 32
    batch_size: int = 32
    balance: float = 0.0

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError("no files to train on; give files of labelled examples")
        check_sizes(self, batch_size=1, stack=1, frame_size=1)
        check_rates(self, "hold_out")
        if not 0 <= self.balance <= 1:
            raise ConfigurationError(f"balance is {self.balance}; it must be from 0 to 1")
        check_choice("missing", self.missing, MISSING)
        if self.kind is not None:
            check_choice("kind", self.kind, KINDS)

    @property
    def validation_files(self) -> tuple[str, ...]:
        """The validation file, if there is one."""
        return () if self.validation is None else (self.validation,)


def recognize(path: Path, *, series: str | None = None) -> str:
    """What kind of examples a file or a folder holds.

    Args:
        path: the file or the folder.
        series: the column that names a series, which only a table of numbers has.

    Returns:
        One of KINDS: by the ending of the name, of the files in a folder, or of a file that the
        first lines of a manifest name; `text` for all others.

    >>> recognize(Path("a.fasta.gz")), recognize(Path("no/such/file"))
    ('fasta', 'text')
    """
    if path.is_dir():
        suffixes = {inner.suffix.lower() for inner in path.rglob("*")}
    else:
        suffixes = {_suffix(path), *_named_in(path)}
    if series is not None or suffixes & {*_SERIES_FILES}:
        return "series"
    if suffixes & {*_FASTA_FILES}:
        return "fasta"
    return next((kind for kind, known in MEDIA.items() if suffixes & {*known}), "text")


def _suffix(path: Path) -> str:
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _named_in(path: Path) -> set[str]:
    """The endings of the files that the first lines of a manifest name."""
    if _suffix(path) not in MANIFESTS or not path.is_file():
        return set()
    lines = [line for (_, line), _ in zip(read_lines(path), range(2), strict=False)]
    cells = {cell.strip() for line in lines for cell in re.split(r'[\t,"]', line)}
    media = {suffix for known in MEDIA.values() for suffix in known}
    return {
        suffix
        for cell in cells
        if (suffix := Path(cell).suffix.lower()) in media and (path.parent / cell).is_file()
    }
