"""What fused backends have in common: what none of them runs, and a place in autograd's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from comporta.kernels import reference
from comporta.kernels.program import Program
from comporta.kernels.weights import Names, Weights


class Gradients(NamedTuple):
    """Gradients of all inputs of a layer, the weights as they are stored."""

    x: Tensor | None
    state: Sequence[Tensor] | None
    weights: Sequence[Tensor]

    def to(self, dtype: torch.dtype) -> Gradients:
        """They brought to a dtype."""
        x = None if self.x is None else self.x.to(dtype)
        state = None if self.state is None else [each.to(dtype) for each in self.state]
        return Gradients(x, state, [each.to(dtype) for each in self.weights])


@dataclass(frozen=True, slots=True)
class Runner:
    """How a backend runs a layer.

    Attributes:
        call: makes one run of a layer out of its tensors.
        hold: gives a call a tensor for what its forward pass keeps, a new one for None.
        forward: a call's output and final states.
        backward: a call's gradients, from those of the output and of the final states.
    """

    call: Callable[..., Any]
    hold: Callable[[Any, Tensor | None], Tensor]
    forward: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    backward: Callable[..., Gradients]


@cache
def obstacle(program: Program) -> str | None:
    """Why no fused kernel runs a program, or None."""
    dimensions = dict(program.dimensions)
    for statement in program.statements:
        if dimensions[statement.name] != "H":
            return f"{statement.name} has the input size D; only values of hidden size are fused"
        if "x" in statement.operands and statement.op != "product":
            return "x is used other than in a product"
        if statement.op == "product" and statement.args[1] in program.vectors:
            return f"{statement.args[0]} is applied to {statement.args[1]}, which is a parameter"
    return None


def transform() -> str | None:
    """What torch is doing to its functions that no fused kernel takes part in, or None."""
    if torch._C._are_functorch_transforms_active():
        return "it runs inside a torch.func transform"
    if forward_ad._current_level >= 0:
        return "it runs under forward-mode differentiation"
    return None


def run(
    runner: Callable[[], Runner],
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
    made, stored = runner(), Weights.of(weights)
    options = {"streams": tuple(streams), "lengths": lengths, "reverse": reverse}
    tensors = (x, *(state or ()), *stored.tensors)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        layer: Any = _Layer.apply
        output, *finals = layer(_Given(made, program, stored.names, options), *tensors)
        return output, tuple(finals)
    return made.forward(made.call(program, x, state, stored, training=False, **options))


def run_into(
    runner: Runner, kept: Tensor, program: Program, x: Tensor, state: Sequence[Tensor],
    weights: Weights, **options: Any,
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Run a program and leave in `kept`, which is bytes, what `run_back` needs of it.

    Args:
        options: streams, lengths, reverse and training.
    """
    call = runner.call(program, x, state, weights, **options)
    runner.hold(call, kept.view(x.dtype))
    return runner.forward(call)


def run_back(
    runner: Runner, kept: Tensor, d_output: Tensor | None, d_state: Sequence[Tensor],
    program: Program, x: Tensor, state: Sequence[Tensor], weights: Weights, **options: Any,
) -> list[Tensor]:  # fmt: skip
    """The gradients of x, of the states and of the weights; `kept` is written over."""
    call = runner.call(program, x, state, weights, training=True, **options)
    runner.hold(call, kept.view(x.dtype))
    found = runner.backward(call, d_output, d_state, wants_x=True, wants_state=True)
    assert found.x is not None
    assert found.state is not None
    return [found.x.contiguous(), *found.state, *found.weights]


class _Given(NamedTuple):
    """What a layer is given besides what wants gradients: x, the states and the weights."""

    runner: Runner
    program: Program
    names: Names
    options: dict[str, Any]

    def call(self, tensors: Sequence[Tensor]) -> Any:
        """A training run on these tensors."""
        x, *others = tensors
        states = len(others) - len(self.names)
        weights = Weights(others[states:], self.names)
        return self.runner.call(self.program, x, others[:states] or None, weights, training=True,
                                **self.options)  # fmt: skip


class _Layer(torch.autograd.Function):
    """A layer in autograd's graph. Differentiated twice, it is computed by the reference."""

    @staticmethod
    def forward(ctx: Any, given: _Given, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.given, runner = given, given.runner
        call = given.call(tensors)
        # Whoever asked to see what is saved (checkpoints, copies on the CPU) gets all of it, as
        # tensors. Otherwise the call keeps memory that goes back to where it came from.
        ctx.is_watched = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
        kept = (runner.hold(call, None),) if ctx.is_watched else ()
        output, finals = runner.forward(call)
        ctx.call = None if ctx.is_watched else call
        ctx.walked = False
        ctx.save_for_backward(*tensors, *kept)
        ctx.set_materialize_grads(False)
        return output, *finals

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        kept = tensors[-1] if ctx.is_watched else None
        tensors = tensors[:-1] if ctx.is_watched else tensors
        given: _Given = ctx.given
        runner = given.runner
        if torch.is_grad_enabled():
            found = reference.gradients(
                given.program, tensors, given.names, gradients, again=True, **given.options
            )
            return None, *found
        call = given.call(tensors) if ctx.is_watched or ctx.walked else ctx.call
        if kept is not None and not ctx.walked:
            runner.hold(call, kept)
        elif ctx.walked:
            # The graph is walked a second time, and what was kept has been written over.
            runner.forward(call)
        ctx.walked, ctx.call = True, None
        _, wants_x, *others = ctx.needs_input_grad
        states = len(others) - len(given.names)
        done = runner.backward(call, gradients[0], gradients[1:], wants_x=wants_x,
                                   wants_state=any(others[:states]))  # fmt: skip
        d_state = (None,) * states if done.state is None else done.state
        return None, done.x, *d_state, *done.weights
