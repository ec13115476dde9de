"""Piano rolls: music as frames of 88 keys that sound or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comporta.data.files import check_file, folder_files
from comporta.data.midi import KEYS, LOWEST_NOTE, read_midi
from comporta.data.series_arrays import explained_array, open_npz
from comporta.errors import ConfigurationError, DataError, nearest

MIDI_FILES = (".mid", ".midi")
PARTS = ("train", "valid", "test")
_REST = -1


@dataclass(frozen=True)
class Roll:
    """One piece of music.

    Args:
        frames: (T, 88) bool, true where a key sounds; key 0 is MIDI note 21.
        label: its class, for example a genre; None where there is none.
        where: the place that names it, for messages.
    """

    frames: np.ndarray
    label: str | None
    where: str


def read_rolls(
    path: str | Path, part: str | None = None, *, steps_per_beat: int = 4
) -> Iterator[Roll]:
    """Read pieces of music, one at a time.

    - A folder of MIDI files, a subfolder for each class, or one MIDI file: see `read_midi`.
    - `.mat`: MATLAB's cells of matrices (T, 88), called `traindata`, `validdata`, `testdata` as in
      Boulanger-Lewandowski et al. 2012, arXiv:1206.6392.
    - `.npz`: one array (T, 88) a piece.
    - `.json`: a list of pieces, or an object with one list for each part; a piece is a list of
      frames, a frame a list of MIDI notes (-1 is a rest).

    Args:
        path: the file or folder.
        part: which part of a file that has several: `train`, `valid` or `test`.
        steps_per_beat: frames in a quarter note, for MIDI.

    Yields:
        The pieces.

    Raises:
        DataError: something cannot be read as music, with the place.
        ConfigurationError: a part that the file does not have, or no part where it has several.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = file.write_text('{"train": [[[21, 108], []]]}')
    >>> [roll.frames.nonzero()[1].tolist() for roll in read_rolls(file, "train")]
    [[0, 87]]
    """
    path = Path(path)
    if part is not None and part not in PARTS:
        raise ConfigurationError(f"part is {part!r}; it must be {' or '.join(PARTS)}")
    suffix = path.suffix.lower()
    if part is not None and suffix not in (".mat", ".json"):
        raise ConfigurationError(f"{path} has no parts; leave the part out")
    empty = True
    for roll in _found(path, suffix, part, steps_per_beat):
        empty = False
        yield roll
    if empty:
        raise DataError(f"{path} holds no music")


def _found(path: Path, suffix: str, part: str | None, steps_per_beat: int) -> Iterator[Roll]:
    if path.is_dir():
        for file, label in folder_files(path, MIDI_FILES):
            yield Roll(read_midi(file, steps_per_beat=steps_per_beat), label, str(file))
    elif suffix in MIDI_FILES:
        yield Roll(read_midi(path, steps_per_beat=steps_per_beat), None, str(path))
    elif suffix == ".mat":
        yield from _read_mat(check_file(path), part)
    elif suffix == ".npz":
        yield from _read_npz(check_file(path))
    elif suffix == ".json":
        yield from _read_json(check_file(path), part)
    else:
        raise DataError(
            f"{path} is of no known format; give a folder of MIDI files or a file ending in "
            f"{', '.join(MIDI_FILES)}, .mat, .npz, .json"
        )


def _read_mat(path: Path, part: str | None) -> Iterator[Roll]:
    from scipy import io

    with explained_array(path):
        try:
            variables = io.loadmat(path)
        except io.matlab.MatReadError as error:
            raise DataError(f"{path} is not a whole MATLAB file: {error}") from None
    cells = {name: cell for name, cell in variables.items() if not name.startswith("__")}
    cell = cells[_choose(path, {name.removesuffix("data"): name for name in cells}, part)]
    if cell.dtype != object:
        raise DataError(f"{path} holds matrices of {cell.dtype}; expected a cell of matrices")
    for index, piece in enumerate(cell.ravel()):
        where = f"{path}, {part or 'piece'} {index + 1}"
        yield Roll(_keys(np.asarray(piece), where), None, where)


def _read_npz(path: Path) -> Iterator[Roll]:
    with open_npz(path) as archive:
        for name in archive.files:
            where = f"{path}, {name}"
            yield Roll(_keys(archive[name], where), None, where)


def _read_json(path: Path, part: str | None) -> Iterator[Roll]:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if isinstance(data, dict):
        data = data[_choose(path, {name: name for name in data}, part)]
    elif part is not None:
        raise ConfigurationError(f"{path} has no parts; leave the part out")
    if not isinstance(data, list):
        raise DataError(f"{path}: expected a list of pieces")
    for index, piece in enumerate(data):
        where = f"{path}, {part or 'piece'} {index + 1}"
        yield Roll(_from_notes(piece, where), None, where)


def _choose(path: Path, known: dict[str, str], part: str | None) -> str:
    """What the part is called in a file; where there is only one, it need not be named."""
    if part is None and len(known) == 1:
        return next(iter(known.values()))
    if part is None:
        parts = sorted(known)
        raise ConfigurationError(
            f"{path} has the parts {', '.join(parts)}; choose one, in a command like "
            f"{path}#{parts[-1]}"
        )
    if part not in known:
        raise ConfigurationError(f"{path} has no part {part!r}{nearest(part, known)}")
    return known[part]


def _keys(piece: np.ndarray, where: str) -> np.ndarray:
    """A matrix of zeros and ones as frames."""
    if piece.ndim != 2 or piece.shape[1] != KEYS or len(piece) == 0:
        raise DataError(f"{where}: an array of shape {piece.shape}; expected (T, {KEYS})")
    if piece.dtype.kind not in "fiub" or not np.isin(piece, (0, 1)).all():
        raise DataError(f"{where}: values other than 0 and 1; a key sounds or it does not")
    return piece.astype(bool)


def _from_notes(piece: object, where: str) -> np.ndarray:
    """Lists of notes as frames."""
    if not isinstance(piece, list) or not piece:
        raise DataError(f"{where}: expected a list of at least one frame")
    frames = np.zeros((len(piece), KEYS), dtype=bool)
    for step, notes in enumerate(piece):
        if not isinstance(notes, list):
            raise DataError(f"{where}, frame {step + 1}: expected a list of notes")
        for note in notes:
            if note == _REST:
                continue
            highest = LOWEST_NOTE + KEYS - 1
            if not isinstance(note, int | float) or note not in range(LOWEST_NOTE, highest + 1):
                raise DataError(
                    f"{where}, frame {step + 1}: {note!r} is no note of a piano; expected a "
                    f"whole number from {LOWEST_NOTE} to {highest}"
                )
            frames[step, int(note) - LOWEST_NOTE] = True
    return frames
