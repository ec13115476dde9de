"""What a program is given, checked: the kernels themselves look at nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from comporta.errors import ShapeError
from comporta.kernels.program import Program
from comporta.kernels.weights import Weights


def check(
    program: Program,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Weights,
    lengths: Tensor | None,
) -> None:
    """Refuse an input, states, weights or lengths that do not fit a program.

    Raises:
        ShapeError: a tensor does not fit.
    """
    if x.ndim != 3:
        raise ShapeError(f"the input must have shape (B, T, D); it has {tuple(x.shape)}")
    if len(state) != len(program.states):
        raise ShapeError(
            f"the cell has the states {', '.join(program.states)}; {len(state)} were given"
        )
    batch, _, size = x.shape
    hidden = state[0].shape[-1] if state[0].ndim else 1
    for name, value in zip(program.states, state, strict=True):
        if value.shape != (batch, hidden):
            raise ShapeError(
                f"the state {name} must have shape {(batch, hidden)}; it has {tuple(value.shape)}"
            )
    letters = {"D": size, "H": hidden}
    shapes = {
        shape: tuple(letters[letter] for letter in shape) for shape in program.parameter_shapes
    }
    for name, shape in program.parameters:
        if name not in weights.places:
            raise ShapeError(f"the weight {name} is missing")
        found = weights.shape(name)
        if found != shapes[shape]:
            raise ShapeError(
                f"the weight {name} ({', '.join(shape)}) must have shape {shapes[shape]}; it has "
                f"{found}"
            )
    if lengths is not None and lengths.shape != (batch,):
        raise ShapeError(f"lengths must have shape ({batch},); it has {tuple(lengths.shape)}")


def check_streams(
    program: Program, x: Tensor, state: Sequence[Tensor], streams: Sequence[Tensor]
) -> None:
    """Refuse further inputs that do not fit a program.

    Raises:
        ShapeError: there are others, or one does not fit or wants a gradient.
    """
    if len(streams) != len(program.streams):
        raise ShapeError(
            f"the cell has {len(program.streams)} streams ({', '.join(program.streams)}); "
            f"{len(streams)} were given"
        )
    shape = (*x.shape[:2], state[0].shape[1])
    for name, stream in zip(program.streams, streams, strict=True):
        if stream.shape != shape or stream.dtype != x.dtype or stream.requires_grad:
            raise ShapeError(
                f"the stream {name} must have shape {shape} and the dtype of the input, and want "
                f"no gradient; it is {tuple(stream.shape)}, {stream.dtype}"
            )
