"""The operator under all layers, for whatever traces torch: torch.compile, torch.export.

Eager calls go straight to a backend. In a traced graph a layer is one node, `comporta::layer`, and
its gradient another, `comporta::layer_backward`: neither is unrolled over time, nothing of them
depends on B and T, and what runs them is chosen when they run. A program travels as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from comporta.errors import ShapeError
from comporta.kernels import cpu, fused, gpu, reference
from comporta.kernels.checks import at_rest, check, check_streams
from comporta.kernels.program import Program, from_source
from comporta.kernels.weights import Weights

_AT_HOME: Mapping[str, Any] = {"cpu": cpu, "cuda": gpu}


def is_traced(x: Tensor) -> bool:
    """Whether a call is being traced and not run.

    >>> is_traced(torch.ones(1))
    False
    """
    return torch.compiler.is_compiling() or isinstance(x, torch._subclasses.FakeTensor)


def run(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Mapping[str, Tensor],
    *,
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Put a layer into the graph that is being traced; see `comporta.kernels.run`."""
    if not isinstance(weights, Weights):
        weights = Weights(list(weights.values()), tuple([(name,) for name in weights]))
    weights = weights.turned([name for name, _ in program.turned])
    state = at_rest(program, x, weights) if state is None else state
    names = ";".join([",".join(stacked) for stacked in weights.names])
    trained = [x, *state, *weights.tensors]
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in trained)
    output, *others = layer(
        program.source, names, x, list(state), list(weights.tensors), list(streams), lengths,
        reverse, training,
    )  # fmt: skip
    return output, tuple(others[:-1])


@torch.library.custom_op("comporta::layer", mutates_args=())
def layer(
    source: str,
    names: str,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
    training: bool,
) -> list[Tensor]:
    """One layer in one direction.

    Args:
        source: of the program.
        names: the parameters in each tensor of `weights`, with commas and semicolons.
        x: input (B, T, D).
        state: initial states, each (B, H).
        weights: the tensors that hold the parameters.
        streams: further inputs, each (B, T, H).
        lengths: of each row (B,).
        reverse: whether time runs from the last step to the first.
        training: whether a backward pass may follow.

    Returns:
        The output, the final states, and what the backward pass needs, as bytes.
    """
    program, stored = from_source(source), Weights(weights, _names(names))
    check(program, x, state, stored, lengths)
    check_streams(program, x, state[0].shape[1], streams)
    if lengths is not None:
        _check_lengths(lengths, x.shape[1])
    backend = _fused(program, x, *state, *weights)
    if backend:
        # Not all of it is written, and the same call has to give the same bytes.
        kept = x.new_zeros(_kept_bytes(backend, program, x, state, training), dtype=torch.uint8)
        found = fused.run_into(
            backend.runner(), kept, program, x, state, stored, streams=streams, lengths=lengths,
            reverse=reverse, training=training,
        )  # fmt: skip
    else:
        kept = x.new_empty(0, dtype=torch.uint8)
        found = reference.run(program, x, state, stored, streams=streams, lengths=lengths,
                              reverse=reverse)  # fmt: skip
    output, finals = found
    return [output, *finals, kept]


@layer.register_fake
def _(
    source: str, names: str, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor],
    streams: Sequence[Tensor], lengths: Tensor | None, reverse: bool, training: bool,
) -> list[Tensor]:  # fmt: skip
    program = from_source(source)
    hidden = state[0].shape[1]
    if backend := _fused(program, x, *state, *weights):
        kept = x.new_empty(_kept_bytes(backend, program, x, state, training), dtype=torch.uint8)
        output = _in_order_of(x, hidden)
    else:
        kept = x.new_empty(0, dtype=torch.uint8)
        output = x.new_empty(x.shape[0], x.shape[1], hidden)
    finals = [x.new_empty(x.shape[0], hidden) for _ in state]
    return [output, *finals, kept]


