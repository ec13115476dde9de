"""The compiled kernels of a program, and the functions on memory they are called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from comporta.kernels.cpu import loop, machine, product
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.layout import Step, backward_step, forward_step
from comporta.kernels.cpu.table import Jobs
from comporta.kernels.program import Program

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# The numbers of a kernel by the bits of the factors of its products.
NUMBERS = {16: torch.float32, 32: torch.float32, 64: torch.float64}


@dataclass(frozen=True, slots=True)
class Products:
    """The matrix products of one number type; see `comporta.kernels.cpu.product`."""

    real: Real
    functions: Mapping[str, int]

    def jobs(self, name: str) -> Jobs:
        """A collection of calls of one of them."""
        return Jobs(self.functions[name], product.JOBS[name])


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled time loop, by its address, and its layout."""

    step: Step
    fields: Sequence[str]
    function: int


@cache
def products(bits: int) -> Products:
    """Compile or load the matrix products of a number type."""
    real = machine.real(bits)
    symbols = product.exported(real)
    key = f"products {bits}"
    addresses = machine.load(key, lambda: product.build(real), list(symbols.values()))
    return Products(real, {name: addresses[symbols[name]] for name in product.JOBS})


def factor_bits(dtype: torch.dtype, depth: int) -> int:
    """The bits of the factors of products for an input (B, T, depth) of a type.

    Halves are computed in float32, where the processor does not multiply them, or where a row of
    the input is no whole number of pairs.
    """
    if dtype == torch.float64:
        return 64
    has_pairs = dtype == torch.bfloat16 and depth % 2 == 0 and machine.multiplies_pairs()
    return 16 if has_pairs else 32


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
    return Kernel(step, loop.field_names(step, real), address)
