"""What all tests share: strict torch settings, and the folder of real data where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: COMPORTA_DATA, or ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("COMPORTA_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set COMPORTA_DATA to run this")
    return folder
