"""The microkernel: a tile of a matrix product, a few rows by a few vectors of columns.

All its sums stay in registers. Every sum is one fixed chain of fused multiply-adds over k. Where
factors are pairs, k counts pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from comporta.kernels.cpu.emit import I64, POINTER, Emitter, Real, Value

# Steps of k in one turn of the microkernel's loop: what a turn costs besides is shared.
_STEPS_AT_ONCE = 4


def rows_at_once(real: Real) -> int:
    """The height of the largest tile: what fits the registers (32 with AVX-512, else 16).

    Sections are padded to whole vectors, and are whole tiles so.
    """
    return 8 if real.lanes * real.bytes == 64 else min(4, real.lanes)


@dataclass(frozen=True, slots=True)
class Tile:
    """The size of a tile of C, (rows, count panels of `width` vectors), and what is special of it.

    Attributes:
        turned: the numbers of a column of A lie side by side, and not those of a row.
        far: B comes from afar, and what is needed soon is asked for on the way.
    """

    rows: int
    width: int
    count: int = 1
    turned: bool = False
    far: bool = False

    @property
    def name(self) -> str:
        """The name of its function."""
        special = "_turned" * self.turned + "_far" * self.far
        return f"tile_{self.rows}x{self.width}x{self.count}{special}"


def tile_function(module: ir.Module, real: Real, size: Tile) -> ir.Function:
    """C[rows, count panels] (+)= A[rows, depth] B[depth, count panels], all sums in registers."""
    known = module.globals.get(size.name)
    if known is not None:
        return known
    # (A, a_row, B, b_panel, C, c_row, depth, accumulate, soon)
    kinds = [POINTER, I64, POINTER, I64, POINTER, I64, I64, I64, POINTER]
    e = Emitter(module, size.name, real, kinds, internal=True)
    a, a_row, b, b_panel, c, c_row, depth, accumulate, soon = e.arguments
    columns = [(p, v) for p in range(size.count) for v in range(size.width)]
    places = [
        e.at(c, e.mul(c_row, m), (p * size.width + v) * real.lanes)
        for m in range(size.rows)
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
    one = e.number(1)
    a_walk = (one, a_row) if size.turned else (a_row, one)
    b_walk = (b_panel, size.width * real.lanes)
    multiply = _Multiply(e, size.rows, columns, a_walk, b_walk, soon if size.far else None)
    blocks = e.div(depth, _STEPS_AT_ONCE)
    done = e.mul(blocks, _STEPS_AT_ONCE)
    sums = multiply.run(sums, a, b, e.number(0), done, _STEPS_AT_ONCE)
    sums = multiply.run(sums, a, b, done, depth, 1)
    for value, place in zip(sums, places, strict=True):
        e.store(value, place)
    e.finish()
    return e.function


class _Multiply:
    """The loop over k of a tile: sums[m, column] += A[m, k] * B[k, column].

    `soon` is where something stands that will be needed soon: a vector of it for each step.
    """

    def __init__(
        self,
        e: Emitter,
        rows: int,
        columns: list[tuple[int, int]],
        a_walk: tuple[Value, Value],
        b_walk: tuple[Value, int],
        soon: Value | None,
    ) -> None:
        self.e, self.rows, self.columns = e, rows, columns
        self.a_row, self.a_k = a_walk
        self.b_panel, self.b_k = b_walk
        self.soon = soon

    def run(self, sums: list[Value], a: Value, b: Value, first: Value, last: Value,
            at_once: int) -> list[Value]:  # fmt: skip
        """The sums after the steps first, first + 1, ..., last - 1, some of them in each turn."""
        e = self.e
        before = e.builder.block
        body, after = e.builder.append_basic_block("k"), e.builder.append_basic_block("done")
        a_start, b_start = e.at(a, e.mul(first, self.a_k)), e.at(b, e.mul(first, self.b_k))
        e.builder.cbranch(e.less(first, last), body, after)
        e.builder.position_at_end(body)
        k = e.builder.phi(I64)
        a_now, b_now = e.builder.phi(POINTER), e.builder.phi(POINTER)
        running = [e.builder.phi(e.real.vector) for _ in sums]
        done: list[Value] = list(running)
        for step in range(at_once):
            if self.soon is not None:
                e.prefetch(e.at(self.soon, e.mul(k, e.real.lanes), step * e.real.lanes))
            done = self.step(done, e.at(a_now, e.mul(self.a_k, step)), e.at(b_now, step * self.b_k))
        following = [
            (k, first, e.add(k, at_once)),
            (a_now, a_start, e.at(a_now, e.mul(self.a_k, at_once))),
            (b_now, b_start, e.at(b_now, at_once * self.b_k)),
            *zip(running, sums, done, strict=True),
        ]
        for phi, value, next_value in following:
            phi.add_incoming(value, before)
            phi.add_incoming(next_value, body)
        e.builder.cbranch(e.less(following[0][2], last), body, after)
        e.builder.position_at_end(after)
        results = []
        for value, next_value in zip(sums, done, strict=True):
            result = e.builder.phi(e.real.vector)
            result.add_incoming(value, before)
            result.add_incoming(next_value, body)
            results.append(result)
        return results

    def step(self, sums: list[Value], a: Value, b: Value) -> list[Value]:
        """The sums after one more k."""
        e, lanes = self.e, self.e.real.lanes
        right = [e.load(e.at(b, e.mul(self.b_panel, p), v * lanes)) for p, v in self.columns]
        done = []
        for m in range(self.rows):
            left = e.broadcast(e.at(a, e.mul(self.a_row, m)))
            for j, value in enumerate(right):
                done.append(e.multiply_add(left, value, sums[m * len(right) + j]))
        return done


def panels(vectors: int) -> list[int]:
    """The widths, in vectors, of the panels that so many vectors of columns are cut into.

    >>> panels(3), panels(4), panels(5), panels(1)
    ([3], [2, 2], [3, 2], [1])
    """
    ones = int(vectors == 1)
    twos = 0 if ones else -vectors % 3
    return [3] * ((vectors - 2 * twos - ones) // 3) + [2] * twos + [1] * ones


def widths(e: Emitter, vectors: Value) -> list[tuple[int, Value, Value]]:
    """(width, first vector, number of panels) for the widths 3, 2, 1; see `panels`."""
    b = e.builder
    ones = b.zext(e.equal(vectors, 1), I64)
    remainder = b.srem(e.mul(vectors, 2), e.number(3))  # -vectors mod 3
    twos = b.select(e.equal(vectors, 1), e.number(0), remainder)
    threes = e.div(e.sub(e.sub(vectors, e.mul(twos, 2)), ones), 3)
    after_threes = e.mul(threes, 3)
    after_twos = e.add(after_threes, e.mul(twos, 2))
    return [(3, e.number(0), threes), (2, after_threes, twos), (1, after_twos, ones)]
