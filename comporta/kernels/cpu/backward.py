"""The backward pass of one layer: the adjoint's time loop, then the large products.

The loop leaves the gradients of all products in `kept`. The gradients of the matrices and of x
follow from them by one product each over all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from comporta.kernels.cpu import engine, threads
from comporta.kernels.cpu.call import Call, Fields
from comporta.kernels.cpu.layout import (
    Window,
    matrix_order,
    product_gradients,
    vector_totals,
)
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.gradient import differentiate
from comporta.kernels.program import previous
from comporta.kernels.schedule import Group, schedule

# Steps of one block of the sums over time: a panel of that many rows fits the first-level cache.
_SUM_BLOCK = 192


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of all inputs of a layer; None where it was not wanted."""

    x: Tensor | None
    state: tuple[Tensor, ...]
    weights: dict[str, Tensor]


def backward(
    call: Call, d_output: Tensor | None, d_state: Sequence[Tensor | None], *, wants_x: bool
) -> Gradients:
    """Run a layer backward.

    Args:
        call: a training call that was run forward and whose `kept` is not spent.
        d_output: gradient of the output (B, T, H), or None for zero.
        d_state: gradients of the last states, each (B, H), or None for zero.
        wants_x: whether the gradient of x is computed.
    """
    totals, d_first = _run_loop(call, d_output, d_state)
    call.spent = True
    summed = dict(zip(vector_totals(call.program), totals.unbind(), strict=True))
    vectors = differentiate(call.program).vectors
    weights = {vector: summed[gradient] for vector, gradient in vectors.items()}
    _matrices(call, weights)
    return Gradients(_input(call) if wants_x else None, d_first, weights)


