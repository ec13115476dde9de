"""One run of a layer: its sizes, its memory, and the table of fields its kernels read.

Kernels see the direction of time as the sign of a stride: a reversed layer reads x from its last
step on, and what a kernel writes for itself is in the order of its own steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from comporta.kernels.cpu import engine, threads
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.cpu.memory import Lease
from comporta.kernels.program import Program


@dataclass(slots=True)
class Call:
    """One run of a layer, from its tensors to what the backward pass will need.

    Attributes:
        states: the states of all steps, (B, T + 1, ...), or of the last one where none is kept.
        kept: what the forward kernel keeps for the backward one, (B, T, ...).
        spent: whether the backward kernel has written over `kept`.
    """

    program: Program
    x: Tensor
    state: tuple[Tensor, ...]
    weights: Mapping[str, Tensor]
    lengths: Tensor | None
    reverse: bool
    training: bool
    lease: Lease = field(default_factory=Lease)
    states: Tensor | None = None
    kept: Tensor | None = None
    spent: bool = False

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, D, H."""
        batch, time, depth = self.x.shape
        return batch, time, depth, self.state[0].shape[1]

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return engine.BITS[self.x.dtype]

    @property
    def products(self) -> engine.Products:
        """The matrix products of this number type."""
        return engine.products(self.bits)

    @property
    def width(self) -> int:
        """The hidden size padded to whole vectors: the size of a section."""
        return self.padded(self.sizes[3])

    @property
    def batch_major(self) -> bool:
        """Whether the steps of one sequence lie side by side in memory, as they do in x."""
        return self.x.stride(0) >= self.x.stride(1)

    def padded(self, size: int) -> int:
        """A size rounded up to whole vectors."""
        lanes = self.products.real.lanes
        return -(-size // lanes) * lanes

    def take(self, *shape: int) -> Tensor:
        """A buffer that goes back when the call is forgotten; its content is arbitrary."""
        return self.lease.take(shape, self.x.dtype)

    def sequence(self, slots: int, columns: int, *, fresh: bool = False) -> Tensor:
        """A buffer (B, slots, columns) in the memory order of x; a fresh one may be given away."""
        batch = self.x.shape[0]
        shape = (batch, slots, columns) if self.batch_major else (slots, batch, columns)
        buffer = self.x.new_empty(shape) if fresh else self.take(*shape)
        return buffer if self.batch_major else buffer.transpose(0, 1)

    def in_order(self, sequence: Tensor) -> tuple[int, int, int]:
        """(address of the first step, row stride, step stride) of a (B, T, ...) tensor of time."""
        if not self.reverse:
            return sequence.data_ptr(), sequence.stride(0), sequence.stride(1)
        last = (sequence.shape[1] - 1) * sequence.stride(1) * sequence.element_size()
        return sequence.data_ptr() + last, sequence.stride(0), -sequence.stride(1)

    def row_parts(self) -> list[tuple[int, int]]:
        """The rows of the batch that each thread runs."""
        batch, time, depth, hidden = self.sizes
        work = batch * time * hidden * len(self.program.matrices) * (depth + hidden) // 2
        return threads.split(batch, ROWS_PER_TOTAL, work)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """For each row the first step it takes part in, and the one after its last."""
        batch, time = self.x.shape[:2]
        first = torch.zeros(batch, dtype=torch.int64)
        last = torch.full((batch,), time, dtype=torch.int64)
        if self.lengths is None:
            return first, last
        lengths = self.lengths.to(torch.int64).contiguous()
        return (time - lengths, last) if self.reverse else (first, lengths)

    def vectors(self) -> Tensor:
        """The vector parameters, a padded row each."""
        names, hidden = self.program.vectors, self.sizes[3]
        stacked = self.take(len(names), self.width)
        if self.width != hidden:
            stacked.zero_()
        if names:
            torch.stack([self.weights[name] for name in names], out=stacked[:, :hidden])
        return stacked


class Fields:
    """Collects the numbers of a kernel's table; holds on to the tensors they point into."""

    def __init__(self, call: Call) -> None:
        _, time, depth, hidden = call.sizes
        starts, stops = call.bounds()
        self.values = {
            "steps": time, "chunk": time, "size": hidden, "width": call.width, "depth": depth,
            "starts": starts.data_ptr(), "stops": stops.data_ptr(), "input.packed": 0,
        }  # fmt: skip
        self.held = [starts, stops]

    def place(self, name: str, base: int, row: int, time: int) -> None:
        """Where a buffer stands: its address and the strides of its rows and steps."""
        self.values |= {f"{name}.base": base, f"{name}.row": row, f"{name}.time": time}

    def sequence(self, name: str, buffer: Tensor) -> None:
        """A buffer (B, slots, columns)."""
        self.place(name, buffer.data_ptr(), buffer.stride(0), buffer.stride(1))

    def rows(self, name: str, buffer: Tensor) -> None:
        """A buffer (B, columns) that every step uses again."""
        self.place(name, buffer.data_ptr(), buffer.stride(0), 0)

    def packed(self, name: str, matrix: Tensor) -> None:
        """A packed matrix of a group of products."""
        self.values[f"{name}.packed"] = matrix.data_ptr()
        self.held.append(matrix)
