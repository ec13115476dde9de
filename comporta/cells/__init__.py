"""Cells: what is computed. Equations as data; this room imports no torch."""

from comporta.cells.catalog import get, load, names
from comporta.cells.cell import Cell

__all__ = ["Cell", "get", "load", "names"]
