"""The backward pass of one layer: the adjoint's time loop, then the large products.

The loop leaves the gradients of all products in `kept`. The gradients of the matrices and of x
follow from them by one product each over all steps.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from comporta.kernels.cpu import engine
from comporta.kernels.cpu.call import BOUNDS, SIZES, Call, Fields, Sizes, ends, side_by_side
from comporta.kernels.cpu.forward import MOVE
from comporta.kernels.cpu.forward import plan as forward_plan
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.cpu.memory import Lease, fresh
from comporta.kernels.cpu.product import EACH_ROWS, GEMM_EACH, GEMM_SUM, PACK, SUM
from comporta.kernels.cpu.table import Buffer, Entry, Given, Jobs, Listed, Memory, Task
from comporta.kernels.cpu.work import Work
from comporta.kernels.fused import Gradients
from comporta.kernels.gradient import differentiate
from comporta.kernels.kept import Window, kept_places, product_gradients, vector_totals
from comporta.kernels.program import previous
from comporta.kernels.schedule import Group, schedule
from comporta.kernels.weights import Weights

# What the pass gives besides `Sizes.names`, before the gradients of weights.
_GIVEN = ("kept", "scratch", "output", "d_x")


class _Again(NamedTuple):
    """The gradient of a matrix that an earlier product has one of, to be added to it."""

    name: str
    matrix: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the runs of the same sizes have in common.

    Attributes:
        scratch: how many numbers the pass needs besides.
        unwanted: where in it, in bytes, the gradients of states go that nobody wants.
        missing: the tensors of weights that hold a parameter to which no gradient is written, as of
            a matrix that the step reads only transposed.
        again: further gradients of matrices.
        work: packs the weights, runs the steps, and then the products over all of them.
    """

    scratch: int
    unwanted: int
    missing: frozenset[int]
    again: tuple[_Again, ...]
    work: Work


def backward(
    call: Call, d_output: Tensor | None, d_state: Sequence[Tensor | None], *, wants_x: bool,
    wants_state: bool,
) -> Gradients:  # fmt: skip
    """Run a layer backward.

    Args:
        call: a training call that was run forward; what it kept is written over.
        d_output: gradient of the output (B, T, H), or None for zero.
        d_state: gradients of the last states, each (B, H), or None for zero.
        wants_x: whether the gradient of x is computed.
        wants_state: whether those of the states before the first step are.
    """
    sizes, dtype = call.sizes, call.x.dtype
    assert call.kept is not None
    if sizes.batch * sizes.time == 0:
        return _nothing_ran(call, d_state, wants_x=wants_x, wants_state=wants_state)
    d_output = None if d_output is None else side_by_side(d_output.to(call.output_dtype))
    arriving = [None if d is None else side_by_side(d.to(dtype)) for d in d_state]
    row, step, _ = (0, 0, 0) if d_output is None else d_output.stride()
    made = _plan(sizes, row, step, wants_x)
    scratch = Lease(made.scratch, dtype)
    weights = [
        fresh(tensor.shape, dtype, zeros=i in made.missing)
        for i, tensor in enumerate(call.weights.tensors)
    ]
    d_x = call.fresh(sizes.padded(sizes.depth), dtype) if wants_x else None
    again = [fresh(call.weights.shape(each.matrix), dtype) for each in made.again]
    before = None
    if wants_state:
        state_size = sizes.batch, sizes.hidden
        before = tuple([fresh(state_size, dtype) for _ in sizes.befores])
        leaving = ends(sizes, before)
    else:
        leaving = [scratch.address + made.unwanted, sizes.width] * len(sizes.befores)
    numbers = [
        call.kept.address, scratch.address,
        (sizes.zeros if d_output is None else d_output).data_ptr(),
        0 if d_x is None else d_x.data_ptr(),
        *[tensor.data_ptr() for tensor in weights], *[tensor.data_ptr() for tensor in again],
    ]  # fmt: skip
    call.run(made.work, leaving, ends(sizes, arriving), numbers)
    for each, tensor in zip(made.again, again, strict=True):
        Weights(weights, call.weights.names)[each.matrix].add_(tensor)
    if d_x is not None and d_x.shape[2] != sizes.depth:
        d_x = d_x[..., : sizes.depth].contiguous()
    found = Gradients(d_x, before, weights)
    return found.to(call.dtype) if call.narrows else found


def _nothing_ran(
    call: Call, d_state: Sequence[Tensor | None], *, wants_x: bool, wants_state: bool
) -> Gradients:
    """The gradients where there was no row, or no step."""
    sizes, dtype = call.sizes, call.x.dtype
    weights = [torch.zeros_like(tensor) for tensor in call.weights.tensors]
    shape = sizes.batch, sizes.time, sizes.depth
    d_x = fresh(shape, dtype, zeros=True) if wants_x else None
    if not wants_state:
        return Gradients(d_x, None, weights).to(call.dtype)
    size = sizes.batch, sizes.hidden
    before = [
        fresh(size, dtype, zeros=True) if d is None else d.to(dtype, copy=True) for d in d_state
    ]
    return Gradients(d_x, tuple(before), weights).to(call.dtype)


