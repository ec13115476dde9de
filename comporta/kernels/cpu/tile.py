"""The microkernel: a tile of a matrix product, a few rows by a few vectors of columns.

All its sums stay in registers. Every sum is one fixed chain of fused multiply-adds over k. Where
factors are pairs, k counts pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
    """The size of a tile of C, and what is special of it.

    Attributes:
        rows: how many rows.
        panels: the widths of its panels in vectors, the widest first.
        turned: the numbers of a column of A lie side by side, and not those of a row.
        far: B comes from afar, and what is needed soon is asked for on the way.
    """

    rows: int
    panels: tuple[int, ...]
    turned: bool = False
    far: bool = False

    @property
    def vectors(self) -> int:
        """How many vectors of columns."""
        return sum(self.panels)

    @property
    def name(self) -> str:
        """The name of its function."""
        special = "_turned" * self.turned + "_far" * self.far
        return f"tile_{self.rows}x{'_'.join(map(str, self.panels))}{special}"


def tile_function(module: ir.Module, real: Real, size: Tile) -> ir.Function:
    """C[rows, panels] (+)= A[rows, depth] B[depth, panels], all sums in registers."""
    known = module.globals.get(size.name)
    if known is not None:
        return known
    # (A, a_row, B, C, c_row, depth, accumulate, soon)
    kinds = [POINTER, I64, POINTER, POINTER, I64, I64, I64, POINTER]
    e = Emitter(module, size.name, real, kinds, internal=True)
    a, a_row, b, c, c_row, depth, accumulate, soon = e.arguments
    places = [
        e.at(c, e.mul(c_row, m), v * real.lanes)
        for m in range(size.rows)
        for v in range(size.vectors)
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
    multiply = _Multiply(e, size, a, a_walk, _alike(e, size, b, depth), soon)
    blocks = e.div(depth, _STEPS_AT_ONCE)
    done = e.mul(blocks, _STEPS_AT_ONCE)
    sums = multiply.run(sums, e.number(0), done, _STEPS_AT_ONCE)
    sums = multiply.run(sums, done, depth, 1)
    for value, place in zip(sums, places, strict=True):
        e.store(value, place)
    e.finish()
    return e.function


class _Alike(NamedTuple):
    """The panels of one width.

    Attributes:
        together, width: how many there are, and how many vectors wide.
        start: where the first of them stands.
        panel, k: the ways from a panel to the next one, and from one k to the next.
    """

    together: int
    width: int
    start: Value
    panel: Value
    k: int


def _alike(e: Emitter, size: Tile, b: Value, depth: Value) -> list[_Alike]:
    """The panels of a tile by their widths; they stand one behind the other."""
    found, before = [], 0
    for width in dict.fromkeys(size.panels):
        count, k = size.panels.count(width), width * e.real.lanes
        start = e.at(b, e.mul(depth, before * e.real.lanes))
        found.append(_Alike(count, width, start, e.mul(depth, k), k))
        before += count * width
    return found


class _Multiply:
    """The loop over k of a tile: sums[m, column] += A[m, k] * B[k, column].

    `soon` is where something stands that a tile from afar will need soon: a vector of it for each
    step.
    """

    def __init__(
        self,
        e: Emitter,
        size: Tile,
        a: Value,
        a_walk: tuple[Value, Value],
        b: list[_Alike],
        soon: Value,
    ) -> None:
        self.e, self.rows, self.a, self.b = e, size.rows, a, b
        self.a_row, self.a_k = a_walk
        self.soon = soon if size.far else None

    def run(self, sums: list[Value], first: Value, last: Value, at_once: int) -> list[Value]:
        """The sums after the steps first, first + 1, ..., last - 1, some of them in each turn."""
        e = self.e
        before = e.builder.block
        body, after = e.builder.append_basic_block("k"), e.builder.append_basic_block("done")
        a_start = e.at(self.a, e.mul(first, self.a_k))
        b_starts = [e.at(panels.start, e.mul(first, panels.k)) for panels in self.b]
        e.builder.cbranch(e.less(first, last), body, after)
        e.builder.position_at_end(body)
        k = e.builder.phi(I64)
        a_now, *b_now = [e.builder.phi(POINTER) for _ in range(1 + len(self.b))]
        running = [e.builder.phi(e.real.vector) for _ in sums]
        done: list[Value] = list(running)
        for step in range(at_once):
            if self.soon is not None:
                e.prefetch(e.at(self.soon, e.mul(k, e.real.lanes), step * e.real.lanes))
            here = [e.at(now, step * panels.k) for now, panels in zip(b_now, self.b, strict=True)]
            done = self.step(done, e.at(a_now, e.mul(self.a_k, step)), here)
        following = [
            (k, first, e.add(k, at_once)),
            (a_now, a_start, e.at(a_now, e.mul(self.a_k, at_once))),
            *[
                (now, start, e.at(now, at_once * panels.k))
                for now, start, panels in zip(b_now, b_starts, self.b, strict=True)
            ],
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

    def step(self, sums: list[Value], a: Value, b: list[Value]) -> list[Value]:
        """The sums after one more k."""
        e, lanes = self.e, self.e.real.lanes
        right = [
            e.load(e.at(here, e.mul(panels.panel, p), v * lanes))
            for here, panels in zip(b, self.b, strict=True)
            for p in range(panels.together)
            for v in range(panels.width)
        ]
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
