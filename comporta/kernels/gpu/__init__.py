"""The fused GPU backend: programs printed as Triton kernels, compiled on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from comporta.kernels import fused
from comporta.kernels.program import Program
from comporta.kernels.weights import Weights

__all__ = ["describe", "is_interpreted", "obstacle", "run"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels (TRITON_INTERPRET=1), for tensors anywhere."""
    if not _is_installed():
        return False
    from comporta.kernels.gpu import engine

    return engine.interprets()


def describe(x: Tensor) -> str:
    """What runs the kernels, in words."""
    return "Triton's interpreter" if is_interpreted() else torch.cuda.get_device_name(x.device)


def obstacle(program: Program, tensors: Sequence[Tensor]) -> str | None:
    """Why the fused kernel cannot run a program on these tensors, x first, or None."""
    x = tensors[0]
    if not _is_installed():
        return "Triton is not installed; pip install 'comporta[gpu]'"
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1 or not (x.is_cuda or (x.is_cpu and is_interpreted())):
        return f"the tensors are on {', '.join(sorted(map(str, devices)))}, not on one GPU"
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) > 1 or x.dtype not in _DTYPES:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        return f"it computes in float32, bfloat16 or float16, and these tensors are {found}"
    return fused.transform() or fused.obstacle(program)


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def run(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Mapping[str, Tensor],
    *,
    streams: Sequence[Tensor] = (),
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a program over a batch of sequences; see `comporta.kernels.run`."""
    from comporta.kernels.gpu import layer

    engine = fused.Engine(layer.Call, layer.forward, layer.backward)
    return fused.run(
        engine, program, x, state, Weights.of(weights), tuple(streams), lengths, reverse
    )
