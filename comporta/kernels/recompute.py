"""Less memory for more time: of a training pass only some states are kept.

recompute()     ask for it
is_asked_for()  whether it is
in_pieces()     do it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from comporta.errors import ConfigurationError
from comporta.kernels import reference
from comporta.kernels.checks import at_rest
from comporta.kernels.program import Program
from comporta.kernels.reference import Run
from comporta.kernels.weights import Names, Weights

_every: ContextVar[int | None] = ContextVar("comporta_recompute", default=None)


@contextmanager
def recompute(*, every: int) -> Iterator[None]:
    """Keep the states of every so many steps alone, within a `with` block.

    The backward pass computes what lies between them again, piece by piece from the last to the
    first (Chen et al. 2016, arXiv:1604.06174). A training step then needs the memory of one piece,
    and runs forward twice. It is for sequences too long to be kept; outputs are the same, gradients
    of weights are sums over pieces.

    Args:
        every: so many steps make a piece. Shorter sequences run as ever, and so does what is traced
            by torch.compile.

    Raises:
        ConfigurationError: `every` is not positive.

    >>> import torch, comporta
    >>> layer = comporta.nn.GRU(3, 4)
    >>> with recompute(every=50):
    ...     layer(torch.randn(2, 1000, 3))[0].sum().backward()
    >>> layer.weight_hh_l0.grad.shape
    torch.Size([12, 4])
    """
    if every < 1:
        raise ConfigurationError(f"every is a number of steps, at least 1; it is {every}")
    token = _every.set(every)
    try:
        yield
    finally:
        _every.reset(token)


def is_asked_for(tensors: Sequence[Tensor]) -> bool:
    """Whether a run on these tensors, x first, is to be cut into pieces."""
    every = _every.get()
    if every is None or tensors[0].shape[1] <= every or not torch.is_grad_enabled():
        return False
    return any(tensor.requires_grad for tensor in tensors)


def in_pieces(
    run: Run,
    program: Program,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Weights,
    *,
    streams: Sequence[Tensor],
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A run as one of each piece; arguments as of `run`."""
    every = _every.get()
    assert every is not None
    states = at_rest(program, x, weights) if state is None else tuple(state)
    outputs: list[Tensor] = []
    pieces = list(enumerate(torch.split(x, every, dim=1)))
    for number, piece in reversed(pieces) if reverse else pieces:
        start = number * every
        options = {
            "streams": [each[:, start : start + every] for each in streams],
            "lengths": None if lengths is None else (lengths - start).clamp(0, piece.shape[1]),
            "reverse": reverse,
        }
        alone: Any = _Piece.apply
        output, *after = alone(run, program, weights.names, options, piece, *states,
                               *weights.tensors)  # fmt: skip
        outputs.append(output)
        states = tuple(after)
    return torch.cat(outputs[::-1] if reverse else outputs, dim=1), states


class _Piece(torch.autograd.Function):
    """A run of which nothing is kept but what it was given."""

    @staticmethod
    def forward(ctx: Any, run: Run, program: Program, names: Names, options: Mapping[str, Any],
                *tensors: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.given = run, program, names, options
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return _run(run, program, names, options, tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        run, program, names, options = ctx.given
        wanted = ctx.needs_input_grad[len(ctx.given) :]
        nothing = [None] * len(ctx.given)
        if torch.is_grad_enabled():
            found = reference.gradients(
                program, ctx.saved_tensors, names, gradients, again=True, **options
            )
            return (*nothing, *found)
        with torch.enable_grad():
            tensors = [
                tensor.detach().requires_grad_(wants)
                for tensor, wants in zip(ctx.saved_tensors, wanted, strict=True)
            ]
            made = _run(run, program, names, options, tensors)
        pairs = [(y, d) for y, d in zip(made, gradients, strict=True) if d is not None]
        slopes = iter(
            torch.autograd.grad(
                [y for y, _ in pairs], [t for t in tensors if t.requires_grad],
                [d for _, d in pairs], allow_unused=True,
            )
        )  # fmt: skip
        return (*nothing, *(next(slopes) if wants else None for wants in wanted))


def _run(run: Run, program: Program, names: Names, options: Mapping[str, Any],
         tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:  # fmt: skip
    x, *others = tensors
    states = len(program.states)
    output, after = run(program, x, others[:states], Weights(others[states:], names), **options)
    return output, *after
