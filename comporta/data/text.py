"""Text files, strictly UTF-8, and the corpus that every Python installation carries."""

from __future__ import annotations

import gzip
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from comporta.data.lines import GZIP, explained, nothing_in
from comporta.errors import DataError

EMBEDDED_CHARACTERS = 3_000_000
VALIDATION_SHARE = 0.1


def read_text(path: str | Path) -> str:
    """Read one text file, which must be UTF-8 and not empty.

    Line ends are kept as they are, so that the characters of the file round trip. A gzip file is
    unpacked.

    Args:
        path: the file.

    Returns:
        Its text.

    Raises:
        DataError: there is no such file, it is a directory, it may not be read, it is empty, it
            is a damaged gzip file, or its bytes are not UTF-8 (the message says where).

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_bytes("maré\\r\\n".encode())
    >>> read_text(file)
    'maré\\r\\n'
    """
    path = Path(path)
    with explained(path):
        data = path.read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
    if not data:
        raise nothing_in(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} "
            f"(line {line}); convert the file first, for example with "
            f"iconv -f latin1 -t utf-8"
        ) from None


def read_texts(paths: Sequence[str | Path]) -> str:
    """Read text files one after the other as one text.

    A file whose last line is not ended is ended, so that two files never share a line.

    Args:
        paths: the files, in order.

    Returns:
        The text of all of them.

    Raises:
        DataError: as `read_text`, for the first file that cannot be read.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("a", "b"):
    ...     _ = (folder / name).write_text(name)
    >>> read_texts([folder / "a", folder / "b"])
    'a\\nb'
    """
    texts = [read_text(path) for path in paths]
    ended = [text if text.endswith("\n") else text + "\n" for text in texts[:-1]]
    return "".join(ended + texts[-1:])


def embedded_corpus(characters: int = EMBEDDED_CHARACTERS) -> str:
    """The source text of the Python standard library that is running.

    The top-level modules (`*.py` directly in the library's folder, no packages) in the order of
    their names, each file that is UTF-8, up to a number of characters: the same text on every
    machine with the same Python.

    Args:
        characters: where the text is cut.

    Returns:
        The text.

    Raises:
        DataError: this Python comes without its source.

    >>> embedded_corpus(18)
    '\"\"\"Record of phase'
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts: list[str] = []
    length = 0
    for path in sorted(folder.glob("*.py")):
        if length >= characters:
            break
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        length += len(texts[-1])
    if not texts:
        raise DataError(
            f"this Python has no source text in {folder}, so there is no embedded corpus; "
            "give text files of your own"
        )
    return "".join(texts)[:characters]


def split(text: str) -> tuple[str, str]:
    """Split a text into a training part and a validation part, its last tenth.

    Args:
        text: the whole text.

    Returns:
        The first 90 % of the characters and the rest.

    >>> split("0123456789")
    ('012345678', '9')
    """
    cut = int(len(text) * (1 - VALIDATION_SHARE))
    return text[:cut], text[cut:]
