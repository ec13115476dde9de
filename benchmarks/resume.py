"""Kill a training run at random moments, resume it, and compare the final weights bit for bit.

    python benchmarks/resume.py [--kills 20] [--seed 0]

Each trial starts `comporta train language-model` in a process of its own, sends it kill -9 at a
random moment (while it imports, begins, trains, validates or saves), resumes it to the end, and
compares everything in its last checkpoint with that of a run that was left alone. It writes
results/resume.md, and exits with status 1 if any bit differs.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import write_page

from comporta.training import RunFolder

RECIPE = (
    "--hidden 32 --embedding 16 --layers 2 --dropout 0.2 --window 20 --batch-size 8 --steps 500 "
    "--validate-every 25"
)
TEXT = "".join(f"{n} times {n} is {n * n}, and {n} plus {n} is {n + n}.\n" for n in range(400))


def command(text: Path, out: Path, *more: str) -> list[str]:
    """The command line of a run."""
    train = [sys.executable, "-m", "comporta", "train", "language-model", str(text)]
    return [*train, "--out", str(out), *RECIPE.split(), *more]


def finish(text: Path, out: Path, *more: str) -> float:
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(command(text, out, *more), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"training failed:\n{done.stderr}")
    return time.monotonic() - began


def kill_after(text: Path, out: Path, seconds: float) -> bool:
    """Start a run and kill it after some time; whether it was still running then."""
    with subprocess.Popen(
        command(text, out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        time.sleep(seconds)
        process.kill()
    return process.returncode == -signal.SIGKILL


def where(folder: RunFolder) -> str:
    """How far a run has got, for the table."""
    if not folder.holds_a_run:
        return "not begun"
    checkpoint = folder.last()
    return "no checkpoint" if checkpoint is None else f"step {checkpoint.progress['step']}"


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """The names of the tensors of two last checkpoints that are not equal in every bit."""
    ours, theirs = one.last(), other.last()
    if ours is None or theirs is None:
        return ["checkpoint"]
    found = []
    for mine, expected in ((ours.model, theirs.model), (ours.training, theirs.training)):
        names = mine.keys() | expected.keys()
        found += [
            name
            for name in sorted(names)
            if name not in mine
            or name not in expected
            or not torch.equal(mine[name], expected[name])
        ]
    return found


def main() -> None:
    """Run the trials and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    rows: list[str] = []
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        text = home / "text.txt"
        text.write_text(TEXT)
        whole = RunFolder(home / "whole")
        seconds = finish(text, whole.path)
        while len(rows) < options.kills:
            moment = chance.uniform(0.0, seconds)
            with tempfile.TemporaryDirectory(dir=home) as broken:
                folder = RunFolder(Path(broken) / "run")
                # A run that had come to its end was not killed; it is no trial.
                if not kill_after(text, folder.path, moment):
                    continue
                reached = where(folder)
                finish(text, folder.path, "--resume")
                wrong = differences(folder, whole)
            failed += bool(wrong)
            told = f"{moment:.2f} s | {reached} | {', '.join(wrong) or 'none'}"
            rows.append(f"| {len(rows) + 1} | {told} |")
            print(rows[-1], flush=True)
    lines = [
        f"**{options.kills - failed} of {options.kills} runs killed with kill -9 and resumed ended "
        "in the same bits** as one left alone: weights, optimizer, generator and carried state.",
        "",
        f"`comporta train language-model` with `{RECIPE}`; left alone it takes {seconds:.1f} s, "
        "imports included.",
        "",
        "| trial | killed after | last checkpoint | tensors that differ |",
        "|---|---|---|---|",
        *rows,
    ]
    command = f"python benchmarks/resume.py --kills {options.kills} --seed {options.seed}"
    write_page("resume", "Killed and resumed", command, lines)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
