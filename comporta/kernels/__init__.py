"""Kernels: how a cell is computed. Knows tensors, knows no layers."""

from comporta.kernels.backend import BACKENDS, Choice, choose, gains_from, run, stream, use
from comporta.kernels.checks import hidden_size
from comporta.kernels.program import Program, compile_cell
from comporta.kernels.recompute import recompute
from comporta.kernels.weights import Weights

__all__ = [
    "BACKENDS",
    "Choice",
    "Program",
    "Weights",
    "choose",
    "compile_cell",
    "gains_from",
    "hidden_size",
    "recompute",
    "run",
    "stream",
    "use",
]
