"""What a program is given, checked: the kernels themselves look at nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from torch import Tensor

from comporta.errors import ShapeError
from comporta.kernels.program import Program
from comporta.kernels.weights import Names, Weights, shapes


def check(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor] | None,
    weights: Weights,
    lengths: Tensor | None,
) -> None:
    """Refuse an input, states, weights or lengths that do not fit a program.

    Raises:
        ShapeError: a tensor does not fit.
    """
    _check(
        program,
        weights.names,
        x.shape,
        None if state is None else tuple([value.shape for value in state]),
        weights.shapes,
        None if lengths is None else lengths.shape,
    )


# A layer is called with the same shapes again and again.
@lru_cache(maxsize=1024)
def _check(
    program: Program,
    names: Names,
    x: tuple[int, ...],
    state: tuple[tuple[int, ...], ...] | None,
    weights: tuple[tuple[int, ...], ...],
    lengths: tuple[int, ...] | None,
) -> None:
    """The same of shapes alone."""
    if len(x) != 3:
        raise ShapeError(f"the input must have shape (B, T, D); it has {tuple(x)}")
    batch, _, size = x
    if state is None:
        state = ((batch, rows_of(program, names, weights)),) * len(program.states)
    if len(state) != len(program.states):
        raise ShapeError(
            f"the cell has the states {', '.join(program.states)}; {len(state)} were given"
        )
    hidden = state[0][-1] if state[0] else 1
    for name, shape in zip(program.states, state, strict=True):
        if shape != (batch, hidden):
            raise ShapeError(
                f"the state {name} must have shape {(batch, hidden)}; it has {tuple(shape)}"
            )
    letters = {"D": size, "H": hidden}
    found = shapes(names, weights)
    for name, dimensions in program.parameters:
        if name not in found:
            raise ShapeError(f"the weight {name} is missing")
        expected = tuple([letters[letter] for letter in dimensions])
        if found[name] != expected:
            raise ShapeError(
                f"the weight {name} ({', '.join(dimensions)}) must have shape {expected}; it has "
                f"{found[name]}"
            )
    if lengths is not None and lengths != (batch,):
        raise ShapeError(f"lengths must have shape ({batch},); it has {tuple(lengths)}")


def at_rest(program: Program, x: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """States of 0, each (B, H), to start from where none are given."""
    size = x.shape[0], hidden_size(program, weights)
    return tuple([x.new_zeros(size) for _ in program.states])


def hidden_size(program: Program, weights: Mapping[str, Tensor]) -> int:
    """H, by the rows of the weights.

    Raises:
        ShapeError: there are none.
    """
    if isinstance(weights, Weights):
        return rows_of(program, weights.names, weights.shapes)
    return rows_of(program, [(name,) for name in weights], [t.shape for t in weights.values()])


def rows_of(
    program: Program, names: Sequence[tuple[str, ...]], weights: Sequence[tuple[int, ...]]
) -> int:
    """The same by the shapes of the tensors that hold weights."""
    dimensions = dict(program.parameters)
    for stacked, shape in zip(names, weights, strict=True):
        if shape and dimensions.get(stacked[0], ("",))[0] == "H":
            return shape[0] // len(stacked)
    raise ShapeError(f"the weights are missing: {', '.join(dimensions)}")


def check_streams(program: Program, x: Tensor, hidden: int, streams: Sequence[Tensor]) -> None:
    """Refuse further inputs that do not fit a program.

    Raises:
        ShapeError: there are others, or one does not fit or wants a gradient.
    """
    if len(streams) != len(program.streams):
        raise ShapeError(
            f"the cell has {len(program.streams)} streams ({', '.join(program.streams)}); "
            f"{len(streams)} were given"
        )
    shape = (*x.shape[:2], hidden)
    for name, stream in zip(program.streams, streams, strict=True):
        if stream.shape != shape or stream.dtype != x.dtype or stream.requires_grad:
            raise ShapeError(
                f"the stream {name} must have shape {shape} and the dtype of the input, and want "
                f"no gradient; it is {tuple(stream.shape)}, {stream.dtype}"
            )
