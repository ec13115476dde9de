"""MIDI files as piano rolls, and piano rolls as MIDI files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from comporta.data.files import check_file
from comporta.errors import ConfigurationError, DataError, ShapeError, missing_extra

KEYS = 88
LOWEST_NOTE = 21
"""The MIDI number of the lowest key of a piano."""

MOST_FRAMES = 1_000_000
"""A file that lasts longer is taken for a damaged one."""

_DRUMS = 9
_VELOCITY = 80
_TICKS_PER_FRAME = 120
_MOST_TICKS_PER_BEAT = 0x7FFF  # what the format has room for; negative: time codes of film


def read_midi(path: str | Path, *, steps_per_beat: int = 4) -> np.ndarray:
    """Read a MIDI file as a piano roll.

    Begin and end of a note are rounded to the grid; a note sounds in every frame from its begin to
    its end, in one at least. All instruments sound together; drums (channel 10) are left out, since
    their numbers are no pitches. A note that is never ended sounds until the file ends, and the
    roll lasts as long as the file.

    Args:
        path: the file.
        steps_per_beat: frames in a quarter note.

    Returns:
        (T, 88) bool, from the lowest key of a piano to the highest.

    Raises:
        DataError: there is no such file, it is broken, has no notes, a note that is not on a
            piano, or lasts too long.
        ConfigurationError: fewer steps than 1, or the library mido is missing.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.mid"
    >>> write_midi(file, np.eye(3, 88, dtype=bool))
    >>> read_midi(file).nonzero()[1].tolist()
    [0, 1, 2]
    """
    _check_steps(steps_per_beat)
    path = check_file(path)
    notes, ticks, per_beat = _notes(path)
    if not notes:
        raise DataError(f"{path} has no notes")

    def frame(tick: int) -> int:
        # Rounded to the nearest line of the grid, halves up, in whole numbers.
        return (2 * tick * steps_per_beat + per_beat) // (2 * per_beat)

    length = max(frame(ticks), *(frame(begin) + 1 for begin, _, _ in notes))
    if length > MOST_FRAMES:
        raise DataError(f"{path} lasts {length:,} frames; more than {MOST_FRAMES:,} are refused")
    roll = np.zeros((length, KEYS), dtype=bool)
    for begin, end, note in notes:
        key = note - LOWEST_NOTE
        if not 0 <= key < KEYS:
            raise DataError(
                f"{path}: the note {note} at beat {begin / per_beat:g} is not on a piano; "
                f"transpose the piece into {LOWEST_NOTE} to {LOWEST_NOTE + KEYS - 1}"
            )
        roll[frame(begin) : max(frame(end), frame(begin) + 1), key] = True
    return roll


def _notes(path: Path) -> tuple[list[tuple[int, int, int]], int, int]:
    """Begin, end and number of each note; the last tick of the file; ticks a beat."""
    try:
        import mido
    except ImportError:
        raise missing_extra("mido", "music") from None
    try:
        file = mido.MidiFile(path)
        messages = list(mido.merge_tracks(file.tracks)) if file.type != 2 else None
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error) or "it is cut off"
        raise DataError(f"{path} is not a whole MIDI file: {reason}") from None
    if messages is None:
        raise DataError(f"{path} holds several pieces (MIDI type 2); save them one by one")
    if file.ticks_per_beat < 1:
        raise DataError(f"{path} counts time without beats; save it with ticks per quarter note")
    notes: list[tuple[int, int, int]] = []
    sounding: dict[tuple[int, int], list[int]] = defaultdict(list)
    tick = 0
    for message in messages:
        tick += message.time
        if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
            continue
        begun = sounding[message.channel, message.note]
        if message.type == "note_on" and message.velocity > 0:
            begun.append(tick)
        elif begun:
            notes.append((begun.pop(0), tick, message.note))
    for (_, note), begun in sounding.items():
        notes += [(begin, tick, note) for begin in begun]
    return notes, tick, file.ticks_per_beat


def write_midi(
    path: str | Path, frames: np.ndarray, *, steps_per_beat: int = 4, tempo: float = 120.0
) -> None:
    """Write a piano roll as a MIDI file that `read_midi` reads back exactly.

    A key that is on in frames that follow each other is one held note: a piano roll does not say
    where it was struck again.

    Args:
        path: the file.
        frames: (T, 88), true where a key sounds.
        steps_per_beat: frames in a quarter note.
        tempo: quarter notes a minute.

    Raises:
        ShapeError: the frames have another shape.
        ConfigurationError: steps or tempo out of range, or the library mido is missing.

    >>> write_midi("a.mid", np.zeros((4, 12)))
    Traceback (most recent call last):
    comporta.errors.ShapeError: a piano roll of shape (4, 12); expected (T, 88)
    """
    _check_steps(steps_per_beat)
    if not 4 <= tempo <= 1000:
        raise ConfigurationError(f"tempo is {tempo}; it must be between 4 and 1000 beats a minute")
    if frames.ndim != 2 or frames.shape[1] != KEYS:
        raise ShapeError(f"a piano roll of shape {frames.shape}; expected (T, {KEYS})")
    try:
        import mido
    except ImportError:
        raise missing_extra("mido", "music") from None
    file = mido.MidiFile(type=0, ticks_per_beat=steps_per_beat * _TICKS_PER_FRAME)
    track = file.add_track()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    silence = np.zeros((1, KEYS), dtype=np.int8)
    changes = np.diff(np.concatenate([silence, frames.astype(bool), silence]), axis=0)
    last = 0
    for frame, change in enumerate(changes):
        for key in np.flatnonzero(change).tolist():
            kind = "note_on" if change[key] > 0 else "note_off"
            wait = (frame - last) * _TICKS_PER_FRAME
            note = LOWEST_NOTE + key
            track.append(mido.Message(kind, note=note, velocity=_VELOCITY, time=wait))
            last = frame
    wait = (len(frames) - last) * _TICKS_PER_FRAME
    track.append(mido.MetaMessage("end_of_track", time=wait))
    file.save(path)


def _check_steps(steps_per_beat: int) -> None:
    most = _MOST_TICKS_PER_BEAT // _TICKS_PER_FRAME
    if not 1 <= steps_per_beat <= most:
        raise ConfigurationError(
            f"steps_per_beat is {steps_per_beat}; it must be between 1 and {most}"
        )
