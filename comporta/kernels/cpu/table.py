"""Tables of 64-bit numbers, which compiled functions read, and memory laid out in advance.

Of all numbers of a layer's run only a few differ from call to call: addresses, mostly. A table is
laid out once for all calls of the same sizes; see `work` for how it is filled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from comporta.kernels.cpu import threads
from comporta.kernels.cpu.threads import Part

# Buffers begin where a line of the cache does.
LINE_BYTES = 64


class Given(NamedTuple):
    """A number that each call gives by name, an address as a rule, and what is added to it."""

    name: str
    plus: int = 0

    def after(self, count: int) -> Given:
        """The address `count` bytes further on."""
        return Given(self.name, self.plus + count)


class Listed(NamedTuple):
    """The address of a list of numbers."""

    numbers: tuple[Entry, ...]


Entry = int | Given | Listed


class Task(NamedTuple):
    """A compiled function, the table it reads, and what each thread runs of it.

    Attributes:
        function: its address; it takes the address of its table, a first and a last index.
    """

    function: int
    entries: tuple[Entry, ...]
    parts: list[Part]


class Jobs:
    """Calls of one compiled function, collected into a task.

    Args:
        function: its address.
        width: how many numbers of the table it reads for each call.
    """

    def __init__(self, function: int, width: int) -> None:
        self._function, self._width = function, width
        self._jobs: list[tuple[int, tuple[Entry, ...]]] = []

    def add(self, *entries: Entry, work: int) -> None:
        """One call; `work` is its number of multiply-adds, or what takes as long."""
        # With one number too few every later call would read its numbers from wrong places.
        assert len(entries) == self._width, f"{len(entries)} numbers for {self._width}"
        self._jobs.append((work, entries))

    def task(self) -> Task:
        """All calls, shared out so that every thread has about as much to do."""
        total = sum(work for work, _ in self._jobs)
        worth = min(torch.get_num_threads(), total // threads.WORTH_A_THREAD, len(self._jobs))
        shares: list[list[tuple[Entry, ...]]] = [[] for _ in range(max(1, worth))]
        loads = [0] * len(shares)
        for work, entries in sorted(self._jobs, key=lambda job: -job[0]):
            least = loads.index(min(loads))
            shares[least].append(entries)
            loads[least] += work
        parts, first = [], 0
        for share in shares:
            parts.append((first, first + len(share)))
            first += len(share)
        entries = tuple([entry for share in shares for job in share for entry in job])
        return Task(self._function, entries, parts if first else [])


class Buffer(NamedTuple):
    """Where a buffer (B, steps, columns) stands: its first address, strides of rows and steps."""

    base: Given
    row: int
    step: int


class Memory:
    """Buffers laid out one behind the other in memory that each call gives under one name."""

    def __init__(self, name: str, number_bytes: int) -> None:
        self.bytes = 0
        self._name, self._number_bytes = name, number_bytes

    def take(self, *shape: int) -> Given:
        """Room for so many numbers."""
        place = Given(self._name, self.bytes)
        size = math.prod(shape) * self._number_bytes
        self.bytes += -(-size // LINE_BYTES) * LINE_BYTES
        return place

    def rows(self, shape: Sequence[int]) -> Buffer:
        """A buffer (B, columns) that every step uses again."""
        return Buffer(self.take(*shape), shape[1], 0)
