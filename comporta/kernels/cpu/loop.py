"""The time loop of a layer, written once for every cell, forward and backward.

`fields` is a table of 64-bit numbers: addresses, strides and sizes, in the order of `field_names`.
Threads share the work in one of two ways. Alone, kernel(fields, first_row, last_row) runs all steps
of some rows of the batch, and no thread waits for another. As a team, which `fields` says,
kernel(fields, part, part + 1) computes a share of the columns of every product for all rows, so
that each thread reads only its share of the weights; they meet after every product and block.
"""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from comporta.kernels.cpu import product
from comporta.kernels.cpu.block import Address, emit_block, emit_idle, emit_tail, is_narrow
from comporta.kernels.cpu.emit import I64, POINTER, VOID, Emitter, Real, Value
from comporta.kernels.cpu.layout import Place, Step
from comporta.kernels.cpu.tile import widths

ARGUMENTS = [POINTER, I64, I64]
# Rows that share one set of running sums of the vectors' gradients. Threads get whole sets, so
# that the sums do not depend on the number of threads.
ROWS_PER_TOTAL = 4
# A function of no arguments, named so that `machine` can supply the system's own.
REST = "comporta_rest"
_TRIES_PER_REST = 4096
# So much of the second-level cache may wait for the following step.
_NEAR_BYTES = 1 << 19
# The caller's tensors for each state: before the first step and after the last one. On the way back
# they are the gradients of these.
ENDS = ("before", "after")
_SIZES = (
    "team", "meeting", "rows", "steps", "chunk", "size", "width", "depth", "starts", "stops",
    "parity",
)  # fmt: skip


def field_names(step: Step, real: Real) -> list[str]:
    """The order of the table of fields."""
    names = [*_SIZES]
    buffers = [*step.sections, "x"] if step.windows is None else [*step.sections]
    buffers += ["pairs"] if real.pairs else []
    for buffer in buffers:
        names += [f"{buffer}.base", f"{buffer}.row", f"{buffer}.time"]
    for i in range(step.sections["state"]):
        names += [f"{end}{i}.{field}" for end in ENDS for field in ("base", "row")]
    names += [f"{buffer}.packed" for buffer in step.sections if buffer.startswith("product")]
    return [*names, "input.packed"] if step.windows is None else names


def build(name: str, step: Step, real: Real) -> ir.Module:
    """The module with the time loop of one step."""
    module = ir.Module(name)
    loop = _Loop(module, name, step, real)
    if step.windows is None:
        loop.forward()
    else:
        loop.backward()
    loop.e.finish()
    return module


