"""What a generator learns from: sequences with a class, a vector or nothing each."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comporta.data import read_labelled, read_rolls, read_unlabelled
from comporta.data.captions import VECTOR, read_captions
from comporta.data.lines import parse_object, read_lines
from comporta.data.music import MIDI_FILES
from comporta.errors import ConfigurationError
from comporta.models.checks import check_choice, check_rates, check_sizes
from comporta.tasks.conditions import CONDITIONS, Given

OUTPUTS = ("tokens", "keys")
_MUSIC = (*MIDI_FILES, ".mat", ".npz", ".json")
_PART = "#"
_OCTAVE = 12


@dataclass(frozen=True, kw_only=True)
class GeneratorData:
    """Sequences to learn from, and how they are read.

    Args:
        files: labelled texts (a folder of Label.txt, TSV, CSV, JSON Lines), a text a line, JSON
            Lines of "vector" and "text", or music: MIDI in a folder for each class, .mat, .npz,
            .json; FILE.mat#train is one part of a file.
        validation: what to validate on; without it some sequences are held out.
        hold_out: the part held out, where nothing is given to validate on.
        output: tokens or keys (of a piano); by default what the files hold.
        condition: class, vector or nothing; by default what the files hold.
        text: column or field of the texts.
        label: column or field of the classes.
        encoding: of the files of text.
        level: char, word or bpe.
        vocab_size: most tokens; by default 5000 characters, 10000 words or 2000 byte pairs.
        steps_per_beat: frames in a quarter note, where MIDI is read or written.
        transpose: in training, move each piece of music by up to so many semitones, down or up,
            each time by another number.
        batch_size: sequences in a batch.

    Raises:
        ConfigurationError: a value out of its range.

    >>> GeneratorData(files=("a.txt",), condition="clas")
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: unknown condition 'clas'; did you mean class?
    """

    files: tuple[str, ...] = ()
    validation: str | None = None
    hold_out: float = 0.1
    output: str | None = None
    condition: str | None = None
    text: str | None = None
    label: str | None = None
    encoding: str = "utf-8"
    level: str = "char"
    vocab_size: int | None = None
    steps_per_beat: int = 4
    transpose: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError("no files to train on; give texts or music")
        check_sizes(self, batch_size=1, steps_per_beat=1, transpose=0)
        check_rates(self, "hold_out")
        if self.transpose > _OCTAVE:
            raise ConfigurationError(
                f"transpose is {self.transpose}; it must be at most {_OCTAVE}, an octave"
            )
        if self.output is not None:
            check_choice("output", self.output, OUTPUTS)
        if self.condition is not None:
            check_choice("condition", self.condition, CONDITIONS)

    @property
    def validation_files(self) -> tuple[str, ...]:
        """What is given to validate on, if there is anything."""
        return () if self.validation is None else (self.validation,)


@dataclass(frozen=True)
class Example:
    """A sequence, what is given with it, and where it stands.

    Args:
        sequence: a text, or a roll (T, 88).
        given: its class, its vector, or nothing.
        where: the place, for messages.
    """

    sequence: Any
    given: Given
    where: str


@dataclass(frozen=True)
class Form:
    """What is to be found in files.

    Args:
        output: tokens or keys.
        condition: class, vector or nothing.
    """

    output: str
    condition: str

    @classmethod
    def of(cls, data: GeneratorData) -> Form:
        """What was asked for, or else what the first of the files looks like.

        Raises:
            ConfigurationError: keys with a vector, which no file holds.
        """
        path, _ = split_part(data.files[0])
        output = data.output or ("keys" if holds_music(data.files[0]) else "tokens")
        condition = data.condition
        if condition is None and output == "keys":
            inside = path.iterdir() if path.is_dir() else ()
            subfolders = any(p.is_dir() and not p.name.startswith(".") for p in inside)
            condition = "class" if subfolders else "nothing"
        elif condition is None:
            condition = _condition_of_texts(path, data)
        if (output, condition) == ("keys", "vector"):
            raise ConfigurationError("music has no vectors; give the condition class or nothing")
        return cls(output, condition)


def holds_music(name: str) -> bool:
    """Whether a file is one of music by its name, or a folder with MIDI files in it.

    >>> holds_music("chorales.mat#train"), holds_music("names.tsv")
    (True, False)
    """
    path, _ = split_part(name)
    if path.is_dir():
        return any(inner.suffix.lower() in MIDI_FILES for inner in path.rglob("*"))
    return path.suffix.lower() in _MUSIC


def split_part(name: str | Path) -> tuple[Path, str | None]:
    """A file, and the part of it that is meant.

    >>> split_part("chorales.mat#test")
    (PosixPath('chorales.mat'), 'test')
    """
    file, mark, part = str(name).rpartition(_PART)
    if not mark or os.sep in part or os.path.exists(name):
        return Path(name), None
    return Path(file), part


def read_examples(
    data: GeneratorData, form: Form, names: Iterable[str | Path]
) -> Iterator[Example]:
    """The sequences of some files, in order.

    Args:
        data: how they are read.
        form: what they hold.
        names: the files, with or without a part.

    Raises:
        DataError: something that cannot be read, with its place.
        ConfigurationError: a part that is not there, or columns that contradict each other.
    """
    for name in names:
        path, part = split_part(name)
        if form.output == "keys":
            for roll in read_rolls(path, part, steps_per_beat=data.steps_per_beat):
                label = roll.label if form.condition == "class" else None
                yield Example(roll.frames, label, roll.where)
        else:
            yield from _read_texts(data, form, Path(name))


def _read_texts(data: GeneratorData, form: Form, path: Path) -> Iterator[Example]:
    if form.condition == "vector":
        captions = read_captions(path, text=data.text or "text", encoding=data.encoding)
        for caption in captions:
            where = f"{path}, line {caption.line}"
            yield Example(caption.text, caption.vector, where)
        return
    options = {"text": data.text, "encoding": data.encoding}
    found = (
        read_labelled(path, label=data.label, **options)  # type: ignore[arg-type]
        if form.condition == "class"
        else read_unlabelled(path, **options)  # type: ignore[arg-type]
    )
    for text in found:
        yield Example(text.text, text.label, f"{text.path}, line {text.line}")


def _condition_of_texts(path: Path, data: GeneratorData) -> str:
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if name.suffix in (".jsonl", ".json"):
        lines = read_lines(path, encoding=data.encoding)
        line, first = next((each for each in lines if each[1].strip()), (1, "{}"))
        fields = parse_object(path, line, first)
        if VECTOR in fields:
            return "vector"
        return "class" if (data.label or "label") in fields else "nothing"
    labelled = path.is_dir() or name.suffix in (".tsv", ".csv") or data.label is not None
    return "class" if labelled else "nothing"


class Spool:
    """Examples kept in a temporary file: read once, gone through as often as needed.

    >>> with Spool() as kept:
    ...     kept.extend([Example("ab", None, "line 1")]), [x.sequence for x in kept]
    (1, ['ab'])
    """

    def __init__(self) -> None:
        # The file has no name, and nothing but this object ever reads it.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._count = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def extend(self, examples: Iterable[Example]) -> int:
        """Keep more examples, taken one at a time.

        Returns:
            How many there were.
        """
        before = self._count
        self._file.seek(0, os.SEEK_END)
        for example in examples:
            pickle.dump(example, self._file)
            self._count += 1
        return self._count - before

    def __iter__(self) -> Iterator[Example]:
        self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)


def picked(examples: Iterable[Example], numbers: Iterable[int]) -> Iterator[Example]:
    """Those examples that have these numbers, in the order they are in."""
    wanted = set(numbers)
    return (example for number, example in enumerate(examples) if number in wanted)
