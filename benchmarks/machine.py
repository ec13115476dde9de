"""The machine in words, and a page of results that names it."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The machine, in words."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        fields = (line.partition(":") for line in information.read_text().splitlines())
        name = next((value.strip() for key, _, value in fields if key[:10] == "model name"), name)
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def write_page(name: str, title: str, command: str, lines: Sequence[str]) -> None:
    """Write results/NAME.md, in place of the one that is there.

    Args:
        name: of the page.
        title: its heading.
        command: that gave the results.
        lines: the results, Markdown.
    """
    head = (f"# {title}", "", f"{machine()}, {datetime.date.today()}. Command: `{command}`.", "")
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
    print(f"written to {path}")
