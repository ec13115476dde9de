"""Emitter: LLVM IR with loops, rows and vectors, so that the kernels read like kernels.

All numbers of a kernel are of one type, float32 or float64; a vector holds as many as the
machine's registers do. Sizes and strides are 64-bit, and strides count elements, not bytes. Where
products are of bfloat16, their factors stand in pairs, each in the place of one float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

I64 = ir.IntType(64)
I32 = ir.IntType(32)
POINTER = ir.PointerType()
VOID = ir.VoidType()
I16 = ir.IntType(16)
Value = Any  # an llvmlite value; the library carries no types


@dataclass(frozen=True, slots=True)
class Real:
    """The number type of a kernel.

    Attributes:
        bits: 32 or 64.
        lanes: numbers in one vector register.
        pairs: whether the factors of products are pairs of bfloat16.
    """

    bits: int
    lanes: int
    pairs: bool = False

    @property
    def scalar(self) -> Any:
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @property
    def integer(self) -> Any:
        return ir.IntType(self.bits)

    @property
    def vector(self) -> Any:
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def factors(self) -> int:
        """How many factors of products stand in the place of one number."""
        return 2 if self.pairs else 1

    @property
    def name(self) -> str:
        """The type of the factors of products."""
        return "bfloat16" if self.pairs else f"float{self.bits}"

    @property
    def suffix(self) -> str:
        """The name LLVM's intrinsics give to the vector type."""
        return f"v{self.lanes}f{self.bits}"

    def splat(self, value: float) -> Value:
        return ir.Constant(self.vector, [value] * self.lanes)


