"""Kernels: how a cell is computed. Knows tensors, knows no layers."""

from comporta.kernels.backend import BACKENDS, Choice, choose, run, use
from comporta.kernels.program import Program, compile_cell

__all__ = ["BACKENDS", "Choice", "Program", "choose", "compile_cell", "run", "use"]
