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
from comporta.kernels.cpu.call import Call
from comporta.kernels.cpu.forward import forward
from comporta.kernels.program import Program

__all__ = ["describe", "obstacle", "run"]


def describe() -> str:
    """The vector unit the kernels are compiled for, in words."""
    return f"{8 * machine.vector_bytes()}-bit vectors"


def obstacle(
    program: Program, x: Tensor, state: Sequence[Tensor], weights: Mapping[str, Tensor]
) -> str | None:
    """Why the fused kernel cannot run a program on these tensors, or None."""
    tensors = (x, *state, *weights.values())
    if not all(tensor.is_cpu for tensor in tensors):
        return f"the tensors are on {x.device}, not on the CPU"
    if x.dtype not in engine.BITS or len({tensor.dtype for tensor in tensors}) > 1:
        found = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
        return f"it computes in float32 or float64, and these tensors are {found}"
    if torch._C._are_functorch_transforms_active():
        return "it runs inside a torch.func transform"
    if forward_ad._current_level >= 0:
        return "it runs under forward-mode differentiation"
    return layout.obstacle(program)


def run(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a program over a batch of sequences; see `comporta.kernels.run`."""
    x = x if x.stride(2) == 1 or x.shape[2] == 1 else x.contiguous()
    tensors = [weights[name] for name, _ in program.parameters]
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *tensors)):
        layer: Any = _Layer.apply
        output, *finals = layer(program, lengths, reverse, len(state), x, *state, *tensors)
        return output, tuple(finals)
    call = Call(program, x, tuple(state), weights, lengths=lengths, reverse=reverse, training=False)
    return forward(call)


class _Layer(torch.autograd.Function):
    """A layer in autograd's graph. Differentiated twice, it is computed by the reference."""

    @staticmethod
    def forward(ctx: Any, program: Program, lengths: Tensor | None, reverse: bool,
                states: int, *tensors: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        call = _Layer.call(program, lengths, reverse, states, tensors)
        output, finals = forward(call)
        ctx.save_for_backward(*tensors)
        ctx.call, ctx.states = call, states
        ctx.set_materialize_grads(False)
        # The call keeps memory, not tensors: autograd checks those it saved for later changes.
        return output, *finals

    @staticmethod
    def call(program: Program, lengths: Tensor | None, reverse: bool, states: int,
             tensors: Sequence[Tensor]) -> Call:  # fmt: skip
        names = [name for name, _ in program.parameters]
        weights = dict(zip(names, tensors[1 + states :], strict=True))
        state = tuple(tensors[1 : 1 + states])
        return Call(
            program, tensors[0], state, weights, lengths=lengths, reverse=reverse, training=True
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        call: Call = ctx.call
        if torch.is_grad_enabled():
            return (None, None, None, None, *_differentiable(call, tensors, gradients, ctx.states))
        if call.spent:
            # The graph is walked a second time: what was kept has to be computed again.
            call = ctx.call = _Layer.call(
                call.program, call.lengths, call.reverse, ctx.states, tensors
            )
            forward(call)
        found = backward(call, gradients[0], gradients[1:], wants_x=ctx.needs_input_grad[4])
        weights = [found.weights[name] for name, _ in call.program.parameters]
        return (None, None, None, None, found.x, *found.state, *weights)


def _differentiable(
    call: Call, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None], states: int
) -> list[Tensor | None]:
    """The gradients of a layer as functions that can themselves be differentiated."""
    names = [name for name, _ in call.program.parameters]
    # One may have been computed from another (a state from the weights, chunk after chunk): the
    # gradient of each stops at its own view, or that path would be counted here and upstream.
    views = [tensor.view_as(tensor) for tensor in tensors]
    weights = dict(zip(names, views[1 + states :], strict=True))
    output, finals = reference.run(
        call.program, views[0], views[1 : 1 + states], weights,
        lengths=call.lengths, reverse=call.reverse,
    )  # fmt: skip
    pairs = [(y, g) for y, g in zip((output, *finals), gradients, strict=True) if g is not None]
    wanted = [view for view in views if view.requires_grad]
    found = iter(
        torch.autograd.grad(
            [y for y, _ in pairs], wanted, [g for _, g in pairs],
            create_graph=True, allow_unused=True,
        )
    )  # fmt: skip
    return [next(found) if view.requires_grad else None for view in views]
