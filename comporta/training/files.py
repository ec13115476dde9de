"""Writing a file so that it is there whole or not at all, and knowing it again.

Every JSON file carries its format version and a SHA-256 of its own content, so that a file that
was cut short or changed is refused and never half understood.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from comporta.errors import CheckpointError, DataError, TrainingError

FORMAT = 1


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, flushed to the disk, then renamed.

    Raises:
        TrainingError: no room, no permission, or any other refusal of the system; what was at
            `path` before is still there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> write_bytes(path, b"abc")
    >>> path.read_bytes()
    b'abc'
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise refusal(path, error) from None


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, so that a rename outlives a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(path: Path, error: OSError) -> TrainingError:
    """The error for a write that the system refused, with what to do about it.

    >>> str(refusal(Path("a"), OSError(errno.ENOSPC, "No space left on device")))[:44]
    'cannot write a: no space left on the disk; f'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason, mend = "no space left on the disk", "free some"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason, mend = "no permission", "check the rights of the folder or choose another"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason, mend = "there is a file where a folder is needed", "choose another folder"
    else:
        reason, mend = error.strerror or str(error), "mend that"
    return TrainingError(
        f"cannot write {path}: {reason}; {mend}. What was saved before is intact, and --resume "
        "goes on from it"
    )


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def digest_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 of the bytes of files, one after the other; of all files in a folder by name.

    Raises:
        DataError: one cannot be read.

    >>> digest_files([]) == digest(b"")
    True
    """
    found = hashlib.sha256()
    for path in map(Path, paths):
        inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for each in inner:
            try:
                with each.open("rb") as file:
                    while block := file.read(1 << 20):
                        found.update(block)
            except OSError as error:
                raise DataError(f"cannot read {each}: {error.strerror}") from None
    return found.hexdigest()


def write_sealed(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON data with its format version and its own digest.

    Raises:
        TrainingError: as `write_bytes`.
    """
    body = {"format": FORMAT, **content}
    sealed = {**body, "sha256": digest(_canonical(body))}
    write_bytes(path, json.dumps(sealed, indent=2, ensure_ascii=False).encode() + b"\n")


def read_sealed(path: Path) -> dict[str, object]:
    """Read what `write_sealed` wrote.

    Raises:
        CheckpointError: the file is missing, from a newer version, cut short or changed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_sealed(path, {"step": 3})
    >>> read_sealed(path)["step"]
    3
    """
    data = read_bytes(path)
    try:
        content = json.loads(data)
    except ValueError:
        raise damaged(path, "it is not JSON") from None
    if not isinstance(content, dict):
        raise damaged(path, "it is not a JSON object")
    version = content.get("format")
    # The version comes first: a newer format may well seal its files in another way.
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, and this Comporta reads formats up to {FORMAT}; "
            "it was written by a newer Comporta: upgrade this one"
        )
    seal = content.pop("sha256", None)
    if seal != digest(_canonical(content)):
        raise damaged(path, "its content does not match its SHA-256")
    return content


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """Read a file of a model folder.

    Args:
        path: the file.
        sha256: what its digest must be.

    Raises:
        CheckpointError: the file is missing, cannot be read, or is not the one that was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its rights") from None
    if sha256 is not None and digest(data) != sha256:
        raise damaged(path, "its content does not match its SHA-256")
    return data


def damaged(path: Path, reason: str) -> CheckpointError:
    """The error for a file that was cut short, changed or lost."""
    return CheckpointError(
        f"{path} is damaged: {reason}; it was cut short, changed or lost after it was written. "
        "Restore the folder from a copy, or train again"
    )


def _canonical(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
