"""What the kernels of a time loop and those of a scan are printed with."""

from __future__ import annotations

from collections.abc import Iterable

from comporta.kernels.gpu.text import Text
from comporta.kernels.program import Program


class Printer:
    """The text of a kernel, and what it is called with.

    Attributes:
        wanted: the values that its statements read.
    """

    wanted: frozenset[str]

    def __init__(self, program: Program) -> None:
        self.program, self.text = program, Text()
        self.arguments: list[str] = []

    def body(self) -> None:
        """All lines of the kernel."""
        raise NotImplementedError

    @property
    def stored(self) -> Iterable[str]:
        """The values of a step that are stored."""
        raise NotImplementedError

    def ready(self, names: Iterable[str]) -> None:
        """Store what is wanted of values that have just been computed."""
        raise NotImplementedError

    def address(self, buffer: str, section: int) -> str:
        """Where a section of a buffer stands."""
        raise NotImplementedError

    def load(self, value: str, buffer: str, section: int = 0) -> None:
        """A value from a section of a buffer."""
        self.text(f"{self.text.name(value)} = tl.load({self.address(buffer, section)}, "
                  "mask=inside, other=0.0).to(tl.float32)")  # fmt: skip

    def store(self, value: str, buffer: str, section: int = 0) -> None:
        """A tile to a section of a buffer."""
        self.text(f"tl.store({self.address(buffer, section)}, "
                  f"({value}).to({buffer}.dtype.element_ty), mask=inside)")  # fmt: skip

    def vectors(self) -> None:
        """This program's units of the parameters that are vectors."""
        for i, vector in enumerate(self.program.vectors):
            if vector in self.wanted:
                self.text(f"{self.text.name(vector)} = tl.load(vectors + {i} * SIZE + unit, "
                          "mask=in_units, other=0.0).to(tl.float32)[None, :]")  # fmt: skip
        if self.program.vectors:
            self.arguments.append("vectors")
