"""A recurrent state as a flat list of tensors, and back: for saving it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from comporta.training.task import Carried


def leaves(state: object) -> list[Tensor]:
    """The tensors of a state, depth first.

    >>> import torch
    >>> a, b = torch.zeros(1), torch.ones(1)
    >>> leaves(((a,), (b,))) == [a, b]
    True
    """
    if isinstance(state, Tensor):
        return [state]
    assert isinstance(state, tuple)
    return [leaf for part in state for leaf in leaves(part)]


def rebuild(blank: Carried, tensors: Iterator[Tensor]) -> Carried:
    """A state of the structure of `blank` with other tensors.

    Args:
        blank: a state of the right structure.
        tensors: its tensors, depth first.

    Returns:
        The state, named tuples included, each tensor on the device of the one it replaces.

    >>> import torch
    >>> a, b = torch.zeros(1), torch.ones(1)
    >>> rebuild(((a,), (a,)), iter([a, b])) == ((a,), (b,))
    True
    """
    return None if blank is None else tuple(_rebuild(part, tensors) for part in blank)


def _rebuild(part: object, tensors: Iterator[Tensor]) -> object:
    if isinstance(part, Tensor):
        return next(tensors).to(part.device)
    assert isinstance(part, tuple)
    values = [_rebuild(inner, tensors) for inner in part]
    # A named tuple is made from its fields one by one, a plain one from a list.
    make = getattr(type(part), "_make", tuple)
    return make(values)
