"""The state of a layer: a named tuple whose fields are the states of its cell."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from comporta import cells
from comporta.errors import ShapeError

State: TypeAlias = tuple[Tensor, ...]
"""What one layer carries in one direction: a named tuple, one field (B, H) a state of the cell."""

_Nested = TypeVar("_Nested")


@cache
def state_class(names: tuple[str, ...]) -> type[State]:
    """The named tuple class for states of these names; one class for one tuple of names.

    >>> state_class(("h", "c"))(1, 2)
    State(h=1, c=2)
    """
    made = namedtuple("State", names)  # type: ignore[misc]  # the names are known at run time only
    # Pickle finds a class by its name in a module, which one made here has not: it is made again.
    setattr(made, "__reduce__", lambda self: (make_state, (names, tuple(self))))  # noqa: B010
    # An exported graph names the classes of what it returns; torch has no public way to tell it.
    torch.utils._pytree._register_namedtuple(
        made, serialized_type_name=f"comporta.State({', '.join(names)})"
    )
    return cast(type[State], made)


def make_state(names: tuple[str, ...], values: tuple[Tensor, ...]) -> State:
    """A state with these names and values; what a pickled state is read with.

    >>> make_state(("h",), (1,))
    State(h=1)
    """
    return state_class(names)(*values)


def detach(state: _Nested) -> _Nested:
    """The same state cut from the graph that computed it: what truncated training carries on.

    Args:
        state: tensors in tuples, named tuples, lists and dictionaries, nested as they like; None
            stays None.

    Returns:
        The same nest of the same classes, every tensor detached.

    Raises:
        ShapeError: something in it is not a tensor.

    >>> import torch
    >>> weight = torch.ones(2, requires_grad=True)
    >>> detach((weight * 2, None))
    (tensor([2., 2.]), None)
    """
    return cast(_Nested, _detach(state))


def _detach(value: object) -> object:
    match value:
        case None:
            return None
        case Tensor():
            return value.detach()
        case tuple() if hasattr(value, "_fields"):
            make: Callable[..., object] = type(value)
            return make(*map(_detach, value))
        case list():
            return [_detach(item) for item in value]
        case tuple():
            return tuple(map(_detach, value))
        case Mapping():
            return {key: _detach(item) for key, item in value.items()}
    raise ShapeError(f"a state is made of tensors; this one holds a {type(value).__name__}")


# So that a process that loads an exported graph knows the states in it.
for _name in cells.names():
    state_class(cells.get(_name).states)
