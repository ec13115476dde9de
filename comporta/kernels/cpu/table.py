"""Tables of 64-bit numbers, which compiled functions read, and memory laid out in advance.

Of all numbers of a layer's run only a few differ from call to call: addresses, mostly. A table is
laid out once for all calls of the same sizes, and filled for each.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from comporta.kernels.cpu import threads
from comporta.kernels.cpu.machine import Code
from comporta.kernels.cpu.threads import Part

_SIZE = ctypes.c_int64
# Buffers begin where a line of the cache does.
LINE_BYTES = 64


class Given(NamedTuple):
    """A number that each call gives by name, an address as a rule, and what is added to it."""

    name: str
    plus: int = 0

    def after(self, count: int) -> Given:
        """The address `count` bytes further on."""
        return Given(self.name, self.plus + count)


Entry = int | Given


class Table:
    """A table in which some numbers are still to be given.

    >>> list(Table([7, Given("x", 8)]).fill({"x": 100}))
    [7, 108]
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self._kind: Any = _SIZE * len(entries)
        self._fixed = self._kind(*[0 if isinstance(e, Given) else e for e in entries])
        self._given = [(i, *e) for i, e in enumerate(entries) if isinstance(e, Given)]

    def places(self, name: str) -> list[int]:
        """Where that given number stands as it is.

        >>> Table([7, Given("x"), Given("x", 8)]).places("x")
        [1]
        """
        return [i for i, given, plus in self._given if given == name and not plus]

    def fill(self, given: Mapping[str, int]) -> Any:
        """The numbers of one call, as an array of C."""
        numbers = self._kind.from_buffer_copy(self._fixed)
        for i, name, plus in self._given:
            numbers[i] = given[name] + plus
        return numbers


class Task(NamedTuple):
    """A compiled function, its table, and what each thread runs of it."""

    code: Code
    table: Table
    parts: list[Part]

    def run(self, given: Mapping[str, int]) -> None:
        """Run it on the numbers of one call."""
        if self.parts:
            threads.run(self.code, self.table.fill(given), self.parts)


class Jobs:
    """Calls of one compiled function, collected into a task."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._jobs: list[tuple[int, tuple[Entry, ...]]] = []

    def add(self, *entries: Entry, work: int) -> None:
        """One call; `work` is its number of multiply-adds, or what takes as long."""
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
        table = Table(entry for share in shares for job in share for entry in job)
        return Task(self._code, table, parts if first else [])


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
