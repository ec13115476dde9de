"""The folder of a run, and its checkpoints: safetensors and JSON, never code.

    DIR/config.json              the settings of the run, written first
    DIR/tokenizer.json           the vocabulary, or others beside it
    DIR/checkpoint.json          which checkpoint is the last, which the best
    DIR/checkpoint-000012/       model.safetensors, training.safetensors, state.json

A checkpoint is a new folder, written whole and flushed; then one atomic rename of
`checkpoint.json` makes it the last. Killed at any moment, a run leaves a whole checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from comporta.errors import CheckpointError, ConfigurationError, TrainingError
from comporta.training import files

_MODEL = "model.safetensors"
_TRAINING = "training.safetensors"
_CHECKPOINTS = "checkpoint-" + 6 * "[0-9]"
_LEFTOVERS = "*.json.*.tmp"
_OURS = ("*tokenizer.json", "checkpoint.json", _CHECKPOINTS, _LEFTOVERS)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A moment of a run: all that the next step depends on.

    Args:
        progress: where the run is, as plain JSON data.
        model: the weights.
        training: everything else that is a tensor (optimizer, generators, carried state).
    """

    progress: dict[str, object]
    model: dict[str, Tensor]
    training: dict[str, Tensor]


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder; it need not be there yet.

    >>> import tempfile, torch
    >>> folder = RunFolder(tempfile.mkdtemp())
    >>> folder.begin({"hidden": 3}, texts={"tokenizer.json": "{}"})
    >>> moment = Checkpoint(progress={"step": 1}, model={"w": torch.ones(2)}, training={})
    >>> folder.save(moment, best=True)
    >>> folder.last().progress["step"], folder.best_weights()["w"].tolist()
    (1, [1.0, 1.0])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "config.json").exists()

    def check_free(self) -> None:
        """Refuse a folder that cannot be begun in without losing something.

        Raises:
            ConfigurationError: it holds a run or other files, or is not a folder.
        """
        self.check_ours()
        if self.holds_a_run or any(self.path.glob(_CHECKPOINTS)):
            raise ConfigurationError(
                f"{self.path} already holds a model; give --resume to go on training it, "
                "--overwrite to begin anew in its place, or another folder"
            )

    def check_ours(self) -> None:
        """Refuse a folder in which something else than a run is kept, which a run might harm.

        Raises:
            ConfigurationError: it holds files but no run, or is not a folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigurationError(
                f"{self.path} is a file; give a folder for the model, new or empty"
            )
        if self.holds_a_run or not self.path.exists():
            return
        # A run that was killed when it began has left some of these, and nothing else.
        ours = [found for pattern in _OURS for found in self.path.glob(pattern)]
        others = sorted(
            found.name for found in set(self.path.iterdir()) - set(ours) if found.name[0] != "."
        )
        if others:
            more = ", ..." if len(others) > 3 else ""
            raise ConfigurationError(
                f"{self.path} holds no model, but other things ({', '.join(others[:3])}{more}); "
                "give a folder that is new or empty"
            )

    def begin(self, config: Mapping[str, object], *, texts: Mapping[str, str]) -> None:
        """Begin a run here, in place of what run there was.

        Args:
            config: the settings of the run, JSON data.
            texts: vocabularies, each the text of a file whose name ends in tokenizer.json.

        Raises:
            TrainingError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # The pointer goes first: new settings must never stand beside old weights.
            (self.path / "checkpoint.json").unlink(missing_ok=True)
            (self.path / "config.json").unlink(missing_ok=True)
        except OSError as error:
            raise files.refusal(self.path, error) from None
        self._remove_all_but(set())
        for leftover in set(self.path.glob("*tokenizer.json")) - {self.path / n for n in texts}:
            leftover.unlink(missing_ok=True)
        for name, text in texts.items():
            files.write_bytes(self.path / name, text.encode())
        digests = {name: files.digest(text.encode()) for name, text in texts.items()}
        files.write_sealed(self.path / "config.json", {**config, "texts": digests})

    def config(self) -> dict[str, object]:
        """The settings of the run.

        Raises:
            CheckpointError: there is no run here, or its settings are damaged.
        """
        if not self.path.is_dir():
            found = "it is a file" if self.path.exists() else "there is no such folder"
            raise CheckpointError(
                f"no model in {self.path}: {found}; train one with "
                "comporta train TASK FILES --out DIR"
            )
        if not self.holds_a_run:
            raise CheckpointError(
                f"no model in {self.path}: it has no config.json; give the folder that was "
                "--out in training"
            )
        return files.read_sealed(self.path / "config.json")

    def texts(self) -> dict[str, str]:
        """The texts that `begin` was given, by the names of their files.

        Raises:
            CheckpointError: one is missing or damaged.
        """
        digests = self.config().get("texts")
        if not isinstance(digests, dict):
            raise files.damaged(self.path / "config.json", "it names no vocabularies")
        return {
            name: files.read_bytes(self.path / name, str(sha256)).decode()
            for name, sha256 in digests.items()
        }

    def save(self, checkpoint: Checkpoint, *, best: bool) -> None:
        """Write a checkpoint, make it the last one, and remove those no longer needed.

        Args:
            checkpoint: the moment.
            best: whether it is the best one so far, too.

        Raises:
            TrainingError: it cannot be written; the checkpoints before it are intact.
        """
        pointer = self._pointer() or {"number": 0, "best": None}
        number = int(str(pointer["number"])) + 1
        name = _name(number)
        folder = self.path / name
        try:
            # A run killed while writing may have left a part of this very folder.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as error:
            raise files.refusal(folder, error) from None
        try:
            self._write(folder, checkpoint)
        except TrainingError:
            # Room on the disk is worth more than half a checkpoint.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        switched = {"number": number, "last": name, "best": name if best else pointer["best"]}
        files.write_sealed(self.path / "checkpoint.json", switched)
        self._remove_all_but({switched["last"], switched["best"]})

    def last(self) -> Checkpoint | None:
        """The last checkpoint, or None where the run was stopped before its first.

        Raises:
            CheckpointError: it is damaged.
        """
        pointer = self._pointer()
        if pointer is None:
            return None
        folder = self.path / str(pointer["last"])
        state = files.read_sealed(folder / "state.json")
        progress = state["progress"]
        if not isinstance(progress, dict):
            raise files.damaged(folder / "state.json", "it has no progress")
        return Checkpoint(
            progress=progress,
            model=_read_tensors(folder, _MODEL, state),
            training=_read_tensors(folder, _TRAINING, state),
        )

    def best_weights(self) -> dict[str, Tensor]:
        """The weights of the best checkpoint; of the last one before any validation.

        Raises:
            CheckpointError: there is none yet, or it is damaged.
        """
        pointer = self._pointer()
        if pointer is None:
            raise CheckpointError(
                f"{self.path} has no checkpoint yet: its training was stopped before the first; "
                "go on with --resume"
            )
        folder = self.path / str(pointer["best"] or pointer["last"])
        return _read_tensors(folder, _MODEL, files.read_sealed(folder / "state.json"))

    def _pointer(self) -> dict[str, object] | None:
        path = self.path / "checkpoint.json"
        if path.exists():
            return files.read_sealed(path)
        # The first checkpoint may lie there unfinished; a later one has had a pointer before it.
        if {found.name for found in self.path.glob(_CHECKPOINTS)} - {_name(1)}:
            raise files.damaged(path, "it is missing")
        return None

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        digests = {}
        for name, tensors in ((_MODEL, checkpoint.model), (_TRAINING, checkpoint.training)):
            # Cloned, because tied weights share memory, which safetensors refuses.
            data = save_tensors({key: t.detach().cpu().clone() for key, t in tensors.items()})
            files.write_bytes(folder / name, data)
            digests[name] = files.digest(data)
        state = {"progress": checkpoint.progress, "files": digests}
        files.write_sealed(folder / "state.json", state)

    def _remove_all_but(self, kept: set[object]) -> None:
        for folder in self.path.glob(_CHECKPOINTS):
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        for leftover in self.path.glob(_LEFTOVERS):
            leftover.unlink(missing_ok=True)


def _name(number: int) -> str:
    return f"checkpoint-{number:06d}"


def _read_tensors(folder: Path, name: str, state: Mapping[str, object]) -> dict[str, Tensor]:
    digests = state.get("files")
    if not isinstance(digests, dict) or name not in digests:
        raise files.damaged(folder / "state.json", f"it does not know {name}")
    data = files.read_bytes(folder / name, str(digests[name]))
    try:
        # Cloned: a tensor inside the buffer may be less aligned than one that torch allocates,
        # and arithmetic is equal in every bit only on equally aligned memory.
        return {key: tensor.clone() for key, tensor in load_tensors(data).items()}
    except SafetensorError as error:
        raise files.damaged(folder / name, str(error)) from None
