"""A real run, really killed: it ends in the bits of one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from comporta import cli
from comporta.training import RunFolder

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
SMALL = (
    "--hidden 8 --embedding 4 --window 10 --batch-size 4 --layers 2 --dropout 0.3 --steps 40 "
    "--validate-every 1"
)


def command(text: Path, out: Path, *more: str) -> list[str]:
    return ["train", "language-model", str(text), "--out", str(out), *SMALL.split(), *more]


def run_here(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["comporta", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def run_until(arguments: list[str], line: str, number: signal.Signals) -> int:
    """Start a process, and send it a signal as soon as it prints a line that begins so."""
    with subprocess.Popen(
        [sys.executable, "-m", "comporta", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for printed in process.stderr:
            if printed.startswith(line):
                process.send_signal(number)
                break
        else:
            pytest.fail(f"the run ended before it printed {line!r}")
        process.stderr.read()
    return process.returncode


def test_killed_and_interrupted_then_resumed_the_bits_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    run_here(monkeypatch, command(text, whole.path))

    killed = run_until(command(text, broken.path), "step 7:", signal.SIGKILL)
    assert killed == -signal.SIGKILL
    begun = broken.last()
    assert begun is not None
    assert 6 <= int(str(begun.progress["step"])) < 40
    interrupted = run_until(command(text, broken.path, "--resume"), "step 20:", signal.SIGINT)
    assert interrupted == 130
    run_here(monkeypatch, command(text, broken.path, "--resume"))

    expected, found = whole.last(), broken.last()
    assert expected is not None
    assert found is not None
    assert found.progress["step"] == 40
    for part in ("model", "training"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    best, theirs = broken.best_weights(), whole.best_weights()
    assert all(torch.equal(best[name], theirs[name]) for name in theirs)