@lru_cache(maxsize=SIZES)
def _plan(sizes: Sizes, row: int, step: int, wants_x: bool) -> _Plan:
    """The plan of the backward pass, whose output's gradient has those strides."""
    program, batch, width = sizes.program, sizes.batch, sizes.width
    made = forward_plan(sizes)
    kernel = engine.backward_kernel(program, sizes.bits)
    sections, scratch = kernel.step.sections, sizes.memory("scratch")
    fields = Fields(sizes)
    fields.place("state", made.states)
    fields.place("kept", made.kept)
    fields.place("kept_flat", made.kept_flat)
    d_output = Buffer(Given("output"), row, step)
    fields.place("output", sizes.in_order(d_output, halves=sizes.real.pairs))
    fields.place("vector", Buffer(made.vectors, 0, 0))
    fields.streams(sizes)
    fields.place("next", scratch.rows((batch, sections["next"] * width)))
    fields.place("passing", scratch.rows((batch, sections["passing"] * width)))
    fields.place("flat", scratch.rows((batch, sizes.padded(sections["flat"]))))
    sets = -(-batch // ROWS_PER_TOTAL)
    totals = scratch.rows((sets, sections["total"] * width))
    fields.place("total", totals)
    adjoint = differentiate(program)
    pack = sizes.products.jobs(PACK)
    widest = max([len(group.matrices) for group in adjoint.groups], default=0)
    fields.pairs(sizes, scratch, widest * width)
    for i, group in enumerate(adjoint.groups):
        assert kernel.step.windows is not None
        fields.place(f"product{i}", scratch.rows((batch, width)))
        packed = _stacked(sizes, group, kernel.step.windows[i], sizes.hidden, scratch, pack)
        fields.packed(f"product{i}", packed)
    x = _input(sizes, made.kept, scratch, pack) if wants_x else None
    vectors = sizes.products.jobs(SUM)
    section = {name: i for i, name in enumerate(vector_totals(program))}
    for name, gradient in adjoint.vectors.items():
        source = totals.base.after(section[gradient] * width * sizes.real.bytes)
        vectors.add(source, totals.row, sets, sizes.gradients[name], sizes.hidden,
                    work=sets * width)  # fmt: skip
    sums, again, computed = _outer_products(sizes)
    unwanted = scratch.take(batch, width)
    loop = Task(kernel.function, tuple([fields.values[f] for f in kernel.fields]), sizes.parts)
    tasks = [pack.task(), loop, sums.task(), vectors.task()]
    computed |= adjoint.vectors.keys()
    names = (
        *sizes.names, *_GIVEN, *sizes.gradient_names, *[each.name for each in again], *BOUNDS,
    )  # fmt: skip
    return _Plan(
        scratch=scratch.bytes // sizes.real.bytes,
        unwanted=unwanted.plus,
        missing=frozenset(
            i for i, names in enumerate(sizes.weights) if not computed.issuperset(names)
        ),
        again=again,
        work=Work(tasks if x is None else [*tasks, x], names),
    )


def _stacked(
    sizes: Sizes, group: Group, window: Window, columns: int, memory: Memory, jobs: Jobs
) -> Given:
    """The matrices of a group above one another, in the order of the gradients they multiply."""
    depth, wide = len(group.matrices) * sizes.width, sizes.padded(columns)
    packed = memory.take(sizes.places_of(depth), wide)
    for section, name in zip(window.sections, group.matrices, strict=True):
        place, (to_k, to_n) = sizes.places[name]
        jobs.add(packed, depth, wide // sizes.real.lanes, place, to_k, to_n,
                 section * sizes.width, 0, sizes.hidden, columns, sizes.width,
                 work=MOVE * sizes.width * wide)  # fmt: skip
    return packed


def _source(sizes: Sizes, group: Group) -> tuple[Buffer, int]:
    """Where the matrices of a group find what they are applied to, and how many numbers it has."""
    name, made = group.operands[0], forward_plan(sizes)
    if name == "x":
        return sizes.in_order(Buffer(Given("x"), *sizes.x)), sizes.depth
    section_bytes = sizes.width * sizes.real.bytes
    states = sizes.program.states
    if name in (*states, *map(previous, states)):
        base, row, step = made.states
        section = [*states, *map(previous, states)].index(name) % len(states)
        later = step * sizes.real.bytes if name in states else 0
        return Buffer(base.after(section * section_bytes + later), row, step), sizes.hidden
    base, row, step = made.kept
    section = kept_places(sizes.program)[name]
    return Buffer(base.after(section * section_bytes), row, step), sizes.hidden


def _outer_products(sizes: Sizes) -> tuple[Jobs, tuple[_Again, ...], set[str]]:
    """The gradients of all matrices; and which matrices have one."""
    plan, gradients = schedule(sizes.program), product_gradients(sizes.program)
    groups, windows = (plan.hoisted, *plan.groups), (gradients.hoisted, *gradients.groups)
    targets = dict(sizes.gradients)
    again: list[_Again] = []
    operands = []
    for group, window in zip(groups, windows, strict=True):
        found = []
        for name in group.matrices:
            target = targets.pop(name, None)
            if target is None:
                again.append(_Again(f"again {len(again)}", name))
                target = Given(again[-1].name)
            found.append(target)
        if found:
            ordered = [found[i] for i in sorted(range(len(found)), key=window.sections.__getitem__)]
            first = (window.start - gradients.start) * sizes.width
            is_narrow = sizes.real.pairs and group.operands == ("x",)
            source = _source(sizes, group)
            operands.append(_Operand(*source, ordered, first, sizes.width, is_narrow))
    return _sums(sizes, operands), tuple(again), sizes.gradients.keys() - targets.keys()


class _Operand(NamedTuple):
    """What some gradients of products, from column `first` on, are multiplied with."""

    buffer: Buffer
    columns: int
    targets: list[Given]
    first: int
    width: int
    is_narrow: bool

    @property
    def last(self) -> int:
        return self.first + len(self.targets) * self.width

    def work(self, first: int, last: int) -> int:
        """How many multiply-adds a row takes for the gradients' columns between two."""
        inside = min(last, self.last) - max(first, self.first)
        return max(0, inside) * self.columns


def _sums(sizes: Sizes, operands: Sequence[_Operand]) -> Jobs:
    """The sums over rows and steps of the outer products of gradients and operands."""
    jobs, kept = sizes.products.jobs(GEMM_SUM), forward_plan(sizes).kept
    gradients = product_gradients(sizes.program)
    base = kept.base.after(gradients.start * sizes.width * sizes.real.bytes)
    table: list[Entry] = []
    for each in operands:
        row, step = each.buffer.row, each.buffer.step
        inner, outer = (step, row) if sizes.batch_major else (row, step)
        table += [each.buffer.base, inner, outer, each.columns, Listed(tuple(each.targets)),
                  each.first, each.last, int(each.is_narrow)]  # fmt: skip
    inner, outer, depth, repeats = kept.row, kept.step, sizes.batch, sizes.time
    if sizes.batch_major:
        inner, outer, depth, repeats = outer, inner, repeats, depth

    def work(first: int, last: int) -> int:
        return sum(operand.work(first, last) for operand in operands)

    # Each thread computes some rows of every matrix, as much work as the others have.
    end = len(gradients.names) * sizes.width
    columns = [*range(0, end, 8), end]
    shares = [work(0, end) * i / sizes.threads for i in range(1, sizes.threads)]
    cuts = [columns[bisect_left(columns, share, key=lambda c: work(0, c))] for share in shares]
    for first, last in itertools.pairwise([0, *cuts, end]):
        if first < last:
            jobs.add(base, inner, outer, sizes.width, sizes.hidden, first, last, depth, repeats,
                     len(operands), Listed(tuple(table)),
                     work=sizes.batch * sizes.time * work(first, last))  # fmt: skip
    return jobs


def _nest(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The order of two loops (count, left stride, right stride): one loop if they are one walk."""
    for inner, outer in ((one, other), (other, one)):
        if outer[1] == inner[0] * inner[1] and outer[2] == inner[0] * inner[2]:
            return (inner[0] * outer[0], inner[1], inner[2]), (1, 0, 0)
    return (one, other) if one[0] > other[0] else (other, one)


def _input(sizes: Sizes, kept: Buffer, memory: Memory, pack: Jobs) -> Task:
    """The gradient of x: one product of the gradients of its products."""
    group, window = schedule(sizes.program).hoisted, product_gradients(sizes.program).hoisted
    wide = sizes.padded(sizes.depth)
    packed = _stacked(sizes, group, window, sizes.depth, memory, pack)
    depth = len(group.matrices) * sizes.width
    base = kept.base.after(window.start * sizes.width * sizes.real.bytes)
    target = sizes.in_order(Buffer(Given("d_x"), *sizes.dense(sizes.time, wide)))
    (inner, left, right), (outer, left_outer, right_outer) = _nest(
        (sizes.batch, kept.row, target.row), (sizes.time, kept.step, target.step)
    )
    jobs = sizes.products.jobs(GEMM_EACH)
    # The longer loop is cut into parts for the threads.
    cuts_outer = outer > 1
    along, unit = (outer, 1) if cuts_outer else (inner, 8)
    part = -(-along // (unit * sizes.threads)) * unit
    for first in range(0, along, part):
        count = min(part, along - first)
        left_shift = first * (left_outer if cuts_outer else left) * sizes.real.bytes
        right_shift = first * (right_outer if cuts_outer else right) * sizes.real.bytes
        rows, repeats = (inner, count) if cuts_outer else (count, 1)
        room = memory.take(EACH_ROWS, sizes.places_of(depth)) if sizes.real.pairs else 0
        jobs.add(base.after(left_shift), left, left_outer, packed, target.base.after(right_shift),
                 right, right_outer, rows, depth, repeats, wide // sizes.real.lanes, room,
                 work=rows * repeats * depth * wide)  # fmt: skip
    return jobs.task()
