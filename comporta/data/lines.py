"""Files read line by line, packed or not, so that a file may be larger than memory."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comporta.errors import ConfigurationError, DataError

GZIP = b"\x1f\x8b"
"""The first bytes of every gzip file."""

LONGEST_LINE = 1_000_000
_BYTES_PER_CHARACTER = 4
_BYTE_ORDER_MARK = "\ufeff"


def bad_line(path: str | Path, line: int, message: str) -> DataError:
    """The error for one line of a file.

    >>> str(bad_line("a.txt", 3, "no label; write one"))
    'a.txt, line 3: no label; write one'
    """
    return DataError(f"{path}, line {line}: {message}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what to do where a file cannot be opened or unpacked.

    Args:
        path: the file that is read inside the `with` block.

    Raises:
        DataError: there is no such file, it is a directory, it may not be read, or it is a gzip
            file that is cut off or damaged.

    >>> with explained(Path("no/such/file")):
    ...     open("no/such/file")
    Traceback (most recent call last):
    comporta.errors.DataError: no such file: no/such/file; give the path of a text file
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"no such file: {path}; give the path of a text file") from None
    except NotADirectoryError:
        raise DataError(
            f"no such file: {path}; what stands before its name is a file, not a folder"
        ) from None
    except IsADirectoryError:
        raise DataError(
            f"{path} is a directory; give the text files themselves, for example {path}/*.txt"
        ) from None
    except PermissionError:
        raise DataError(f"no permission to read {path}; check the rights of the file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(
            f"{path} is not a whole gzip file: it is cut off or damaged; fetch or pack it again"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def nothing_in(path: str | Path) -> DataError:
    """The error for a file without any text.

    >>> str(nothing_in("a.txt"))
    'a.txt is empty; give a file with text in it'
    """
    return DataError(f"{path} is empty; give a file with text in it")


def read_lines(
    path: str | Path, *, encoding: str = "utf-8", longest: int = LONGEST_LINE
) -> Iterator[tuple[int, str]]:
    r"""Read a text file one line at a time.

    A line ends at a line feed and nowhere else; a carriage return before it is dropped, and so is
    a byte order mark at the start of the file. A gzip file, known by its name (`.gz`) or its first
    bytes, is unpacked on the way.

    Args:
        path: the file.
        encoding: its encoding, by Python's name for it.
        longest: how many characters a line may have; of a longer one, the rest is never read.

    Yields:
        The number of a line, from 1, and its text.

    Raises:
        DataError: the file cannot be opened (as `read_text` says), it is empty, a line is too
            long, or bytes are not of the encoding.
        ConfigurationError: an encoding that Python does not know, or whose line ends are not the
            single byte 0x0a.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt.gz"
    >>> _ = file.write_bytes(gzip.compress("maré\r\n\x85 alta".encode()))
    >>> list(read_lines(file))
    [(1, 'maré'), (2, '\x85 alta')]
    """
    path = Path(path)
    _check_encoding(encoding)
    limit = _BYTES_PER_CHARACTER * longest + len("\r\n")
    number = 0
    with explained(path), path.open("rb") as file:
        packed = path.suffix == ".gz" or file.peek(len(GZIP)).startswith(GZIP)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        while data := stream.readline(limit):
            number += 1
            whole = data.endswith(b"\n") or len(data) < limit
            text = _decoded(data, encoding, path, number) if whole else ""
            if not whole or len(text) > longest:
                raise bad_line(
                    path,
                    number,
                    f"longer than {longest:,} characters; break it into shorter lines",
                )
            yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
    if number == 0:
        raise nothing_in(path)


def parse_object(path: Path, line: int, content: str) -> dict[str, object]:
    """The JSON object that a line is.

    Raises:
        DataError: it is none.

    >>> parse_object(Path("a.jsonl"), 1, '{"text": "a dog"}')
    {'text': 'a dog'}
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad_line(path, line, 'not one JSON object; write lines like {"text": "..."}')
    return found


def _check_encoding(encoding: str) -> None:
    try:
        feed = b"\n".decode(encoding)
    except LookupError:
        raise ConfigurationError(
            f"unknown encoding {encoding!r}; give for example utf-8, latin-1 or cp1252"
        ) from None
    except UnicodeDecodeError:
        feed = ""
    if feed != "\n":
        raise ConfigurationError(
            f"a file in {encoding} cannot be read line by line; convert it first, for example "
            f"with iconv -f {encoding} -t utf-8"
        )


def _decoded(data: bytes, encoding: str, path: Path, number: int) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise bad_line(
            path,
            number,
            f"byte 0x{data[error.start]:02x} at offset {error.start} of the line is not "
            f"{encoding}; give the encoding of the file, for example --encoding latin-1",
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
