"""Bad input: one clear paragraph on standard error, status 2, no traceback, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comporta import cli

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
SMALL = ["--hidden", "8", "--embedding", "4", "--window", "10", "--batch-size", "4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad files, and one trained model."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(TEXT)
    (home / "empty.txt").touch()
    (home / "short.txt").write_text("abc")
    (home / "latin.txt").write_bytes("line\nSão".encode("latin1"))
    (home / "typo.toml").write_text("hiden = 5\n")
    (home / "kind.toml").write_text('hidden = "big"\n')
    (home / "true.toml").write_text("hidden = true\n")
    (home / "list.toml").write_text("files = [1]\n")
    (home / "broken.toml").write_text("hidden = \n")
    (home / "wrong_cell.txt").write_text("h = tahn(W_h @ x)\n")
    (home / "stuffed" / "checkpoint-000500").mkdir(parents=True)
    (home / "stuffed" / "checkpoint-000500" / "weights.bin").write_bytes(b"years of work")
    (home / "stuffed" / "notes.txt").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "argv", ["comporta", *training("model").split(), *SMALL])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return home


def training(out: str, text: str = "text.txt") -> str:
    return f"train language-model {text} --steps 4 --out {out}"


def refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["comporta", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert "Traceback" not in err
    return " ".join(err.split())


CASES = [
    (training("new", "absent.txt"), "absent.txt; give the path of a text file"),
    (training("new", "empty.txt"), "empty.txt is empty"),
    (training("new", "short.txt"), "too short"),
    (training("new", "latin.txt"), "latin.txt is not UTF-8: byte 0xe3 at offset 6 (line 2)"),
    (training("new", "."), "is a directory"),
    (training("new", "text.txt/x"), "no such file: "),
    (training("new") + " --cell gru2", "unknown cell 'gru2'; did you mean gru"),
    (training("new") + " --cell wrong_cell.txt", "tahn"),
    (training("new") + " --cell absent.txt", "absent.txt"),
    (training("model"), "already holds a model; give --resume"),
    (training("text.txt"), "text.txt is a file; give a folder"),
    (training("text.txt/under"), "text.txt/under"),
    (training("stuffed"), "holds no model, but other things (notes.txt)"),
    (training("stuffed") + " --overwrite", "holds no model, but other things (notes.txt)"),
    (training("."), "holds no model, but other things"),
    (training("new") + " --hidden 99999999", "parameters needs at least"),
    (training("new") + " --layers 99999999999999", "it must be at most 1000"),
    (training("model") + " --overwrite --hidden 99999999", "lower --hidden"),
    (training("new") + " --seed 9223372036854775808", "must be 0 or more, and below 2**63"),
    (training("new") + " --lr nan", "lr is nan; it must be a number above 0"),
    (training("new") + " --minutes 1", "minutes and steps contradict"),
    (training("new") + " --epochs 1 --minutes 2", "contradict"),
    (training("model") + " --resume --overwrite", "--resume and --overwrite contradict"),
    (training("model") + " --resume --hidden 9", "hidden is 8 there, and 9 was given"),
    (training("model") + " --resume --layers 2", "layers is 1 there, and 2 was given"),
    ("train language-model --out new --resume", "no model in new"),
    (training("new") + " --level words", "unknown level 'words'; did you mean word"),
    (training("new") + " --level bpe --vocab-size 9", "at least 256"),
    (training("new") + " --tied", "make them equal"),
    (training("new") + " --lr 0", "lr is 0"),
    (training("new") + " --config typo.toml", "unknown key 'hiden' in typo.toml; did you mean hid"),
    (training("new") + " --config kind.toml", "'big', a str; expected int"),
    (training("new") + " --config true.toml", "True, a bool; expected int"),
    (training("new") + " --config list.toml", "files in list.toml is 1, a int; expected str"),
    (training("new") + " --config broken.toml", "broken.toml is not TOML"),
    (training("new") + " --config absent.toml", "cannot read the settings in absent.toml"),
    (training("new") + " --hiden 3", "No such option"),
    ("generate absent", "no model in absent"),
    ("generate model --temperature -1", "temperature is -1.0"),
    ("generate model --top-k 0", "top_k is 0"),
    ("generate model --top-p 2", "top_p is 2.0"),
    ("generate model --seed -1", "seed is -1"),
    ("score model", "nothing to score"),
    ("score model --file latin.txt", "not UTF-8"),
    ("score text.txt hello", "no model in text.txt: it is a file"),
    ("evaluate model empty.txt", "empty.txt is empty"),
    ("evaluate . text.txt", "no model in ."),
    ("cells lstn", "unknown cell 'lstn'; did you mean lstm"),
]


@pytest.mark.parametrize(("line", "words"), CASES, ids=[line for line, _ in CASES])
def test_bad_input(
    home: Path,
    line: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    before = snapshot(home)
    assert words in refused(capsys, monkeypatch, *line.split())
    assert snapshot(home) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("command", ["generate", "score", "evaluate", "train"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_model(
    home: Path,
    tmp_path: Path,
    command: str,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path, data in snapshot(home / "model").items():
        target = tmp_path / "model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[:-9] if target.name == name else data)
    monkeypatch.chdir(home)
    line = {
        "generate": "generate {}",
        "score": "score {} hello",
        "evaluate": "evaluate {} text.txt",
        "train": "train language-model --out {} --resume",
    }[command].format(tmp_path / "model")
    assert f"{name} is damaged" in refused(capsys, monkeypatch, *line.split())


def test_a_model_that_may_not_be_read(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The superuser may read anything, so the refusal is made here.
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        said = refused(capsys, patch, "generate", str(home / "model"))
        assert "config.json: Permission denied; check its rights" in said
        patch.setattr(Path, "is_dir", refuse)
        said = refused(capsys, patch, "generate", str(home / "model"))
        assert f"the system refuses {home / 'model'}: Permission denied" in said


BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("environment", [BUFFERED, BUFFERED | {"PYTHONUNBUFFERED": "1"}])
def test_output_that_cannot_be_written(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "comporta", "cells"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 2
    assert done.stderr == (
        "comporta: the system refuses the output: No space left on device; mend that\n"
    )


@pytest.mark.parametrize("environment", [BUFFERED, BUFFERED | {"PYTHONUNBUFFERED": "1"}])
def test_a_reader_that_has_read_enough(environment: dict[str, str]) -> None:
    """As in `comporta cells --json | head -1`: the command ends, and says nothing."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "comporta", "cells", "--json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_model_of_a_newer_format(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = json.loads((home / "model" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 2}))
    said = refused(capsys, monkeypatch, "generate", str(tmp_path))
    assert "has format 2" in said
    assert "upgrade" in said


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "no permission")]
)
def test_a_write_that_the_system_refuses(
    home: Path,
    tmp_path: Path,
    number: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up while the second checkpoint is written; the first can be read."""
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 14:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.chdir(home)
    out = str(tmp_path / "run")
    line = [*training(out).split(), *SMALL, "--validate-every", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert words in refused(capsys, patch, *line)
    monkeypatch.setattr(sys, "argv", ["comporta", "generate", out, "--length", "3"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.chdir(home)
    said = refused(capsys, monkeypatch, *training(str(tmp_path / "locked" / "new")).split())
    assert "no permission" in said
