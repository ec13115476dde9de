"""The fused CPU backend: programs printed as LLVM code, compiled on first use and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from comporta.kernels import fused
from comporta.kernels.cpu import engine, machine
from comporta.kernels.cpu.backward import backward
from comporta.kernels.cpu.call import Call, side_by_side
from comporta.kernels.cpu.forward import forward, kept_numbers, plan
from comporta.kernels.cpu.memory import Held, fresh
from comporta.kernels.cpu.stream import Stream
from comporta.kernels.program import Program
from comporta.kernels.weights import Weights

__all__ = [
    "Stream",
    "computes_in",
    "describe",
    "kept_bytes",
    "obstacle",
    "obstacle_of",
    "run",
    "run_back",
    "run_into",
]

obstacle_of = fused.obstacle


def describe() -> str:
    """The vector unit the kernels are compiled for, in words."""
    return f"{8 * machine.vector_bytes()}-bit vectors"


def computes_in(dtype: torch.dtype) -> bool:
    """Whether there are kernels for numbers of that type.

    >>> computes_in(torch.float32), computes_in(torch.float16)
    (True, False)
    """
    return dtype in engine.BITS


def obstacle(program: Program, tensors: Sequence[Tensor]) -> str | None:
    """Why the fused kernel cannot run a program on these tensors, x first, or None."""
    x = tensors[0]
    kinds = {(tensor.is_cpu, tensor.dtype) for tensor in tensors}
    if not all(is_here for is_here, _ in kinds):
        return f"the tensors are on {x.device}, not on the CPU"
    if len(kinds) > 1 or not computes_in(x.dtype):
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for _, dtype in kinds))
        return f"it computes in float32 or float64, and these tensors are {found}"
    return fused.transform() or fused.obstacle(program)


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
    return fused.run(
        _ENGINE,
        program,
        side_by_side(x),
        state,
        Weights.of(weights),
        tuple(streams),
        lengths,
        reverse,
    )


def _hold(call: Call, kept: Tensor | None) -> Tensor:
    """Have a call keep what it keeps in a tensor."""
    kept = fresh((plan(call.sizes).numbers,), call.x.dtype) if kept is None else kept
    call.kept = Held(kept)
    return kept


_ENGINE = fused.Engine(Call, _hold, forward, backward)


def kept_bytes(program: Program, dtype: torch.dtype, batch: int, time: int, hidden: int, *,
               training: bool) -> int:  # fmt: skip
    """How many bytes `run_into` needs; the sizes may be symbols."""
    real = machine.real(engine.BITS[dtype])
    return real.bytes * kept_numbers(program, real, batch, time, hidden, training=training)


def run_into(
    kept: Tensor,
    program: Program,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Weights,
    *,
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
    training: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a program and leave in `kept` what `run_back` needs of it."""
    x = side_by_side(x)
    call = Call(program, x, state, weights, streams=streams, lengths=lengths, reverse=reverse,
                training=training)  # fmt: skip
    call.kept = Held(kept.view(x.dtype))
    return forward(call)


def run_back(
    kept: Tensor,
    d_output: Tensor | None,
    d_state: Sequence[Tensor],
    program: Program,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Weights,
    *,
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
) -> list[Tensor]:
    """The gradients of x, of the states and of the weights; `kept` is written over."""
    rows = side_by_side(x)
    call = Call(program, rows, state, weights, streams=streams, lengths=lengths, reverse=reverse,
                training=True)  # fmt: skip
    call.kept = Held(kept.view(x.dtype))
    found = backward(call, d_output, d_state, wants_x=True, wants_state=True)
    assert found.x is not None
    assert found.state is not None
    return [found.x.contiguous(), *found.state, *found.weights]
