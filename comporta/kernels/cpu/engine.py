"""The compiled kernels of a program, and the functions on memory they are called with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from comporta.kernels.cpu import loop, machine, product, threads
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.layout import Step, backward_step, forward_step
from comporta.kernels.program import Program

_SIZE = ctypes.c_int64
BITS = {torch.float32: 32, torch.float64: 64}


class Jobs:
    """Calls of one compiled function, collected and then run in one go by a few threads."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._numbers: list[int] = []
        self._count = 0

    def add(self, *numbers: int) -> None:
        """One call, with addresses as numbers."""
        self._numbers += numbers
        self._count += 1

    def run(self, work: int) -> None:
        """Run them all; `work` is the number of multiply-adds, or of numbers moved."""
        table = (_SIZE * len(self._numbers))(*self._numbers)
        function = self._function
        parts = threads.split(self._count, 1, work)
        threads.run(lambda first, last: function(table, first, last), parts)


@dataclass(frozen=True, slots=True)
class Products:
    """The matrix products of one number type; see `comporta.kernels.cpu.product`."""

    real: Real
    functions: Mapping[str, Callable[..., None]]

    def jobs(self, name: str) -> Jobs:
        """A collection of calls of `gemm_sum`, `gemm_each` or `pack`."""
        return Jobs(self.functions[name])


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled time loop and its layout."""

    step: Step
    names: Sequence[str]
    _function: Callable[..., None]

    def bind(self, values: Mapping[str, int]) -> Callable[[int, int], None]:
        """The kernel on these fields, a function of the first and last row."""
        table = (_SIZE * len(self.names))(*[values[name] for name in self.names])
        function = self._function
        return lambda first, last: function(table, first, last)


@cache
def products(bits: int) -> Products:
    """Compile or load the matrix products of a number type."""
    real = machine.real(bits)
    names = (product.GEMM_SUM, product.GEMM_EACH, product.PACK)
    symbols = [product.symbol(name, real) for name in (*names, product.GEMM)]
    addresses = machine.load(f"products {bits}", lambda: product.build(real), symbols)
    return Products(
        real, {name: _range_function(addresses[product.symbol(name, real)]) for name in names}
    )


@cache
def forward_kernel(program: Program, bits: int, training: bool) -> Kernel:
    """Compile or load the forward loop of a program."""
    step = forward_step(program, training=training)
    return _kernel(f"forward_{'training' if training else 'inference'}", step, program, bits)


@cache
def backward_kernel(program: Program, bits: int) -> Kernel:
    """Compile or load the backward loop of a program."""
    return _kernel("backward", backward_step(program), program, bits)


def _kernel(kind: str, step: Step, program: Program, bits: int) -> Kernel:
    real = products(bits).real
    name = f"{kind}_{bits}"
    key = f"{name} {program!r}"
    address = machine.load(key, lambda: loop.build(name, step, real), [name])[name]
    return Kernel(step, loop.field_names(step), _range_function(address))


def _range_function(address: int) -> Callable[..., None]:
    """A compiled function of a table of numbers, a first and a last index."""
    return machine.function(address, [ctypes.POINTER(_SIZE), _SIZE, _SIZE])
