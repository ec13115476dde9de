"""Work: compiled functions run one after another, in one call from Python.

What Python does besides calling would take longer than a short sequence does in the kernels.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from llvmlite import ir

from comporta.kernels.cpu import machine, openmp, threads
from comporta.kernels.cpu.emit import I32, I64, POINTER, VOID, Emitter
from comporta.kernels.cpu.loop import ARGUMENTS
from comporta.kernels.cpu.table import Entry, Given, Listed, Task

_SIZE = ctypes.c_int64
_WORK, _REGION = "comporta_work", "comporta_region"
# What a call of the driver holds before the numbers given, the first of which is the room.
_CALL = ("code", "fork")
# What the code of a piece of work holds before its relocations and tasks.
_HEAD = ("relocations", "tasks", "region")
_RELOCATION = ("place", "slot", "plus")
_TASK = ("function", "table", "region", "parts", "first", "last")
# The memory of a call; where it begins, a team counts who has come to its meetings.
ROOM = "room"
MEETING = Given(ROOM)


class Work:
    """Tasks in their order, and the numbers that a call gives them.

    Args:
        tasks: those without parts are left out.
        names: of the numbers given, in their order.
    """

    def __init__(self, tasks: Sequence[Task], names: Sequence[str]) -> None:
        tasks = [task for task in tasks if task.parts]
        self._layout = _Layout(tasks, names)
        self._most = max((len(task.parts) for task in tasks), default=0)
        self._template = (_SIZE * len(self._layout.numbers))(*self._layout.numbers)
        self._room: Any = type(self._template)
        self._call = struct.Struct(f"{len(_CALL) + len(self._layout.names)}q")
        code = self._layout.code()
        self._code = (_SIZE * len(code))(*code)
        self._code_address = ctypes.addressof(self._code)

    @property
    def parts(self) -> list[int]:
        """Into how many parts each task is cut."""
        return [len(task.parts) for task in self._layout.tasks]

    def run(self, numbers: Sequence[int]) -> None:
        """Run it on the numbers of one call, in the order of their names."""
        room = self._room.from_buffer_copy(self._template)
        fork, address = threads.fork(self._most), ctypes.addressof(room)
        # Only read: bytes do, and are made faster than an array.
        _driver()(self._call.pack(self._code_address, fork, address, *numbers))

    def bind(self, numbers: Sequence[int]) -> Bound:
        """The work with the numbers of a call that is made again and again."""
        return Bound(self, numbers)


class Bound:
    """Work and its numbers.

    Attributes:
        numbers: what each run gives, in the order of `slot`.
        run: runs it, as long as this object is there.
    """

    def __init__(self, work: Work, numbers: Sequence[int]) -> None:
        self._work = work
        self._room = work._room.from_buffer_copy(work._template)
        head = work._code_address, 0, ctypes.addressof(self._room)
        self.numbers = (_SIZE * (len(head) + len(numbers)))(*head, *numbers)
        # Nearest to the machine: nothing of Python is between this and the kernel.
        alone = partial(_driver(), ctypes.addressof(self.numbers))
        self.run: Callable[[], object] = alone if work._most <= 1 else self._together

    def _together(self) -> None:
        self.numbers[1] = threads.fork(self._work._most)
        _driver()(ctypes.addressof(self.numbers))

    def slot(self, name: str) -> int:
        """Where that number stands among those given."""
        return len(_CALL) + self._work._layout.names.index(name)


class _Layout:
    """The numbers of all tables one behind the other, and where given ones go.

    Attributes:
        numbers: with 0 for those that are given.
        names: of the numbers given, the room first.
    """

    def __init__(self, tasks: Sequence[Task], names: Sequence[str]) -> None:
        self.tasks = tasks
        self.numbers: list[int] = [0]
        self.names = [ROOM, *names]
        self._relocations: list[int] = []
        self._lines: list[int] = []
        for task in tasks:
            table = self._place(task.entries)
            bounds = [bound for part in task.parts for bound in part]
            head = (task.function, Given(ROOM, table * ctypes.sizeof(_SIZE)), len(task.parts))
            region = self._place((*head, *openmp.queries(), *bounds))
            self._lines += [task.function, table, region, len(task.parts), *task.parts[0]]

    def code(self) -> list[int]:
        """What the compiled driver reads."""
        relocations = len(self._relocations) // len(_RELOCATION)
        return [relocations, len(self.tasks), _compiled()[_REGION], *self._relocations,
                *self._lines]  # fmt: skip

    def _place(self, entries: Sequence[Entry]) -> int:
        """Lay out a table; returns its place."""
        lists = {
            entry: self._place(entry.numbers) for entry in entries if isinstance(entry, Listed)
        }
        start = len(self.numbers)
        for place, entry in enumerate(entries, start):
            if isinstance(entry, Listed):
                entry = Given(ROOM, lists[entry] * ctypes.sizeof(_SIZE))
            if isinstance(entry, Given):
                self._relocations += [place, self.names.index(entry.name), entry.plus]
                entry = 0
            self.numbers.append(entry)
        return start


@cache
def _driver() -> Any:
    """The compiled function that runs a piece of work, without the interpreter's lock."""
    # One plain number is what ctypes passes fastest.
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_compiled()[_WORK])


