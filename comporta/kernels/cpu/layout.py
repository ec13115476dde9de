"""Where every value of a step stands in memory.

A buffer holds a row for each sequence of the batch (and each step, where it has a time stride); a
row is cut into sections of the padded hidden size, one for each value (rows of the caller's own
tensors, the output and the further inputs, are as long as they are; of a value that is flat, the
same in all units, stands one number):

    input     results of the products of x, for a chunk of steps
    state     the states; step s reads slot s and writes slot s + 1
    kept      what the backward pass needs, and over it, once read, the gradients of the products
    passing   values that a later block of the same step reads
    flat      means of rows
    kept_flat what the backward pass needs that is the same in all units
    output    the output, or on the way back its gradient
    next      on the way back: gradients of the states, for the earlier step
    total     on the way back: gradients of the vectors, summed over steps and a few rows
    vector    the vector parameters, one row for all
    stream0   the first of the further inputs, and so on
    product0  results of the first group of products, and so on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from comporta.kernels.gradient import COMPARISONS, Adjoint, differentiate, from_next
from comporta.kernels.kept import (
    Window,
    kept_flat,
    kept_places,
    kept_sections,
    product_gradients,
    vector_totals,
    window,
)
from comporta.kernels.program import Operand, Program, previous
from comporta.kernels.schedule import Phase, Schedule, flat_values, ready, schedule

# The one buffer whose numbers are halves where the factors of products are pairs.
OUTPUT = "output"
# Values that are the same in all units: of this step, and those kept.
FLAT = ("flat", "kept_flat")


@dataclass(frozen=True, slots=True)
class Place:
    """A section of a buffer; `later` means the slot of the following step.

    Of a buffer of flat values it is a number.
    """

    buffer: str
    section: int
    later: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether it is one number."""
        return self.buffer in FLAT

    @property
    def is_callers(self) -> bool:
        """Whether it is a row of a tensor of the caller's, which nothing pads."""
        return self.buffer == OUTPUT or self.buffer.startswith("stream")