def _run_loop(
    call: Call, d_output: Tensor | None, d_state: Sequence[Tensor | None]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The adjoint's time loop: gradients of the vectors, a row each, and of the first states."""
    batch, hidden = call.batch, call.hidden
    assert call.states is not None
    assert call.kept is not None
    assert not call.spent
    kernel = engine.backward_kernel(call.program, call.bits)
    sections, width = kernel.step.sections, call.width
    fields = Fields(call)
    fields.sequence("state", call.states)
    fields.sequence("kept", call.kept)
    incoming = _padded_gradient(call, d_output)
    fields.place("output", *call.in_order(incoming))
    vectors = call.vectors()
    fields.place("vector", vectors.data_ptr(), 0, 0)
    following = call.take(batch, sections["next"] * width).zero_()
    for i, gradient in enumerate(d_state):
        if gradient is not None:
            following[:, i * width : i * width + hidden] = gradient
    fields.rows("next", following)
    totals = call.take(-(-batch // ROWS_PER_TOTAL), sections["total"] * width).zero_()
    fields.rows("total", totals)
    fields.rows("passing", call.take(batch, sections["passing"] * width))
    adjoint, windows = differentiate(call.program), kernel.step.windows or ()
    results = [call.take(batch, width).zero_() for _ in adjoint.groups]
    for i, group in enumerate(adjoint.groups):
        fields.rows(f"product{i}", results[i])
        packed = _stacked(call, group, windows[i], width)
        fields.packed(f"product{i}", packed)
    threads.run(kernel.bind(fields.values), call.row_parts())
    first = []
    for i, state in enumerate(call.program.states):
        total = following[:, i * width : i * width + hidden].clone()
        for group, result in zip(adjoint.groups, results, strict=True):
            if adjoint.carries[state][1:] == group.results:
                total += result[:, :hidden]
        first.append(total)
    summed = totals.sum(0).view(-1, width)[:, :hidden].contiguous()
    return summed, tuple(first)


def _padded_gradient(call: Call, d_output: Tensor | None) -> Tensor:
    """The output's gradient as the kernel reads it: whole vectors, numbers side by side."""
    hidden = call.hidden
    if d_output is not None and d_output.stride(2) == 1 and hidden == call.width:
        return d_output
    padded = call.sequence(call.time, call.width).zero_()
    if d_output is not None:
        padded[..., :hidden] = d_output
    return padded


def _stacked(call: Call, group: Group, window: Window, columns: int) -> Tensor:
    """The matrices of a group above one another, in the order of the gradients they multiply."""
    width = call.width
    depth = len(group.matrices) * width
    packed = call.take(depth * columns)
    if width != call.hidden:
        packed.zero_()
    for section, name in matrix_order(group, window):
        matrix = call.weights[name].detach()
        call.products.pack(packed, depth, columns, matrix, first_row=section * width)
    return packed


def _matrices(call: Call, weights: dict[str, Tensor]) -> None:
    """The gradients of the matrices, sums over steps and rows of d (operand)^T."""
    plan, gradients = schedule(call.program), product_gradients(call.program)
    windows = (gradients.hoisted, *gradients.groups)
    for group, window in zip((plan.hoisted, *plan.groups), windows, strict=True):
        operand = _operand(call, group)
        for section, name in matrix_order(group, window):
            gradient = _outer_sum(call, window.start + section, operand, call.weights[name])
            weights[name] = weights[name] + gradient if name in weights else gradient


def _operand(call: Call, group: Group) -> tuple[int, int, int]:
    """(address, row stride, step stride) of what the matrices of a group are applied to."""
    name = group.operands[0]
    if name == "x":
        return call.in_order(_readable(call, call.x))
    assert call.states is not None
    assert call.kept is not None
    readable = {previous(state): (i, 0) for i, state in enumerate(call.program.states)}
    readable |= {state: (i, 1) for i, state in enumerate(call.program.states)}
    if name in readable:
        section, slot = readable[name]
        buffer = call.states[:, slot:, section * call.width :]
    else:
        section = differentiate(call.program).saved.index(name)
        buffer = call.kept[:, :, section * call.width :]
    return buffer.data_ptr(), buffer.stride(0), buffer.stride(1)


def _readable(call: Call, x: Tensor) -> Tensor:
    """x with its columns padded to whole vectors, so that nothing is read beyond its end."""
    depth = call.depth
    if depth == call.padded(depth):
        return x
    padded = call.sequence(call.time, call.padded(depth))
    padded[..., :depth] = x
    padded[..., depth:] = 0
    return padded


def _outer_sum(call: Call, section: int, operand: tuple[int, int, int], matrix: Tensor) -> Tensor:
    """The sum over rows and steps of the outer products of a section of `kept` and an operand."""
    assert call.kept is not None
    batch, time = call.batch, call.time
    rows, columns = matrix.shape
    wide = call.padded(columns)
    result = matrix.new_empty(rows, wide)
    if batch * time == 0:
        return result.zero_()[:, :columns]
    address, right_row, right_step = operand
    left_row, left_step = call.kept.stride(0), call.kept.stride(1)
    (inner, left, right), (outer, left_outer, right_outer) = _nest(
        (batch, left_row, right_row), (time, left_step, right_step)
    )
    size, lanes = call.x.element_size(), call.lanes
    base = call.kept.data_ptr() + section * call.width * size

    def sums(first: int, last: int) -> None:
        call.products.gemm_sum(
            base + first * size, 1, left, left_outer, address, right, right_outer,
            result.data_ptr() + first * wide * size, wide, last - first, inner, outer,
            wide // lanes, _SUM_BLOCK,
        )  # fmt: skip

    threads.run(sums, threads.split(rows, 8, batch * time * rows * columns))
    return result if wide == columns else result[:, :columns].contiguous()


def _nest(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The order of two loops (count, left stride, right stride): one loop if they are one walk."""
    for inner, outer in ((one, other), (other, one)):
        if outer[1] == inner[0] * inner[1] and outer[2] == inner[0] * inner[2]:
            return (inner[0] * outer[0], inner[1], inner[2]), (1, 0, 0)
    return (one, other) if one[0] > other[0] else (other, one)


def _input(call: Call) -> Tensor:
    """The gradient of x: one product of the gradients of its products."""
    assert call.kept is not None
    batch, time, depth = call.batch, call.time, call.depth
    plan, window = schedule(call.program), product_gradients(call.program).hoisted
    wide, width, size = call.padded(depth), call.width, call.x.element_size()
    result = call.sequence(time, wide, fresh=True)
    if batch * time == 0:
        return result[..., :depth]
    packed = _stacked(call, plan.hoisted, window, wide)
    rows = len(plan.hoisted.matrices) * width
    base = call.kept.data_ptr() + window.start * width * size
    target, to_row, to_step = call.in_order(result)
    (inner, left, right), (outer, left_outer, right_outer) = _nest(
        (batch, call.kept.stride(0), to_row), (time, call.kept.stride(1), to_step)
    )

    def multiply(first: int, last: int, *, along_outer: bool = outer > 1) -> None:
        shift_left, shift_right = (left_outer, right_outer) if along_outer else (left, right)
        count = last - first
        call.products.gemm_each(
            base + first * shift_left * size, left, left_outer, packed.data_ptr(),
            target + first * shift_right * size, right, right_outer,
            inner if along_outer else count, rows, count if along_outer else 1, wide // call.lanes,
        )  # fmt: skip

    work = batch * time * rows * depth
    parts = threads.split(outer, 1, work) if outer > 1 else threads.split(inner, 8, work)
    threads.run(multiply, parts)
    return result if wide == depth else result[..., :depth].contiguous()
