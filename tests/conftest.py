"""What all tests share: strict torch settings, the command line, and the folder of real data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for every core: threads beside each other would only wait for it.
    torch.set_num_threads(1)

if not torch.cuda.is_available():
    # Triton reads it when it is imported.
    os.environ["TRITON_INTERPRET"] = "1"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: its status, standard output and standard error."""
    from comporta import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["comporta", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: COMPORTA_DATA, or ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("COMPORTA_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set COMPORTA_DATA to run this")
    return folder
