"""Elementwise blocks: the statements of one phase on a row, a vector at a time.

All values of a vector are loaded first and stored last, so that what a block writes may stand
where it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comporta.kernels.cpu.emit import Emitter, Real, Value
from comporta.kernels.cpu.functions import VectorMath
from comporta.kernels.cpu.layout import OUTPUT, Place, Step, Store
from comporta.kernels.program import Operand, Statement

Address = Callable[[Place], Value]


def emit_block(e: Emitter, step: Step, phase: int, address: Address, soon: Address, width: Value,
               size: Value) -> None:  # fmt: skip
    """The block of a phase for one row, and the means of what it computes.

    Args:
        e: where to emit.
        step: the layout.
        phase: which phase of the step.
        address: gives the address of a section of this row.
        soon: gives the address of a section of a row that will be run soon.
        width: the padded hidden size, a multiple of the vector's lanes.
        size: the hidden size.
    """
    statements, means = step.phases[phase].statements, step.phases[phase].means
    stores, sums, loads = step.stores[phase], step.sums[phase], step.loads(phase)
    sources = {name: address(step.reads[name]) for name in loads}
    targets = [address(store.place) for store in stores]
    totals = [address(store.place) for store in sums]
    ahead = [(soon(place), is_narrow(e.real, place.buffer)) for place in step.moving(phase)]
    averages = [e.reserve(e.real.lanes) for _ in means]
    for average in averages:
        e.store(e.real.splat(0.0), average)
    math = VectorMath(e)
    # What is the same in all units is computed once for all vectors.
    values: dict[Operand, Value] = {
        n: e.broadcast(sources[n]) for n in loads if step.reads[n].is_flat
    }
    _compute_flat(e, math, [s for s in statements if s.name in step.flat], values)
    for store, target in zip(stores, targets, strict=True):
        if store.place.is_flat:
            e.store_first(_operand(e, values, store.values[0]), target)
    with e.loop(e.number(0), width, e.real.lanes) as j:
        for name, source in sources.items():
            if not step.reads[name].is_flat:
                values[name] = _load(e, step, name, source, j, size)
        for place, halves in ahead:
            e.prefetch(e.at(place, j, halves=halves))
        before = [e.load(e.at(total, j)) for total in totals]
        for s in statements:
            if s.name not in step.flat:
                values[s.name] = math.apply(s.op, [_operand(e, values, arg) for arg in s.args])
        for store, target in zip(stores, targets, strict=True):
            if not store.place.is_flat:
                value = _stored(e, step, values, store.values[0])
                _write(e, store.place, value, target, j, size)
        for store, old, total in zip(sums, before, totals, strict=True):
            e.store(e.builder.fadd(old, values[store.values[0]]), e.at(total, j))
        for s, average in zip(means, averages, strict=True):
            inside = e.builder.select(
                e.first_lanes(e.sub(size, j)), values[s.args[0]], e.real.splat(0.0)
            )
            e.store(e.builder.fadd(e.load(average), inside), average)
    lanes = e.real.lanes
    for first in range(0, len(means), lanes):
        wholes = e.totals([e.load(average) for average in averages[first : first + lanes]])
        wholes = e.builder.fdiv(wholes, e.spread(e.builder.sitofp(size, e.real.scalar)))
        # Those of a phase stand side by side.
        count = min(lanes, len(means) - first)
        e.store_some(wholes, address(step.reads[means[first].name]), e.number(count))


def _compute_flat(
    e: Emitter, math: VectorMath, statements: Sequence[Statement], values: dict[Operand, Value]
) -> None:
    """Statements whose values are the same in all units.

    Those of one operation that do not wait for each other are computed in one vector, a lane each:
    a root of a vector takes several times as long as that of a number.
    """
    level: dict[Operand, int] = {}
    groups: dict[tuple[int, str], list[Statement]] = {}
    for s in statements:
        level[s.name] = 1 + max((level.get(operand, 0) for operand in s.operands), default=0)
        groups.setdefault((level[s.name], s.op), []).append(s)
    for (_, op), group in sorted(groups.items(), key=lambda item: item[0][0]):
        for same in (group[i : i + e.real.lanes] for i in range(0, len(group), e.real.lanes)):
            columns = zip(*(s.args for s in same), strict=True)
            operands = [e.together([_operand(e, values, arg) for arg in args]) for args in columns]
            found = math.apply(op, operands)
            values |= {s.name: e.lane(found, lane) for lane, s in enumerate(same)}


def emit_idle(e: Emitter, step: Step, stores: Sequence[Store], address: Address, width: Value,
              size: Value) -> None:  # fmt: skip
    """What a phase writes for a row that has no step here: zeros, or states passed on."""
    with e.loop(e.number(0), width, e.real.lanes) as j:
        values = []
        for store in stores:
            total: Value = None
            for value in store.values:
                part = (
                    e.load(e.at(address(step.reads[value]), j))
                    if isinstance(value, str)
                    else e.real.splat(value)
                )
                total = part if total is None else e.builder.fadd(total, part)
            values.append(total)
        for store, value in zip(stores, values, strict=True):
            _write(e, store.place, value, address(store.place), j, size)


def emit_tail(e: Emitter, places: Sequence[Value], size: Value, width: Value) -> None:
    """Zero the padding of sections that products will read across."""
    real = e.real
    last = e.sub(width, real.lanes)
    inside = e.first_lanes(e.sub(size, last))
    with e.builder.if_then(e.less(size, width)):
        for place in places:
            value = e.load(e.at(place, last))
            e.store(e.builder.select(inside, value, real.splat(0.0)), e.at(place, last))


def _load(e: Emitter, step: Step, name: str, row: Value, j: Value, size: Value) -> Value:
    """A value that stands in memory; a condition stands there as 1 or 0."""
    place = step.reads[name]
    if is_narrow(e.real, place.buffer):
        value = e.numbers(e.load_halves(e.at(row, j, halves=True), e.sub(size, j)))
    elif place.is_callers:
        value = e.load_some(e.at(row, j), e.sub(size, j))
    else:
        value = e.load(e.at(row, j))
    if name in step.conditions:
        return e.builder.fcmp_unordered("!=", value, e.real.splat(0.0))
    return value


def _write(e: Emitter, place: Place, value: Value, row: Value, j: Value, size: Value) -> None:
    """A vector to its section; beyond a row of the caller's there is another one."""
    if is_narrow(e.real, place.buffer):
        e.store_halves(value, e.at(row, j, halves=True), e.sub(size, j))
    elif place.is_callers:
        e.store_some(value, e.at(row, j), e.sub(size, j))
    else:
        e.store(value, e.at(row, j))


def is_narrow(real: Real, buffer: str) -> bool:
    """Whether the numbers of a buffer are halves."""
    return real.pairs and buffer == OUTPUT


def _stored(e: Emitter, step: Step, values: dict[Operand, Value], operand: Operand) -> Value:
    value = _operand(e, values, operand)
    if operand in step.conditions:
        return e.builder.select(value, e.real.splat(1.0), e.real.splat(0.0))
    return value


def _operand(e: Emitter, values: dict[Operand, Value], operand: Operand) -> Value:
    return values[operand] if isinstance(operand, str) else e.real.splat(operand)
