"""The one seam between layers and kernels: run a cell over sequences, and say who runs it.

choose()   which backend runs this, and why, in words
run()      run it
use()      ask for one backend by name, for comparisons and debugging
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from comporta.errors import BackendError, nearest
from comporta.kernels import cpu, fused, gpu, operator, reference
from comporta.kernels.checks import check, check_streams, hidden_size
from comporta.kernels.program import Program
from comporta.kernels.recompute import in_pieces, is_asked_for
from comporta.kernels.weights import Weights

BACKENDS: dict[str, reference.Run] = {
    "reference": reference.run,
    "cpu": partial(fused.run, cpu.runner),
    "gpu": partial(fused.run, gpu.runner),
}
_OBSTACLES = {"cpu": cpu.obstacle, "gpu": gpu.obstacle}
_asked: ContextVar[str | None] = ContextVar("comporta_backend", default=None)


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend's name and the reason for choosing it."""

    backend: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason}"


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Ask for one backend within a `with` block.

    Args:
        backend: "reference", "cpu" or "gpu".

    Raises:
        BackendError: there is no such backend, or (when something is run) it cannot run that.
    """
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}{nearest(backend, BACKENDS)}")
    token = _asked.set(backend)
    try:
        yield
    finally:
        _asked.reset(token)


def choose(
    program: Program, x: Tensor, state: Sequence[Tensor] | None, weights: Mapping[str, Tensor]
) -> Choice:
    """Which backend runs a program on these tensors, and why.

    Raises:
        BackendError: a backend was asked for with `use()` and cannot run this.
    """
    backend, obstacle = _choose(program, (x, *(state or ()), *Weights.of(weights).tensors))
    if _asked.get():
        return Choice(backend, "asked for with comporta.kernels.use()")
    if obstacle:
        return Choice(backend, _in_words(x, obstacle))
    dtype = str(x.dtype).removeprefix("torch.")
    if backend == "cpu":
        where = cpu.describe(x)
    else:
        where = gpu.describe(program, x, hidden_size(program, weights))
    return Choice(backend, f"fused kernel, {dtype} on {where}")


def _choose(program: Program, tensors: Sequence[Tensor]) -> tuple[str, str | None]:
    """The backend, and what keeps the fused kernel from running this."""
    asked = _asked.get()
    fastest = asked if asked in _OBSTACLES else _at_home(tensors[0])
    obstacle = _OBSTACLES[fastest](program, tensors)
    if asked == fastest and obstacle:
        raise BackendError(f"the backend {asked!r} cannot run this: {obstacle}")
    return asked or ("reference" if obstacle else fastest), obstacle


def gains_from(half: torch.dtype, x: Tensor) -> bool:
    """Whether the fused kernels where a tensor stands are faster in a half-precision dtype.

    >>> gains_from(torch.float16, torch.ones(1))
    False
    """
    return x.is_cuda or (x.is_cpu and cpu.multiplies(half))


def _at_home(x: Tensor) -> str:
    """The fused backend of a tensor's device."""
    return "gpu" if x.is_cuda else "cpu"


def _in_words(x: Tensor, obstacle: str) -> str:
    return f"the fused {_at_home(x).upper()} kernel cannot run this: {obstacle}"


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
    """Run one layer of a cell, in one direction, over a batch of sequences.

    Args:
        program: the step, from `compile_cell`.
        x: input (B, T, D).
        state: initial states, each (B, H), in the order of `program.states`; None for 0.
        weights: parameter name -> tensor: matrices (H, D) or (H, H), vectors (H,); `Weights` where
            several are stacked in one tensor.
        streams: further inputs, each (B, T, H), in the order of `program.streams`; nothing flows
            back to them.
        lengths: length of each row (B,), int64, each between 0 and T; None when all are T. Steps
            beyond a row's length leave its state alone and give the output 0; what x holds there
            must be finite.
        reverse: whether time runs from the last step to the first.

    Returns:
        The output (B, T, H) and the states after the last step of each row, each (B, H).

    Raises:
        ShapeError: a tensor does not fit the program.
    """
    if operator.is_traced(x):
        return operator.run(
            program, x, state, weights, streams=streams, lengths=lengths, reverse=reverse
        )
    known = Weights.of(weights)
    check(program, x, state, known, lengths)
    if streams or program.streams:
        check_streams(program, x, hidden_size(program, known), streams)
    if program.turned:
        known = known.turned([name for name, _ in program.turned])
    tensors = (x, *(state or ()), *known.tensors)
    chosen, obstacle = _choose(program, tensors)
    if obstacle and not _asked.get():
        _tell(_in_words(x, obstacle))
    backend = BACKENDS[chosen]
    if is_asked_for(tensors):
        backend = partial(in_pieces, backend)
    return backend(program, x, state, known, streams=streams, lengths=lengths, reverse=reverse)


@cache
def _tell(reason: str) -> None:
    """Say once that a layer runs slowly, and why."""
    logging.getLogger("comporta").warning("a layer runs step by step in torch: %s", reason)


def stream(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    streams: Sequence[Tensor] = (),
) -> cpu.Stream | reference.Stream:
    """One layer, to be run step by step; its weights are read now.

    Args:
        program: the step, from `compile_cell`.
        x: like the inputs (B, D), strides too.
        state: the states to begin with, each (B, H).
        weights: as for `run`.
        streams: further inputs of every step, each (B, H).

    Returns:
        An object with `step(x)`, which gives the output (B, H), and with `output` and `state`, the
        last ones. All are memory that the next step writes over; the output of `step_anew(x)` is
        not.

    Raises:
        ShapeError: a tensor does not fit the program.
    """
    known = Weights.of(weights)
    check(program, x.unsqueeze(1), state, known, None)
    further = [each.unsqueeze(1) for each in streams]
    check_streams(program, x.unsqueeze(1), state[0].shape[1], further)
    known = known.turned([name for name, _ in program.turned])
    chosen, _ = _choose(program, (x, *state, *known.tensors))
    if chosen == "cpu":
        return cpu.Stream(program, x, state, known, streams)
    return reference.Stream(program, x, state, known, streams, BACKENDS[chosen])
