"""Biological sequences: FASTA and FASTQ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from comporta.data.lines import bad_line, read_lines
from comporta.errors import DataError

Line: TypeAlias = tuple[int, str]

_FASTA = ">"
_FASTQ = "@"
_NO_LETTER = re.compile(r"[^A-Za-z*.-]")


@dataclass(frozen=True)
class Record:
    """A named sequence.

    Args:
        name: the first word of its header.
        description: the rest of the header.
        sequence: its letters, as the file has them.
        line: where the header stands.

    >>> Record("chr1", "first", "ACGT", 1).sequence
    'ACGT'
    """

    name: str
    description: str
    sequence: str
    line: int


def read_sequences(path: str | Path) -> Iterator[Record]:
    r"""Read the records of a FASTA or a FASTQ file, one at a time.

    In FASTA a header begins with ">", and its sequence may take many lines. In FASTQ (Cock et
    al. 2010, doi:10.1093/nar/gkp1137) a record is four lines: "@" and the header, the sequence,
    "+", and a quality for each letter, which is checked and dropped. The first character of the
    file tells which it is. Blank lines between records are left out.

    Args:
        path: the file, or a gzip of it.

    Yields:
        The records, in order.

    Raises:
        DataError: as `read_lines`; the file begins with no header; a header has no name; a
            record has no sequence, or characters that are no letters, "*", "-" or "."; a FASTQ
            record is cut off, or its qualities are more or fewer than its letters.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.fasta"
    >>> _ = file.write_text(">chr1 first\nACGT\nAC\n")
    >>> list(read_sequences(file))
    [Record(name='chr1', description='first', sequence='ACGTAC', line=1)]
    """
    lines = ((line, text.strip()) for line, text in read_lines(path))
    header = _next_header(lines)
    if header is None:
        raise DataError(f"{path} has no sequences; give a FASTA or FASTQ file")
    if header[1].startswith(_FASTA):
        yield from _fasta(path, header, lines)
    elif header[1].startswith(_FASTQ):
        yield from _fastq(path, header, lines)
    else:
        raise bad_line(
            path, header[0], "no header; a record begins with > (FASTA) or @ (FASTQ) and a name"
        )


def _next_header(lines: Iterator[Line]) -> Line | None:
    return next((line for line in lines if line[1]), None)


def _fasta(path: str | Path, header: Line, lines: Iterator[Line]) -> Iterator[Record]:
    parts: list[str] = []
    for line, text in lines:
        if text.startswith(_FASTA):
            yield _record(path, header, "".join(parts))
            header, parts = (line, text), []
        else:
            parts.append(_letters(path, line, text))
    yield _record(path, header, "".join(parts))


def _fastq(path: str | Path, first: Line, lines: Iterator[Line]) -> Iterator[Record]:
    header: Line | None = first
    while header is not None:
        if not header[1].startswith(_FASTQ):
            raise bad_line(path, header[0], "no header; a FASTQ record is four lines, the first @")
        rest = list(islice(lines, 3))
        if len(rest) < 3:
            raise bad_line(
                path, header[0], f"the record is cut off after {len(rest) + 1} of its 4 lines"
            )
        (line, sequence), (between, mark), (last, qualities) = rest
        record = _record(path, header, _letters(path, line, sequence))
        if not mark.startswith("+"):
            raise bad_line(path, between, "no + here; a FASTQ record has its letters in one line")
        if len(qualities) != len(sequence):
            raise bad_line(
                path, last, f"{len(qualities)} qualities for {len(sequence)} letters; give as many"
            )
        yield record
        header = _next_header(lines)


def _letters(path: str | Path, line: int, text: str) -> str:
    other = _NO_LETTER.search(text)
    if other:
        raise bad_line(
            path,
            line,
            f"the character {other[0]!r} in a sequence; it is made of letters, *, - and .",
        )
    return text


def _record(path: str | Path, header: Line, sequence: str) -> Record:
    line, text = header
    name, _, description = text[1:].strip().partition(" ")
    if not name:
        raise bad_line(path, line, "the record has no name; write one after the first character")
    if not sequence:
        raise bad_line(path, line, f"the record {name} has no sequence; give it one or drop it")
    return Record(name, description.strip(), sequence, line)
