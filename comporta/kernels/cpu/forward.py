"""The forward pass of one layer: memory laid out, weights packed, the kernel run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor

from comporta.kernels.cpu import engine
from comporta.kernels.cpu.call import BOUNDS, SIZES, Call, Fields, Sizes, ends
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.layout import steps_in_place
from comporta.kernels.cpu.memory import Lease, fresh
from comporta.kernels.cpu.product import PACK
from comporta.kernels.cpu.table import LINE_BYTES, Buffer, Given, Jobs, Memory, Task
from comporta.kernels.cpu.work import Work
from comporta.kernels.kept import kept_flat, kept_sections
from comporta.kernels.program import Program
from comporta.kernels.schedule import Group, schedule

# The products of x for a chunk of steps should stay in the second-level cache beside the weights,
# and have enough rows for reading these weights not to show.
_CHUNK_BYTES = 192 << 10
_CHUNK_ROWS = 256
# What the pass gives besides `Sizes.names`.
_GIVEN = ("kept", "scratch", "output", "parity")
# Moving one number takes about as long as so many multiply-adds.
MOVE = 64


@dataclass(frozen=True)
class Plan:
    """What the runs of the same sizes have in common.

    Attributes:
        states: the states of all steps, (B, T + 1, ...), or of the last one where none is kept.
        kept, kept_flat: what the forward kernel keeps for the backward one, (B, T, ...).
        vectors: the vector parameters, a padded row each.
        numbers: how many numbers these buffers hold together.
        scratch: how many numbers the forward pass needs besides.
        pack: copies the vectors, and the matrices.
        loop: runs the steps.
        names: of the numbers that a pass gives.
        work: all of it.
    """

    states: Buffer
    kept: Buffer
    kept_flat: Buffer
    vectors: Given
    numbers: int
    scratch: int
    pack: tuple[Task, Task]
    loop: Task
    names: Sequence[str]

    @cached_property
    def work(self) -> Work:
        return Work([*self.pack, self.loop], self.names)


def forward(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer forward.

    Returns:
        The output (B, T, H) and the states after the last step, each (B, H). What the backward
        pass needs stays in the call.
    """
    sizes, x = call.sizes, call.x
    made = plan(sizes)
    if call.kept is None and sizes.training:
        call.kept = Lease(made.numbers, x.dtype)
    # Of a pass that is not followed by another one nothing stays: one buffer is enough.
    room = Lease(made.scratch + (0 if call.kept else made.numbers), x.dtype)
    stays = call.kept.address if call.kept else room.address + made.scratch * x.itemsize
    output = call.fresh(sizes.hidden, call.output_dtype)
    state_size = sizes.batch, sizes.hidden
    finals = tuple([fresh(state_size, x.dtype) for _ in sizes.afters])
    numbers = [stays, room.address, output.data_ptr(), 0]
    call.run(made.work, ends(sizes, call.state), ends(sizes, finals), numbers)
    if not call.narrows:
        return output, finals
    return output.to(call.dtype), tuple([final.to(call.dtype) for final in finals])


