"""The benchmark of the GPU on a CPU, with small sizes: it must run where it is sent.

All of it but what takes long even so: the machine's limits, and torch.compile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from comporta import kernels

pytest.importorskip("triton")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHAPES = [(1, 3, 4), (2, 2, 3)]
OTHERS = [("lstm-peephole", {}), ("gru", {"zoneout": 0.1})]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, with small sizes, on a device that is none."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = __import__("gpu")
    for name, value in {
        "DEVICE": "cpu", "SHAPES": SHAPES, "OTHERS": OTHERS, "LONG": (1, 32, 3),
        "FIRST": [("gru", (2, 3, 4))],
        # In sums of so few numbers, some cancel.
        "TOLERANCE": {"float32": 2e-3, "bfloat16": 0.5},
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "limits", lambda: (dict.fromkeys(module.DTYPES, 1e12), 1e12))
    monkeypatch.setattr(module, "interleaved", once)
    for name, answer in {
        "is_available": True, "get_device_name": "no device", "synchronize": None,
        "reset_peak_memory_stats": None, "memory_allocated": 0, "max_memory_allocated": 2**20,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    before = [products.fp32_precision for products in module.PRODUCTS]
    yield module
    for products, precision in zip(module.PRODUCTS, before, strict=True):
        products.fp32_precision = precision


def once(functions: Sequence[Any], seconds: float) -> list[float]:
    """Call each, and take no time."""
    return [float(function() is None) + 1 for function in functions]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it is run itself")
def test_it_runs_to_its_end(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[list[str]] = []
    parts = ["plain", "cells", "scans", "first"]
    monkeypatch.setattr(
        benchmark, "write_page", lambda name, title, command, lines: pages.append(list(lines))
    )
    monkeypatch.setattr(sys, "argv", ["gpu.py", *parts])
    with kernels.use("gpu"):
        benchmark.main()
    assert len(pages) == len(parts)
    rows = [line.split("|")[1:-1] for line in pages[-1] if line.startswith("| ")]
    heads = [i for i, row in enumerate(rows) if row[0] == " cell "]
    tables = [rows[a:b] for a, b in zip(heads, [*heads[1:], None], strict=True)]
    # Two cells at each shape in two types; others at one shape; two scans; one first call.
    assert [len(table) - 1 for table in tables] == [2 * 2 * 2, len(OTHERS) * 2, 2 * 2, 1]
    for head, *body in tables:
        for row in body:
            missing = [name for name, cell in zip(head, row, strict=True) if not cell.strip()]
            assert missing in ([], [" JAX "])


def test_a_wrong_result_ends_it(benchmark: ModuleType) -> None:
    right, wrong = [torch.ones(3)], [torch.ones(3) + 0.01]
    benchmark.check("it", "float32", right, wrong, right)
    for found in (wrong, [torch.full((3,), torch.nan)]):
        with pytest.raises(SystemExit, match="it is off by"):
            benchmark.check("it", "float32", found, right, right)
