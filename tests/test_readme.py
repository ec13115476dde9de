"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("code", BLOCKS)
def test_example(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    if "losses" in names:
        losses = names["losses"]
        assert isinstance(losses, list)
        assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
