"""Sums of outer products over rows and steps: the gradients of all matrices of a layer at once.

A row of A holds the gradients of all products, a section for each. Their matrices' gradients are
the sums of its outer products with what these were applied to, the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llvmlite import ir

from comporta.kernels.cpu.emit import I64, POINTER, Emitter, Real, Value
from comporta.kernels.cpu.tile import Tile, rows_at_once, tile_function, widths

# (A, a_k, a_outer, section, size, first, last, depth, outer, count, operands)
ARGUMENTS = [POINTER, *[I64] * 9, POINTER]
# Steps, by their bytes in a column, and rows of C of one block: a panel of B about fills the
# first-level cache, the block of A stays in the second.
_BLOCK_BYTES = 1024
_ROWS = 256
# So many rows of A are asked for ahead of those that are copied.
_ROWS_AHEAD = 8
# Where the row of step (0, 0) stands, and how far it is to the next o and to the next k.
_Matrix = tuple[Value, Value, Value]
# Reads some lanes from an address.
_Read = Callable[[Value, Value], Value]


class _Operand(NamedTuple):
    """What some columns of A are multiplied with.

    Attributes:
        b, k, outer: the matrix B, and how far it is to the next k and the next o.
        columns: how many numbers a row of it has.
        targets: where the gradients go, one matrix for each section.
        first, last: the columns of A.
        is_narrow: whether B holds pairs.
    """

    b: Value
    k: Value
    outer: Value
    columns: Value
    targets: Value
    first: Value
    last: Value
    is_narrow: Value

    @classmethod
    def read(cls, e: Emitter, table: Value, number: Value) -> _Operand:
        """The operand of that number in a table of them."""
        start = e.mul(number, len(cls._fields))
        kinds = {"b": POINTER, "targets": POINTER}
        return cls(*[
            e.entry(table, e.add(start, i), kinds.get(field, I64))
            for i, field in enumerate(cls._fields)
        ])  # fmt: skip


class _Walk(NamedTuple):
    """Some of the steps (o, k) in their order: `count` of them from number `first` on.

    Of pairs a step is two neighbours of one o; where their number is odd, the last one has zeros
    beside it.

    Attributes:
        depth: the steps of one o.
        rows: its rows, as many or twice as many.
    """

    first: Value
    count: Value
    depth: Value
    rows: Value

    @contextmanager
    def over(self, e: Emitter, matrix: _Matrix) -> Iterator[tuple[Value, list[_Row]]]:
        """For each step its number in the walk, and its rows of a matrix."""
        begin, o_stride, k_stride = matrix
        stop = e.add(self.first, self.count)
        after = e.add(e.div(e.sub(stop, 1), self.depth), 1)
        with e.loop(e.div(self.first, self.depth), after) as o:
            passed = e.mul(o, self.depth)
            k_first = e.larger(e.sub(self.first, passed), e.number(0))
            with e.loop(k_first, e.smaller(e.sub(stop, passed), self.depth)) as k:
                number = e.sub(e.add(passed, k), self.first)
                row = e.mul(k, e.real.factors)
                first = e.at(begin, e.mul(o, o_stride), e.mul(row, k_stride))
                rows = [_Row(first, None)]
                if e.real.pairs:
                    is_there = e.less(e.add(row, 1), self.rows)
                    second = e.builder.select(is_there, e.at(first, k_stride), first)
                    rows.append(_Row(second, is_there))
                yield number, rows


class _Row(NamedTuple):
    """Where a row of a matrix stands, and whether it is there; a missing one counts as zeros."""

    place: Value
    is_there: Value | None

    def read(self, e: Emitter, value: Value) -> Value:
        """What was read of it."""
        if self.is_there is None:
            return value
        return e.builder.select(self.is_there, value, ir.Constant(value.type, None))


class _Room(NamedTuple):
    """Room for copies: both sides are read often, and in strides that the caches dislike.

    Attributes:
        left: a block of A, the columns of a tile side by side.
        panel: a panel of B.
        edge: a tile of C.
    """

    left: Value
    panel: Value
    edge: Value


class _Block(NamedTuple):
    """The part of C that one block of A has something to add to.

    Attributes:
        walk: the steps.
        first: the first column of A.
        accumulate: whether earlier steps were added before.
        section, size: the columns of A that a matrix has, and how many of these are its rows.
    """

    walk: _Walk
    first: Value
    accumulate: Value
    section: Value
    size: Value


def build(module: ir.Module, name: str, real: Real) -> ir.Function:
    """The sums over o and k of A[o, k]^T B[o, k], for operands B of several widths.

    Every `section` columns of A are a matrix of `size` rows, dense at the address that the targets
    have for it. Those of the columns from `first` to `last` are computed.
    """
    e = Emitter(module, name, real, ARGUMENTS, internal=True)
    a, a_k, a_outer, section, size, first, last, depth, outer, count, operands = e.arguments
    zero, one = e.number(0), e.number(1)
    tallest, lanes = rows_at_once(real), real.lanes
    steps_at_once = _BLOCK_BYTES // real.bytes
    room = _Room(
        left=e.reserve((steps_at_once + lanes // tallest) * _ROWS),
        panel=e.reserve(steps_at_once * 3 * lanes),
        edge=e.reserve(tallest * 3 * lanes),
    )
    rows, depth = depth, e.div(e.add(depth, real.factors - 1), real.factors)
    steps = e.mul(outer, depth)
    with e.loop(zero, steps, steps_at_once) as s, e.loop(first, last, _ROWS) as i:
        accumulate = e.builder.select(e.equal(s, 0), zero, one)
        walk = _Walk(s, e.smaller(e.number(steps_at_once), e.sub(steps, s)), depth, rows)
        stop = e.smaller(e.add(i, _ROWS), last)
        _copy_tiles(e, walk, (e.at(a, i), a_outer, a_k), room.left, e.sub(stop, i))
        block = _Block(walk, i, accumulate, section, size)
        with e.loop(zero, count) as n:
            operand = _Operand.read(e, operands, n)
            low, high = e.larger(i, operand.first), e.smaller(stop, operand.last)
            with e.builder.if_then(e.less(low, high)):
                _add(e, block, operand, room, (low, high))
    e.finish()
    return e.function


def _add(
    e: Emitter, block: _Block, operand: _Operand, room: _Room, span: tuple[Value, Value]
) -> None:
    """Add what a block of A has for the gradients of one operand's matrices."""
    lanes, columns = e.real.lanes, operand.columns
    for width, first_vector, count in widths(e, e.div(e.add(columns, lanes - 1), lanes)):
        start = e.mul(first_vector, lanes)
        stop = e.add(start, e.mul(count, width * lanes))
        with e.loop(start, stop, width * lanes) as column:
            _copy_panel(e, block.walk, operand, room.panel, column, width)
            with e.loop(*span, rows_at_once(e.real)) as row:
                _tile(e, block, operand, room, (row, column, width))