class _Loop:
    def __init__(self, module: ir.Module, name: str, step: Step, real: Real) -> None:
        self.e = e = Emitter(module, name, real, ARGUMENTS)
        self.step = step
        table, first, last = e.arguments
        self.field: Mapping[str, Value] = {
            field: self._read(table, i, field) for i, field in enumerate(field_names(step, real))
        }
        self.zero, self.team = e.number(0), self.field["team"]
        self.is_team = e.less(e.number(1), self.team)
        pick = e.builder.select
        self.part = pick(self.is_team, first, self.zero)
        # The rows of this thread's blocks, and those of its products.
        self.first = pick(self.is_team, self._team_row(first), first)
        self.last = pick(self.is_team, self._team_row(last), last)
        self.product_first = pick(self.is_team, self.zero, first)
        self.rows = e.sub(pick(self.is_team, self.field["rows"], last), self.product_first)
        kind = ir.FunctionType(VOID, product.GEMM_ARGUMENTS)
        self.gemm_function = ir.Function(module, kind, product.symbol(product.GEMM, real))
        if real.pairs:
            kind = ir.FunctionType(VOID, product.NARROW_ARGUMENTS)
            self.narrow_function = ir.Function(module, kind, product.symbol(product.NARROW, real))
        self.chunk_start: Value = self.zero

    def _team_row(self, part: Value) -> Value:
        """Where a part's rows begin in a team: whole sets of rows that share running sums."""
        e, rows = self.e, self.field["rows"]
        sets = e.div(e.add(rows, ROWS_PER_TOTAL - 1), ROWS_PER_TOTAL)
        first = e.mul(e.div(e.mul(sets, part), self.team), ROWS_PER_TOTAL)
        return e.smaller(first, rows)

    def _read(self, table: Value, index: int, field: str) -> Value:
        is_address = field.endswith((".base", ".packed")) or field in (
            "starts", "stops", "meeting",
        )  # fmt: skip
        return self.e.entry(table, self.e.number(index), POINTER if is_address else I64)

    def forward(self) -> None:
        e, f = self.e, self.field
        with e.loop(self.first, self.last) as b:
            for i, place in enumerate(self.states("state")):
                self.copy_in(f"before{i}", self.place(place, b, self.zero), b)
        self.meet()
        with e.loop(self.zero, f["steps"], f["chunk"]) as self.chunk_start:
            count = e.smaller(f["chunk"], e.sub(f["steps"], self.chunk_start))
            self.project(count)
            self.meet()
            with e.loop(self.chunk_start, e.add(self.chunk_start, count)) as s:
                self.phases(s)
        with e.loop(self.first, self.last) as b:
            for i, place in enumerate(self.states("state")):
                self.copy_out(f"after{i}", [self.place(place, b, f["steps"])], b)

    def backward(self) -> None:
        e = self.e
        made = [name for name in self.step.sections if name.startswith(("product", "total"))]
        with e.loop(self.first, self.last) as b:
            for i, place in enumerate(self.states("next")):
                self.copy_in(f"after{i}", self.place(place, b, self.zero), b)
            for name in made:
                self.clear(self.row(name, b, self.zero), self.step.sections[name])
        self.meet()
        with e.loop(self.zero, self.field["steps"]) as i:
            self.phases(e.sub(e.sub(self.field["steps"], 1), i))
        arriving = [store for store in self.step.idle[0] if store.place.buffer == "next"]
        with e.loop(self.first, self.last) as b:
            for i, store in enumerate(arriving):
                places = [self.step.reads[str(value)] for value in store.values]
                self.copy_out(f"before{i}", [self.place(p, b, self.zero) for p in places], b)

    def states(self, buffer: str) -> list[Place]:
        """The sections of the states, or of their gradients."""
        return [Place(buffer, i) for i in range(self.step.sections[buffer])]

    def copy_in(self, name: str, target: Value, b: Value) -> None:
        """A row of a tensor of the caller's, padded to whole vectors."""
        e, size = self.e, self.field["size"]
        source = e.at(self.field[f"{name}.base"], e.mul(b, self.field[f"{name}.row"]))
        with e.loop(self.zero, self.field["width"], e.real.lanes) as j:
            e.store(e.load_some(e.at(source, j), e.sub(size, j)), e.at(target, j))

    def copy_out(self, name: str, sources: list[Value], b: Value) -> None:
        """The sum of rows, to a row of a tensor of the caller's."""
        e, size = self.e, self.field["size"]
        target = e.at(self.field[f"{name}.base"], e.mul(b, self.field[f"{name}.row"]))
        with e.loop(self.zero, size, e.real.lanes) as j:
            total, *others = [e.load(e.at(source, j)) for source in sources]
            for value in others:
                total = e.builder.fadd(total, value)
            e.store_some(total, e.at(target, j), e.sub(size, j))

    def clear(self, row: Value, sections: int) -> None:
        """Zeros in all sections of a row."""
        e = self.e
        with e.loop(self.zero, e.mul(self.field["width"], sections), e.real.lanes) as j:
            e.store(e.real.splat(0.0), e.at(row, j))

    def phases(self, s: Value) -> None:
        group = 0
        for k, phase in enumerate(self.step.phases):
            for _ in phase.groups:
                self.product(group, s)
                group += 1
            if phase.groups:
                self.meet()
            if self.step.stores[k] or self.step.sums[k] or phase.means:
                self.block(k, s)
                self.meet()

    def meet(self) -> None:
        """Wait in a team until all its threads have come here."""
        e, b = self.e, self.e.builder
        with b.if_then(self.is_team):
            counter = self.field["meeting"]
            came = b.atomic_rmw("add", counter, e.number(1), "seq_cst")
            everybody = e.mul(e.add(e.div(came, self.team), 1), self.team)
            before = b.block
            wait, rest, go = (b.append_basic_block(name) for name in ("wait", "rest", "go"))
            b.branch(wait)
            b.position_at_end(wait)
            tries = b.phi(I64)
            tries.add_incoming(self.zero, before)
            now = b.load_atomic(counter, "acquire", 8, typ=I64)
            b.cbranch(e.less(now, everybody), rest, go)
            b.position_at_end(rest)
            again = e.add(tries, 1)
            with b.if_then(e.equal(b.and_(again, e.number(_TRIES_PER_REST - 1)), 0)):
                b.call(self.rest_function(), [])
            tries.add_incoming(again, b.block)
            b.branch(wait)
            b.position_at_end(go)

    def rest_function(self) -> ir.Function:
        """The function that lets another thread have the processor."""
        known = self.e.module.globals.get(REST)
        return known or ir.Function(self.e.module, ir.FunctionType(VOID, []), REST)

    def share(self, vectors: Value) -> tuple[Value, Value]:
        """The first vector of columns and the number of them that this thread multiplies."""
        e = self.e
        (_, _, threes), *_ = widths(e, vectors)

        def cut(part: Value) -> Value:
            rounded = e.add(e.mul(threes, part), e.div(self.team, 2))
            inside = e.mul(e.div(rounded, self.team), 3)
            return e.builder.select(e.less(part, self.team), inside, vectors)

        first = cut(self.part)
        return first, e.sub(cut(e.add(self.part, 1)), first)

    def row(self, buffer: str, b: Value, s: Value, *, later: bool = False) -> Value:
        """The address of a row of a buffer at a step."""
        e, f = self.e, self.field
        if buffer == "input":
            s = e.sub(s, self.chunk_start)
        if buffer == "total":
            b = e.div(b, ROWS_PER_TOTAL)
        slot = e.add(s, 1) if later else s
        return e.at(
            f[f"{buffer}.base"],
            e.mul(b, f[f"{buffer}.row"]),
            e.mul(slot, f[f"{buffer}.time"]),
            halves=is_narrow(e.real, buffer),
        )

    def place(self, place: Place, b: Value, s: Value) -> Value:
        """The address of a section, or of a number."""
        e, row = self.e, self.row(place.buffer, b, s, later=place.later)
        return e.at(
            row, e.mul(e.number(1) if place.is_flat else self.field["width"], place.section)
        )

    def gemm(self, a: Value, a_row: Value, packed: Value, c: Value, c_row: Value, rows: Value,
             depth: Value, vectors: Value, descending: Value) -> None:  # fmt: skip
        e = self.e
        first, count = self.share(vectors)
        column = e.mul(first, e.real.lanes)
        e.builder.call(self.gemm_function, [
            a, a_row, e.at(packed, e.mul(column, depth)), e.at(c, column), c_row,
            rows, depth, count, self.zero, descending,
        ])  # fmt: skip

    def vectors(self, sections: int) -> Value:
        return self.e.div(self.e.mul(self.field["width"], sections), self.e.real.lanes)

    def project(self, count: Value) -> None:
        """The products of x for a chunk of steps; the longer of time and rows goes inside."""
        e, f = self.e, self.field
        vectors = self.vectors(self.step.sections["input"])

        def multiply(b: Value, s: Value, along: str, rows: Value) -> None:
            self.gemm(self.row("x", b, s), f[f"x.{along}"], f["input.packed"],
                      self.row("input", b, s), f[f"input.{along}"], rows, f["depth"],
                      vectors, f["parity"])  # fmt: skip

        stop_row = e.add(self.product_first, self.rows)
        with e.builder.if_else(e.less(self.rows, count)) as (few_rows, many_rows):
            with few_rows, e.loop(self.product_first, stop_row) as b:
                multiply(b, self.chunk_start, "time", count)
            with many_rows:
                stop = e.add(self.chunk_start, count)
                with e.loop(self.chunk_start, stop) as s:
                    multiply(self.product_first, s, "row", self.rows)

    def product(self, group: int, s: Value) -> None:
        """One group of products of the step, for all rows."""
        e = self.e
        buffer = f"product{group}"
        groups = [g for phase in self.step.phases for g in phase.groups]
        if self.step.windows is not None:
            window = self.step.windows[group]
            operand = Place("kept", window.start)
            depth = e.mul(self.field["width"], len(window.sections))
        else:
            operand = self.step.reads[groups[group].operands[0]]
            depth = self.field["size"]
        left = self.place(operand, self.product_first, s)
        left_row = self.field[f"{operand.buffer}.row"]
        if e.real.pairs:
            left, left_row, depth = self.narrow(left, left_row, depth)
        self.gemm(
            left,
            left_row,
            self.field[f"{buffer}.packed"],
            self.row(buffer, self.product_first, s),
            self.field[f"{buffer}.row"],
            self.rows,
            depth,
            self.vectors(self.step.sections[buffer]),
            # Every other step; see `product`.
            e.builder.and_(e.add(s, self.field["parity"]), e.number(1)),
        )

    def narrow(self, numbers: Value, row: Value, size: Value) -> tuple[Value, Value, Value]:
        """All rows of an operand as pairs: the first one, the way to the next, and their size.

        In a team each thread has room of its own for them.
        """
        e, f = self.e, self.field
        first = e.add(self.product_first, e.mul(self.part, self.rows))
        pairs = e.at(f["pairs.base"], e.mul(first, f["pairs.row"]))
        arguments = [numbers, row, pairs, f["pairs.row"], self.rows, size]
        e.builder.call(self.narrow_function, arguments)
        return pairs, f["pairs.row"], e.div(e.add(size, 1), 2)

    def block(self, phase: int, s: Value) -> None:
        """The elementwise block of a phase, for all rows."""
        e, f = self.e, self.field
        near, pick = self.is_near(), e.builder.select
        following = e.add(s, -1 if self.step.windows is not None else 1)
        with e.loop(self.first, self.last) as b:

            def address(place: Place) -> Value:
                return self.place(place, b, s)

            def soon(place: Place) -> Value:
                return self.place(place, pick(near, b, e.add(b, 1)), pick(near, following, s))

            start, stop = self.bound("starts", b), self.bound("stops", b)
            active = e.builder.and_(e.builder.not_(e.less(s, start)), e.less(s, stop))
            with e.builder.if_else(active, likely=True) as (runs, idles):
                with runs:
                    emit_block(e, self.step, phase, address, soon, f["width"], f["size"])
                    self.tail(phase, address)
                with idles:
                    emit_idle(e, self.step, self.step.idle[phase], address, f["width"], f["size"])

    def is_near(self) -> Value:
        """Whether all that this thread's rows have at a step fits the second-level cache.

        Then each asks for what it needs at the following step, and has it after the products. Else
        it would be gone by then, and each asks for the following row's.
        """
        e, step = self.e, self.step
        sections = step.sections["kept"] + step.sections["state"]
        numbers = e.mul(e.sub(self.last, self.first), e.mul(self.field["width"], sections))
        return e.less(numbers, _NEAR_BYTES // e.real.bytes)

    def tail(self, phase: int, address: Address) -> None:
        """Zero the padding of the gradients that products read across sections."""
        if self.step.windows is not None:
            written = [s.place for s in self.step.stores[phase] if s.place.buffer == "kept"]
            emit_tail(self.e, list(map(address, written)), self.field["size"], self.field["width"])

    def bound(self, field: str, b: Value) -> Value:
        return self.e.entry(self.field[field], b)
