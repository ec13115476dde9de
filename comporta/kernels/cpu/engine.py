"""The compiled kernels of a program, and the functions on memory they are called with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from comporta.kernels.cpu import loop, machine, product
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.layout import Step, backward_step, forward_step
from comporta.kernels.program import Program

_ADDRESS, _SIZE = ctypes.c_void_p, ctypes.c_int64
BITS = {torch.float32: 32, torch.float64: 64}


@dataclass(frozen=True, slots=True)
class Products:
    """The matrix products of one number type; see `comporta.kernels.cpu.product`."""

    real: Real
    gemm_sum: Callable[..., None]
    gemm_each: Callable[..., None]
    _pack: Callable[..., None]

    def pack(self, packed: Tensor, depth: int, columns: int, matrix: Tensor, *,
             first_row: int = 0, first_column: int = 0) -> None:  # fmt: skip
        """Copy `matrix` (depth, columns), in any memory layout, into a packed matrix.

        `depth` and `columns` are the size of the packed matrix, the latter a multiple of the
        vector's lanes.
        """
        lanes = self.real.lanes
        self._pack(
            packed.data_ptr(), depth, columns // lanes, matrix.data_ptr(), matrix.stride(0),
            matrix.stride(1), first_row, first_column // lanes, matrix.shape[0], matrix.shape[1],
        )  # fmt: skip


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
    names = {
        name: product.symbol(name, real)
        for name in (product.GEMM, product.GEMM_SUM, product.GEMM_EACH, product.PACK)
    }
    addresses = machine.load(f"products {bits}", lambda: product.build(real), list(names.values()))

    def function(name: str, signature: str) -> Callable[..., None]:
        kinds = [_ADDRESS if letter == "p" else _SIZE for letter in signature]
        return machine.function(addresses[names[name]], kinds)

    return Products(
        real,
        function(product.GEMM_SUM, "piiipiipiiiiii"),
        function(product.GEMM_EACH, "piippiiiiii"),
        function(product.PACK, "piipiiiiii"),
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
    function = machine.function(address, [ctypes.POINTER(_SIZE), _SIZE, _SIZE])
    return Kernel(step, loop.field_names(step), function)