def _tile(
    e: Emitter, block: _Block, operand: _Operand, room: _Room, place: tuple[Value, Value, int]
) -> None:
    """One tile of C: the rows from `row` on, `width` vectors from `column` on."""
    (row, column, width), columns = place, operand.columns
    tallest, lanes = rows_at_once(e.real), e.real.lanes
    above = e.sub(row, operand.first)
    matrix = e.div(above, block.section)
    inside = e.sub(above, e.mul(matrix, block.section))
    target = e.at(e.entry(operand.targets, matrix, POINTER), e.mul(inside, columns), column)
    rows, there = e.sub(block.size, inside), e.sub(columns, column)
    left = e.at(room.left, _tile_start(e, e.sub(row, block.first), block.walk.count))
    function = tile_function(e.module, e.real, Tile(tallest, (width,), turned=True))

    def multiply(to: Value, to_row: Value) -> None:
        e.builder.call(function, [
            left, e.number(tallest), room.panel, to, to_row, block.walk.count, block.accumulate,
            room.panel,
        ])  # fmt: skip

    is_whole = e.builder.and_(
        e.builder.not_(e.less(rows, tallest)), e.builder.not_(e.less(there, width * lanes))
    )
    # Beyond the rows of a matrix its section is padding.
    with e.builder.if_then(e.less(e.number(0), rows)), e.builder.if_else(is_whole) as (
        whole, partly,
    ):  # fmt: skip
        with whole:
            multiply(target, columns)
        with partly:
            part = target, columns, e.smaller(rows, e.number(tallest)), there
            _copy_part(e, part, room.edge, width, to_edge=True)
            multiply(room.edge, e.number(width * lanes))
            _copy_part(e, part, room.edge, width, to_edge=False)


