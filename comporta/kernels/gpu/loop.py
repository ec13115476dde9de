"""The time loop of a layer in Triton, written once for every cell, forward and backward.

A program of the grid runs all steps of some rows of the batch and of some hidden units. All that a
step computes stays in its registers, states too. There are three ways of making a product:

whole     the program has all hidden units: operand and matrices stay where they are
held      several programs share the units: each stores its part of the operand, they meet, each
          loads all of it, and multiplies it with the columns of the matrices that it holds
streamed  the same for larger matrices, of which each loads its columns again every step

Time is the sign of a stride: a kernel is given the first step that it is to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from comporta.kernels.gpu.printer import Printer
from comporta.kernels.gpu.text import HEADER, Text
from comporta.kernels.program import Operand, Program
from comporta.kernels.schedule import Group, Phase

Way = Literal["whole", "held", "streamed"]
# Or Triton would compile anew for sizes that are 1, or multiples of 16.
DECORATOR = '@triton.jit(do_not_specialize=["first", "rows", "steps"])'
CONSTANTS = ("SIZE", "ROWS", "UNITS", "SLICES", "PARTS", "DEPTH", "DOT", "PRECISION")


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel as text.

    Attributes:
        text: a module with the kernel `loop`.
        arguments: what it is called with, in order; `CONSTANTS` follow.
        exchanged: the values that programs exchange, for products or from chunk to chunk.
        means: the means over hidden units that programs exchange.
    """

    text: str
    arguments: tuple[str, ...]
    exchanged: tuple[str, ...]
    means: tuple[str, ...]


def kernel(arguments: Sequence[str], body: Text) -> str:
    """A module with the kernel `loop`."""
    constants = ", ".join(f"{name}: tl.constexpr" for name in CONSTANTS)
    head = f"def loop(\n    {', '.join(arguments)},\n    {constants},\n):"
    return "\n".join([HEADER, "", DECORATOR, head, *body.lines, ""])