class _BFloat(ir.Type):  # type: ignore[misc]
    """The type bfloat16, which llvmlite does not name."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class Emitter:
    """Emits one function."""

    def __init__(
        self,
        module: ir.Module,
        name: str,
        real: Real,
        arguments: Sequence[Any],
        *,
        internal: bool = False,
    ) -> None:
        self.module = module
        self.real = real
        self.function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
        if internal:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments: Sequence[Value] = self.function.args

    def finish(self) -> None:
        self.builder.ret_void()

    @staticmethod
    def number(value: int) -> Value:
        return ir.Constant(I64, value)

    def add(self, a: Value, b: Value | int) -> Value:
        return self.builder.add(a, self.number(b) if isinstance(b, int) else b)

    def sub(self, a: Value, b: Value | int) -> Value:
        return self.builder.sub(a, self.number(b) if isinstance(b, int) else b)

    def mul(self, a: Value, b: Value | int) -> Value:
        return self.builder.mul(a, self.number(b) if isinstance(b, int) else b)

    def div(self, a: Value, b: Value | int) -> Value:
        return self.builder.sdiv(a, self.number(b) if isinstance(b, int) else b)

    def less(self, a: Value, b: Value | int) -> Value:
        return self.builder.icmp_signed("<", a, self.number(b) if isinstance(b, int) else b)

    def equal(self, a: Value, b: Value | int) -> Value:
        return self.builder.icmp_signed("==", a, self.number(b) if isinstance(b, int) else b)

    def smaller(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.less(a, b), a, b)

    def larger(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.less(a, b), b, a)

    @contextmanager
    def loop(self, start: Value, stop: Value, step: Value | int = 1) -> Iterator[Value]:
        """`for i in range(start, stop, step)`, the body being that of the `with`."""
        b = self.builder
        before = b.block
        head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(I64)
        index.add_incoming(start, before)
        b.cbranch(self.less(index, stop), body, after)
        b.position_at_end(body)
        yield index
        index.add_incoming(self.add(index, step), b.block)
        b.branch(head)
        b.position_at_end(after)

    def at(self, pointer: Value, *offsets: Value | int, halves: bool = False) -> Value:
        """The address `offsets` numbers, or halves, further on."""
        kind = I16 if halves else self.real.scalar
        for offset in offsets:
            index = self.number(offset) if isinstance(offset, int) else offset
            pointer = self.builder.gep(pointer, [index], source_etype=kind)
        return pointer

    def reserve(self, count: int) -> Value:
        """Room for so many numbers while the function runs, aligned to vectors."""
        # At the beginning of the function: in a loop every turn would take more of the stack.
        with self.builder.goto_entry_block():
            room = self.builder.alloca(ir.ArrayType(self.real.scalar, count))
        room.align = self.real.lanes * self.real.bytes
        room.type = POINTER  # llvmlite would give it a typed pointer
        return room

    def entry(self, table: Value, place: Value, kind: Any = I64) -> Value:
        """The number, or the address, at a place of a table of 64-bit numbers."""
        return self.builder.load(self.entry_place(table, place), typ=kind)

    def entry_place(self, table: Value, place: Value) -> Value:
        """Where it stands."""
        return self.builder.gep(table, [place], source_etype=I64)

    def load(self, pointer: Value) -> Value:
        """A vector, from any address."""
        return self.builder.load(pointer, typ=self.real.vector, align=self.real.bytes)

    def load_some(self, pointer: Value, count: Value) -> Value:
        """The first `count` lanes of a vector from memory, zeros in the others."""
        kinds = [POINTER, I32, self._lanes_of(ir.IntType(1)), self.real.vector]
        name = f"llvm.masked.load.{self.real.suffix}.p0"
        align = ir.Constant(I32, self.real.bytes)
        arguments = [pointer, align, self.first_lanes(count), self.real.splat(0.0)]
        return self.builder.call(self._declared(name, kinds), arguments)

    def load_halves(self, pointer: Value, count: Value) -> Value:
        """The first `count` of as many bfloat16 as a vector has lanes, zeros in the others."""
        kind = self._lanes_of(_BFloat())
        kinds = [POINTER, I32, self._lanes_of(ir.IntType(1)), kind]
        name = f"llvm.masked.load.v{self.real.lanes}bf16.p0"
        arguments = [pointer, ir.Constant(I32, 2), self.first_lanes(count), ir.Constant(kind, None)]
        return self.builder.call(self._declared(name, kinds, kind), arguments)

    def store_halves(self, numbers: Value, pointer: Value, count: Value) -> None:
        """The first `count` lanes of a vector, rounded to bfloat16."""
        halves = self.halves(numbers)
        kinds = [halves.type, POINTER, I32, self._lanes_of(ir.IntType(1))]
        name = f"llvm.masked.store.v{self.real.lanes}bf16.p0"
        arguments = [halves, pointer, ir.Constant(I32, 2), self.first_lanes(count)]
        self.builder.call(self._declared(name, kinds, VOID), arguments)

    def store_first(self, value: Value, pointer: Value) -> None:
        """The first lane of a vector, to any address."""
        number = self.builder.extract_element(value, ir.Constant(I32, 0))
        self.builder.store(number, pointer, align=self.real.bytes)

    def store_some(self, value: Value, pointer: Value, count: Value) -> None:
        """The first `count` lanes of a vector, to any address."""
        kinds = [self.real.vector, POINTER, I32, self._lanes_of(ir.IntType(1))]
        name = f"llvm.masked.store.{self.real.suffix}.p0"
        align = ir.Constant(I32, self.real.bytes)
        arguments = [value, pointer, align, self.first_lanes(count)]
        self.builder.call(self._declared(name, kinds, VOID), arguments)

    def call_at(self, address: Value, kind: Any, arguments: Sequence[Value]) -> Value:
        """Call the function of type `kind` at an address."""
        target = self.builder.gep(address, [self.number(0)], source_etype=I64)
        target.type = kind.as_pointer()  # llvmlite calls typed pointers only
        return self.builder.call(target, arguments)

    def gather(self, pointer: Value, stride: Value, count: Value) -> Value:
        """`count` numbers, `stride` apart in memory, zeros in the other lanes."""
        offsets = self.builder.mul(self._lane_numbers(), self.spread(stride))
        pointers = self.builder.gep(pointer, [offsets], source_etype=self.real.scalar)
        pointers.type = self._lanes_of(POINTER)
        kinds = [pointers.type, I32, self._lanes_of(ir.IntType(1)), self.real.vector]
        name = f"llvm.masked.gather.{self.real.suffix}.v{self.real.lanes}p0"
        align = ir.Constant(I32, self.real.bytes)
        arguments = [pointers, align, self.first_lanes(count), self.real.splat(0.0)]
        return self.builder.call(self._declared(name, kinds), arguments)

    def transpose(self, rows: Sequence[Value]) -> list[Value]:
        """The columns of a square of numbers given by its rows.

        Squares of 1, 2, 4, ... numbers on either side of the diagonal are exchanged in turn.
        """
        lanes = range(self.real.lanes)
        rows, side = list(rows), 1
        while side < self.real.lanes:
            upper = [j if not j & side else self.real.lanes + j - side for j in lanes]
            lower = [j + side if not j & side else self.real.lanes + j for j in lanes]
            for i in lanes:
                if not i & side:
                    a, b = rows[i], rows[i + side]
                    rows[i], rows[i + side] = self._mix(a, b, upper), self._mix(a, b, lower)
            side *= 2
        return rows

    def _mix(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        mask = ir.Constant(self._lanes_of(I32), list(lanes))
        return self.builder.shuffle_vector(a, b, mask)

    def first_lanes(self, count: Value) -> Value:
        """A mask that holds in the first `count` lanes."""
        return self.builder.icmp_signed("<", self._lane_numbers(), self.spread(count))

    def _lane_numbers(self) -> Value:
        return ir.Constant(self._lanes_of(I64), list(range(self.real.lanes)))

    def _lanes_of(self, kind: Any) -> Any:
        return ir.VectorType(kind, self.real.lanes)

    def _declared(self, name: str, kinds: Sequence[Any], result: Any = None) -> Value:
        kind = ir.FunctionType(result or self.real.vector, kinds)
        return self.module.globals.get(name) or ir.Function(self.module, kind, name)

    def store(self, value: Value, pointer: Value) -> None:
        """A vector, to any address."""
        self.builder.store(value, pointer, align=self.real.bytes)

    def prefetch(self, pointer: Value) -> None:
        """Ask for a line of memory that will soon be read, in the second-level cache."""
        kinds = [POINTER, I32, I32, I32]
        hints = [ir.Constant(I32, hint) for hint in (0, 2, 1)]
        self.builder.call(self._declared("llvm.prefetch.p0", kinds, VOID), [pointer, *hints])

    def broadcast(self, pointer: Value) -> Value:
        """One number from memory in every lane."""
        scalar = self.builder.load(pointer, typ=self.real.scalar, align=self.real.bytes)
        return self.spread(scalar)

    def spread(self, scalar: Value) -> Value:
        """One number in every lane."""
        lanes = self.real.lanes
        vector = ir.VectorType(scalar.type, lanes)
        first = self.builder.insert_element(
            ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0)
        )
        zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def totals(self, vectors: Sequence[Value]) -> Value:
        """The sums of the lanes of some vectors, at most as many as there are lanes, one a lane.

        Halves are added to each other, so that the order of a sum is fixed; with each turn there
        are half as many vectors, and each has pieces of twice as many sums.
        """
        lanes, found = self.real.lanes, list(vectors)
        piece = lanes
        while piece > 1:
            piece //= 2
            low = [i for i in range(2 * lanes) if not i & piece]
            halves = low, [i + piece for i in low]
            pairs = zip(found[::2], [*found[1::2], *found[-1:]], strict=False)
            found = [
                self.builder.fadd(*(self._mix(a, b, half) for half in halves)) for a, b in pairs
            ]
        return found[0]

    def together(self, vectors: Sequence[Value]) -> Value:
        """Lane 0 of the first of some vectors, lane 1 of the second, and so on."""
        lanes, (found, *others) = self.real.lanes, vectors
        for lane, vector in enumerate(others, 1):
            found = self._mix(found, vector, [i + lanes * (i == lane) for i in range(lanes)])
        return found

    def lane(self, vector: Value, lane: int) -> Value:
        """One lane of a vector in every lane."""
        return self._mix(vector, vector, [lane] * self.real.lanes)

    def intrinsic(self, name: str, *args: Value) -> Value:
        """An LLVM intrinsic on vectors of reals."""
        kind = ir.FunctionType(self.real.vector, [self.real.vector] * len(args))
        function = self.module.declare_intrinsic(f"llvm.{name}.{self.real.suffix}", (), kind)
        return self.builder.call(function, args)

    def reciprocal(self, a: Value) -> Value | None:
        """1 / a to 14 bits, where the machine has an instruction for it that is worth it."""
        if self.real.bits != 32 or self.real.lanes != 16:
            return None
        mask = ir.IntType(16)
        function = self._declared(
            "llvm.x86.avx512.rcp14.ps.512", [self.real.vector, self.real.vector, mask]
        )
        return self.builder.call(function, [a, a, ir.Constant(mask, -1)])

    def halves(self, numbers: Value) -> Value:
        """Numbers rounded to bfloat16."""
        return self.builder.fptrunc(numbers, ir.VectorType(_BFloat(), numbers.type.count))

    def numbers(self, halves: Value) -> Value:
        """Numbers from bfloat16."""
        return self.builder.fpext(halves, self.real.vector)

    def pairs(self, first: Value, second: Value) -> Value:
        """Pairs of the numbers of two vectors of halves."""
        count = first.type.count
        lanes = [i // 2 + count * (i % 2) for i in range(2 * count)]
        mask = ir.Constant(ir.VectorType(I32, 2 * count), lanes)
        return self.builder.shuffle_vector(first, second, mask)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c; of pairs both products are added."""
        if not self.real.pairs:
            return self.fma(a, b, c)
        pairs = ir.VectorType(_BFloat(), 2 * self.real.lanes)
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        function = self._declared(name, [self.real.vector, pairs, pairs])
        factors = [self.builder.bitcast(factor, pairs) for factor in (a, b)]
        return self.builder.call(function, [c, *factors])

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)
