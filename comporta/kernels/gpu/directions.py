"""The two directions of the time loop: a layer's steps, and those of its adjoint."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from comporta.kernels.gpu.loop import Loop, Source, Way
from comporta.kernels.gpu.sections import gradient_sections, sections
from comporta.kernels.gradient import Adjoint, differentiate, from_next
from comporta.kernels.program import Program, previous
from comporta.kernels.schedule import Group, schedule


@cache
def forward_source(program: Program, *, training: bool, way: Way) -> Source:
    """The forward kernel of a program."""
    return _Forward(program, training=training, way=way).print()


@cache
def backward_source(program: Program, *, way: Way) -> Source:
    """The backward kernel of a program."""
    return _Backward(program, way=way).print()


class _Forward(Loop):
    def __init__(self, program: Program, *, training: bool, way: Way) -> None:
        self.plan, self.training = schedule(program), training
        super().__init__(program, self.plan.phases, way)
        self.kept = sections(program) if training else None

    def body(self) -> None:
        text, states = self.text, self.program.states
        self.begin()
        moving = ["inputs", "output", *(f"stream{i}" for i in range(len(self.program.streams)))]
        if self.training:
            moving.append("kept")
        for buffer in moving:
            self.buffer(buffer)
        for i, state in enumerate(states):
            self.buffer(f"before{i}", moves=False)
            self.load(previous(state), f"before{i}")
            if previous(state) in self.operands:
                self.exchange(previous(state))
        with text.block(self.head("s")):
            text("active = ((s >= start) & (s < stop))[:, None] & inside")
            for i, result in enumerate(self.plan.hoisted.results):
                self.load(result, "inputs", i)
            for i, stream in enumerate(self.program.streams):
                self.load(stream, f"stream{i}")
            if self.kept:
                # The products of x stand where this step's values will be kept.
                text.settle()
                for state in states:
                    name = previous(state)
                    self.store(text.name(name), "kept", self.kept.of(name))
            self.step()
            text(f"output_now = tl.where(active, {text.name(self.program.output)}, 0.0)")
            self.store("output_now", "output")
            for state in states:
                name = text.name(previous(state))
                text(f"{name} = tl.where(active, {text.name(state)}, {name})")
            for state in states:
                if previous(state) in self.operands:
                    self.exchange(previous(state), "there")
            self.advance(moving)
        for i, state in enumerate(states):
            self.buffer(f"after{i}", moves=False)
            self.store(text.name(previous(state)), f"after{i}")

    @property
    def stored(self) -> Iterable[str]:
        kept = (*self.kept.saved, *self.kept.operands) if self.kept else ()
        before = set(map(previous, self.program.states))
        return dict.fromkeys(name for name in (*self.operands, *kept) if name not in before)

    def ready(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.operands:
                self.exchange(name)
            if self.kept and name in (*self.kept.saved, *self.kept.operands):
                # What products multiply enters the gradients of matrices: idle rows hold zeros.
                self.store(f"tl.where(active, {self.text.name(name)}, 0.0)", "kept",
                           self.kept.of(name))  # fmt: skip

    def matrix(self, group: int, number: int, depth: str, mask: str) -> str:
        place = f"({number} * SIZE + unit)[None, :] * SIZE + {depth}[:, None]"
        return (f"tl.load(weights{group} + {place}, "
                f"mask={mask}[:, None] & in_units[None, :], other=0.0)")  # fmt: skip

    def sums(self, group: Group) -> list[list[tuple[str, int]]]:
        return [[(group.operands[0], j)] for j in range(len(group.results))]


class _Backward(Loop):
    def __init__(self, program: Program, *, way: Way) -> None:
        self.adjoint: Adjoint = differentiate(program)
        super().__init__(program, self.adjoint.phases, way)
        self.kept = sections(program)

    def body(self) -> None:
        text, program, kept = self.text, self.program, self.kept
        self.begin()
        moving = ["kept", "d_output", *(f"stream{i}" for i in range(len(program.streams)))]
        for buffer in moving:
            self.buffer(buffer)
        for i, state in enumerate(program.states):
            self.buffer(f"d_after{i}", moves=False)
            self.load(from_next(state), f"d_after{i}")
            text(f"{text.name(from_next(state, product=True))} = "
                 "tl.zeros([ROWS, UNITS], tl.float32)")  # fmt: skip
            if state in self.wanted:
                self.buffer(f"after{i}", moves=False)
                self.load(state, f"after{i}")
        for name in self.kept.totals:
            text(f"{text.name(f'{name} total')} = tl.zeros([ROWS, UNITS], tl.float32)")
        with text.block(self.head("back")):
            text("s = steps - 1 - back")
            text("active = ((s >= start) & (s < stop))[:, None] & inside")
            later = {previous(state) for state in program.states if state in self.wanted}
            for name in (*kept.saved, *kept.previous):
                if name in self.wanted | later:
                    self.load(name, "kept", kept.of(name))
            self.load("∂y", "d_output")
            for i, stream in enumerate(program.streams):
                if stream in self.wanted:
                    self.load(stream, f"stream{i}")
            text.settle()
            self.step()
            self.pass_on()
            self.advance(moving)
        for i, state in enumerate(program.states):
            self.buffer(f"d_before{i}", moves=False)
            arrived = [text.name(from_next(state, product=p)) for p in (False, True)]
            self.store(" + ".join(arrived), f"d_before{i}")
        if self.kept.totals:
            self.arguments.append("totals")
        for i, name in enumerate(self.kept.totals):
            number = f"((first // ROWS + tl.program_id(0)) * {len(self.kept.totals)} + {i})"
            text(f"tl.store(totals + {number} * SIZE + unit, "
                 f"tl.sum({text.name(f'{name} total')}, axis=0), mask=in_units)")  # fmt: skip

    def pass_on(self) -> None:
        """What the earlier step is left: gradients of its states, and the states themselves."""
        text, states = self.text, self.program.states
        for i, state in enumerate(states):
            own, *product = self.adjoint.carries[state]
            arrived = [text.name(from_next(state, product=p)) for p in (False, True)]
            text(f"left{i} = tl.where(active, {text.tile(own)}, {' + '.join(arrived)})")
            # Where nothing was active zeros were multiplied.
            text(f"product{i} = {text.tile(product[0] if product else 0.0)}")
        # What one state is left may be what another one was.
        for i, state in enumerate(states):
            text(f"{text.name(from_next(state))} = left{i}")
            text(f"{text.name(from_next(state, product=True))} = product{i}")
            if state in self.wanted:
                text(f"{text.name(state)} = {text.name(previous(state))}")

    @property
    def stored(self) -> Iterable[str]:
        return dict.fromkeys((*self.kept.gradients, *self.kept.totals))

    def ready(self, names: Iterable[str]) -> None:
        text = self.text
        for name in names:
            if name in self.kept.gradients:
                text(f"{self.operand(name)} = tl.where(active, {text.name(name)}, 0.0)")
                for section in gradient_sections(self.program, name):
                    self.store(self.operand(name), "kept", section)
            if name in self.operands:
                self.exchange(name)
            if name in self.kept.totals:
                total = text.name(f"{name} total")
                text(f"{total} += tl.where(active, {text.name(name)}, 0.0)")

    def operand(self, name: str) -> str:
        return self.text.name(f"{name} stored")

    def matrix(self, group: int, number: int, depth: str, mask: str) -> str:
        place = f"({number} * SIZE + {depth})[:, None] * SIZE + unit[None, :]"
        return (f"tl.load(weights{group} + {place}, "
                f"mask={mask}[:, None] & in_units[None, :], other=0.0)")  # fmt: skip

    def sums(self, group: Group) -> list[list[tuple[str, int]]]:
        return [[(operand, j) for j, operand in enumerate(group.operands)]]
