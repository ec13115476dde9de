"""The fused CPU backend: programs printed as LLVM code, compiled on first use and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from comporta.kernels import fused
from comporta.kernels.cpu import engine, machine
from comporta.kernels.cpu.backward import backward
from comporta.kernels.cpu.call import Call
from comporta.kernels.cpu.forward import forward, kept_numbers, plan
from comporta.kernels.cpu.memory import Held, fresh
from comporta.kernels.cpu.stream import Stream
from comporta.kernels.program import Program

__all__ = [
    "Stream",
    "computes_in",
    "describe",
    "kept_bytes",
    "multiplies",
    "obstacle",
    "obstacle_of",
    "runner",
]

obstacle_of = fused.obstacle


def describe(x: Tensor) -> str:
    """What the kernels for an input compute with, in words."""
    vectors = f"{8 * machine.vector_bytes()}-bit vectors"
    bits = engine.factor_bits(x.dtype, x.shape[-1])
    if engine.NUMBERS[bits] == x.dtype:
        return vectors
    return f"{vectors}, which {'multiply bfloat16' if bits == 16 else 'compute in float32'}"


def computes_in(dtype: torch.dtype) -> bool:
    """Whether there are kernels for numbers of that type.

    >>> computes_in(torch.float16), computes_in(torch.int16)
    (True, False)
    """
    return dtype in engine.DTYPES


def multiplies(half: torch.dtype) -> bool:
    """Whether the processor multiplies numbers of a half-precision type.

    >>> multiplies(torch.float16)
    False
    """
    return half == torch.bfloat16 and machine.multiplies_pairs()


def obstacle(program: Program, tensors: Sequence[Tensor]) -> str | None:
    """Why the fused kernel cannot run a program on these tensors, x first, or None."""
    dtype = tensors[0].dtype
    are_alike = True
    for tensor in tensors:
        if not tensor.is_cpu:
            return f"the tensors are on {tensor.device}, not on the CPU"
        are_alike = are_alike and tensor.dtype == dtype
    if not are_alike or not computes_in(dtype):
        names = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors}
        found = ", ".join(sorted(names))
        return (
            f"it computes in float32, float64, bfloat16 or float16, and these tensors are {found}"
        )
    return fused.transform() or fused.obstacle(program)


@cache
def runner() -> fused.Runner:
    """How a layer is run."""
    return fused.Runner(Call, _hold, forward, backward)


def _hold(call: Call, kept: Tensor | None) -> Tensor:
    """Have a call keep what it keeps in a tensor."""
    kept = fresh((plan(call.sizes).numbers,), call.x.dtype) if kept is None else kept
    call.kept = Held(kept)
    return kept


def kept_bytes(program: Program, dtype: torch.dtype, batch: int, time: int, hidden: int, *,
               training: bool) -> int:  # fmt: skip
    """How many bytes `fused.run_into` needs; the sizes may be symbols."""
    real = machine.real(64 if dtype == torch.float64 else 32)
    return real.bytes * kept_numbers(program, real, batch, time, hidden, training=training)
