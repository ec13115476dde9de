"""Linear recurrences in Triton: all steps of a chunk at once, and chunks one after another.

A program of the grid has a chunk of the steps of one row and some hidden units. What a step carries
on is affine in what was carried to it: the program composes the steps of its chunk by a parallel
scan, waits for what the chunk before leaves, and leaves the next one its own. It reads everything
once. Chunks later in time are later in the grid: no program waits for one that has not begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from comporta.kernels.gpu.loop import Source, kernel
from comporta.kernels.gpu.printer import Printer
from comporta.kernels.gpu.sections import gradient_sections, sections
from comporta.kernels.gradient import from_next
from comporta.kernels.program import Operand, Program, previous
from comporta.kernels.recurrence import Recurrence, backward_recurrence, forward_recurrence
from comporta.kernels.schedule import schedule


@cache
def forward_scan(program: Program, *, training: bool) -> Source:
    """The forward kernel of a linear recurrence."""
    return _Forward(program, training=training).print()


@cache
def backward_scan(program: Program) -> Source:
    """The backward kernel of a linear recurrence."""
    return _Backward(program).print()


class _Scan(Printer):
    """What both directions have."""

    def __init__(self, program: Program, recurrence: Recurrence | None) -> None:
        assert recurrence is not None
        super().__init__(program)
        self.recurrence = recurrence
        statements = [s for scan in recurrence.scans for s in scan.statements]
        statements += recurrence.rest
        self.made = {s.name for s in statements}
        for scan in recurrence.scans:
            self.made |= {scan.last} | ({scan.next} if isinstance(scan.next, str) else set())
        coefficients = [o for scan in recurrence.scans for o in (scan.decay, scan.inflow)]
        read = [*coefficients, *(o for s in statements for o in s.operands)]
        self.wanted = frozenset(o for o in read if isinstance(o, str))

    def print(self) -> Source:
        """The whole kernel."""
        self.body()
        names = [*self.arguments, "starts", "stops", "carries", "flags", "rows", "steps"]
        carried = tuple(scan.last for scan in self.recurrence.scans)
        return Source(kernel(names, self.text), tuple(names), carried, ())

    def begin(self, step: str) -> None:
        """Which steps and units are this program's; `step` counts those of the layer."""
        text = self.text
        text("column = tl.program_id(0).to(tl.int64)")
        text("row = column // SLICES")
        text("unit = (tl.program_id(0) % SLICES) * UNITS + tl.arange(0, UNITS)")
        text("in_units = unit < SIZE")
        text("chunk = tl.program_id(1)")
        text("order = tl.arange(0, ROWS)")
        text("now = chunk * ROWS + order")
        text("inside = (now < steps)[:, None] & in_units[None, :]")
        text(f"s = {step}")
        text("start = tl.load(starts + row)")
        text("stop = tl.load(stops + row)")
        text("active = ((s >= start) & (s < stop))[:, None] & inside")
        text("is_last = (order == ROWS - 1)[:, None]")
        text("earlier = tl.broadcast_to(tl.maximum(order - 1, 0)[:, None], [ROWS, UNITS])")
        text("now = now.to(tl.int64)")
        self.vectors()

    def buffer(self, name: str) -> None:
        """A buffer of the caller's with rows and steps."""
        self.arguments += [name, f"{name}_row", f"{name}_time"]
        self.text(f"{name}_tile = {name} + row * {name}_row + now[:, None] * {name}_time "
                  "+ unit[None, :]")  # fmt: skip

    def address(self, buffer: str, section: int) -> str:
        return f"{buffer}_tile + {section} * SIZE"

    def solve(self, ends: dict[str, tuple[str, str]]) -> None:
        """All values of the step.

        Args:
            ends: what is carried -> the arguments it comes from before the first of the kernel's
                steps, and goes to after the last.
        """
        self.text.settle()
        self.ready(name for name in self.stored if name not in self.made)
        for number, scan in enumerate(self.recurrence.scans):
            for s in scan.statements:
                self.text.statement(s)
                self.ready([s.name])
            self.carry(number, scan.last, scan.decay, scan.inflow, *ends[scan.last])
            if isinstance(scan.next, str) and scan.next not in self.known():
                self.text(f"{self.text.name(scan.next)} = value")
                self.ready([scan.next])
            self.ready([scan.last])
        for s in self.recurrence.rest:
            self.text.statement(s)
            self.ready([s.name])

    def known(self) -> set[str]:
        """What statements compute, and what is loaded."""
        scans = self.recurrence.scans
        found = {s.name for scan in scans for s in scan.statements}
        found |= {s.name for s in self.recurrence.rest} | {scan.last for scan in scans}
        return found | self.loaded

    @property
    def loaded(self) -> set[str]:
        """The names of what stands in memory."""
        raise NotImplementedError

    def carry(
        self, number: int, last: str, decay: Operand, inflow: Operand, source: str, target: str
    ) -> None:
        """What is carried to every step of the chunk; `value` is what each carries on."""
        text = self.text
        self.arguments += [source, f"{source}_row", target, f"{target}_row"]
        text(f"decay = tl.where(active, {text.tile(decay)}, 1.0)")
        text(f"inflow = tl.where(active, {text.tile(inflow)}, 0.0)")
        text("decay, inflow = tl.associative_scan((decay, inflow), 0, compose)")
        text("through = tl.sum(tl.where(is_last, decay, 0.0), axis=0)")
        text("added = tl.sum(tl.where(is_last, inflow, 0.0), axis=0)")
        text(
            f"flag = flags + ({number} * tl.num_programs(0) + column) * tl.num_programs(1) + chunk"
        )
        text(f"place = carries + (({number} * rows + row) * tl.num_programs(1) + chunk) * SIZE "
             "+ unit")  # fmt: skip
        with text.block("if chunk == 0:"):
            text(f"arrived = tl.load({source} + row * {source}_row + unit, "
                 "mask=in_units, other=0.0).to(tl.float32)")  # fmt: skip
        with text.block("else:"):
            text("wait_for(flag - 1)")
            text('arrived = tl.load(place - SIZE, mask=in_units, other=0.0, cache_modifier=".cg")')
        text("leaving = through * arrived + added")
        text("tl.store(place, leaving, mask=in_units)")
        text("announce(flag)")
        with text.block("if chunk == tl.num_programs(1) - 1:"):
            text(f"tl.store({target} + row * {target}_row + unit, "
                 f"leaving.to({target}.dtype.element_ty), mask=in_units)")  # fmt: skip
        text("value = decay * arrived[None, :] + inflow")
        text(f"{text.name(last)} = tl.where((order == 0)[:, None], arrived[None, :], "
             "tl.gather(value, earlier, 0))")  # fmt: skip


