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
from comporta.kernels.cpu.engine import Jobs
from comporta.kernels.cpu.layout import (
    Window,
    matrix_order,
    product_gradients,
    vector_totals,
)
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.cpu.product import GEMM_EACH, GEMM_SUM, PACK
from comporta.kernels.gradient import differentiate
from comporta.kernels.program import previous
from comporta.kernels.schedule import Group, schedule


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
    assert call.vectors is not None
    assert not call.spent
    kernel = engine.backward_kernel(call.program, call.bits)
    sections, width = kernel.step.sections, call.width
    fields = Fields(call)
    fields.sequence("state", call.states)
    fields.sequence("kept", call.kept)
    incoming = _padded_gradient(call, d_output)
    fields.place("output", *call.in_order(incoming))
    fields.place("vector", call.vectors.data_ptr(), 0, 0)
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
    jobs, work = call.products.jobs(PACK), 0
    for i, group in enumerate(adjoint.groups):
        fields.rows(f"product{i}", results[i])
        packed = _stacked(call, group, windows[i], width, jobs)
        fields.packed(f"product{i}", packed)
        work += packed.numel()
    jobs.run(work)
    threads.run(kernel.bind(fields.values), call.parts())
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


def _stacked(call: Call, group: Group, window: Window, columns: int, jobs: Jobs) -> Tensor:
    """The matrices of a group above one another, in the order of the gradients they multiply."""
    width = call.width
    depth = len(group.matrices) * width
    packed = call.take(depth * columns)
    if width != call.hidden:
        packed.zero_()
    for section, name in matrix_order(group, window):
        matrix = call.weights[name]
        to_k, to_n = matrix.stride()
        jobs.add(packed.data_ptr(), depth, columns // call.lanes, matrix.data_ptr(), to_k, to_n,
                 section * width, 0, *matrix.shape)  # fmt: skip
    return packed


def _matrices(call: Call, weights: dict[str, Tensor]) -> None:
    """The gradients of the matrices, sums over steps and rows of d (operand)^T."""
    plan, gradients = schedule(call.program), product_gradients(call.program)
    windows = (gradients.hoisted, *gradients.groups)
    found: list[tuple[str, Tensor]] = []
    jobs, work = call.products.jobs(GEMM_SUM), 0
    for group, window in zip((plan.hoisted, *plan.groups), windows, strict=True):
        operand = _operand(call, group)
        for section, name in matrix_order(group, window):
            gradient = _outer_sum(call, window.start + section, operand, name, jobs)
            found.append((name, gradient))
            work += call.batch * call.time * gradient.numel()
    jobs.run(work)
    for name, padded in found:
        rows, columns = call.weights[name].shape
        gradient = padded[:rows, :columns].contiguous()
        weights[name] = weights[name] + gradient if name in weights else gradient


def _operand(call: Call, group: Group) -> tuple[int, int, int]:
    """(address, row stride, step stride) of what the matrices of a group are applied to."""
    name = group.operands[0]
    if name == "x":
        return call.in_order(call.x)
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


def _outer_sum(
    call: Call, section: int, operand: tuple[int, int, int], name: str, jobs: Jobs
) -> Tensor:
    """The sum over rows and steps of the outer products of a section of `kept` and an operand.

    It is computed when the jobs are run. Its rows are padded to tiles, its columns to vectors.
    """
    assert call.kept is not None
    rows, columns = call.weights[name].shape
    wide = call.padded(columns)
    result = call.x.new_empty(-(-rows // 8) * 8, wide)
    if call.batch * call.time == 0:
        return result.zero_()
    address, right_row, right_step = operand
    (inner, left, right), (outer, left_outer, right_outer) = _nest(
        (call.batch, call.kept.stride(0), right_row), (call.time, call.kept.stride(1), right_step)
    )
    size = call.x.element_size()
    base = call.kept.data_ptr() + section * call.width * size
    # Parts of the rows are jobs of their own, so that threads have something to share.
    half = -(-rows // 16) * 8
    for first in range(0, rows, half):
        jobs.add(base + first * size, left, left_outer, address, right, right_outer, columns,
                 result.data_ptr() + first * wide * size, wide, min(half, rows - first), inner,
                 outer)  # fmt: skip
    return result


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
    batch, time = call.batch, call.time
    plan, window = schedule(call.program), product_gradients(call.program).hoisted
    wide, width, size = call.padded(call.depth), call.width, call.x.element_size()
    result = call.sequence(time, wide, fresh=True)
    if batch * time == 0:
        return result[..., : call.depth]
    pack = call.products.jobs(PACK)
    packed = _stacked(call, plan.hoisted, window, wide, pack)
    pack.run(packed.numel())
    depth = len(plan.hoisted.matrices) * width
    base = call.kept.data_ptr() + window.start * width * size
    target, to_row, to_step = call.in_order(result)
    (inner, left, right), (outer, left_outer, right_outer) = _nest(
        (batch, call.kept.stride(0), to_row), (time, call.kept.stride(1), to_step)
    )
    jobs = call.products.jobs(GEMM_EACH)
    # The longer loop is cut into parts for the threads.
    along = outer if outer > 1 else inner
    part = -(-along // 16) * 8
    for first in range(0, along, part):
        count = min(part, along - first)
        shift_left, shift_right = (left_outer, right_outer) if outer > 1 else (left, right)
        jobs.add(base + first * shift_left * size, left, left_outer, packed.data_ptr(),
                 target + first * shift_right * size, right, right_outer,
                 inner if outer > 1 else count, depth, count if outer > 1 else 1,
                 wide // call.lanes)  # fmt: skip
    jobs.run(batch * time * depth * wide)
    return result if wide == call.depth else result[..., : call.depth].contiguous()