def _copy_part(e: Emitter, part: tuple[Value, Value, Value, Value], edge: Value, width: int, *,
               to_edge: bool) -> None:  # fmt: skip
    """Copy a part of a matrix (first number, row stride, rows, columns) to or from a whole tile."""
    target, row, rows, columns = part
    lanes = e.real.lanes
    with e.loop(e.number(0), rows) as m:
        for v in range(width):
            inside = e.at(edge, e.mul(m, width * lanes), v * lanes)
            outside = e.at(target, e.mul(row, m), v * lanes)
            count = e.sub(columns, v * lanes)
            if to_edge:
                e.store(e.load_some(outside, count), inside)
            else:
                e.store_some(e.load(inside), outside, count)


def _copy_tiles(e: Emitter, walk: _Walk, a: _Matrix, to: Value, columns: Value) -> None:
    """Copy some columns of A, those of a tile side by side."""
    tallest = rows_at_once(e.real)
    kind = ir.VectorType(e.real.scalar, tallest)
    ahead = e.mul(a[2], _ROWS_AHEAD)
    with walk.over(e, a) as (number, rows), e.loop(e.number(0), columns, tallest) as m:
        found = []
        for row in rows:
            source = e.at(row.place, m)
            e.prefetch(e.at(source, ahead))
            found.append(row.read(e, e.builder.load(source, typ=kind, align=e.real.bytes)))
        value = e.pairs(*map(e.halves, found)) if e.real.pairs else found[0]
        place = e.at(to, _tile_start(e, m, walk.count), e.mul(number, tallest))
        e.builder.store(value, place, align=e.real.bytes)


def _tile_start(e: Emitter, column: Value, count: Value) -> Value:
    """Where the tile of a column of A begins among the copied ones of `count` steps.

    Between two of them is room for a vector: at distances of a power of two all would compete for
    the same few lines of the nearest cache.
    """
    return e.mul(column, e.add(count, e.real.lanes // rows_at_once(e.real)))


def _copy_panel(
    e: Emitter, walk: _Walk, operand: _Operand, to: Value, column: Value, width: int
) -> None:
    """Copy a panel of B, with zeros in the columns that it lacks."""
    lanes, columns = e.real.lanes, e.sub(operand.columns, column)

    def copy(first: Value, side: int, read: _Read) -> None:
        """Copy it from its first column on, `side` numbers from one vector to the next."""
        with walk.over(e, (first, operand.outer, operand.k)) as (number, rows):
            for v in range(width):
                count = e.sub(columns, v * lanes)
                found = [row.read(e, read(e.at(row.place, v * side), count)) for row in rows]
                value = e.pairs(*found) if e.real.pairs else found[0]
                e.store(value, e.at(to, e.mul(number, width * lanes), v * lanes))

    if not e.real.pairs:
        copy(e.at(operand.b, column), lanes, e.load_some)
        return
    with e.builder.if_else(e.equal(operand.is_narrow, 1)) as (narrow, wide):
        with narrow:
            copy(e.at(operand.b, e.div(column, 2)), lanes // 2, e.load_halves)
        with wide:
            copy(e.at(operand.b, column), lanes, lambda *at: e.halves(e.load_some(*at)))
