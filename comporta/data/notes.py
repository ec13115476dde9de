"""Piano rolls as a line of text: the notes of each frame, to be typed and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from comporta.data.midi import KEYS, LOWEST_NOTE
from comporta.errors import DataError

_REST = "-"


def parse_notes(text: str) -> NDArray[np.bool_]:
    """The frames that a text names: MIDI numbers with commas between, frames with spaces.

    Args:
        text: for example "60,64,67 62 -", where "-" is a rest.

    Returns:
        (T, 88), true where a key sounds.

    Raises:
        DataError: something is no note of a piano.

    >>> parse_notes("21,108 -").nonzero()[1].tolist()
    [0, 87]
    """
    words = text.split()
    frames = np.zeros((len(words), KEYS), dtype=np.bool_)
    for place, word in enumerate(words):
        for note in () if word == _REST else word.split(","):
            if not note.isdecimal() or not 0 <= int(note) - LOWEST_NOTE < KEYS:
                raise DataError(
                    f"{note!r} in {word!r} is no note of a piano; write each frame as MIDI numbers "
                    f"from {LOWEST_NOTE} to {LOWEST_NOTE + KEYS - 1}, like 60,64,67, or - for a "
                    "rest, with spaces between frames"
                )
            frames[place, int(note) - LOWEST_NOTE] = True
    return frames


def format_notes(frames: NDArray[np.bool_]) -> str:
    """Frames as the text that `parse_notes` reads.

    >>> format_notes(parse_notes("60,64,67 62 -"))
    '60,64,67 62 -'
    """
    return " ".join(
        ",".join(str(key + LOWEST_NOTE) for key in np.flatnonzero(frame)) or _REST
        for frame in frames
    )
