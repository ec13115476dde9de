"""The forward pass of one layer: memory laid out, weights packed, the kernel run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comporta.kernels.cpu import engine, threads
from comporta.kernels.cpu.call import Call, Fields
from comporta.kernels.cpu.engine import Jobs
from comporta.kernels.cpu.layout import steps_in_place
from comporta.kernels.cpu.product import PACK
from comporta.kernels.schedule import Group, schedule

# The products of x for a chunk of steps should stay in the second-level cache beside the weights,
# and have enough rows for the matrix product to run at full speed.
_CHUNK_BYTES = 192 << 10
_CHUNK_ROWS = 32


def forward(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer forward.

    Returns:
        The output (B, T, H) and the states after the last step, each (B, H). What the backward
        pass needs stays in the call.
    """
    time, hidden = call.time, call.hidden
    kernel = engine.forward_kernel(call.program, call.bits, call.training)
    sections, width = kernel.step.sections, call.width
    parts = call.parts()
    fields = Fields(call)
    in_place = not call.training and steps_in_place(call.program)
    call.states = _start(call, 1 if in_place else time + 1)
    fields.place(
        "state",
        call.states.data_ptr(),
        call.states.stride(0),
        0 if in_place else call.states.stride(1),
    )
    call.kept = call.sequence(time, sections["kept"] * width)
    fields.sequence("kept", call.kept)
    output = call.sequence(time, width, fresh=True)
    fields.place("output", *call.in_order(output))
    fields.place("x", *call.in_order(call.x))
    call.vectors = _vectors(call)
    fields.place("vector", call.vectors.data_ptr(), 0, 0)
    _place_products(call, fields, sections["input"] * width, parts)
    for name in sections:
        if name.startswith(("product", "passing")):
            fields.rows(name, call.take(call.batch, sections[name] * width))
    threads.run(kernel.bind(fields.values), parts)
    last = call.states[:, 0 if in_place else time]
    finals = [last[:, i * width : i * width + hidden].clone() for i in range(len(call.state))]
    return _without_padding(call, output), tuple(finals)


def _start(call: Call, slots: int) -> Tensor:
    """The buffer of states, with the initial ones in its first slot."""
    width, hidden = call.width, call.hidden
    states = call.sequence(slots, len(call.state) * width)
    for i, value in enumerate(call.state):
        states[:, 0, i * width : i * width + hidden] = value
    return states


def _place_products(call: Call, fields: Fields, columns: int, parts: list[tuple[int, int]]) -> None:
    """The packed weights, and the buffer for the products of x in chunks of steps."""
    plan = schedule(call.program)
    jobs, work = call.products.jobs(PACK), 0
    for name, group in (("input", plan.hoisted), *_named(plan.groups)):
        packed = _side_by_side(call, group, jobs)
        fields.packed(name, packed)
        work += packed.numel()
    jobs.run(work)
    rows = call.batch if call.team() > 1 else max((b - a for a, b in parts), default=1)
    fitting = _CHUNK_BYTES // max(1, rows * columns * call.x.element_size())
    chunk = max(1, min(call.time, max(fitting, -(-_CHUNK_ROWS // max(1, rows)))))
    fields.values["chunk"] = chunk
    inputs = call.take(chunk, call.batch, columns)
    fields.place("input", inputs.data_ptr(), inputs.stride(1), inputs.stride(0))


def _vectors(call: Call) -> Tensor:
    """The vector parameters, a padded row each."""
    names = call.program.vectors
    stacked = call.take(len(names), call.width)
    if call.width != call.hidden:
        stacked.zero_()
    if names:
        torch.stack([call.weights[name] for name in names], out=stacked[:, : call.hidden])
    return stacked


def _named(groups: Sequence[Group]) -> list[tuple[str, Group]]:
    return [(f"product{i}", group) for i, group in enumerate(groups)]


def _side_by_side(call: Call, group: Group, jobs: Jobs) -> Tensor:
    """The matrices of a group as one packed matrix, a section of columns for each."""
    width, lanes = call.width, call.lanes
    depth = call.weights[group.matrices[0]].shape[1]
    vectors = len(group.matrices) * width // lanes
    packed = call.take(depth * vectors * lanes)
    for i, name in enumerate(group.matrices):
        matrix = call.weights[name]
        to_n, to_k = matrix.stride()
        jobs.add(packed.data_ptr(), depth, vectors, matrix.data_ptr(), to_k, to_n, 0,
                 i * width // lanes, depth, call.hidden)  # fmt: skip
    return packed


def _without_padding(call: Call, output: Tensor) -> Tensor:
    """The output (B, T, H), contiguous in the memory order of x."""
    hidden = call.hidden
    if hidden == call.width:
        return output
    if call.batch_major:
        return output[..., :hidden].contiguous()
    return output.transpose(0, 1)[..., :hidden].contiguous().transpose(0, 1)