@torch.library.custom_op("comporta::layer_backward", mutates_args=())
def layer_backward(
    source: str,
    names: str,
    d_output: Tensor | None,
    d_state: Sequence[Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
    kept: Tensor,
) -> list[Tensor]:
    """The gradients of one layer: of x, of the states and of the weights; arguments as of `layer`.

    Args:
        source, names, x, state, weights, streams, lengths, reverse: as given to `layer`.
        d_output: gradient of the output (B, T, H).
        d_state: gradients of the final states, each (B, H).
        kept: what `layer` kept.
    """
    program, stored = from_source(source), Weights(weights, _names(names))
    options: dict[str, Any] = {"streams": streams, "lengths": lengths, "reverse": reverse}
    if backend := _fused(program, x, *state, *weights):
        # The kernel writes over what was kept, and the graph may be walked once more.
        return fused.run_back(
            backend.runner(), kept.clone(), d_output, d_state, program, x, state, stored, **options
        )
    tensors = [each.detach().requires_grad_() for each in (x, *state, *weights)]
    # An operator runs below autograd, which is called back for this.
    autograd = torch._C._SetExcludeDispatchKeyGuard(
        torch._C.DispatchKey.AutogradFunctionality, False
    )
    with autograd, torch.enable_grad():
        found = reference.gradients(
            program, tensors, stored.names, (d_output, *d_state), again=False, **options
        )
    return [
        torch.zeros(each.shape, dtype=each.dtype, device=each.device) if d is None
        else d.contiguous()
        for each, d in zip(tensors, found, strict=True)
    ]  # fmt: skip


@layer_backward.register_fake
def _(
    source: str, names: str, d_output: Tensor | None, d_state: Sequence[Tensor], x: Tensor,
    state: Sequence[Tensor], weights: Sequence[Tensor], streams: Sequence[Tensor],
    lengths: Tensor | None, reverse: bool, kept: Tensor,
) -> list[Tensor]:  # fmt: skip
    return [each.new_empty(each.shape) for each in (x, *state, *weights)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    source, names, x, state, weights, streams, lengths, reverse, training = inputs
    ctx.settings = source, names, reverse, training, len(state), len(weights), len(streams)
    given = () if lengths is None else (lengths,)
    ctx.save_for_backward(x, *state, *weights, *streams, output[-1], *given)


def _backward(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    source, names, reverse, training, states, weights, streams = ctx.settings
    x, *others = ctx.saved_tensors
    state, others = others[:states], others[states:]
    stored, others = others[:weights], others[weights:]
    further, (kept, *given) = others[:streams], others[streams:]
    d_output, *d_state = gradients[:-1]
    lengths = given[0] if given else None
    arriving = [
        torch.zeros_like(s) if d is None else d for s, d in zip(state, d_state, strict=True)
    ]
    if torch.is_grad_enabled() and not is_traced(x):
        found = reference.gradients(
            from_source(source), [x, *state, *stored], _names(names), (d_output, *arriving),
            again=True, streams=further, lengths=lengths, reverse=reverse,
        )  # fmt: skip
    else:
        if not training:
            # Traced where no gradient was wanted, and here one is.
            kept = layer(source, names, x, state, stored, further, lengths, reverse, True)[-1]
        found = layer_backward(source, names, d_output, arriving, x, state, stored, further,
                               lengths, reverse, kept)  # fmt: skip
    d_x, *rest = found
    none = [None] * streams
    return None, None, d_x, rest[:states], rest[states:], none, None, None, None


layer.register_autograd(_backward, setup_context=_setup)


def _fused(program: Program, x: Tensor, *others: Tensor) -> Any:
    """The backend that runs it fused, the same for a traced call and for the one that runs."""
    backend = _AT_HOME.get(x.device.type)
    alike = all(each.device == x.device and each.dtype == x.dtype for each in others)
    if backend and alike and backend.computes_in(x.dtype) and not backend.obstacle_of(program):
        return backend
    return None


def _kept_bytes(
    backend: Any, program: Program, x: Tensor, state: Sequence[Tensor], training: bool
) -> int:
    batch, time, _ = x.shape
    hidden = state[0].shape[1]
    found: int = backend.kept_bytes(program, x.dtype, batch, time, hidden, training=training)
    return found


def _check_lengths(lengths: Tensor, time: int) -> None:
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise ShapeError(f"lengths lie between 0 and T = {time}; they are {lengths.tolist()}")


def _in_order_of(x: Tensor, columns: int) -> Tensor:
    """A new tensor (B, T, columns) in the memory order of x, as kernels make it."""
    batch, time, _ = x.shape
    if x.stride(0) >= x.stride(1):
        return x.new_empty(batch, time, columns)
    return x.new_empty(time, batch, columns).transpose(0, 1)


def _names(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(stacked.split(",")) for stacked in text.split(";"))
