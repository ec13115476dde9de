"""Kernels out of their text, and into how many programs a run is divided."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from comporta.kernels.cache import cache_folder, write_whole
from comporta.kernels.gpu.loop import Source, Way
from comporta.kernels.program import Program
from comporta.kernels.recurrence import is_linear
from comporta.kernels.schedule import schedule

DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
# What the matrices of a program may take of a multiprocessor's memory and registers, and what they
# and the operands may take of its memory.
_BYTES_OF_MATRICES = 128 << 10
_BYTES_OF_SHARED_MEMORY = 200 << 10
# With more hidden units than this a row's products do not fit into one program's registers.
_LARGEST_WHOLE = 128
_UNLIMITED = 1 << 30
# Steps of a chunk of a scan, and the largest number of chunks that a grid has.
_CHUNK, _LARGEST_GRID = 64, 65_535
# With fewer steps than this a scan has nothing to do at once.
_SCANNED_STEPS = 32
# The interpreter runs one program after another: none may wait for a later one.
_INTERPRETED_PROCESSORS = 1


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a layer is divided.

    Attributes:
        rows: of the batch, for each program of the grid; a power of two, as all of these.
        units: hidden units for each program.
        depth: how many numbers of an operand are multiplied at once.
        way: how products are made; see `loop`.
        slices: how many programs the hidden units are divided among.
        at_once: how many blocks of rows a launch may have.
        warps: for each program.
    """

    rows: int
    units: int
    depth: int
    way: Way
    slices: int
    at_once: int
    warps: int


def interprets() -> bool:
    """Whether kernels are run by Triton's interpreter, on tensors of any device."""
    return bool(triton.knobs.runtime.interpret)


