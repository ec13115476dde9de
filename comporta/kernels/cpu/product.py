"""Matrix products: a register-tiled microkernel, and the loops around it.

The microkernel multiplies a few rows of A with a few vectors of columns of B and keeps all sums
in registers. Every sum is one fixed chain of fused multiply-adds over k, whatever the number of
rows: a row's result has the same bits in any company.

B is packed in panels of three vectors (the last ones of two or one) so that the microkernel reads
it in order. Where B is used once, for the gradients of the weights, it is read where it stands.
"""

from __future__ import annotations

from llvmlite import ir

from comporta.kernels.cpu.emit import I64, POINTER, Emitter, Real, Value

GEMM, GEMM_SUM, GEMM_EACH, PACK = "gemm", "gemm_sum", "gemm_each", "pack"
# gemm(A, a_row, a_k, B, b_row, b_column, C, c_row, rows, depth, vectors, accumulate)
GEMM_ARGUMENTS = [POINTER, I64, I64, POINTER, I64, I64, POINTER, I64, I64, I64, I64, I64]


def symbol(function: str, real: Real) -> str:
    """The name under which other modules call a function of this one."""
    return f"comporta_{function}_{real.bits}"


def panels(vectors: int) -> list[int]:
    """The widths, in vectors, of the panels that so many vectors of columns are cut into.

    >>> panels(3), panels(4), panels(5), panels(1)
    ([3], [2, 2], [3, 2], [1])
    """
    ones = int(vectors == 1)
    twos = 0 if ones else -vectors % 3
    return [3] * ((vectors - 2 * twos - ones) // 3) + [2] * twos + [1] * ones


def rows_at_once(real: Real) -> int:
    """The height of the largest tile: what fits the registers (32 with AVX-512, else 16)."""
    return 8 if real.lanes * real.bytes == 64 else 4


def build(real: Real) -> ir.Module:
    """The module with `gemm`, `gemm_sum`, `gemm_each` and `pack` for one number type."""
    module = ir.Module("products")
    gemm = _gemm(module, real)
    _gemm_sum(module, real, gemm)
    _gemm_each(module, real, gemm)
    _pack(module, real)
    return module


def _tile(module: ir.Module, real: Real, rows: int, width: int, count: int) -> ir.Function:
    """C[rows, count panels] (+)= A[rows, depth] B[depth, count panels], all sums in registers."""
    # (A, a_row, a_k, B, b_row, b_panel, C, c_row, depth, accumulate)
    kinds = [POINTER, I64, I64, POINTER, I64, I64, POINTER, I64, I64, I64]
    e = Emitter(module, f"tile_{rows}x{width}x{count}", real, kinds, internal=True)
    a, a_row, a_k, b, b_row, b_panel, c, c_row, depth, accumulate = e.arguments
    columns = [(p, v) for p in range(count) for v in range(width)]
    places = [
        e.at(c, e.mul(c_row, m), (p * width + v) * real.lanes)
        for m in range(rows)
        for p, v in columns
    ]
    start = e.builder.block
    with e.builder.if_then(e.builder.icmp_signed("!=", accumulate, e.number(0))):
        before = [e.load(place) for place in places]
        loaded = e.builder.block
    sums = []
    for value in before:
        first = e.builder.phi(real.vector)
        first.add_incoming(real.splat(0.0), start)
        first.add_incoming(value, loaded)
        sums.append(first)
    sums = _multiply(e, sums, rows, columns, (a, a_row, a_k), (b, b_row, b_panel), depth)
    for value, place in zip(sums, places, strict=True):
        e.store(value, place)
    e.finish()
    return e.function


def _multiply(
    e: Emitter,
    sums: list[Value],
    rows: int,
    columns: list[tuple[int, int]],
    a_walk: tuple[Value, Value, Value],
    b_walk: tuple[Value, Value, Value],
    depth: Value,
) -> list[Value]:
    """The loop over k: sums[m, column] += A[m, k] * B[k, column]."""
    a, a_row, a_k = a_walk
    b, b_row, b_panel = b_walk
    before = e.builder.block
    body, after = e.builder.append_basic_block("k"), e.builder.append_basic_block("done")
    e.builder.cbranch(e.less(e.number(0), depth), body, after)
    e.builder.position_at_end(body)
    k = e.builder.phi(I64)
    a_now, b_now = e.builder.phi(POINTER), e.builder.phi(POINTER)
    running = [e.builder.phi(e.real.vector) for _ in sums]
    right = [e.load(e.at(b_now, e.mul(b_panel, p), v * e.real.lanes)) for p, v in columns]
    done = []
    for m in range(rows):
        left = e.broadcast(e.at(a_now, e.mul(a_row, m)))
        for j, value in enumerate(right):
            done.append(e.fma(left, value, running[m * len(columns) + j]))
    steps = [(k, e.number(0), e.add(k, 1)), (a_now, a, e.at(a_now, a_k)),
             (b_now, b, e.at(b_now, b_row)), *zip(running, sums, done, strict=True)]  # fmt: skip
    for phi, first, following in steps:
        phi.add_incoming(first, before)
        phi.add_incoming(following, body)
    e.builder.cbranch(e.less(steps[0][2], depth), body, after)
    e.builder.position_at_end(after)
    results = []
    for first, last in zip(sums, done, strict=True):
        result = e.builder.phi(e.real.vector)
        result.add_incoming(first, before)
        result.add_incoming(last, body)
        results.append(result)
    return results


def _gemm(module: ir.Module, real: Real) -> ir.Function:
    """C (+)= A B over any number of rows and vectors of columns.

    `b_column` is how far the first row of B moves per column: the depth where B is packed, 1 where
    it stands row by row. `b_row` is the distance of its rows, 0 meaning that of packed panels.
    """
    e = Emitter(module, symbol(GEMM, real), real, GEMM_ARGUMENTS)
    a, a_row, a_k, b, b_row, b_column, c, c_row, rows, depth, vectors, accumulate = e.arguments
    packed = e.equal(b_row, 0)
    tallest = rows_at_once(real)
    for width, first, count in _widths(e, vectors):
        lanes = width * real.lanes
        row = e.builder.select(packed, e.number(lanes), b_row)

        def tile(height: int, together: int, i: Value, column: Value, *, lanes: int = lanes,
                 width: int = width, row: Value = row) -> None:  # fmt: skip
            function = _once(module, real, height, width, together)
            e.builder.call(function, [
                e.at(a, e.mul(i, a_row)), a_row, a_k, e.at(b, e.mul(column, b_column)), row,
                e.mul(b_column, lanes), e.at(c, e.mul(i, c_row), column), c_row, depth, accumulate,
            ])  # fmt: skip

        start = e.mul(first, real.lanes)
        stop = e.add(start, e.mul(count, lanes))
        whole = e.mul(e.div(rows, tallest), tallest)
        with e.loop(start, stop, lanes) as column, e.loop(e.number(0), whole, tallest) as i:
            tile(tallest, 1, i, column)
        height = tallest // 2
        while height:
            _remaining_rows(e, rows, height, (start, stop, lanes), tile)
            height //= 2
    e.finish()
    return e.function


def _remaining_rows(e: Emitter, rows: Value, height: int, span: tuple, tile) -> None:  # type: ignore
    """The tile of `height` rows, if the number of rows has that bit, over all panels.

    Few rows leave registers free: then several panels are done at once, or the additions would
    wait for one another.
    """
    start, stop, lanes = span
    has_bit = e.builder.and_(rows, e.number(height))
    with e.builder.if_then(e.builder.icmp_signed("!=", has_bit, e.number(0))):
        # The rows above have all the higher bits.
        i = e.builder.and_(rows, e.number(-2 * height))
        together = max(1, 4 // height)
        together_lanes = together * lanes
        middle = e.add(start, e.mul(e.div(e.sub(stop, start), together_lanes), together_lanes))
        with e.loop(start, middle, together_lanes) as column:
            tile(height, together, i, column)
        if together > 1:
            with e.loop(middle, stop, lanes) as column:
                tile(height, 1, i, column)


def _once(module: ir.Module, real: Real, rows: int, width: int, count: int) -> ir.Function:
    known = module.globals.get(f"tile_{rows}x{width}x{count}")
    return known or _tile(module, real, rows, width, count)


def _widths(e: Emitter, vectors: Value) -> list[tuple[int, Value, Value]]:
    """(width, first vector, number of panels) for the widths 3, 2, 1; see `panels`."""
    b = e.builder
    ones = b.zext(e.equal(vectors, 1), I64)
    remainder = b.srem(e.mul(vectors, 2), e.number(3))  # -vectors mod 3
    twos = b.select(e.equal(vectors, 1), e.number(0), remainder)
    threes = e.div(e.sub(e.sub(vectors, e.mul(twos, 2)), ones), 3)
    after_threes = e.mul(threes, 3)
    after_twos = e.add(after_threes, e.mul(twos, 2))
    return [(3, e.number(0), threes), (2, after_threes, twos), (1, after_twos, ones)]


def _gemm_sum(module: ir.Module, real: Real, gemm: ir.Function) -> None:
    """C = the sum of A[o] B[o] over o, in blocks of k that stay in the cache.

    gemm_sum(A, a_row, a_k, a_outer, B, b_k, b_outer, C, c_row, rows, depth, outer, vectors, block)
    """
    kinds = [POINTER, I64, I64, I64, POINTER, I64, I64, POINTER, I64, I64, I64, I64, I64, I64]
    e = Emitter(module, symbol(GEMM_SUM, real), real, kinds)
    a, a_row, a_k, a_outer, b, b_k, b_outer, c, c_row, rows, depth, outer, vectors, block = (
        e.arguments
    )
    zero = e.number(0)
    with e.loop(zero, outer) as o, e.loop(zero, depth, block) as k:
        first = e.builder.and_(e.equal(o, 0), e.equal(k, 0))
        accumulate = e.builder.select(first, zero, e.number(1))
        e.builder.call(gemm, [
            e.at(a, e.mul(o, a_outer), e.mul(k, a_k)), a_row, a_k,
            e.at(b, e.mul(o, b_outer), e.mul(k, b_k)), b_k, e.number(1),
            c, c_row, rows, e.smaller(block, e.sub(depth, k)), vectors, accumulate,
        ])  # fmt: skip
    e.finish()


def _gemm_each(module: ir.Module, real: Real, gemm: ir.Function) -> None:
    """C[o] = A[o] B for every o, B packed.

    gemm_each(A, a_row, a_outer, packed, C, c_row, c_outer, rows, depth, outer, vectors)
    """
    kinds = [POINTER, I64, I64, POINTER, POINTER, I64, I64, I64, I64, I64, I64]
    e = Emitter(module, symbol(GEMM_EACH, real), real, kinds)
    a, a_row, a_outer, packed, c, c_row, c_outer, rows, depth, outer, vectors = e.arguments
    zero = e.number(0)
    with e.loop(zero, outer) as o:
        e.builder.call(gemm, [
            e.at(a, e.mul(o, a_outer)), a_row, e.number(1), packed, zero, depth,
            e.at(c, e.mul(o, c_outer)), c_row, rows, depth, vectors, zero,
        ])  # fmt: skip
    e.finish()


def _pack(module: ir.Module, real: Real) -> None:
    """Copy one matrix B[k, n] into its place among the panels of a packed one.

    pack(packed, depth, vectors, source, s_k, s_n, first_k, first_vector, k, n): `depth` and
    `vectors` are the size of the packed matrix; missing columns of the last vector become 0.
    """
    kinds = [POINTER, I64, I64, POINTER, I64, I64, I64, I64, I64, I64]
    e = Emitter(module, symbol(PACK, real), real, kinds)
    packed, depth, vectors, source, s_k, s_n, first_k, first_vector, count_k, count_n = e.arguments
    b, lanes = e.builder, real.lanes
    (_, _, _), (_, after_threes, _), (_, after_twos, _) = _widths(e, vectors)
    zero = e.number(0)
    with e.loop(zero, count_n, lanes) as n:
        vector = e.add(first_vector, e.div(n, lanes))
        in_three, in_two = e.less(vector, after_threes), e.less(vector, after_twos)
        width = b.select(in_three, e.number(3), b.select(in_two, e.number(2), e.number(1)))
        first = b.select(in_three, zero, after_threes)
        panel = e.add(first, e.mul(e.div(e.sub(vector, first), width), width))
        place = e.add(e.mul(panel, depth), e.sub(vector, panel))
        row = e.mul(width, lanes)
        to = e.at(packed, e.mul(place, lanes), e.mul(first_k, row))
        with e.loop(zero, e.number(lanes)) as lane:
            column = e.add(n, lane)
            with b.if_else(e.less(column, count_n)) as (inside, outside):
                with inside, e.loop(zero, count_k) as k:
                    value = b.load(e.at(source, e.mul(column, s_n), e.mul(k, s_k)),
                                   typ=real.scalar)  # fmt: skip
                    b.store(value, e.at(to, e.mul(k, row), lane))
                with outside, e.loop(zero, count_k) as k:
                    b.store(ir.Constant(real.scalar, 0.0), e.at(to, e.mul(k, row), lane))
    e.finish()
