"""Parameters by the names of the equations, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from torch import Tensor

from comporta.kernels.program import TRANSPOSED

Names = tuple[tuple[str, ...], ...]


class Weights(Mapping[str, Tensor]):
    """A cell's parameters, some of them stacked along their rows in one tensor.

    torch keeps the matrices of all gates of a layer in one parameter. A kernel that knows so need
    not take it apart, nor put its gradient together.

    Args:
        tensors: the tensors.
        names: for each tensor the parameters stacked in it, all of one shape.

    Attributes:
        shapes: of the tensors.

    >>> import torch
    >>> weights = Weights([torch.arange(4.0).view(4, 1)], (("W_z", "W_n"),))
    >>> weights["W_n"].tolist()
    [[2.0], [3.0]]
    """

    def __init__(self, tensors: Sequence[Tensor], names: Names) -> None:
        self.tensors, self.names = tensors, names
        self.shapes = tuple([tensor.shape for tensor in tensors])

    @property
    def places(self) -> dict[str, tuple[int, int, int]]:
        """Name -> (the place of its tensor, how many stand above it there, how many in all)."""
        return _places(self.names)

    @classmethod
    def of(cls, given: Mapping[str, Tensor]) -> Weights:
        """Parameters as they are given by name."""
        if isinstance(given, Weights):
            return given
        return cls(list(given.values()), _alone(tuple(given)))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter.

        Raises:
            KeyError: there is no such parameter.
        """
        return shapes(self.names, self.shapes)[name]

    def apart(self) -> dict[str, Tensor]:
        """All parameters as tensors of their own, views of those that hold several."""
        found: dict[str, Tensor] = {}
        for names, tensor in zip(self.names, self.tensors, strict=True):
            if len(names) == 1:
                found[names[0]] = tensor
            else:
                # At once, so that their gradients are put together at once as well.
                parts = tensor.view(len(names), -1, *tensor.shape[1:]).unbind(0)
                found |= zip(names, parts, strict=True)
        return found

    def turned(self, names: Sequence[str]) -> Weights:
        """These and the transposes of some of them, `U.T` of `U`."""
        if not names:
            return self
        apart = self.apart()
        tensors = [apart[name.removesuffix(TRANSPOSED)].t() for name in names]
        return Weights((*self.tensors, *tensors), (*self.names, *((name,) for name in names)))

    def __getitem__(self, name: str) -> Tensor:
        return self.apart()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def shapes(names: Names, tensors: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, given those of the tensors that hold them.

    >>> shapes((("W_z", "W_n"), ("b",)), [(6, 2), (3,)])
    {'W_z': (3, 2), 'W_n': (3, 2), 'b': (3,)}
    """
    return {
        name: (shape[0] // len(stacked), *shape[1:])
        for stacked, shape in zip(names, tensors, strict=True)
        for name in stacked
    }


@lru_cache
def _places(names: Names) -> dict[str, tuple[int, int, int]]:
    return {
        name: (place, above, len(stacked))
        for place, stacked in enumerate(names)
        for above, name in enumerate(stacked)
    }


@lru_cache
def _alone(names: tuple[str, ...]) -> Names:
    return tuple((name,) for name in names)