@lru_cache(maxsize=SIZES)
def plan(sizes: Sizes) -> Plan:
    """The plan of the forward pass."""
    program, time, width = sizes.program, sizes.time, sizes.width
    kernel = engine.forward_kernel(program, sizes.bits, sizes.training)
    sections = kernel.step.sections
    stays, scratch = sizes.memory("kept"), sizes.memory("scratch")
    fields = Fields(sizes)
    in_place = not sizes.training and steps_in_place(program)
    states = sizes.sequence(stays, 1 if in_place else time + 1, len(program.states) * width)
    fields.place("state", Buffer(states.base, states.row, 0) if in_place else states)
    kept = sizes.sequence(stays, time, sections["kept"] * width)
    fields.place("kept", kept)
    flat = sizes.sequence(stays, time, sections["kept_flat"])
    fields.place("kept_flat", flat)
    output = Buffer(Given("output"), *sizes.dense(time, sizes.hidden))
    fields.place("output", sizes.in_order(output, halves=sizes.real.pairs))
    fields.place("x", sizes.in_order(Buffer(Given("x"), *sizes.x)))
    fields.streams(sizes)
    for name in sections:
        if name.startswith(("product", "passing")):
            fields.place(name, scratch.rows((sizes.batch, sections[name] * width)))
    fields.place("flat", scratch.rows((sizes.batch, sizes.padded(sections["flat"]))))
    # Vectors are numbers whatever the factors of products are.
    numbers, jobs = engine.products(sizes.real.bits).jobs(PACK), sizes.products.jobs(PACK)
    vectors = _pack_vectors(sizes, stays, numbers)
    fields.place("vector", Buffer(vectors, 0, 0))
    arrangement = schedule(program)
    fields.packed("input", _side_by_side(sizes, arrangement.hoisted, sizes.depth, scratch, jobs))
    for i, group in enumerate(arrangement.groups):
        fields.packed(f"product{i}", _side_by_side(sizes, group, sizes.hidden, scratch, jobs))
    chunk = _chunk(sizes, sections["input"] * width)
    fields.values["chunk"], fields.values["parity"] = chunk, Given("parity")
    fields.pairs(sizes, scratch, sizes.width)
    columns = sections["input"] * width
    inputs = scratch.take(chunk, sizes.batch, columns)
    fields.place("input", Buffer(inputs, columns, sizes.batch * columns))
    return Plan(
        states=states,
        kept=kept,
        kept_flat=flat,
        vectors=vectors,
        numbers=stays.bytes // sizes.real.bytes,
        scratch=scratch.bytes // sizes.real.bytes,
        pack=(numbers.task(), jobs.task()),
        loop=Task(kernel.function, tuple([fields.values[f] for f in kernel.fields]), sizes.parts),
        names=(*sizes.names, *_GIVEN, *BOUNDS),
    )


def kept_numbers(program: Program, real: Real, batch: int, time: int, hidden: int, *,
                 training: bool) -> int:  # fmt: skip
    """At least as many as a plan's `numbers`, from the sizes alone; they may be symbols."""
    width = -(-hidden // real.lanes) * real.lanes
    steps = time + 1 if training or not steps_in_place(program) else 1
    row = kept_sections(program) * width + len(kept_flat(program)) if training else 0
    lines = 4 * (LINE_BYTES // real.bytes)
    states = batch * steps * len(program.states) * width
    return states + batch * time * row + len(program.vectors) * width + lines


def _chunk(sizes: Sizes, columns: int) -> int:
    """For how many steps the products of x are computed at once."""
    rows = sizes.batch if sizes.team > 1 else max((b - a for a, b in sizes.parts), default=1)
    fitting = _CHUNK_BYTES // max(1, rows * columns * sizes.real.bytes)
    return max(1, min(sizes.time, max(fitting, -(-_CHUNK_ROWS // max(1, rows)))))


def _pack_vectors(sizes: Sizes, memory: Memory, jobs: Jobs) -> Given:
    """The vector parameters, a padded row each: side by side they are a matrix of depth 1."""
    names = sizes.program.vectors
    together = memory.take(len(names), sizes.width)
    vectors = sizes.width // sizes.real.lanes
    for i, name in enumerate(names):
        place, (to_n,) = sizes.places[name]
        jobs.add(together, 1, len(names) * vectors, place, 0, to_n, 0,
                 i * vectors, 1, sizes.hidden, 1, work=MOVE * sizes.width)  # fmt: skip
    return together


def _side_by_side(sizes: Sizes, group: Group, depth: int, memory: Memory, jobs: Jobs) -> Given:
    """The matrices of a group as one packed matrix, a section of columns for each."""
    vectors, factors = sizes.width // sizes.real.lanes, sizes.real.factors
    places = sizes.places_of(depth)
    packed, rows = memory.take(places, len(group.matrices), sizes.width), places * factors
    for i, name in enumerate(group.matrices):
        place, (to_n, to_k) = sizes.places[name]
        jobs.add(packed, rows, len(group.matrices) * vectors, place, to_k, to_n, 0, i * vectors,
                 depth, sizes.hidden, rows, work=MOVE * depth * sizes.width)  # fmt: skip
    return packed
