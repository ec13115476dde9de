"""The README's examples run as they stand, and all commands in the documentation can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from benchmarks.cells_page import PAGE, lines
from comporta.cli.app import app
from comporta.cli.train import train_command

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCKS = [
    block
    for page in (README, ROOT / "docs" / "layers.md")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]
COMMANDS = [
    line
    for page in (README, ROOT / "docs" / "tasks.md")
    for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("comporta ")
]


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 30


@pytest.mark.parametrize("line", COMMANDS)
def test_command_can_be_typed(line: str) -> None:
    """There is such a command, and it takes all that stands behind it."""
    name, *words = shlex.split(line, comments=True)[1:]
    commands = app
    if name == "train":
        commands, name = typer.Typer(), words.pop(0)
        commands.command(name)(train_command(name))
    command = typer.main.get_group(commands).commands[name]
    assert command.make_context(name, words).params


@pytest.mark.parametrize("code", BLOCKS)
def test_example(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    if "losses" in names:
        losses = names["losses"]
        assert isinstance(losses, list)
        assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_the_page_of_cells_is_that_of_the_catalog() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written.splitlines() == lines(), "run: python -m benchmarks.cells_page"
