"""Every error that Comporta raises on purpose, in one tree.

    ComportaError (a ValueError)
    ├── CellError            the text of a cell is not a cell: line, column, mend
    ├── ShapeError           a tensor has the wrong shape, dtype or device
    ├── BackendError         the backend that was asked for cannot run this
    ├── DataError            a file or a text cannot be read as what was asked for
    ├── ConfigurationError   options that are unknown or contradict each other
    ├── CheckpointError      a model folder is missing, damaged or from another version
    └── TrainingError        training cannot go on (a loss that is not finite, no room on disk)

A message says what was given, what was expected and what to do about it. The command line
prints any of these as one short paragraph and exits with status 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ComportaError(ValueError):
    """Base of every error a user can mend."""


class CellError(ComportaError):
    """The text of a cell is not a cell.

    Args:
        message: what is wrong and how to mend it.
        line: 1-based line of the text, or None when the whole text is meant.
        column: 1-based column in that line.
        source: the line itself, shown with a caret under the column.
        file: the file that the text stands in.
    """

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        source: str | None = None,
        file: str | None = None,
    ) -> None:
        self.reason = message
        self.line = line
        self.column = column
        self.source = source
        if line is not None:
            where = f"line {line}" if column is None else f"line {line}, column {column}"
            message = f"{where}{f' of {file}' if file else ''}: {message}"
            if source is not None:
                message += f"\n    {source}"
                if column is not None:
                    message += "\n    " + " " * (column - 1) + "^"
        elif file is not None:
            message = f"{file}: {message}"
        super().__init__(message)


class ShapeError(ComportaError):
    """A tensor has the wrong shape, dtype or device."""


class BackendError(ComportaError):
    """The backend that was asked for cannot run this."""


class DataError(ComportaError):
    """A file or a text cannot be read as what was asked for."""


class ConfigurationError(ComportaError):
    """Options that are unknown or contradict each other."""


class CheckpointError(ComportaError):
    """A model folder is missing, damaged or from another version."""


class TrainingError(ComportaError):
    """Training cannot go on."""


def missing_extra(package: str, extra: str) -> ConfigurationError:
    """The error for a library that comes with one of Comporta's extras and is not installed.

    >>> str(missing_extra("soundfile", "audio"))
    "this needs the library soundfile; install it with: pip install 'comporta[audio]'"
    """
    return ConfigurationError(
        f"this needs the library {package}; install it with: pip install 'comporta[{extra}]'"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the nearest of the known names, for the end of a message.

    >>> nearest("gru2", ["gru", "lstm"])
    '; did you mean gru?'
    >>> nearest("zzz", ["gru", "lstm"])
    '; known: gru, lstm'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(known)}"
