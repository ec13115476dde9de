"""The folder of a run: whole or refused, and never harmed by a write that fails."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from comporta.errors import CheckpointError, ConfigurationError, TrainingError
from comporta.training import Checkpoint, RunFolder, files

READ = [
    "config.json",
    "tokenizer.json",
    "checkpoint.json",
    "checkpoint-000001/model.safetensors",
    "checkpoint-000001/state.json",
    "checkpoint-000002/model.safetensors",
    "checkpoint-000002/state.json",
    "checkpoint-000002/training.safetensors",
]


def moment(step: int) -> Checkpoint:
    return Checkpoint(
        progress={"step": step},
        model={"w": torch.full((3,), float(step))},
        training={"optimizer.0.exp_avg": torch.arange(step + 1)},
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.begin({"hidden": 3}, texts={"tokenizer.json": '{"é": 1}'})
    folder.save(moment(1), best=True)
    folder.save(moment(2), best=False)
    return folder


def step_of(folder: RunFolder) -> object:
    last = folder.last()
    assert last is not None
    assert torch.equal(last.model["w"], torch.full((3,), float(str(last.progress["step"]))))
    return last.progress["step"]


def test_what_was_saved_comes_back(folder: RunFolder) -> None:
    last = folder.last()
    assert last is not None
    assert last.progress == {"step": 2}
    assert torch.equal(last.training["optimizer.0.exp_avg"], torch.arange(3))
    assert folder.best_weights()["w"].tolist() == [1, 1, 1]
    assert folder.config()["hidden"] == 3
    assert folder.texts() == {"tokenizer.json": '{"é": 1}'}


def test_only_the_last_and_the_best_are_kept(folder: RunFolder) -> None:
    for step in range(3, 7):
        folder.save(moment(step), best=step == 4)
    names = sorted(path.name for path in folder.path.glob("checkpoint-*"))
    assert names == ["checkpoint-000004", "checkpoint-000006"]
    assert step_of(folder) == 6
    assert folder.best_weights()["w"].tolist() == [4, 4, 4]


def test_tied_weights_can_be_saved(folder: RunFolder) -> None:
    shared = torch.ones(2)
    folder.save(Checkpoint(progress={}, model={"a": shared, "b": shared}, training={}), best=True)
    assert folder.best_weights()["b"].tolist() == [1, 1]


def all_files(folder: RunFolder) -> list[str]:
    found = (path for path in folder.path.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder.path)) for path in found)


def read_everything(folder: RunFolder) -> None:
    folder.config()
    folder.texts()
    folder.last()
    folder.best_weights()


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "remove"])
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_is_refused_by_name(folder: RunFolder, name: str, harm: str) -> None:
    # The training state of the best checkpoint, where that is not the last, is never read.
    assert set(all_files(folder)) == {*READ, "checkpoint-000001/training.safetensors"}
    path = folder.path / name
    data = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(data[: len(data) - 7] if harm == "cut" else b"")
    with pytest.raises(CheckpointError) as error:
        read_everything(folder)
    assert path.name in str(error.value)
    assert (harm == "remove") == ("missing" in str(error.value) or "no config" in str(error.value))


@pytest.mark.parametrize("name", ["config.json", "checkpoint.json", "checkpoint-000002/state.json"])
def test_a_newer_format_says_so(folder: RunFolder, name: str) -> None:
    content = json.loads((folder.path / name).read_text())
    (folder.path / name).write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(CheckpointError, match=r"format 99.*newer Comporta"):
        read_everything(folder)


def test_a_changed_setting_is_refused(folder: RunFolder) -> None:
    path = folder.path / "config.json"
    path.write_text(path.read_text().replace('"hidden": 3', '"hidden": 4'))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged.*SHA-256"):
        folder.config()


def test_no_folder_no_run_and_no_checkpoint_yet(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        RunFolder(tmp_path / "absent").config()
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        RunFolder(tmp_path).config()
    begun = RunFolder(tmp_path / "begun")
    begun.begin({}, texts={"tokenizer.json": "{}"})
    assert begun.last() is None
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        begun.best_weights()


def test_a_folder_with_a_model_is_not_free(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="already holds a model; give --resume"):
        folder.check_free()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is a file"):
        RunFolder(tmp_path / "file").check_free()
    RunFolder(tmp_path / "new").check_free()


@pytest.mark.parametrize("name", ["notes.txt", "checkpoint-500/weights.bin", "draft.tmp"])
def test_a_folder_of_other_things_is_not_free(tmp_path: Path, name: str) -> None:
    """No run begins there, for it would take some of them for its own and remove them."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    folder = RunFolder(tmp_path)
    for check in (folder.check_free, folder.check_ours):
        with pytest.raises(ConfigurationError, match="holds no model, but other things"):
            check()
    # Where a run was begun they stay beside it, whatever becomes of the run.
    folder.begin({}, texts={"tokenizer.json": "{}"})
    folder.save(moment(1), best=True)
    folder.check_ours()
    folder.begin({}, texts={"tokenizer.json": "{}"})
    assert (tmp_path / name).exists()


def test_what_a_run_killed_at_its_beginning_leaves_is_free(folder: RunFolder) -> None:
    (folder.path / "config.json").unlink()
    with pytest.raises(ConfigurationError, match="already holds a model"):
        folder.check_free()
    folder.check_ours()
    begun = RunFolder(folder.path.with_name("begun"))
    begun.path.mkdir()
    (begun.path / "tokenizer.json").touch()
    (begun.path / "config.json.77.tmp").touch()
    (begun.path / ".hidden").touch()
    begun.check_free()


def test_beginning_anew_leaves_nothing_of_the_old_run(folder: RunFolder) -> None:
    (folder.path / "notes.txt").write_text("mine")
    folder.begin({"hidden": 9}, texts={"tokenizer.json": "{}"})
    assert all_files(folder) == ["config.json", "notes.txt", "tokenizer.json"]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "no permission")]
)
def test_a_refused_write_leaves_the_last_checkpoint(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """Whichever of the writes of a checkpoint fails, the run can go on from the one before."""
    real = os.fsync
    for fails_at in range(1, 10):
        calls = 0

        def fsync(descriptor: int, fails_at: int = fails_at) -> None:
            nonlocal calls
            calls += 1
            if calls >= fails_at:
                raise OSError(number, os.strerror(number))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            before = step_of(folder)
            if fails_at > 8:
                # Every write succeeded: three files, the pointer, and their folder each time.
                folder.save(moment(5), best=True)
                break
            with pytest.raises(TrainingError, match=words):
                folder.save(moment(5), best=True)
        # The last failure is after the switch, where the new checkpoint is already whole.
        assert step_of(folder) in ((before,) if fails_at < 8 else (before, 5))
        assert not list(folder.path.rglob("*.tmp"))
    assert step_of(folder) == 5


def test_a_part_left_by_a_kill_is_in_nobodys_way(folder: RunFolder) -> None:
    first = RunFolder(folder.path.with_name("first"))
    first.begin({}, texts={"tokenizer.json": "{}"})
    (first.path / "checkpoint-000001").mkdir()
    assert first.last() is None

    part = folder.path / "checkpoint-000003"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"half")
    (folder.path / "checkpoint.json.77.tmp").write_bytes(b"{")
    assert step_of(folder) == 2
    folder.save(moment(3), best=False)
    assert step_of(folder) == 3
    assert not list(folder.path.glob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_disk_that_is_full_for_real() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Path("/dev/full").write_bytes(b"a" * 10_000)
    assert "no space left on the disk" in str(files.refusal(Path("a"), caught.value))
