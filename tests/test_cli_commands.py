"""The commands as people call them: what they print, where, and with which status."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Call

from comporta import cells
from comporta.cli.train import SUMMARIES
from comporta.tasks import NAMES, kind, load
from comporta.training.recipe import plain

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
SMALL = ["--hidden", "8", "--embedding", "4", "--window", "10", "--batch-size", "4"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.fixture
def model(text: Path, call: Call) -> Path:
    folder = text.parent / "model"
    assert call(*training(text, folder))[0] == 0
    return folder


def training(text: Path, out: Path, *more: object) -> list[object]:
    return ["train", "language-model", text, "--out", out, *SMALL, "--steps", 6, *more]


def test_training_reports_to_stdout_and_progress_to_stderr(text: Path, call: Call) -> None:
    status, out, err = call(*training(text, text.parent / "m", "--json"))
    report = json.loads(out)
    assert status == 0
    assert (report["steps"], report["finished"]) == (6, True)
    assert report["validation"]["tokens"] == report["validation"]["characters"] == 120
    nats = report["validation"]["nats_per_token"]
    assert report["validation"]["perplexity"] == pytest.approx(math.exp(nats))
    assert "validation" in err
    assert "bits/char" in err


def test_generate(model: Path, call: Call) -> None:
    arguments = ["generate", model, "--prime", "7 t", "--length", 9, "--seed", 1, "--count", 2]
    status, out, _ = call(*arguments, "--json")
    texts = json.loads(out)["texts"]
    assert status == 0
    assert texts == load(model).generate("7 t", length=9, seed=1, count=2)
    assert call(*arguments)[1] == "\n\n".join(texts) + "\n"
    _, greedy, _ = call("generate", model, "--top-k", 1, "--length", 9)
    assert greedy == call("generate", model, "--temperature", 0, "--length", 9)[1]
    assert greedy == call("generate", model, "--top-p", 1e-9, "--length", 9)[1]


def test_score(model: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("3 times\n\n4 times 4\n")
    status, out, _ = call("score", model, "1 is 1", "--file", tmp_path / "lines", "--json")
    assert status == 0
    found = json.loads(out)
    assert [each["text"] for each in found] == ["1 is 1", "3 times", "4 times 4"]
    for each in found:
        expected = load(model).score(each["text"])
        assert each["log_probability"] == pytest.approx(expected.log_probability)
        assert each["perplexity"] == pytest.approx(expected.perplexity)
        assert each["tokens"] == len(each["text"])
    _, out, _ = call("score", model, "1 is", "--json", "--per-token")
    (only,) = json.loads(out)
    assert [step["token"] for step in only["per_token"]] == [*"1 is"]
    total = sum(step["log_probability"] for step in only["per_token"])
    assert total == pytest.approx(only["log_probability"])
    _, out, _ = call("score", model, "1 is", "--per-token")
    assert f"{total:.3f}" in out


def test_evaluate(model: Path, text: Path, call: Call) -> None:
    status, out, _ = call("evaluate", model, text, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["tokens"] == len(TEXT)
    assert found["nats_per_token"] == pytest.approx(load(model).evaluate(TEXT)["nats_per_token"])
    assert found["bits_per_token"] == pytest.approx(found["nats_per_token"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_token"]))
    assert f"{found['perplexity']:.4f}" in call("evaluate", model, text)[1]


def test_unknown_characters_are_scored_and_said(model: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "new.txt").write_text("7 timeß 7")
    for arguments in (
        ["score", model, "7 timeß ßß", "--json"],
        ["generate", model, "--prime", "ß", "--length", 3, "--json"],
        ["evaluate", model, tmp_path / "new.txt", "--json"],
        ["score", model, "half \udce9", "--json"],
    ):
        status, out, err = call(*arguments)
        assert status == 0
        assert json.loads(out)
        assert "treated as <unk>: " in err
    assert "'ß' (3)" in call("score", model, "7 timeß ßß")[2]
    long = "7 times " * 100 + "ß"
    assert len(call("score", model, long)[2]) < 200


def test_cells(call: Call, tmp_path: Path) -> None:
    status, out, _ = call("cells")
    assert status == 0
    for name in cells.names():
        assert f"{name}: " in out
    listed = json.loads(call("cells", "--json")[1])
    assert [each["name"] for each in listed] == cells.names()
    (gru,) = (each for each in listed if each["name"] == "gru")
    assert gru["parameters"]["U_n"] == ["H", "H"]
    assert gru["linear"] is False
    shown = call("cells", "gru")[1]
    assert cells.get("gru").latex() in shown
    assert cells.get("gru").describe() in shown
    (tmp_path / "mine.txt").write_text("h = tanh(W_h @ x + U_h @ h)\n")
    assert json.loads(call("cells", tmp_path / "mine.txt", "--json")[1])["name"] == "mine"


def test_a_cell_from_a_file_is_trained_and_needs_the_file_no_more(
    text: Path, call: Call, tmp_path: Path
) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("h = tanh(W_h @ x + U_h @ h)\n")
    out = tmp_path / "own"
    assert call(*training(text, out, "--cell", own))[0] == 0
    own.unlink()
    assert call("generate", out, "--length", 5)[0] == 0
    assert load(out).model.config.cell.name == "mine"


def test_settings_of_a_file_and_options_over_them(text: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        f'files = ["{text}"]\nhidden = 9\nbatch-size = 4\nwindow = 10\nepochs = 500\n'
        'lr = 1\nfeed_forward = [5]\ncell = "rnn"\ntied = false\n'
    )
    out = tmp_path / "run"
    arguments = ["train", "language-model", "--config", tmp_path / "s.toml", "--out", out]
    status, _, err = call(*arguments, "--steps", 3, "--hidden", 7)
    assert (status, "validation" in err) == (0, True)
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert settings["cell"]["name"] == "rnn"
    picked = ("hidden", "batch_size", "epochs", "steps", "lr", "feed_forward", "files")
    assert [settings[name] for name in picked] == [7, 4, None, 3, 1.0, [5], [str(text)]]


def test_resume_goes_on_or_begins(text: Path, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, _, err = call(*training(text, out, "--resume"))
    assert (status, "nothing to resume" in err) == (0, True)
    for arguments in ([], training(text, out)[2:3]):
        status, shown, _ = call(
            "train", "language-model", *arguments, "--out", out, "--resume", "--json"
        )
        assert (status, json.loads(shown)["steps"]) == (0, 6)


@pytest.mark.parametrize("task", NAMES)
def test_the_help_names_every_setting_and_its_default(task: str) -> None:
    options = {name: plain(value) for name, value in kind(task).parts.defaults.items()}
    told = subprocess.run(
        [sys.executable, "-m", "comporta", "train", task, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "", "PYTHONUTF8": "1"},
    ).stdout
    names = [name.replace("_", "-") for name in options if name != "files"]
    assert [name for name in names if f"--{name}" not in told] == []
    found = dict(re.findall(r"--([a-z-]+) .*\[default: ([\w.]+)\]", told))
    assert len(found) > 12
    for name, value in found.items():
        default = options[name.replace("-", "_")]
        assert value == str(default["name"] if isinstance(default, dict) else default)


def test_every_task_is_a_command_and_every_command_a_task() -> None:
    assert tuple(SUMMARIES) == NAMES
    assert [kind(name).name for name in NAMES] == list(NAMES)


def test_the_help_of_generate_names_the_token_it_means(call: Call) -> None:
    """Help is Markdown, in which a bare <unk> is a tag and not shown."""
    assert "Let <unk> be drawn" in call("generate", "--help")[1]


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['comporta', '--help']\n"
        "from comporta.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
