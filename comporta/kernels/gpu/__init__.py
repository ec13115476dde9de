"""The fused GPU backend: programs printed as Triton kernels, compiled on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from comporta.kernels import fused
from comporta.kernels.program import Program

__all__ = [
    "computes_in",
    "describe",
    "is_interpreted",
    "kept_bytes",
    "obstacle",
    "obstacle_of",
    "runner",
]

_IN_WORDS = {
    "whole": "each program with all hidden units of its rows",
    "held": "programs that share hidden units and hold their matrices",
    "streamed": "programs that share hidden units and read their matrices every step",
    "scan": "a scan over time",
}
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels (TRITON_INTERPRET=1), for tensors anywhere."""
    if not _is_installed():
        return False
    from comporta.kernels.gpu.engine import interprets

    return interprets()


def describe(program: Program, x: Tensor, hidden: int) -> str:
    """What runs a program on an input, with that hidden size, and how, in words."""
    from comporta.kernels.gpu.engine import way

    device = "Triton's interpreter" if is_interpreted() else torch.cuda.get_device_name(x.device)
    return f"{device}, {_IN_WORDS[way(program, x, hidden)]}"


def computes_in(dtype: torch.dtype) -> bool:
    """Whether there are kernels for numbers of that type.

    >>> computes_in(torch.bfloat16), computes_in(torch.float64)
    (True, False)
    """
    return dtype in _DTYPES


def obstacle_of(program: Program) -> str | None:
    """Why the fused kernel cannot run a program, whatever the tensors, or None."""
    if not _is_installed():
        return "Triton is not installed; pip install 'comporta[gpu]'"
    return fused.obstacle(program)


def obstacle(program: Program, tensors: Sequence[Tensor]) -> str | None:
    """Why the fused kernel cannot run a program on these tensors, x first, or None."""
    x = tensors[0]
    if found := obstacle_of(program):
        return found
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1 or not (x.is_cuda or (x.is_cpu and is_interpreted())):
        return f"the tensors are on {', '.join(sorted(map(str, devices)))}, not on one GPU"
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) > 1 or not computes_in(x.dtype):
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        return f"it computes in float32, bfloat16 or float16, and these tensors are {found}"
    return fused.transform()


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def runner() -> fused.Runner:
    """How a layer is run."""
    from comporta.kernels.gpu import layer

    return fused.Runner(layer.Call, layer.hold, layer.forward, layer.backward)


def kept_bytes(program: Program, dtype: torch.dtype, batch: int, time: int, hidden: int, *,
               training: bool) -> int:  # fmt: skip
    """How many bytes `fused.run_into` needs; the sizes may be symbols."""
    from comporta.kernels.gpu.layer import kept_numbers

    return dtype.itemsize * kept_numbers(program, batch, time, hidden, training=training)
