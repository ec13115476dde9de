"""One run of a layer: its sizes, its memory, and the table of fields its kernels read.

Kernels see the direction of time as the sign of a stride: a reversed layer reads x from its last
step on, and what a kernel writes for itself is in the order of its own steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from comporta.kernels.cpu import engine, threads
from comporta.kernels.cpu.loop import ROWS_PER_TOTAL
from comporta.kernels.cpu.memory import Lease
from comporta.kernels.program import Program
from comporta.kernels.schedule import schedule

# A team is worth its meetings where no core could keep the weights near, and for few rows a thread.
_WEIGHTS_OF_A_TEAM = 4 << 20
_ROWS_OF_A_TEAM = 8


class Call:
    """One run of a layer, from its tensors to what the backward pass will need.

    Attributes:
        batch, time, depth, hidden: B, T, D, H.
        width: the hidden size padded to whole vectors: the size of a section.
        batch_major: whether the steps of one sequence lie side by side in memory, as they do in x.
        products: the matrix products of this number type.
        states: the states of all steps, (B, T + 1, ...), or of the last one where none is kept.
        kept: what the forward kernel keeps for the backward one, (B, T, ...).
        vectors: the vector parameters, a padded row each.
        spent: whether the backward kernel has written over `kept`.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: tuple[Tensor, ...],
        weights: Mapping[str, Tensor],
        *,
        lengths: Tensor | None,
        reverse: bool,
        training: bool,
    ) -> None:
        self.program, self.x, self.state, self.weights = program, x, state, weights
        self.lengths, self.reverse, self.training = lengths, reverse, training
        self.batch, self.time, self.depth = x.shape
        self.hidden = state[0].shape[1]
        self.bits = engine.BITS[x.dtype]
        self.products = engine.products(self.bits)
        self.lanes = self.products.real.lanes
        self.width = self.padded(self.hidden)
        self.batch_major = x.stride(0) >= x.stride(1)
        self.states: Tensor | None = None
        self.kept: Tensor | None = None
        self.vectors: Tensor | None = None
        self.spent = False
        self._lease = Lease(x.dtype)

    def padded(self, size: int) -> int:
        """A size rounded up to whole vectors."""
        return -(-size // self.lanes) * self.lanes

    def take(self, *shape: int) -> Tensor:
        """A buffer that goes back when the call is forgotten; its content is arbitrary."""
        return self._lease.take(shape)

    def sequence(self, slots: int, columns: int, *, fresh: bool = False) -> Tensor:
        """A buffer (B, slots, columns) in the memory order of x; a fresh one may be given away."""
        rows = self.batch
        shape = (rows, slots, columns) if self.batch_major else (slots, rows, columns)
        buffer = self.x.new_empty(shape) if fresh else self.take(*shape)
        return buffer if self.batch_major else buffer.transpose(0, 1)

    def in_order(self, sequence: Tensor) -> tuple[int, int, int]:
        """(address of the first step, row stride, step stride) of a (B, T, ...) tensor of time."""
        if not self.reverse:
            return sequence.data_ptr(), sequence.stride(0), sequence.stride(1)
        last = (sequence.shape[1] - 1) * sequence.stride(1) * sequence.element_size()
        return sequence.data_ptr() + last, sequence.stride(0), -sequence.stride(1)

    def team(self) -> int:
        """How many threads share every product; 1 when each runs rows of its own.

        A team pays where few rows meet many weights: it reads every weight once for all rows.
        """
        threads_at_hand = torch.get_num_threads()
        products = len(self.program.matrices) - len(schedule(self.program).hoisted.matrices)
        bytes_of_weights = products * self.hidden * self.width * self.bits // 8
        few_rows = self.batch <= _ROWS_OF_A_TEAM * threads_at_hand
        return threads_at_hand if bytes_of_weights >= _WEIGHTS_OF_A_TEAM and few_rows else 1

    def parts(self) -> list[tuple[int, int]]:
        """What each thread runs: rows of the batch, or its part in a team."""
        team = self.team()
        if team > 1:
            return [(part, part + 1) for part in range(team)]
        products = len(self.program.matrices) * (self.depth + self.hidden) // 2
        work = self.batch * self.time * self.hidden * products
        return threads.split(self.batch, ROWS_PER_TOTAL, work)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """For each row the first step it takes part in, and the one after its last."""
        first = torch.zeros(self.batch, dtype=torch.int64)
        last = torch.full((self.batch,), self.time)
        if self.lengths is None:
            return first, last
        lengths = self.lengths.to(torch.int64).contiguous()
        return (self.time - lengths, last) if self.reverse else (first, lengths)


class Fields:
    """Collects the numbers of a kernel's table; holds on to the tensors they point into."""

    def __init__(self, call: Call) -> None:
        starts, stops = call.bounds()
        self.values = {
            "team": call.team(), "rows": call.batch, "steps": call.time, "chunk": call.time,
            "size": call.hidden, "width": call.width, "depth": call.depth,
            "starts": starts.data_ptr(), "stops": stops.data_ptr(), "input.packed": 0,
        }  # fmt: skip
        meeting = torch.zeros(1, dtype=torch.int64)
        self.values["meeting"] = meeting.data_ptr()
        self.held = [starts, stops, meeting]

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
