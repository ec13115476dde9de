"""Comporta: gated recurrent networks on PyTorch. A cell is its equation, and every cell runs fused.

comporta.Cell       a cell as a text of equations
comporta.cells      the catalog: names(), get(name), load(path)
comporta.nn         layers: Recurrent, and RNN, GRU, LSTM in torch.nn's place
comporta.load       a trained model of any task from its folder: predict(), generate(), score()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from comporta import cells, errors
from comporta.cells import Cell

if TYPE_CHECKING:
    from comporta import kernels, nn
    from comporta.tasks import load

__version__ = "0.1.0"
__all__ = ["Cell", "cells", "errors", "kernels", "load", "nn"]


def __getattr__(name: str) -> Any:
    # What needs torch is imported when it is asked for, so that `comporta --help` answers at once.
    if name == "load":
        return importlib.import_module("comporta.tasks").load
    if name in ("kernels", "nn"):
        return importlib.import_module(f"comporta.{name}")
    raise AttributeError(f"module 'comporta' has no attribute {name!r}")
