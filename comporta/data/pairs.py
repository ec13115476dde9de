"""Pairs of texts for translation: two parallel files, or a table of two columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeAlias

from comporta.data.lines import bad_line, read_lines
from comporta.errors import DataError

Row: TypeAlias = tuple[int, str, str]


@dataclass(frozen=True)
class Pair:
    """A text and its translation.

    Args:
        source: the text, without white space around it.
        target: its translation.
        line: where both stand in their files.

    >>> Pair("vier", "four", 1).target
    'four'
    """

    source: str
    target: str
    line: int


def read_pairs(
    source: str | Path, target: str | Path | None = None, *, encoding: str = "utf-8"
) -> Iterator[Pair]:
    r"""Read pairs of texts.

    Args:
        source: the file of the texts, one a line; without a target, a file `source TAB target`,
            whose blank lines are left out. Either file may be a gzip.
        target: the file of their translations, line by line.
        encoding: of the files.

    Yields:
        The pairs, in order.

    Raises:
        DataError: as `read_lines`; the files have unequal numbers of lines (found at the end of
            the shorter one); a line of the table has not two columns; a side is empty.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.tsv"
    >>> _ = file.write_text("vier\tfour\n")
    >>> list(read_pairs(file))
    [Pair(source='vier', target='four', line=1)]
    """
    if target is None:
        rows, advice = _table(source, encoding), "drop the line"
    else:
        rows = _parallel(source, target, encoding)
        advice = (
            "drop such pairs from both files; of plain files, "
            f"paste {source} {target} | grep -P '\\S.*\\t.*\\S' makes a table of the others"
        )
    line = 0
    for line, left, right in rows:
        pair = Pair(left.strip(), right.strip(), line)
        if not pair.source:
            raise bad_line(source, line, f"the source is empty; {advice}")
        if not pair.target:
            raise bad_line(target or source, line, f"the target is empty; {advice}")
        yield pair
    if line == 0:
        raise DataError(f"{source} has no pairs; give a file with one or more")


def _table(path: str | Path, encoding: str) -> Iterator[Row]:
    for line, text in read_lines(path, encoding=encoding):
        if not text.strip():
            continue
        sides = text.split("\t")
        if len(sides) != 2:
            raise bad_line(
                path,
                line,
                f"{len(sides)} columns; write source, a tab, target (cut -f1,2 keeps two columns)",
            )
        yield line, sides[0], sides[1]


def _parallel(source: str | Path, target: str | Path, encoding: str) -> Iterator[Row]:
    sources = read_lines(source, encoding=encoding)
    targets = read_lines(target, encoding=encoding)
    for left, right in zip_longest(sources, targets):
        if left is None or right is None:
            line = (left or right)[0]
            short, long = (source, target) if left is None else (target, source)
            count = line + sum(1 for _ in chain(sources, targets))
            raise DataError(
                f"{short} has {line - 1} lines, but {long} has {count}: line {line} of {long} has "
                "no partner; line n of one file must translate line n of the other"
            )
        yield left[0], left[1], right[1]