class Loop(Printer):
    """What both directions of the loop have."""

    def __init__(self, program: Program, phases: Sequence[Phase], way: Way) -> None:
        super().__init__(program)
        self.phases, self.way, self.shared = phases, way, way != "whole"
        self.groups = [group for phase in phases for group in phase.groups]
        operands = [operand for group in self.groups for operand in group.operands]
        self.operands = tuple(dict.fromkeys(operands))
        self.means = tuple(s.name for phase in phases for s in phase.means)
        wanted = [*operands, *(o for phase in phases for s in phase.block for o in s.operands)]
        self.wanted = frozenset(wanted)

    def print(self) -> Source:
        """The whole kernel."""
        self.body()
        names = [*self.arguments, "starts", "stops"]
        if self.shared:
            names += ["exchange", "exchange_step", "partials", "partials_step", "meetings"]
        names += ["first", "rows", "steps"]
        return Source(kernel(names, self.text), tuple(names), self.operands, self.means)

    def head(self, counter: str) -> str:
        """The head of the loop over steps, of which nothing may be moved ahead of a meeting."""
        return f"for {counter} in tl.range(0, steps, num_stages=1):"

    # Tiles in memory.

    def begin(self) -> None:
        """Which rows and units are this program's."""
        text = self.text
        text("row = first + tl.program_id(0) * ROWS + tl.arange(0, ROWS)")
        text("unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)")
        text("in_rows = row < rows")
        text("in_units = unit < SIZE")
        text("inside = in_rows[:, None] & in_units[None, :]")
        text("row = row.to(tl.int64)")
        text("start = tl.load(starts + row, mask=in_rows, other=0)")
        text("stop = tl.load(stops + row, mask=in_rows, other=0)")
        self.vectors()
        if self.way == "held":
            text("deep = tl.arange(0, DEPTH)")
            text("is_deep = deep < SIZE")
        for i, group in enumerate(self.groups):
            self.arguments.append(f"weights{i}")
            if self.way != "streamed":
                depth = ("deep", "is_deep") if self.way == "held" else ("unit", "in_units")
                for j in range(len(group.matrices)):
                    text(f"matrix{i}_{j} = {self.matrix(i, j, *depth)}.to(DOT)")
        if self.shared:
            text("meeting = meetings + first // ROWS + tl.program_id(0)")
            text("everybody = 0")
            text("here = exchange")
            text("there = exchange + exchange_step")
            text("parts = tl.arange(0, PARTS)")
            text("parts_here = partials")
            text("parts_there = partials + partials_step")

    def buffer(self, name: str, *, moves: bool = True) -> None:
        """A buffer of the caller's, with rows, and steps if the loop moves along them."""
        self.arguments += [name, f"{name}_row", *([f"{name}_time"] if moves else [])]
        self.text(f"{name}_tile = row[:, None] * {name}_row + unit[None, :]")

    def address(self, buffer: str, section: int) -> str:
        return f"{buffer} + {buffer}_tile + {section} * SIZE"

    def advance(self, buffers: Iterable[str]) -> None:
        """To the next step."""
        for buffer in buffers:
            self.text(f"{buffer} += {buffer}_time")
        if self.shared:
            # A program is at most one step ahead of another: two slots are enough.
            self.text("here, there = there, here")
            self.text("parts_here, parts_there = parts_there, parts_here")

    # The phases of a step.

    def step(self) -> None:
        """All phases."""
        made = {s.name for phase in self.phases for s in phase.block}
        made |= {result for group in self.groups for result in group.results}
        self.ready([name for name in self.stored if name not in made])
        number = 0
        for k, phase in enumerate(self.phases):
            if k > 0 and self.shared:
                self.text("everybody += SLICES")
                self.text("meet(meeting, everybody)")
                for s in self.phases[k - 1].means:
                    self.gather(s.name)
                    self.ready([s.name])
            for group in phase.groups:
                self.product(number, group)
                self.ready(group.results)
                number += 1
            for s in phase.statements:
                self.text.statement(s)
                self.ready([s.name])
            for s in phase.means:
                self.mean(s.name, s.args[0])

    def operand(self, name: str) -> str:
        """A value that a product multiplies, as a whole tile."""
        return f"tl.broadcast_to({self.text.name(name)}, [ROWS, UNITS])"

    def exchange(self, name: str, slot: str = "here") -> None:
        """Let the other programs have this one's units of a value that a product multiplies."""
        if self.shared:
            section = self.operands.index(name)
            place = f"{slot} + ({section} * rows + row)[:, None] * SIZE + unit[None, :]"
            value = f"{self.operand(name)}.to({slot}.dtype.element_ty)"
            self.text(f"tl.store({place}, {value}, mask=inside)")

    def mean(self, name: str, of: Operand) -> None:
        """The mean over all units, or this program's part of it."""
        total = f"tl.sum(tl.where(inside, {self.text.tile(of)}, 0.0), axis=1)"
        if not self.shared:
            self.text(f"{self.text.name(name)} = {total}[:, None] / SIZE")
            self.ready([name])
            return
        place = f"({self.means.index(name)} * SLICES + tl.program_id(1)) * rows + row"
        self.text(f"tl.store(parts_here + {place}, {total}, mask=in_rows)")

    def gather(self, name: str) -> None:
        """The mean from the parts of all programs."""
        place = f"({self.means.index(name)} * SLICES + parts)[None, :] * rows + row[:, None]"
        self.text(f"means = tl.load(parts_here + {place}, "
                  "mask=in_rows[:, None] & (parts < SLICES)[None, :], other=0.0, "
                  'cache_modifier=".cg")')  # fmt: skip
        self.text(f"{self.text.name(name)} = tl.sum(means, axis=1)[:, None] / SIZE")

    # Products.

    def matrix(self, group: int, number: int, depth: str, mask: str) -> str:
        """A tile of a matrix, (depth, units)."""
        raise NotImplementedError

    def sums(self, group: Group) -> list[list[tuple[str, int]]]:
        """For each result of a group the operands it is a sum over, with their matrices."""
        raise NotImplementedError

    def product(self, number: int, group: Group) -> None:
        """The products of a group."""
        text, settings = self.text, "input_precision=PRECISION, out_dtype=tl.float32"
        sums = list(zip(group.results, self.sums(group), strict=True))
        if self.way != "streamed":
            for operand in group.operands:
                self.take(number, operand)
            for result, terms in sums:
                parts = [f"tl.dot({self.taken(o)}, matrix{number}_{j}, {settings})"
                         for o, j in terms]  # fmt: skip
                text(f"{text.name(result)} = {' + '.join(parts)}")
            return
        for result in group.results:
            text(f"{text.name(result)} = tl.zeros([ROWS, UNITS], tl.float32)")
        with text.block("for begin in tl.range(0, SIZE, DEPTH):"):
            text("deep = begin + tl.arange(0, DEPTH)")
            text("is_deep = deep < SIZE")
            for operand in group.operands:
                self.take(number, operand)
            for result, terms in sums:
                total = text.name(result)
                for operand, j in terms:
                    text(f"matrix = {self.matrix(number, j, 'deep', 'is_deep')}.to(DOT)")
                    text(f"{total} = tl.dot({self.taken(operand)}, matrix, {total}, {settings})")

    def taken(self, operand: str) -> str:
        """The name of what a product multiplies, in the numbers of the matrices."""
        return self.text.name(f"{operand} operand")

    def take(self, number: int, operand: str) -> None:
        """What a product multiplies, or as much of it as is multiplied at once."""
        text, target = self.text, self.taken(operand)
        if not self.shared:
            text(f"{target} = tl.where(inside, {self.operand(operand)}, 0.0)")
            text(f"{target} = {target}.to(weights{number}.dtype.element_ty).to(DOT)")
            return
        place = f"({self.operands.index(operand)} * rows + row)[:, None] * SIZE + deep[None, :]"
        text(f"{target} = tl.load(here + {place}, mask=in_rows[:, None] & is_deep[None, :], "
             'other=0.0, cache_modifier=".cg").to(DOT)')  # fmt: skip