class _Forward(_Scan):
    def __init__(self, program: Program, *, training: bool) -> None:
        super().__init__(program, forward_recurrence(program))
        self.kept = sections(program) if training else None
        self.inputs = schedule(program).hoisted.results

    @property
    def loaded(self) -> set[str]:
        return {*self.inputs, *self.program.streams}

    def body(self) -> None:
        text, program = self.text, self.program
        self.begin("now")
        for buffer in ("inputs", "output", *(["kept"] if self.kept else [])):
            self.buffer(buffer)
        for i, result in enumerate(self.inputs):
            self.load(result, "inputs", i)
        for i, stream in enumerate(program.streams):
            self.buffer(f"stream{i}")
            self.load(stream, f"stream{i}")
        self.solve({
            previous(state): (f"before{i}", f"after{i}") for i, state in enumerate(program.states)
        })  # fmt: skip
        self.store(f"tl.where(active, {text.name(program.output)}, 0.0)", "output")

    @property
    def stored(self) -> Iterable[str]:
        return self.kept.saved if self.kept else ()

    def ready(self, names: Iterable[str]) -> None:
        for name in names:
            if self.kept and name in (*self.kept.saved, *self.kept.previous):
                self.store(f"tl.broadcast_to({self.text.name(name)}, [ROWS, UNITS])", "kept",
                           self.kept.of(name))  # fmt: skip


class _Backward(_Scan):
    def __init__(self, program: Program) -> None:
        super().__init__(program, backward_recurrence(program))
        self.kept = sections(program)

    @property
    def loaded(self) -> set[str]:
        kept = self.kept
        return {*kept.saved, *kept.previous, *self.program.states, *self.program.streams, "∂y"}

    def body(self) -> None:
        text, program, kept = self.text, self.program, self.kept
        self.begin("steps - 1 - now")
        for buffer in ("kept", "d_output"):
            self.buffer(buffer)
        for name in (*kept.saved, *kept.previous):
            if name in self.wanted:
                self.load(name, "kept", kept.of(name))
        self.load("∂y", "d_output")
        for i, stream in enumerate(program.streams):
            self.buffer(f"stream{i}")
            self.load(stream, f"stream{i}")
        for i, state in enumerate(program.states):
            if state in self.wanted:
                self.load_after(i, state)
        self.solve({
            from_next(state): (f"d_after{i}", f"d_before{i}")
            for i, state in enumerate(program.states)
        })  # fmt: skip
        if self.kept.totals:
            self.arguments.append("totals")
        for i, name in enumerate(self.kept.totals):
            number = f"(chunk * rows + row) * {len(self.kept.totals)} + {i}"
            value = f"tl.where(active, {text.name(name)}, 0.0)"
            text(f"tl.store(totals + ({number}) * SIZE + unit, tl.sum({value}, axis=0), "
                 "mask=in_units)")  # fmt: skip

    def load_after(self, number: int, state: str) -> None:
        """A state after each step, which is what the following step had before it."""
        text, name = self.text, self.text.name(state)
        self.arguments += [f"after{number}", f"after{number}_row"]
        section = self.kept.of(previous(state))
        text(f"{name} = tl.load(kept_tile - kept_time + {section} * SIZE, "
             "mask=inside & (now > 0)[:, None], other=0.0).to(tl.float32)")  # fmt: skip
        text(f"at_end = tl.load(after{number} + row * after{number}_row + unit, "
             "mask=in_units, other=0.0).to(tl.float32)")  # fmt: skip
        text(f"{name} = tl.where((now == 0)[:, None], at_end[None, :], {name})")

    @property
    def stored(self) -> Iterable[str]:
        return self.kept.gradients

    def ready(self, names: Iterable[str]) -> None:
        for name in names:
            for section in gradient_sections(self.program, name):
                self.store(f"tl.where(active, {self.text.name(name)}, 0.0)", "kept", section)