@cache
def _compiled() -> dict[str, int]:
    return machine.load("work", _build, [_WORK, _REGION])


def _build() -> ir.Module:
    module = ir.Module("work")
    _work(module)
    _region(module)
    return module


def _work(module: ir.Module) -> None:
    """work(call): fill the tables in the room, and run the tasks."""
    e = Emitter(module, _WORK, machine.real(32), [POINTER])
    (call,) = e.arguments
    code, fork = (e.entry(call, e.number(i), POINTER) for i in range(len(_CALL)))
    given = e.entry_place(call, e.number(len(_CALL)))
    room = e.entry(given, e.number(0), POINTER)
    counts = [e.entry(code, e.number(i)) for i in range(2)]
    region = e.entry(code, e.number(2), POINTER)
    e.builder.store(e.number(0), room)
    with e.loop(e.number(0), counts[0]) as i:
        line = e.add(e.mul(i, len(_RELOCATION)), len(_HEAD))
        place, slot, plus = (e.entry(code, e.add(line, k)) for k in range(len(_RELOCATION)))
        e.builder.store(e.add(e.entry(given, slot), plus), e.entry_place(room, place))
    tasks = e.add(e.mul(counts[0], len(_RELOCATION)), len(_HEAD))
    with e.loop(e.number(0), counts[1]) as i:
        line = e.add(tasks, e.mul(i, len(_TASK)))
        function = e.entry(code, line, POINTER)
        table, data, parts, first, last = (
            e.entry(code, e.add(line, k)) for k in range(1, len(_TASK))
        )
        with e.builder.if_else(e.equal(parts, 1)) as (alone, shared):
            with alone:
                kind = ir.FunctionType(VOID, ARGUMENTS)
                e.call_at(function, kind, [e.entry_place(room, table), first, last])
            with shared:
                kind = ir.FunctionType(VOID, [POINTER, POINTER, I32, I32])
                count = e.builder.trunc(parts, I32)
                e.call_at(
                    fork, kind, [region, e.entry_place(room, data), count, ir.Constant(I32, 0)]
                )
    e.finish()


def _region(module: ir.Module) -> None:
    """region(data): thread i of n calls the function for the parts i, i + n, i + 2 n, ..."""
    e = Emitter(module, _REGION, machine.real(32), [POINTER])
    (data,) = e.arguments
    function, table = (e.entry(data, e.number(i), POINTER) for i in range(2))
    parts = e.entry(data, e.number(2))
    query = ir.FunctionType(I32, [])
    mine, count = (
        e.builder.sext(e.call_at(e.entry(data, e.number(i), POINTER), query, []), I64)
        for i in (3, 4)
    )
    with e.loop(mine, parts, count) as part:
        place = e.add(e.mul(part, 2), threads.HEAD)
        bounds = [e.entry(data, place), e.entry(data, e.add(place, 1))]
        e.call_at(function, ir.FunctionType(VOID, ARGUMENTS), [table, *bounds])
    e.finish()
