"""One row of docs/results.md: kept as JSON, and the page made from all of them."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "benchmarks" / "results" / "tasks"
PAGE = ROOT / "docs" / "results.md"
RUNS = Path("runs") / "results"

_HEAD = """# Results

Each row is one run of `make results TASK=NAME` on the day named, which writes this page; remarks
say where it was not quite so. Time is training time, validation included, here on cores that other
programs shared. A floor is what is reached without a recurrent model. The commands are those
that were run, their data by its file names.

| task | data | ours | bar | floor | published | parameters | time |
|---|---|---|---|---|---|---|---|
"""


@dataclass(kw_only=True)
class Result:
    """What a run came to.

    Args:
        task: name of the run, as in `make results TASK=NAME`, or with an addition to it.
        data: what it was trained and measured on, and the split.
        metric: what is measured.
        ours: our figure.
        bar: what it is held against, in words ("at least 0.90"); empty where there is none.
        reached: whether it is.
        floor: what is reached without a recurrent model, in words.
        published: figures of others, each with its source.
        parameters: numbers the model learns.
        seconds: of training.
        commands: what was run.
        figures: everything that was measured.
        remark: what a reader has to know of how it came about.
    """

    task: str
    data: str
    metric: str
    ours: float
    bar: str = ""
    reached: bool | None = None
    floor: str = ""
    published: str = ""
    parameters: int = 0
    seconds: float = 0.0
    commands: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    remark: str = ""

    def keep(self) -> None:
        """Write it beside the others, with the machine and the day."""
        KEPT.mkdir(parents=True, exist_ok=True)
        kept = asdict(self) | {"machine": machine(), "date": str(datetime.date.today())}
        text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
        (KEPT / f"{self.task}.json").write_text(text, encoding="utf-8")


def write_results() -> None:
    """Make the page from all results that are kept."""
    rows, details = [], []
    for path in sorted(KEPT.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        mark = {True: "", False: " (not reached)", None: ""}[found["reached"]]
        cells = (
            found["task"],
            found["data"],
            f"**{found['ours']:.4g}** {found['metric']}",
            f"{found['bar']}{mark}",
            found["floor"],
            found["published"],
            f"{found['parameters']:,}",
            f"{found['seconds'] / 60:.1f} min",
        )
        rows.append("| " + " | ".join(cells) + " |")
        commands = "\n".join(f"    {command}" for command in found["commands"])
        remark = f"{found['remark']}\n\n" if found.get("remark") else ""
        head = f"## {found['task']}\n\n{found['date']}; {found['machine']}"
        details.append(f"{head}\n\n{remark}{commands}\n")
    PAGE.write_text(_HEAD + "\n".join(rows) + "\n\n" + "\n".join(details), encoding="utf-8")


class Commands:
    """Runs the command line as a user would, and remembers what was run."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.seconds = 0.0

    def __call__(self, *arguments: object) -> Any:
        """Run one command with --json.

        Args:
            arguments: after `comporta`; a path is written down by its name alone.

        Returns:
            What it printed.
        """
        shown = [a.name if isinstance(a, Path) else str(a) for a in arguments]
        self.run.append(" ".join(["comporta", *shown]))
        line = [sys.executable, "-m", "comporta", *map(str, arguments), "--json"]
        began = time.monotonic()
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"failed: {self.run[-1]}")
        if arguments[0] == "train":
            self.seconds += time.monotonic() - began
        return json.loads(done.stdout)


def train_and_evaluate(
    commands: Commands, name: str, training: Sequence[object], evaluation: Sequence[object]
) -> dict[str, Any]:
    """`comporta train ... --out runs/results/NAME`, then `comporta evaluate` it.

    Args:
        commands: what runs them.
        name: of the run, and its folder.
        training: arguments after `comporta train`: the task, files and options.
        evaluation: the files after `comporta evaluate DIR`.

    Returns:
        The figures of the evaluation.
    """
    out = RUNS / name
    commands("train", *training, "--out", str(out), "--overwrite")
    figures: dict[str, Any] = commands("evaluate", str(out), *evaluation)
    return figures


def parameters_of(name: str) -> int:
    """How many numbers the model of a run learns."""
    import comporta

    return sum(weight.numel() for weight in comporta.load(RUNS / name).model.parameters())


def measure(expected: Sequence[str], answered: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro F1, by scikit-learn."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(expected, answered)),
        "macro_f1": float(f1_score(expected, answered, average="macro", zero_division=0)),
    }
