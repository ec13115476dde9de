"""The reference backend: a program interpreted step by step with torch operations.

Works on any device and in any dtype, can be differentiated any number of times, forward or
reverse, and mapped over. It is the oracle that every fused kernel is held against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from comporta.kernels.checks import at_rest
from comporta.kernels.program import Program, Statement, previous
from comporta.kernels.weights import Names, Weights

Run = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
_Value = Tensor | float

OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "copy": torch.clone,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "abs": torch.abs,
    "mean": lambda a: a.mean(-1, keepdim=True).expand_as(a),
    "normalize": torch.mul,
    "min": torch.minimum,
    "max": torch.maximum,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "where": torch.where,
}


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
    state = at_rest(program, x, weights) if state is None else state
    weights = Weights.of(weights).apart()
    states = {previous(name): value for name, value in zip(program.states, state, strict=True)}
    outputs: list[Tensor] = []
    order = range(x.shape[1])
    for t in reversed(order) if reverse else order:
        inputs = dict(zip(program.streams, (s[:, t] for s in streams), strict=True))
        values = _step(program, {"x": x[:, t], **inputs}, states, weights)
        output = values[program.output]
        after = {previous(name): values[name] for name in program.states}
        if lengths is not None:
            active = (lengths > t).unsqueeze(1)
            output = torch.where(active, output, torch.zeros_like(output))
            after = {name: torch.where(active, after[name], states[name]) for name in after}
        states = after
        outputs.append(output)
    if not outputs:
        stacked = state[0].new_empty(x.shape[0], 0, state[0].shape[1])
    else:
        stacked = torch.stack(outputs[::-1] if reverse else outputs, dim=1)
    return stacked, tuple(states[previous(name)] for name in program.states)


def gradients(
    program: Program,
    tensors: Sequence[Tensor],
    names: Names,
    arriving: Sequence[Tensor | None],
    *,
    again: bool,
    **options: Any,
) -> list[Tensor | None]:
    """The gradients of a run, by running it once more.

    Args:
        program: the step.
        tensors: x, the states where they were given, and the tensors that hold the weights.
        names: the parameters in each of these.
        arriving: the gradients of the output and of the final states; None for zero.
        again: whether the gradients may be differentiated themselves.
        options: streams, lengths and reverse, as of `run`.

    Returns:
        A gradient for each of the tensors; None where none is wanted, or none arrives.
    """
    # One may have been computed from another (a state from the weights, chunk after chunk): the
    # gradient of each stops at its own view, or that path would be counted here and upstream.
    views = [tensor.view_as(tensor) for tensor in tensors]
    end = len(views) - len(names)
    state = views[1:end] or None
    output, finals = run(program, views[0], state, Weights(views[end:], names), **options)
    pairs = [(y, d) for y, d in zip((output, *finals), arriving, strict=True) if d is not None]
    found = iter(
        torch.autograd.grad(
            [y for y, _ in pairs], [view for view in views if view.requires_grad],
            [d for _, d in pairs], create_graph=again, allow_unused=True,
        )
    )  # fmt: skip
    return [next(found) if view.requires_grad else None for view in views]


class Stream:
    """A layer step by step, by a backend's `run`; see `comporta.kernels.stream`."""

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: Sequence[Tensor],
        weights: Weights,
        streams: Sequence[Tensor] = (),
        run: Run = run,
    ) -> None:
        self._run = run
        self._program, self._streams = program, [each.unsqueeze(1) for each in streams]
        self._weights = {name: value.detach().clone() for name, value in weights.apart().items()}
        self.state = tuple(value.detach().clone() for value in state)
        self.output = torch.zeros_like(self.state[0])

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        """Run one step: x (B, D) to the output (B, H)."""
        output, self.state = self._run(
            self._program, x.unsqueeze(1), self.state, self._weights, streams=self._streams
        )
        self.output = output.squeeze(1)
        return self.output

    def step_anew(self, x: Tensor) -> Tensor:
        """Run one step; here every output is a tensor of its own."""
        return self.step(x)


def _step(
    program: Program,
    inputs: Mapping[str, Tensor],
    states: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """One step: the values of the states and of the output, each (B, H)."""
    values: dict[str, Tensor] = {**inputs, **states}
    values |= {name: weights[name] for name in program.vectors}
    like = next(iter(states.values()))
    for statement in program.statements:
        values[statement.name] = _evaluate(statement, values, weights, like)
    # A value built of parameters and numbers alone has no batch dimension yet.
    return {name: values[name].expand_as(like) for name in (*program.states, program.output)}


def _evaluate(
    statement: Statement, values: Mapping[str, Tensor], weights: Mapping[str, Tensor], like: Tensor
) -> Tensor:
    if statement.op == "product":
        matrix, operand = (str(arg) for arg in statement.args)
        value = values[operand]
        # A value built of numbers alone has no dimension at all.
        value = value if value.ndim else value.expand(weights[matrix].shape[1])
        return value @ weights[matrix].t()
    args = [values[arg] if isinstance(arg, str) else like.new_tensor(arg) for arg in statement.args]
    return OPERATIONS[statement.op](*args)
