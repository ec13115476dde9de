"""Triton's interpreter with all programs of a grid running at the same time.

As it is, it runs one program to its end and then the next; programs that wait for each other would
wait for ever. Here each has a thread, one of them runs at a time, and at every atomic operation
another one is drawn to go on. A result that depends on who is first shows.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from triton.runtime import interpreter

_TURNS = 1_000_000


class _Crowd:
    """The programs of a grid, in the place of the function that is one of them."""

    def __init__(self, program: Callable[..., None], grid: tuple[int, ...], seed: int) -> None:
        self.program = program
        # What the interpreter looks at.
        functools.update_wrapper(self, program)
        self.__globals__ = program.__globals__
        self.__signature__ = inspect.signature(program)
        self.dimensions = (*grid, 1, 1)[:3]
        self.places = list(itertools.product(*map(range, self.dimensions)))
        self.running = list(range(len(self.places)))
        self.random = random.Random(seed)
        self.turns, self.now = 0, 0
        self.changed = threading.Condition()
        self.failure: BaseException | None = None

    def __call__(self, **arguments: Any) -> None:
        interpreter.interpreter_builder.set_grid_dim(*self.dimensions)
        self.now = self.random.choice(self.running)
        crowd = [
            threading.Thread(target=self.one, args=(number, arguments))
            for number in range(len(self.places))
        ]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def one(self, number: int, arguments: dict[str, Any]) -> None:
        _mine.number = number
        with self.changed:
            try:
                self.wait()
                self.program(**arguments)
            except BaseException as failure:
                self.failure = self.failure or failure
            self.running.remove(number)
            if self.running:
                self.now = self.random.choice(self.running)
            self.changed.notify_all()

    def wait(self) -> None:
        """Until it is this program's turn."""
        while self.now != _mine.number:
            self.changed.wait()
        if self.failure is not None:
            raise RuntimeError("another program failed")
        interpreter.interpreter_builder.set_grid_idx(*self.places[_mine.number])

    def turn(self) -> None:
        """Let another program go on, perhaps."""
        self.turns += 1
        if self.turns > _TURNS:
            raise RuntimeError("the programs wait for each other")
        self.now = self.random.choice(self.running)
        self.changed.notify_all()
        self.wait()


_mine = threading.local()


@contextmanager
def interleaved(seed: int = 0) -> Iterator[None]:
    """Run kernels in this way within a `with` block, in an order drawn from a seed."""
    crowds: list[_Crowd] = []
    plain = interpreter.GridExecutor
    genuine = interpreter.InterpreterBuilder.create_atomic_rmw

    class Together(plain):  # type: ignore[misc, valid-type]
        def __call__(self, *arguments: Any, **options: Any) -> None:
            crowds.append(_Crowd(self.fn, self.grid, seed))
            self.fn, self.grid = crowds[-1], (1,)
            super().__call__(*arguments, **options)
            crowds.pop()

    def atomic(self: Any, *arguments: Any) -> Any:
        crowds[-1].turn()
        return genuine(self, *arguments)

    interpreter.GridExecutor = Together
    interpreter.InterpreterBuilder.create_atomic_rmw = atomic
    try:
        yield
    finally:
        interpreter.GridExecutor = plain
        interpreter.InterpreterBuilder.create_atomic_rmw = genuine
