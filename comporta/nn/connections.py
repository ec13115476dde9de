"""What joins the input of a layer with its output, so that gradients find short ways down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from comporta.errors import ConfigurationError, nearest

Connections: TypeAlias = Literal["none", "residual", "highway"]
Connection: TypeAlias = Callable[[Tensor, Tensor], Tensor]
KINDS = ("none", "residual", "highway")

_CLOSED = -2.0
"""First bias of a highway's gate: most of the input passes as it is."""


class Residual(nn.Module):
    """y = x + f(x); He et al. 2016, arXiv:1512.03385.

    >>> Residual()(torch.ones(2), torch.ones(2))
    tensor([2., 2.])
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The input x and the output y of a layer, each (B, T, K), added."""
        return x + y


class Highway(nn.Module):
    """y = t * f(x) + (1 - t) * x, t = sigmoid(W x + b); Srivastava et al. 2015, arXiv:1505.00387.

    Args:
        size: K, of the input and of the output.
        device: where the parameters live.
        dtype: their floating-point dtype.

    >>> Highway(2)(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)).shape
    torch.Size([1, 3, 2])
    """

    def __init__(
        self,
        size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(size, size, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the gate's weights anew; it begins nearly closed."""
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.constant_(self.gate.bias, _CLOSED)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The input x and the output y of a layer, each (B, T, K), mixed."""
        return torch.lerp(x, y, torch.sigmoid(self.gate(x)))


def connect(
    kind: str,
    widths: Sequence[tuple[int, int]],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> dict[int, Residual | Highway]:
    """The connections of a stack: around every layer whose output is as wide as its input.

    Args:
        kind: "none", "residual" or "highway".
        widths: of the input and of the output of each layer.
        device: where parameters live.
        dtype: their floating-point dtype.

    Returns:
        Layer -> its connection.

    Raises:
        ConfigurationError: there is no such kind, or no layer that could have one.

    >>> list(connect("residual", [(3, 8), (8, 8)]))
    [1]
    """
    if kind not in KINDS:
        raise ConfigurationError(f"unknown connections {kind!r}{nearest(kind, KINDS)}")
    if kind == "none":
        return {}
    found = [layer for layer, (into, out) in enumerate(widths) if into == out]
    if not found:
        sizes = ", ".join(f"{into} to {out}" for into, out in widths)
        raise ConfigurationError(
            f"connections={kind!r} go around layers whose output is as wide as their input; here "
            f"the layers go from {sizes}; give equal sizes, or leave it out"
        )
    if kind == "residual":
        return {layer: Residual() for layer in found}
    return {layer: Highway(widths[layer][0], device=device, dtype=dtype) for layer in found}
