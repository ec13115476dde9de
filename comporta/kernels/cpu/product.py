"""Matrix products: the loops around the microkernel.

Every sum is one fixed chain of fused multiply-adds over k, whatever the number of rows: a row's
result has the same bits in any company.

B is packed in panels of three vectors (the last ones of two or one), so that the microkernel reads
it in order. Where factors are pairs of bfloat16, B is packed so, and A is read so: a row of pairs
has half as many numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

from llvmlite import ir

from comporta.kernels.cpu import outer
from comporta.kernels.cpu.emit import I64, POINTER, Emitter, Real, Value
from comporta.kernels.cpu.tile import Tile, rows_at_once, tile_function, widths

GEMM, GEMM_SUM, GEMM_EACH, PACK, SUM = "gemm", "gemm_sum", "gemm_each", "pack", "sum"
NARROW = "narrow"
# gemm(A, a_row, packed B, C, c_row, rows, depth, vectors, accumulate, descending)
GEMM_ARGUMENTS = [POINTER, I64, POINTER, POINTER, I64, I64, I64, I64, I64, I64]
# narrow(numbers, row, pairs, pairs_row, rows, size)
NARROW_ARGUMENTS = [POINTER, I64, POINTER, I64, I64, I64]
# What a table of jobs holds for each call of these functions; addresses are numbers there.
_JOBS: dict[str, list[Any]] = {
    GEMM_SUM: outer.ARGUMENTS,
    GEMM_EACH: [POINTER, I64, I64, POINTER, POINTER, I64, I64, I64, I64, I64, I64, POINTER],
    PACK: [POINTER, I64, I64, POINTER, I64, I64, I64, I64, I64, I64, I64],
    SUM: [POINTER, I64, I64, POINTER, I64],
}
JOBS = {name: len(kinds) for name, kinds in _JOBS.items()}
JOB_ARGUMENTS = [POINTER, I64, I64]
# Rows of A of one block of `gemm_each`, which stays in the second-level cache.
EACH_ROWS = 64
# So many panels are done at once where a tile has few rows.
_TOGETHER = 2
# A packed matrix beyond this size does not stay in the second-level cache.
_NEAR_BYTES = 1 << 20


def symbol(function: str, real: Real) -> str:
    """The name under which other modules call a function of this one."""
    return f"comporta_{function}_{real.name}"


def exported(real: Real) -> dict[str, str]:
    """The functions of the module for a number type, and their symbols."""
    names = (*JOBS, GEMM, NARROW) if real.pairs else (*JOBS, GEMM)
    return {name: symbol(name, real) for name in names}


def build(real: Real) -> ir.Module:
    """The module for one number type: `gemm`, and the others run over a table of jobs."""
    module = ir.Module("products")
    gemm = _gemm(module, real)
    narrow = _narrow(module, real) if real.pairs else None
    _jobs(module, real, GEMM_SUM, outer.build(module, GEMM_SUM, real))
    _jobs(module, real, GEMM_EACH, _gemm_each(module, real, gemm, narrow))
    _jobs(module, real, PACK, _pack(module, real))
    _jobs(module, real, SUM, _sum(module, real))
    return module


def _jobs(module: ir.Module, real: Real, name: str, function: ir.Function) -> None:
    """jobs(table, first, last): call a function with the numbers of each job of a table."""
    e = Emitter(module, symbol(name, real), real, JOB_ARGUMENTS)
    table, first, last = e.arguments
    kinds = _JOBS[name]
    with e.loop(first, last) as job:
        start = e.mul(job, len(kinds))
        arguments = [e.entry(table, e.add(start, i), kind) for i, kind in enumerate(kinds)]
        e.builder.call(function, arguments)
    e.finish()


_Run = Callable[[Tile, Value, Value], None]
# Columns: the first one, the one after the last, how many a panel has, whether it is descending.
_Span = tuple[Value, Value, int, Value]


def _gemm(module: ir.Module, real: Real) -> ir.Function:
    """C (+)= A B over any number of rows and vectors of columns.

    Descending, panels are read from the last to the first. Where every other step does so, a step
    finds the panels that the one before it read last in the nearer caches; read in one order, no
    part of a B that is larger than they are would still be there. For the same reason the tiles of
    each height, which read all of B once more, begin where those before them ended.
    """
    e = Emitter(module, symbol(GEMM, real), real, GEMM_ARGUMENTS)
    a, a_row, packed, c, c_row, rows, depth, vectors, accumulate, descending = e.arguments
    tallest, spans, b = rows_at_once(real), widths(e, vectors), e.builder
    whole = e.mul(e.div(rows, tallest), tallest)
    # By the height of their tiles, how many rows there are; those above have the higher bits.
    found = {tallest: whole}
    for i in range(1, tallest.bit_length()):
        found[tallest >> i] = b.and_(rows, e.number(tallest >> i))
    reads = {height: e.less(e.number(0), count) for height, count in found.items()}
    # After an even number of ways a step would begin where the one before it began.
    is_descending = b.and_(e.less(e.number(0), descending), reduce(b.xor, reads.values()))
    is_far = e.less(e.number(_NEAR_BYTES // real.bytes), e.mul(depth, e.mul(vectors, real.lanes)))

    def tile(size: Tile, i: Value, column: Value) -> None:
        panel, here = e.mul(depth, size.vectors * real.lanes), e.at(packed, e.mul(column, depth))
        # While this panel is read, the tiles of all rows ask for the next one in turn.
        following = e.builder.select(is_descending, e.sub(e.number(0), panel), panel)
        soon = e.at(here, following, e.mul(e.div(i, size.rows), e.mul(depth, real.lanes)))
        e.builder.call(tile_function(module, real, size), [
            e.at(a, e.mul(i, a_row)), a_row, here,
            e.at(c, e.mul(i, c_row), column), c_row, depth, accumulate, soon,
        ])  # fmt: skip

    for width, first, count in spans:
        lanes = width * real.lanes
        start = e.mul(first, real.lanes)
        span = start, e.add(start, e.mul(count, lanes)), lanes, is_descending
        with e.builder.if_else(is_far) as (far, near):
            for branch, from_afar in ((far, True), (near, False)):
                rows_of_tiles = e.loop(e.number(0), whole, tallest)
                with branch, _columns(e, span) as column, rows_of_tiles as i:
                    tile(Tile(tallest, (width,), far=from_afar), i, column)
    for height, taller in zip([*found][1:], reads.values(), strict=False):
        is_descending = b.xor(is_descending, taller)
        with b.if_then(reads[height]):
            i = b.and_(rows, e.number(-2 * height))
            _remaining_rows(e, height, i, spans, is_descending, tile)
    e.finish()
    return e.function


@contextmanager
def _columns(e: Emitter, span: _Span) -> Iterator[Value]:
    """The first columns of all panels between two columns, or of the last one first."""
    start, stop, lanes, is_descending = span
    with e.loop(start, stop, lanes) as column:
        back = e.sub(e.sub(e.add(start, stop), lanes), column)
        yield e.builder.select(is_descending, back, column)


def _remaining_rows(e: Emitter, height: int, i: Value, spans: list[tuple[int, Value, Value]],
                    is_descending: Value, tile: _Run) -> None:  # fmt: skip
    """Tiles of `height` rows from row i on, fewer than the largest tile has, over all panels.

    Few rows leave registers free: then several panels are done at once, or the additions would
    wait for one another. No more than that: what was read last should still be in the nearest cache
    when the next step reads it first.
    """
    b, together = e.builder, _TOGETHER if height < 4 else 1
    (_, _, threes), (_, _, twos), (_, _, ones) = spans
    groups = e.div(threes, together)
    left = e.sub(threes, e.mul(groups, together))
    # A number for each way in which panels may be left over; a single vector is a panel by itself.
    lefts = {
        (3,) * some + (2,) * more: some * 3 + more
        for some in range(together) for more in range(3) if some + more
    }  # fmt: skip
    lefts[1,] = -1
    number = b.sub(e.add(e.mul(left, 3), twos), ones)
    with e.loop(e.number(0), e.add(groups, 1)) as n:
        group = b.select(is_descending, e.sub(groups, n), n)
        column = e.mul(group, 3 * together * e.real.lanes)
        with b.if_else(e.less(group, groups)) as (whole, rest):
            with whole:
                tile(Tile(height, (3,) * together), i, column)
            with rest:
                done = b.append_basic_block("done")
                switch = b.switch(number, done)
                for panels, case in lefts.items():
                    switch.add_case(e.number(case), b.append_basic_block("left"))
                    b.position_at_end(b.function.blocks[-1])
                    tile(Tile(height, panels), i, column)
                    b.branch(done)
                b.position_at_end(done)


def _gemm_each(
    module: ir.Module, real: Real, gemm: ir.Function, narrow: ir.Function | None
) -> ir.Function:
    """C[o] = A[o] B for every o, B packed.

    gemm_each(A, a_row, a_outer, packed, C, c_row, c_outer, rows, depth, outer, vectors, room): A
    holds numbers; `room` is for `EACH_ROWS` rows of pairs.
    """
    e = Emitter(module, GEMM_EACH, real, _JOBS[GEMM_EACH], internal=True)
    a, a_row, a_outer, packed, c, c_row, c_outer, rows, depth, outer, vectors, room = e.arguments
    zero = e.number(0)
    # A block of A is read once for every panel of B.
    with e.loop(zero, outer) as o, e.loop(zero, rows, EACH_ROWS) as i:
        count = e.smaller(e.number(EACH_ROWS), e.sub(rows, i))
        left, left_row, left_depth = e.at(a, e.mul(o, a_outer), e.mul(i, a_row)), a_row, depth
        if narrow is not None:
            left_row = left_depth = e.div(depth, 2)
            e.builder.call(narrow, [left, a_row, room, left_row, count, depth])
            left = room
        e.builder.call(gemm, [
            left, left_row, packed, e.at(c, e.mul(o, c_outer), e.mul(i, c_row)), c_row,
            count, left_depth, vectors, zero, zero,
        ])  # fmt: skip
    e.finish()
    return e.function


def _narrow(module: ir.Module, real: Real) -> ir.Function:
    """Round rows of numbers, the neighbours of a row in pairs; beyond its size stand zeros."""
    e = Emitter(module, symbol(NARROW, real), real, NARROW_ARGUMENTS)
    numbers, row, pairs, pairs_row, rows, size = e.arguments
    with e.loop(e.number(0), rows) as i:
        source, target = e.at(numbers, e.mul(i, row)), e.at(pairs, e.mul(i, pairs_row))
        with e.loop(e.number(0), size, real.lanes) as j:
            halves = e.halves(e.load_some(e.at(source, j), e.sub(size, j)))
            e.store(halves, e.at(target, e.div(j, 2)))
    e.finish()
    return e.function


def _pack(module: ir.Module, real: Real) -> ir.Function:
    """Copy one matrix B[k, n] into its place among the panels of a packed one.

    pack(packed, depth, vectors, source, s_k, s_n, first_k, first_vector, k, n, rows): `depth` and
    `vectors` are the size of the packed matrix; rows from k to `rows` and missing columns of the
    last vector become 0. Of pairs a row of the packed matrix has two rows of B, and depth, first_k
    and rows are even.
    """
    e = Emitter(module, PACK, real, _JOBS[PACK], internal=True)
    (packed, depth, vectors, source, s_k, s_n, first_k, first_vector, count_k, count_n,
     all_k) = e.arguments  # fmt: skip
    b, lanes, together = e.builder, real.lanes, real.factors
    (_, _, _), (_, after_threes, _), (_, after_twos, _) = widths(e, vectors)
    zero = e.number(0)
    with e.loop(zero, count_n, lanes) as n:
        vector = e.add(first_vector, e.div(n, lanes))
        in_three, in_two = e.less(vector, after_threes), e.less(vector, after_twos)
        width = b.select(in_three, e.number(3), b.select(in_two, e.number(2), e.number(1)))
        first = b.select(in_three, zero, after_threes)
        panel = e.add(first, e.mul(e.div(e.sub(vector, first), width), width))
        place = e.add(e.mul(panel, e.div(depth, together)), e.sub(vector, panel))
        row = e.mul(width, lanes)
        to = e.at(packed, e.mul(place, lanes), e.mul(e.div(first_k, together), row))
        start, remaining = e.at(source, e.mul(n, s_n)), e.sub(count_n, n)

        def put(k: Value, i: int, found: Sequence[Value]) -> None:
            """The rows k + i, k + i + 1, ... of one row of the packed matrix."""
            value = e.pairs(*map(e.halves, found)) if real.pairs else found[0]
            e.store(value, e.at(to, e.mul(e.div(e.add(k, i), together), row)))

        def remains(k: Value) -> Value:
            return b.select(e.less(k, count_k), remaining, zero)

        # Whole squares of a matrix whose k lie side by side are turned in registers.
        can_turn = b.and_(e.equal(s_k, 1), b.not_(e.less(remaining, lanes)))
        squares = b.select(can_turn, e.mul(e.div(count_k, lanes), lanes), zero)
        with e.loop(zero, squares, lanes) as k:
            rows = [e.load(e.at(start, k, e.mul(s_n, i))) for i in range(lanes)]
            columns = e.transpose(rows)
            for i in range(0, lanes, together):
                put(k, i, columns[i : i + together])
        with b.if_else(e.equal(s_n, 1)) as (side_by_side, apart):
            with side_by_side, e.loop(squares, count_k, together) as k:
                each = [e.add(k, i) for i in range(together)]
                put(k, 0, [e.load_some(e.at(start, e.mul(i, s_k)), remains(i)) for i in each])
            with apart, e.loop(squares, count_k, together) as k:
                each = [e.add(k, i) for i in range(together)]
                put(k, 0, [e.gather(e.at(start, e.mul(i, s_k)), s_n, remains(i)) for i in each])
        written = e.mul(e.div(e.add(count_k, together - 1), together), together)
        with e.loop(written, all_k, together) as k:
            put(k, 0, [real.splat(0.0)] * together)
    e.finish()
    return e.function


def _sum(module: ir.Module, real: Real) -> ir.Function:
    """The sum of the rows of a matrix.

    sum(source, row, rows, target, columns): the matrix has whole vectors of columns.
    """
    e = Emitter(module, SUM, real, _JOBS[SUM], internal=True)
    source, row, rows, target, columns = e.arguments
    total = e.reserve(real.lanes)
    with e.loop(e.number(0), columns, real.lanes) as j:
        e.store(real.splat(0.0), total)
        with e.loop(e.number(0), rows) as i:
            value = e.load(e.at(source, e.mul(i, row), j))
            e.store(e.builder.fadd(e.load(total), value), total)
        e.store_some(e.load(total), e.at(target, j), e.sub(columns, j))
    e.finish()
    return e.function
