"""Files that stand for examples: folders with one subfolder a class, and manifests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comporta.data.labelled import read_labelled
from comporta.data.lines import bad_line, read_lines
from comporta.errors import DataError

MANIFESTS = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class LabelledFile:
    """One file that is one example.

    Args:
        path: the file.
        label: its class.
        where: the place that names it, for messages.
    """

    path: Path
    label: str
    where: str


def check_file(path: str | Path) -> Path:
    """The path of a file that is there.

    Raises:
        DataError: there is no such file, or it is a folder.

    >>> check_file("no/such.wav")
    Traceback (most recent call last):
    comporta.errors.DataError: no such file: no/such.wav; check the path
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file")
    if not path.exists():
        raise DataError(f"no such file: {path}; check the path")
    return path


def folder_files(
    folder: str | Path, suffixes: tuple[str, ...]
) -> Iterator[tuple[Path, str | None]]:
    """The files of a folder and of its subfolders, each subfolder being a class.

    Args:
        folder: where to look.
        suffixes: how the wanted files end, in lower case; others are passed over.

    Yields:
        A file and the name of the subfolder that holds it, None for a file right in the folder;
        in the order of their names.

    Raises:
        DataError: no file ends so, or a subfolder holds none.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("jazz", "rock"):
    ...     (folder / name).mkdir()
    ...     (folder / name / "1.mid").touch()
    >>> [label for _, label in folder_files(folder, (".mid",))]
    ['jazz', 'rock']
    """
    folder = Path(folder)
    wanted = " or ".join(suffixes)
    found = False
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        label = entry.name if entry.is_dir() else None
        inside = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        files = [file for file in inside if file.suffix.lower() in suffixes and file.is_file()]
        if entry.is_dir() and not files:
            raise DataError(
                f"the class {entry.name!r} is empty: {entry} holds no {wanted} file; "
                "fill or remove the folder"
            )
        found = found or bool(files)
        yield from ((file, label) for file in files)
    if not found:
        raise DataError(f"{folder} holds no {wanted} file; give another folder")


def read_manifest(path: str | Path, columns: tuple[str, str]) -> Iterator[tuple[Path, str, str]]:
    """Read a manifest: a file and what belongs to it on each line.

    TSV (`FILE<TAB>WORDS`), CSV, or JSON Lines with the two columns as keys. A first line that
    holds the names of the columns is a header; without it, the first two columns are taken. Paths
    are relative to the manifest.

    Args:
        path: the manifest, ending in .tsv, .csv or .jsonl.
        columns: what the two columns are called.

    Yields:
        A file, what belongs to it, and the place of the line.

    Raises:
        DataError: the file is no manifest, a line cannot be read (as `read_labelled` says), or it
            names a file that is not there.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.wav").touch()
    >>> _ = (folder / "all.tsv").write_text("a.wav\\tone two\\n")
    >>> [text for _, text, _ in read_manifest(folder / "all.tsv", ("audio", "text"))]
    ['one two']
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in MANIFESTS:
        raise DataError(
            f"{path} is no manifest; give a folder or a file ending in {' or '.join(MANIFESTS)}"
        )
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    cells = {cell.strip(' "') for cell in first.split("," if kind == ".csv" else "\t")}
    named = kind == ".jsonl" or cells >= set(columns)
    file, words = columns if named else (0, 1)
    for found in read_labelled(path, text=file, label=words):
        target = path.parent / found.text
        if not target.is_file():
            raise bad_line(
                path, found.line, f"no such file: {target}; paths are relative to {path.name}"
            )
        yield target, found.label or "", f"{path}, line {found.line}"


def read_labelled_files(path: str | Path, suffixes: tuple[str, ...]) -> Iterator[LabelledFile]:
    """Read which files there are and what class each is of.

    Args:
        path: a folder with one subfolder a class, or a manifest of the columns `path` and
            `label` (TSV, CSV or JSON Lines).
        suffixes: how the files end, for a folder.

    Yields:
        The files, one at a time.

    Raises:
        DataError: there is nothing at the path, a class without a file, a file without a class, or
            a line of a manifest that cannot be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "yes").mkdir()
    >>> (folder / "yes" / "1.wav").touch()
    >>> next(read_labelled_files(folder, (".wav",))).label
    'yes'
    """
    path = Path(path)
    if not path.is_dir():
        for file, label, where in read_manifest(check_file(path), ("path", "label")):
            yield LabelledFile(file, label, where)
        return
    for file, folder in folder_files(path, suffixes):
        if folder is None:
            raise DataError(
                f"{file} has no class; put it in a folder named after its class, or give a "
                "manifest of path and label"
            )
        yield LabelledFile(file, folder, str(file))