@dataclass(frozen=True, slots=True)
class Store:
    """A value (or the sum of several) and the place it is written to."""

    values: tuple[Operand, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Step:
    """One step, ready for code: its phases, and where each value is read and written.

    Attributes:
        phases: products and blocks in order.
        reads: value -> its place, for all that a block does not compute itself.
        stores: for each phase, what its block writes.
        idle: for each phase, what it writes for a row whose sequence has ended or not begun.
        sums: for each phase, what is added to the buffer `total`.
        windows: for the groups of an adjoint, where their operands stand; None for a forward step.
        sections: buffer -> number of sections.
        flat: the values that are the same in all units.
    """

    phases: tuple[Phase, ...]
    reads: Mapping[str, Place]
    stores: tuple[tuple[Store, ...], ...]
    idle: tuple[tuple[Store, ...], ...]
    sums: tuple[tuple[Store, ...], ...]
    windows: tuple[Window, ...] | None
    sections: Mapping[str, int]
    flat: frozenset[str]

    def loads(self, phase: int) -> list[str]:
        """What the block of a phase reads and does not compute."""
        statements = self.phases[phase].statements
        wanted = [o for s in (*statements, *self.phases[phase].means) for o in s.operands]
        written = (*self.stores[phase], *self.sums[phase])
        wanted += [v for store in written for v in store.values if isinstance(v, str)]
        computed = {s.name for s in statements}
        return [name for name in dict.fromkeys(wanted) if name not in computed]

    def moving(self, phase: int) -> list[Place]:
        """What the block of a phase is the first to touch, in another place at each step.

        That is what a forward step writes and a backward step reads, and the further inputs.
        """
        forward = self.windows is None
        earlier = {name for before in range(phase) for name in self.loads(before)}
        places = [self.reads[name] for name in self.loads(phase) if name not in earlier]
        if forward:
            places = [place for place in places if place.is_callers]
            places += [store.place for store in self.stores[phase]]
        return [
            place for place in dict.fromkeys(places)
            if place.is_callers or (place.buffer in ("state", "kept")
            and place.later == (forward and place.buffer == "state"))
        ]  # fmt: skip

    @property
    def conditions(self) -> frozenset[str]:
        """The values that are true or false and not numbers."""
        statements = (s for phase in self.phases for s in phase.statements)
        return frozenset(s.name for s in statements if s.op in COMPARISONS)


class _Writes:
    """Collects stores by the phase in which their value is ready."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = phases
        self.stores: list[list[Store]] = [[] for _ in phases]
        self.idle: list[list[Store]] = [[] for _ in phases]
        self.ready = ready(phases)

    def write(self, value: Operand, place: Place, idle: tuple[Operand, ...] | None) -> None:
        phase = self.ready.get(value, 0) if isinstance(value, str) else 0
        self.stores[phase].append(Store((value,), place))
        if idle is not None:
            self.idle[phase].append(Store(idle, place))


def forward_step(program: Program, *, training: bool) -> Step:
    """The layout of the forward step; training keeps what the backward pass needs."""
    plan = schedule(program)
    kept = kept_places(program) if training else {}
    means = _means(plan.phases)
    reads = _forward_leaves(plan) | means
    writes = _Writes(plan.phases)
    for i, state in enumerate(program.states):
        writes.write(state, Place("state", i, later=True), (previous(state),))
        # A state that is itself the result of a product is read where the product leaves it.
        reads.setdefault(state, Place("state", i, later=True))
    writes.write(program.output, Place("output", 0), (0.0,))
    for name, i in kept.items():
        # The operands of products enter the weights' gradients, so idle rows must hold zeros.
        is_operand = any(group.operands == (name,) for group in plan.groups)
        place = Place("kept", i)
        writes.write(name, place, (0.0,) if is_operand else None)
        reads.setdefault(name, place)
    kept_numbers = kept_flat(program) if training else ()
    for i, name in enumerate(kept_numbers):
        writes.write(name, Place("kept_flat", i), None)
        reads.setdefault(name, Place("kept_flat", i))
    flat = flat_values(plan.phases)
    passing = _passing(plan.phases, reads, flat)
    for i, name in enumerate(passing):
        writes.write(name, Place("passing", i), (0.0,))
        reads[name] = Place("passing", i)
    return Step(
        phases=plan.phases,
        reads=reads,
        stores=tuple(map(tuple, writes.stores)),
        idle=tuple(map(tuple, writes.idle)),
        sums=((),) * len(plan.phases),
        windows=None,
        sections={
            "input": len(plan.hoisted.results),
            "state": len(program.states),
            "kept": kept_sections(program) if training else 0,
            "kept_flat": len(kept_numbers),
            "passing": len(passing),
            "flat": len(means),
            "output": 1,
            "vector": len(program.vectors),
            **{f"stream{i}": 1 for i in range(len(program.streams))},
            **{f"product{i}": len(group.results) for i, group in enumerate(plan.groups)},
        },
        flat=flat,
    )


def backward_step(program: Program) -> Step:
    """The layout of the adjoint step."""
    adjoint = differentiate(program)
    means = _means(adjoint.phases)
    reads = _backward_leaves(program, adjoint) | means
    gradients = product_gradients(program)
    flat = flat_values(adjoint.phases, [name for name, place in reads.items() if place.is_flat])
    writes = _Writes(adjoint.phases)
    for i, state in enumerate(program.states):
        arriving = tuple(
            name for name in (from_next(state), from_next(state, product=True)) if name in reads
        )
        writes.write(adjoint.carries[state][0], Place("next", i), None)
        # Passed on in the first block, before this step's products replace what arrived.
        writes.idle[0].append(Store(arriving, Place("next", i)))
    for i, name in enumerate(gradients.names):
        place = Place("kept", gradients.start + i)
        writes.write(name, place, (0.0,))
        reads.setdefault(name, place)
    sums: list[list[Store]] = [[] for _ in adjoint.phases]
    totals = vector_totals(program)
    for i, name in enumerate(totals):
        sums[writes.ready.get(name, 0)].append(Store((name,), Place("total", i)))
    passing = _passing(adjoint.phases, reads, flat)
    for i, name in enumerate(passing):
        writes.write(name, Place("passing", i), None)
        reads[name] = Place("passing", i)
    return Step(
        phases=adjoint.phases,
        reads=reads,
        stores=tuple(map(tuple, writes.stores)),
        idle=tuple(map(tuple, writes.idle)),
        sums=tuple(map(tuple, sums)),
        windows=tuple(
            window(gradients.names, group.operands, gradients.start) for group in adjoint.groups
        ),
        sections={
            "state": len(program.states),
            "kept": kept_sections(program),
            "kept_flat": len(kept_flat(program)),
            "passing": len(passing),
            "flat": len(means),
            "output": 1,
            "next": len(program.states),
            "total": len(totals),
            "vector": len(program.vectors),
            **{f"stream{i}": 1 for i in range(len(program.streams))},
            **{f"product{i}": 1 for i in range(len(adjoint.groups))},
        },
        flat=flat,
    )


def _forward_leaves(plan: Schedule) -> dict[str, Place]:
    reads = {name: Place("input", i) for i, name in enumerate(plan.hoisted.results)}
    reads |= {previous(s): Place("state", i) for i, s in enumerate(plan.program.states)}
    reads |= {name: Place("vector", i) for i, name in enumerate(plan.program.vectors)}
    reads |= {name: Place(f"stream{i}", 0) for i, name in enumerate(plan.program.streams)}
    for k, group in enumerate(plan.groups):
        reads |= {name: Place(f"product{k}", i) for i, name in enumerate(group.results)}
    return reads


def _backward_leaves(program: Program, adjoint: Adjoint) -> dict[str, Place]:
    reads = {name: Place("kept", i) for name, i in kept_places(program).items()}
    reads |= {name: Place("kept_flat", i) for i, name in enumerate(kept_flat(program))}
    for i, state in enumerate(program.states):
        reads[previous(state)] = Place("state", i)
        reads[state] = Place("state", i, later=True)
        reads[from_next(state)] = Place("next", i)
    reads |= {name: Place("vector", i) for i, name in enumerate(program.vectors)}
    reads |= {name: Place(f"stream{i}", 0) for i, name in enumerate(program.streams)}
    reads["∂y"] = Place("output", 0)
    for k, group in enumerate(adjoint.groups):
        reads[group.results[0]] = Place(f"product{k}", 0)
        for state in program.states:
            if adjoint.carries[state][1:] == group.results:
                reads[from_next(state, product=True)] = Place(f"product{k}", 0)
    return reads


def _means(phases: Sequence[Phase]) -> dict[str, Place]:
    names = [s.name for phase in phases for s in phase.means]
    return {name: Place("flat", i) for i, name in enumerate(names)}


def _passing(
    phases: Sequence[Phase], reads: Mapping[str, Place], flat: frozenset[str]
) -> tuple[str, ...]:
    """The values that a later block or a product reads and that stand nowhere yet."""
    found: dict[str, None] = {}
    made: set[str] = set()
    for phase in phases:
        wanted = [o for group in phase.groups for o in group.operands]
        wanted += [o for s in phase.block for o in s.operands]
        found |= dict.fromkeys(o for o in wanted if o in made and o not in reads)
        made |= {s.name for s in phase.statements}
    assert flat.isdisjoint(found), "a block reads the flat values that it computes, no later one"
    return tuple(found)


@cache
def steps_in_place(program: Program) -> bool:
    """Whether a step may write its states over the last ones.

    It may if every reader of a state's last value stands in the phase that writes it or earlier:
    a phase's products come before its block, and a block loads all before it stores.
    """
    plan = schedule(program)
    written = dict.fromkeys(plan.hoisted.results, 0)
    for k, phase in enumerate(plan.phases):
        written |= {result: k for group in phase.groups for result in group.results}
        written |= {s.name: k for s in phase.block}
    for k, phase in enumerate(plan.phases):
        read = {o for group in phase.groups for o in group.operands}
        read |= {o for s in phase.block for o in s.operands}
        if any(previous(state) in read and k > written[state] for state in program.states):
            return False
    return True
