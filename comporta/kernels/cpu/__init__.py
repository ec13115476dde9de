"""The fused CPU backend: programs printed as LLVM code, compiled on first use and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from comporta.kernels import reference
from comporta.kernels.cpu import engine, layout, machine
from comporta.kernels.cpu.backward import backward
from comporta.kernels.cpu.call import Call, side_by_side
from comporta.kernels.cpu.forward import forward, kept_numbers
from comporta.kernels.cpu.memory import Held
from comporta.kernels.cpu.stream import Stream
from comporta.kernels.program import Program
from comporta.kernels.weights import Names, Weights

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

obstacle_of = layout.obstacle


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
    if torch._C._are_functorch_transforms_active():
        return "it runs inside a torch.func transform"
    if forward_ad._current_level >= 0:
        return "it runs under forward-mode differentiation"
    return layout.obstacle(program)


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
    x = side_by_side(x)
    stored = Weights.of(weights)
    tensors = (x, *(state or ()), *stored.tensors)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        layer: Any = _Layer.apply
        output, *finals = layer(program, stored.names, tuple(streams), lengths, reverse, *tensors)
        return output, tuple(finals)
    call = Call(program, x, state, stored, streams=streams, lengths=lengths, reverse=reverse,
                training=False)  # fmt: skip
    return forward(call)


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


class _Layer(torch.autograd.Function):
    """A layer in autograd's graph. Differentiated twice, it is computed by the reference."""

    @staticmethod
    def forward(ctx: Any, program: Program, names: Names, streams: tuple[Tensor, ...],
                lengths: Tensor | None, reverse: bool,
                *tensors: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        call = _Layer.call(program, names, streams, lengths, reverse, tensors)
        output, finals = forward(call)
        ctx.save_for_backward(*tensors)
        ctx.call = call
        ctx.set_materialize_grads(False)
        # The call keeps memory, not tensors: autograd checks those it saved for later changes.
        return output, *finals

    @staticmethod
    def call(program: Program, names: Names, streams: Sequence[Tensor], lengths: Tensor | None,
             reverse: bool, tensors: Sequence[Tensor]) -> Call:  # fmt: skip
        x, state, weights = _sorted(names, tensors)
        return Call(program, x, state, weights, streams=streams, lengths=lengths, reverse=reverse,
                    training=True)  # fmt: skip

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        call: Call = ctx.call
        if torch.is_grad_enabled():
            found = reference.gradients(
                call.program, tensors, call.weights.names, gradients, again=True,
                streams=call.streams, lengths=call.lengths, reverse=call.sizes.reverse,
            )  # fmt: skip
            return (None, None, None, None, None, *found)
        if call.spent:
            # The graph is walked a second time: what was kept has to be computed again.
            call = ctx.call = _Layer.call(
                call.program,
                call.weights.names,
                call.streams,
                call.lengths,
                call.sizes.reverse,
                tensors,
            )
            forward(call)
        first = len(ctx.needs_input_grad) - len(tensors)
        wants_x, *others = ctx.needs_input_grad[first:]
        states = len(others) - len(call.weights.names)
        done = backward(call, gradients[0], gradients[1:], wants_x=wants_x,
                        wants_state=any(others[:states]))  # fmt: skip
        d_state = (None,) * states if done.state is None else done.state
        return (*[None] * first, done.x, *d_state, *done.weights)


def _sorted(
    names: Names, tensors: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor] | None, Weights]:
    """x, the states where they were given, and the weights among all tensors of a layer."""
    x, *others = tensors
    states = len(others) - len(names)
    return x, others[:states] or None, Weights(others[states:], names)
