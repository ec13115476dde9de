"""Text files, strictly UTF-8, and the corpus that every Python installation carries."""

from __future__ import annotations

import codecs
import gzip
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comporta.data.lines import GZIP, explained, nothing_in
from comporta.errors import DataError

EMBEDDED_CHARACTERS = 3_000_000
VALIDATION_SHARE = 0.1
PIECE = 250_000


@dataclass(frozen=True)
class Piece:
    """A part of a text file.

    Args:
        text: the part.
        path: the file.
        line: the line that it begins in, from 1.
    """

    text: str
    path: Path
    line: int


def read_pieces(paths: Sequence[str | Path], *, size: int = PIECE) -> Iterator[Piece]:
    """Read text files one after the other, a piece at a time; they may be larger than memory.

    Line ends are kept as they are, so that the characters of a file round trip. A gzip file is
    unpacked. A file whose last line is not ended is ended where another follows, so that two files
    never share a line.

    Args:
        paths: the files, in order; each UTF-8 and not empty.
        size: most characters of a piece.

    Yields:
        The pieces; a cut may lie anywhere between two characters.

    Raises:
        DataError: there is no such file, it is a directory, it may not be read, it is empty, it
            is a damaged gzip file, or its bytes are not UTF-8 (the message says where).

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a", "b"):
    ...     _ = (folder / name).write_text(f"ma\\n{name}")
    >>> [(piece.text, piece.line) for piece in read_pieces([folder / "a", folder / "b"], size=3)]
    [('ma\\n', 1), ('a', 2), ('\\n', 2), ('ma\\n', 1), ('b', 2)]
    """
    last = None
    for path in map(Path, paths):
        if last is not None and not last.text.endswith("\n"):
            yield Piece("\n", last.path, last.line)
        last = None
        for last in _pieces_of(path, size):
            yield last
        if last is None:
            raise nothing_in(path)


def _pieces_of(path: Path, size: int) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    with explained(path), path.open("rb") as file:
        packed = file.peek(len(GZIP)).startswith(GZIP)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        ended = False
        while not ended:
            data = stream.read(size)
            ended = not data
            # The bytes of a character that the last piece cut are decoded with this one.
            begin = offset - len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=ended)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, error, begin, line) from None
            if text:
                yield Piece(text, path, line)
            offset += len(data)
            line += text.count("\n")


def _not_utf8(path: Path, error: UnicodeDecodeError, offset: int, line: int) -> DataError:
    line += error.object.count(b"\n", 0, error.start)
    return DataError(
        f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
        f"{offset + error.start} (line {line}); convert the file first, for example with "
        f"iconv -f latin1 -t utf-8"
    )


def read_text(path: str | Path) -> str:
    """Read one text file, as `read_pieces`, whole.

    Args:
        path: the file.

    Returns:
        Its text.

    Raises:
        DataError: as `read_pieces`.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_bytes("maré\\r\\n".encode())
    >>> read_text(file)
    'maré\\r\\n'
    """
    return read_texts([path])


def read_texts(paths: Sequence[str | Path]) -> str:
    """Read text files one after the other as one text, as `read_pieces`.

    Args:
        paths: the files, in order.

    Returns:
        The text of all of them.

    Raises:
        DataError: as `read_pieces`, for the first file that cannot be read.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("a", "b"):
    ...     _ = (folder / name).write_text(name)
    >>> read_texts([folder / "a", folder / "b"])
    'a\\nb'
    """
    return "".join(piece.text for piece in read_pieces(paths))


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


def validation_start(characters: int) -> int:
    """Where the validation part of a text begins, its last tenth.

    >>> validation_start(10)
    9
    """
    return int(characters * (1 - VALIDATION_SHARE))


def split(text: str) -> tuple[str, str]:
    """Split a text into a training part and a validation part, its last tenth.

    Args:
        text: the whole text.

    Returns:
        The first 90 % of the characters and the rest.

    >>> split("0123456789")
    ('012345678', '9')
    """
    cut = validation_start(len(text))
    return text[:cut], text[cut:]
