"""Parameters under the names of the equations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from comporta.errors import ConfigurationError
from comporta.kernels import Program
from comporta.nn.projection import Projection


class Parameters(nn.Module):
    """The parameters of one layer and direction, not yet drawn.

    Args:
        shapes: name -> shape.
        device: where they live.
        dtype: their floating-point dtype.

    Raises:
        ConfigurationError: a name that a torch module needs for itself.

    >>> Parameters({"W": (2, 3)}, device=None, dtype=None).W.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        *,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        for name, shape in shapes.items():
            if hasattr(self, name):
                raise ConfigurationError(
                    f"a torch module needs the name {name} for itself; rename {name} in the "
                    "text of the cell"
                )
            self.register_parameter(
                name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            )


def shapes_of(
    program: Program, sizes: Mapping[str, int], projection: Projection | None
) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a layer."""
    shapes = {name: tuple(sizes[letter] for letter in shape) for name, shape in program.parameters}
    if projection is None:
        return shapes
    return {name: projection.shape(name, shape) for name, shape in shapes.items()}
