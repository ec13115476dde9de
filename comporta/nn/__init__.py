"""Layers: torch modules that run a cell. They meet kernels only through `comporta.kernels`."""

from comporta.nn.recurrent import Recurrent
from comporta.nn.state import State, detach

__all__ = ["Recurrent", "State", "detach"]
