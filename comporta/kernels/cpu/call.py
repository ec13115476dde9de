"""One run of a layer: what its plan depends on, its tensors and its memory.

Kernels see the direction of time as the sign of a stride: a reversed layer reads x from its last
step on, and what a kernel writes for itself is in the order of its own steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from comporta.kernels.checks import rows_of
from comporta.kernels.cpu import engine, openmp
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.engine import Products
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.cpu.memory import Held, Lease, fresh
from comporta.kernels.cpu.table import Buffer, Entry, Given, Memory
from comporta.kernels.cpu.threads import Part, split
from comporta.kernels.cpu.work import MEETING, Work
from comporta.kernels.program import Program
from comporta.kernels.schedule import schedule
from comporta.kernels.weights import Names, Weights

# So many bytes of weights must each member of a team have to read in a step, or its meetings show:
# they take several times as long where the members' cores are far from each other. Where each
# thread has rows enough of its own, with more of them a step takes longer and gains less: as
# measured, by their square.
_BYTES_OF_A_MEMBER = 48 << 10
# To start takes a team about as long as it meets in so many steps.
_STEPS_OF_A_START = 3
# Rows are too few where alone the thread with most has so many times as many as in equal shares.
_TOO_FEW = 1.5
# The steps that each row takes part in, the last of the numbers that a pass is given.
BOUNDS = ("starts", "stops")
# So many sizes, and plans for them, are kept.
SIZES = 256


@dataclass(frozen=True, eq=False)
class Sizes:
    """What a run's plan depends on: everything but addresses and numbers.

    There is one object for runs of the same sizes; see `_sizes`.

    Attributes:
        batch, time, depth, hidden: B, T, D, H.
        bits: of a factor of the products.
        x: strides of rows and steps of the input.
        weights: the names of the parameters in each tensor that holds some.
        strides: the strides of these tensors.
        streams: strides of rows and steps of the further inputs.
        training: whether a backward pass will follow.
        reverse: whether time runs from the last step to the first.
        threads: how many torch may use.
    """

    program: Program
    batch: int
    time: int
    depth: int
    hidden: int
    bits: int
    x: tuple[int, int]
    weights: Names
    strides: tuple[tuple[int, ...], ...]
    streams: tuple[tuple[int, int], ...]
    training: bool
    reverse: bool
    threads: int

    @cached_property
    def products(self) -> Products:
        """The matrix products of this number type."""
        return engine.products(self.bits)

    @cached_property
    def real(self) -> Real:
        """The number type."""
        return self.products.real

    @cached_property
    def width(self) -> int:
        """The hidden size padded to whole vectors: the size of a section."""
        return self.padded(self.hidden)

    @cached_property
    def zeros(self) -> Tensor:
        """A row of zeros (H,) that nobody writes to."""
        return fresh((self.hidden,), engine.NUMBERS[self.bits], zeros=True)

    @cached_property
    def batch_major(self) -> bool:
        """Whether the steps of one sequence lie side by side in memory, as they do in x."""
        return self.x[0] >= self.x[1]

    def padded(self, size: int) -> int:
        """A size rounded up to whole vectors."""
        return -(-size // self.real.lanes) * self.real.lanes

    def places_of(self, factors: int) -> int:
        """How many numbers have the place of so many factors of a product."""
        return -(-factors // self.real.factors)

    def memory(self, name: str) -> Memory:
        """Memory to be laid out for these numbers."""
        return Memory(name, self.real.bytes)

    def dense(self, slots: int, columns: int) -> tuple[int, int]:
        """Strides of rows and steps of a dense (B, slots, columns) in the memory order of x."""
        if self.batch_major:
            return slots * columns, columns
        return columns, self.batch * columns

    def sequence(self, memory: Memory, slots: int, columns: int) -> Buffer:
        """Room for a (B, slots, columns) in the memory order of x."""
        return Buffer(memory.take(self.batch, slots, columns), *self.dense(slots, columns))

    def in_order(self, buffer: Buffer, *, halves: bool = False) -> Buffer:
        """A (B, T, ...) tensor of the caller's, from the first step in the order of time."""
        if not self.reverse:
            return buffer
        last = (self.time - 1) * buffer.step * (2 if halves else self.real.bytes)
        return Buffer(buffer.base.after(last), buffer.row, -buffer.step)

    @cached_property
    def at_rest(self) -> list[int]:
        """What `ends` gives for states of 0."""
        return [self.zeros.data_ptr(), 0] * len(self.program.states)

    @cached_property
    def all_steps(self) -> tuple[Tensor, Tensor]:
        """For each row its first step, and the one after its last, where all rows have all."""
        first = fresh((self.batch,), torch.int64, zeros=True)
        return first, first + self.time

    @cached_property
    def names(self) -> list[str]:
        """What each call gives: the addresses of its tensors, and of the states at both ends."""
        streams = [f"stream{i}" for i in range(len(self.streams))]
        ends = [name for pair in (*self.befores, *self.afters) for name in pair]
        return ["x", *self.weight_names, *streams, *ends]

    @cached_property
    def weight_names(self) -> list[str]:
        """The addresses of the weights."""
        return [f"weight {i}" for i in range(len(self.weights))]

    @cached_property
    def gradient_names(self) -> list[str]:
        """What each backward pass gives: the addresses of the weights' gradients."""
        return [f"gradient {i}" for i in range(len(self.weights))]

    @cached_property
    def befores(self) -> list[tuple[str, str]]:
        """The names of the states before the first step, and of the strides of their rows."""
        return _ends(self.program, "before")

    @cached_property
    def afters(self) -> list[tuple[str, str]]:
        """Those of the states after the last step."""
        return _ends(self.program, "after")

    @cached_property
    def places(self) -> dict[str, tuple[Given, tuple[int, ...]]]:
        """For each parameter where it stands, and its strides."""
        found = {}
        for weight, names, strides in zip(
            self.weight_names, self.weights, self.strides, strict=True
        ):
            for above, name in enumerate(names):
                plus = above * self.hidden * strides[0] * self.real.bytes
                found[name] = Given(weight, plus), strides
        return found

    @cached_property
    def gradients(self) -> dict[str, Given]:
        """For each parameter where its gradient will stand, dense."""
        depths = dict(self.program.parameters) | dict(self.program.turned)
        columns = {"D": self.depth, "H": self.hidden}
        found = {}
        for gradient, names in zip(self.gradient_names, self.weights, strict=True):
            for above, name in enumerate(names):
                size = math.prod([columns[letter] for letter in depths[name][1:]])
                plus = above * self.hidden * size * self.real.bytes
                found[name] = Given(gradient, plus)
        return found

    @cached_property
    def team(self) -> int:
        """How many threads share every product; 1 when each runs rows of its own.

        A team pays where rows are too few for the threads, or few rows meet many weights: each
        weight is read once for all rows. It meets after every product, so its threads must be
        there already.
        """
        products = len(self.program.matrices) - len(schedule(self.program).hoisted.matrices)
        bytes_of_weights = products * self.places_of(self.hidden) * self.width * self.real.bytes
        sets = -(-self.batch // ROWS_PER_TOTAL)
        alone = min(self.batch, -(-sets // self.threads) * ROWS_PER_TOTAL)
        needed: float = _BYTES_OF_A_MEMBER
        if alone * self.threads < _TOO_FEW * self.batch:
            needed *= alone * alone
        steps = max(1, self.time)
        needed *= (steps + _STEPS_OF_A_START) / steps
        team = min(self.threads, int(bytes_of_weights / needed))
        return team if team > 1 and openmp.offers(team) else 1

    @cached_property
    def parts(self) -> list[Part]:
        """What each thread runs of the time loop: rows of the batch, or its part in a team."""
        if self.team > 1:
            return [(part, part + 1) for part in range(self.team)]
        products = len(self.program.matrices) * (self.depth + self.hidden) // 2
        work = self.batch * self.time * self.hidden * products
        return split(self.batch, ROWS_PER_TOTAL, work)


class Call:
    """One run of a layer, from its tensors to what the backward pass will need.

    Attributes:
        sizes: what the plans of this run depend on.
        dtype: of the caller's tensors; those here are of numbers that kernels compute with.
        x: the input (B, T, D), or (B, T, D / 2) where pairs of it are the factors of products.
        kept: what the forward kernel leaves for the backward one.
        addresses: of x, the weights and the streams.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: Sequence[Tensor] | None,
        weights: Weights,
        *,
        streams: Sequence[Tensor],
        lengths: Tensor | None,
        reverse: bool,
        training: bool,
    ) -> None:
        self.dtype, shape = x.dtype, x.shape
        bits = engine.factor_bits(x.dtype, shape[2])
        numbers = engine.NUMBERS[bits]
        if x.dtype != numbers:
            x = in_pairs(x) if bits == 16 else x.to(numbers)
            state = None if state is None else [each.to(numbers) for each in state]
            weights = Weights([each.to(numbers) for each in weights.tensors], weights.names)
            streams = [each.to(numbers) for each in streams]
        x = side_by_side(x)
        self.program, self.x, self.weights = program, x, weights
        self.state = None if state is None else tuple(map(side_by_side, state))
        self.lengths = lengths
        self.streams = [side_by_side(stream) for stream in streams]
        self.sizes = _sizes(
            program, bits, shape, x.stride(), weights.names, weights.shapes,
            tuple([tensor.stride() for tensor in weights.tensors]),
            tuple([stream.stride() for stream in self.streams]),
            training, reverse, torch.get_num_threads(),
        )  # fmt: skip
        self.kept: Lease | Held | None = None
        tensors = (x, *weights.tensors, *self.streams)
        self.addresses = [tensor.data_ptr() for tensor in tensors]
        if training:
            # A tensor may get other memory before the backward pass; these are addresses of this.
            self._memory = [tensor.untyped_storage() for tensor in tensors]

    @property
    def narrows(self) -> bool:
        """Whether the caller's numbers are shorter than those that kernels compute with."""
        return self.dtype != self.x.dtype

    def fresh(self, columns: int, dtype: torch.dtype) -> Tensor:
        """A new tensor (B, T, columns) in the memory order of x."""
        batch, time = self.sizes.batch, self.sizes.time
        if self.sizes.batch_major:
            return fresh((batch, time, columns), dtype)
        return fresh((time, batch, columns), dtype).transpose(0, 1)

    @property
    def output_dtype(self) -> torch.dtype:
        """The numbers of the output, and of its gradient."""
        return self.dtype if self.sizes.real.pairs else self.x.dtype

    def run(self, work: Work, before: list[int], after: list[int], numbers: list[int]) -> None:
        """Run what a pass does.

        Args:
            work: its names are `sizes.names`, those of the further numbers, and `BOUNDS`.
            before, after: the `ends` of time.
            numbers: further ones.
        """
        starts, stops = self.sizes.all_steps if self.lengths is None else self._bounds(self.lengths)
        bounds = starts.data_ptr(), stops.data_ptr()
        work.run([*self.addresses, *before, *after, *numbers, *bounds])

    def _bounds(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """For each row the first step it takes part in, and the one after its last."""
        sizes, lengths = self.sizes, lengths.to(torch.int64).contiguous()
        first, last = sizes.all_steps
        return (sizes.time - lengths, last) if sizes.reverse else (first, lengths)


@lru_cache(maxsize=SIZES)
def _sizes(
    program: Program, bits: int, x: tuple[int, ...], x_strides: tuple[int, ...], weights: Names,
    shapes: tuple[tuple[int, ...], ...], strides: tuple[tuple[int, ...], ...],
    streams: tuple[tuple[int, ...], ...], training: bool, reverse: bool, threads: int,
) -> Sizes:  # fmt: skip
    batch, time, depth = x
    return Sizes(
        program=program,
        batch=batch,
        time=time,
        depth=depth,
        hidden=rows_of(program, weights, shapes),
        bits=bits,
        x=(x_strides[0], x_strides[1]),
        weights=weights,
        strides=strides,
        streams=tuple([(row, step) for row, step, _ in streams]),
        training=training,
        reverse=reverse,
        threads=threads,
    )


def ends(sizes: Sizes, tensors: Sequence[Tensor | None] | None) -> list[int]:
    """The addresses and row strides of the states at one end of time; None is 0."""
    if not tensors:
        return sizes.at_rest
    found = []
    for tensor in tensors:
        found += sizes.at_rest[:2] if tensor is None else [tensor.data_ptr(), tensor.stride(0)]
    return found


def _ends(program: Program, name: str) -> list[tuple[str, str]]:
    return [(f"{name}{i}", f"{name}{i} row") for i in range(len(program.states))]


def side_by_side(tensor: Tensor) -> Tensor:
    """The tensor with the numbers of a row side by side in memory."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def in_pairs(x: Tensor) -> Tensor:
    """A tensor of bfloat16, two neighbours of a row in the place of one float32."""
    x = side_by_side(x)
    even = x.storage_offset() % 2 == 0 and all(stride % 2 == 0 for stride in x.stride()[:-1])
    return (x if even else x.clone(memory_format=torch.contiguous_format)).view(torch.float32)


class Fields:
    """The fields of a kernel's table, by name."""

    def __init__(self, sizes: Sizes) -> None:
        self.values: dict[str, Entry] = {
            "team": sizes.team, "rows": sizes.batch, "steps": sizes.time, "chunk": sizes.time,
            "size": sizes.hidden, "width": sizes.width, "parity": 0,
            "depth": sizes.places_of(sizes.depth),
        }  # fmt: skip
        self.values |= {name: Given(name) for name in BOUNDS} | {"meeting": MEETING}
        for base, row in (*sizes.befores, *sizes.afters):
            self.values[f"{base}.base"], self.values[f"{base}.row"] = Given(base), Given(row)

    def pairs(self, sizes: Sizes, memory: Memory, factors: int) -> None:
        """Room for an operand of products, rows of at most so many factors, in pairs."""
        if sizes.real.pairs:
            rows = sizes.batch * sizes.team
            self.place("pairs", memory.rows((rows, sizes.places_of(factors))))

    def streams(self, sizes: Sizes) -> None:
        """Where the further inputs stand."""
        for i, (row, step) in enumerate(sizes.streams):
            self.place(f"stream{i}", sizes.in_order(Buffer(Given(f"stream{i}"), row, step)))

    def place(self, name: str, buffer: Buffer) -> None:
        """Where a buffer stands."""
        self.values |= {
            f"{name}.base": buffer.base, f"{name}.row": buffer.row, f"{name}.time": buffer.step,
        }  # fmt: skip

    def packed(self, name: str, matrix: Given) -> None:
        """Where the packed matrix of a group of products stands."""
        self.values[f"{name}.packed"] = matrix