def tiles(program: Program, batch: int, hidden: int, dtype: torch.dtype, processors: int) -> Tiles:
    """How a run of these sizes is divided.

    Args:
        program: what is run.
        batch: B.
        hidden: H.
        dtype: of the matrices.
        processors: how many programs run at the same time.
    """
    plan = schedule(program)
    matrices = sum(len(group.matrices) for group in plan.groups)
    everything = max(16, triton.next_power_of_2(hidden))
    # A normalization takes registers: threads have what does not fit into theirs in memory.
    normalizes = any(phase.means for phase in plan.phases)
    if not matrices and not normalizes:
        units = min(128, everything)
        return Tiles(1, units, 16, "whole", -(-hidden // units), _UNLIMITED, 1)
    column = matrices * everything * dtype.itemsize
    # Products of float32 in all its digits take registers, and no tensor cores.
    is_exact = dtype == torch.float32 and _is_exact()
    if everything <= _LARGEST_WHOLE and column * everything <= _BYTES_OF_MATRICES:
        warps = 8 if is_exact or normalizes else 4
        return Tiles(16 if matrices else 1, everything, 16, "whole", 1, _UNLIMITED, warps)
    units = 16
    while -(-hidden // units) > processors:
        units *= 2
    slices = -(-hidden // units)
    rows = 16
    while rows < min(128, batch) and -(-batch // rows) * slices > processors:
        rows *= 2
    # What is held in shared memory: columns of the matrices, and rows of as many operands.
    held = column * (units + rows)
    way: Way = "streamed" if is_exact or held > _BYTES_OF_SHARED_MEMORY else "held"
    depth = everything if way == "held" else 32 if is_exact else 64
    is_large = rows > 16 or (way == "held" and held > _BYTES_OF_MATRICES)
    warps = 8 if is_large or normalizes else 4
    return Tiles(rows, units, depth, way, slices, max(1, processors // slices), warps)


def processors(device: torch.device) -> int:
    """How many programs a device surely runs at the same time."""
    if device.type != "cuda":
        return _INTERPRETED_PROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def scans(program: Program, time: int) -> bool:
    """Whether a program is run by scans over time."""
    return _SCANNED_STEPS <= time <= _CHUNK * _LARGEST_GRID and is_linear(program)


def way(program: Program, x: Tensor, hidden: int) -> str:
    """How a layer is run on an input: one of the ways of making a product, or "scan"."""
    batch, time, _ = x.shape
    if scans(program, time):
        return "scan"
    return tiles(program, batch, hidden, x.dtype, processors(x.device)).way


def scan_tiles(hidden: int) -> Tiles:
    """How a scan is divided: into chunks of `rows` steps, each of a row of the batch."""
    units = min(32, max(16, triton.next_power_of_2(hidden)))
    return Tiles(_CHUNK, units, 16, "whole", -(-hidden // units), _UNLIMITED, 4)


def launch(
    source: Source, division: Tiles, x: Tensor, hidden: int, arguments: Mapping[str, Any]
) -> None:
    """Run a time loop over all rows.

    Args:
        source: the kernel.
        division: how it is divided.
        x: the input, for its sizes, device and type.
        hidden: H.
        arguments: what the kernel is called with, but for what follows from the rest.
    """
    batch, time, _ = x.shape
    blocks = -(-batch // division.rows)
    given: dict[str, Any] = {**arguments, "rows": batch, "steps": time}
    if division.way != "whole":
        sizes = len(source.exchanged) * batch * hidden, len(source.means) * division.slices * batch
        given["exchange"] = x.new_empty(2 * sizes[0])
        given["partials"] = x.new_empty(2 * sizes[1], dtype=torch.float32)
        given["exchange_step"], given["partials_step"] = sizes
        given["meetings"] = torch.zeros(blocks, dtype=torch.int32, device=x.device)
    for block in range(0, blocks, division.at_once):
        given["first"] = block * division.rows
        grid = min(division.at_once, blocks - block), division.slices
        _run(source, division, grid, x, hidden, given)


def launch_scan(
    source: Source, division: Tiles, x: Tensor, hidden: int, arguments: Mapping[str, Any]
) -> None:
    """Run a scan over all rows and steps; arguments as of `launch`."""
    batch, time, _ = x.shape
    chunks = -(-time // division.rows)
    columns, carried = batch * division.slices, len(source.exchanged)
    given = {
        **arguments, "rows": batch, "steps": time,
        "carries": x.new_empty(carried * batch * chunks * hidden, dtype=torch.float32),
        "flags": torch.zeros(carried * columns * chunks, dtype=torch.int32, device=x.device),
    }  # fmt: skip
    _run(source, division, (columns, chunks), x, hidden, given)


def _run(
    source: Source, division: Tiles, grid: tuple[int, int], x: Tensor, hidden: int,
    given: Mapping[str, Any],
) -> None:  # fmt: skip
    # The interpreter multiplies bfloat16 as float32, whose products are the same.
    dot = tl.float32 if interprets() else DTYPES[x.dtype]
    settings = constants(division, hidden, dot, is_exact=_is_exact())
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        _load(source.text)[grid](
            *[given[name] for name in source.arguments], **settings, num_warps=division.warps,
            launch_cooperative_grid=division.way != "whole", enable_fp_fusion=True,
        )  # fmt: skip


def constants(division: Tiles, hidden: int, dot: Any, *, is_exact: bool) -> dict[str, Any]:
    """What a kernel is compiled for.

    Args:
        division: how a run is divided.
        hidden: H.
        dot: Triton's type of the numbers that products multiply.
        is_exact: whether products of float32 are of float32, and not of tf32.
    """
    return {
        "SIZE": hidden, "ROWS": division.rows, "UNITS": division.units,
        "SLICES": division.slices, "PARTS": triton.next_power_of_2(division.slices),
        "DEPTH": division.depth, "DOT": dot, "PRECISION": "ieee" if is_exact else "tf32",
    }  # fmt: skip


def _is_exact() -> bool:
    """Whether torch keeps all digits of float32 in matrix products."""
    return bool(torch.backends.cuda.matmul.fp32_precision != "tf32")


@cache
def _load(text: str) -> Any:
    """The kernel of a module, which Triton wants to find in a file."""
    name = f"comporta_{hashlib.sha256(text.encode()).hexdigest()}"
    path = cache_folder() / f"{name}.py"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text.encode())
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.loop
