"""What a layer is given, checked: constructor options, inputs and states."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from comporta import cells
from comporta.cells import Cell
from comporta.errors import ConfigurationError, ShapeError


def check_options(
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout: float,
    flags: dict[str, bool],
    dtype: torch.dtype | None,
) -> None:
    """Refuse constructor options that make no layer.

    Raises:
        ConfigurationError: a size is not a positive integer, the dropout is not in [0, 1], a flag
            is not a bool, or the dtype is not a real floating-point one.
    """
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, size in sizes.items():
        check_size(name, size)
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ConfigurationError(f"{name} must be True or False; it is {flag!r}")
    check_probability("dropout", dropout)
    if dtype is not None and not dtype.is_floating_point:
        raise ConfigurationError(f"dtype must be a floating-point dtype; it is {dtype}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} acts between layers and this has one layer, so it does nothing; "
            "leave it out, or give num_layers=2",
            stacklevel=3,
        )


def check_size(name: str, size: object) -> None:
    """Refuse what is no size.

    Raises:
        ConfigurationError: it is not a positive integer.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigurationError(f"{name} must be a positive integer; it is {size!r}")


def check_probability(name: str, p: object) -> None:
    """Refuse what is no probability.

    Raises:
        ConfigurationError: it is not a number from 0 to 1.
    """
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ConfigurationError(f"{name} must be a probability from 0 to 1; it is {p!r}")


def autocasts(x: Tensor) -> bool:
    """Whether `torch.autocast` is on for the device of a tensor.

    >>> with torch.autocast("cpu"):
    ...     autocasts(torch.ones(1)), autocasts(torch.ones(1, device="meta"))
    (True, False)
    """
    # A device's name is long in coming.
    kind = "cpu" if x.is_cpu else x.device.type
    # torch refuses to say it of a kind that has none.
    has_one = kind in ("cpu", "cuda") or torch.amp.is_autocast_available(kind)
    return has_one and torch.is_autocast_enabled(kind)


def check_tensor(value: object, *, what: str, like: Tensor) -> Tensor:
    """The value as a tensor with the dtype and on the device of the weights.

    Within `torch.autocast` a floating-point tensor is brought to the dtype of the weights, in
    which `comporta.nn.stack.run` computes there too.

    Raises:
        ShapeError: it is not a tensor, or its dtype or device is another.
    """
    if not isinstance(value, Tensor):
        hint = (
            "; Recurrent takes padded sequences: pad_packed_sequence(..., batch_first=True) gives "
            "x and lengths"
            if isinstance(value, torch.nn.utils.rnn.PackedSequence)
            else "; torch.as_tensor(...) makes one of a list or an array"
        )
        raise ShapeError(f"{what} must be a tensor; it is a {type(value).__name__}{hint}")
    # Devices are long in coming; there is only one CPU.
    if not (value.is_cpu and like.is_cpu) and value.device != like.device:
        raise ShapeError(
            f"{what} is on {value.device} and the weights are on {like.device}; move one of them "
            "with .to(device)"
        )
    if value.dtype == like.dtype:
        return value
    if value.dtype.is_floating_point and autocasts(value):
        return value.to(like.dtype)
    hint = (
        f"bring it there with .to({like.dtype}), or the layer with .to({value.dtype})"
        if value.dtype.is_floating_point
        else "numbers of symbols go through an embedding or torch.nn.functional.one_hot first"
    )
    raise ShapeError(f"{what} has dtype {value.dtype} and the weights have {like.dtype}; {hint}")


def check_state(
    state: object, *, sizes: Mapping[str, int], batch: int, like: Tensor, what: str
) -> Sequence[Tensor]:
    """The states of one layer and direction, each (B, its size).

    Raises:
        ShapeError: they are not those of this cell, batch or hidden size.
    """
    names = tuple(sizes)
    widths = " and ".join(f"({batch}, {size})" for size in dict.fromkeys(sizes.values()))
    wanted = f"a tuple ({', '.join(names)}) of tensors {widths}"
    if not isinstance(state, tuple | list):
        raise ShapeError(f"{what} must be {wanted}; it is a {type(state).__name__}")
    fields = getattr(state, "_fields", names)
    if tuple(fields) != names or len(state) != len(names):
        given = ", ".join(fields) if fields != names else f"{len(state)} tensors"
        raise ShapeError(f"{what} must be {wanted}; it has {given}, as for another cell")
    checked = []
    for name, value in zip(names, state, strict=True):
        tensor = check_tensor(value, what=f"{name} of {what}", like=like)
        if tensor.shape != (batch, sizes[name]):
            raise ShapeError(
                f"{name} of {what} must have shape (B, H) = ({batch}, {sizes[name]}); it has "
                f"{tuple(tensor.shape)}"
            )
        checked.append(tensor)
    return checked


def check_begins(begins: Tensor, *, batch: int, time: int, device: torch.device) -> None:
    """Refuse what does not say of every step whether a sequence begins there.

    Raises:
        ShapeError: it is not a (B, T) of bool on the device of the input.
    """
    if not isinstance(begins, Tensor) or begins.dtype != torch.bool:
        given = begins.dtype if isinstance(begins, Tensor) else type(begins).__name__
        raise ShapeError(f"begins must be a tensor (B, T) of bool; it is {given}")
    if begins.shape != (batch, time) or begins.device != device:
        raise ShapeError(
            f"begins must have shape (B, T) = {(batch, time)} on {device}; it has "
            f"{tuple(begins.shape)} on {begins.device}"
        )


def cell_of(cell: str | Cell) -> Cell:
    """The cell of a layer.

    Raises:
        ConfigurationError: there is none of that name, or it has streams of its own.
    """
    if not isinstance(cell, str | Cell):
        raise ConfigurationError(
            f"cell must be a name or a comporta.Cell; it is a {type(cell).__name__}"
        )
    found = cells.get(cell) if isinstance(cell, str) else cell
    if found.streams:
        raise ConfigurationError(
            f"the cell {found.name!r} has the streams {', '.join(found.streams)}, which a layer "
            "has no values for; run it with comporta.kernels.run"
        )
    return found


def hidden_sizes(hidden_size: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """H of each layer.

    Raises:
        ConfigurationError: the numbers of sizes and layers differ.
    """
    if not isinstance(hidden_size, Sequence):
        check_size("num_layers", num_layers)
        return (hidden_size,) * num_layers
    if num_layers not in (1, len(hidden_size)) or not hidden_size:
        raise ConfigurationError(
            f"hidden_size has {len(hidden_size)} sizes and num_layers is {num_layers}; give one "
            "size a layer, and leave num_layers out"
        )
    return tuple(hidden_size)
