"""Recurrent: any cell as a torch module; layers, directions, initial states, streaming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from comporta import cells
from comporta.cells import Cell
from comporta.errors import ConfigurationError, ShapeError, nearest
from comporta.kernels import Program, compile_cell
from comporta.nn import stack
from comporta.nn.checks import check_options, check_state, check_tensor
from comporta.nn.initialization import initialize
from comporta.nn.lengths import check_lengths, clear_padding
from comporta.nn.state import State, make_state

InitialState: TypeAlias = Literal["zeros", "learned", "random"]
_INITIAL_STATES = ("zeros", "learned", "random")
_NOISE = 0.1


class Recurrent(nn.Module):
    """A cell run over sequences, in one or more layers.

    The equations are those of the cell: `print(layer.cell)`. Layer l > 0 reads the output of layer
    l - 1. Parameters carry the names of the equations: `layers.0.W_z` in `state_dict()`, and
    `layers.0_reverse.W_z` for the direction from the last step to the first.

    Weights start as follows. Matrices that multiply something that depends on the state are
    orthogonal (Saxe et al. 2014, arXiv:1312.6120), other matrices uniform within
    sqrt(6 / (rows + columns)) (Glorot, Bengio 2010), vectors what the cell says of them: `lstm`
    begins the bias of its forget gate with 1 (Jozefowicz, Zaremba, Sutskever 2015), others with 0.

    Args:
        cell: a name from `comporta.cells.names()`, or a `comporta.Cell`.
        input_size: D.
        hidden_size: H.
        num_layers: L.
        bidirectional: whether each layer also runs backwards, with weights of its own.
        dropout: probability of zeroing an element between two layers, in training.
        bias: whether the vectors that are only ever added are kept.
        initial_state: the state before the first step when none is given. "zeros"; "learned", a
            parameter `initial.0.h` (H,) for each layer and state, first 0; "random", in training
            drawn at each call from a normal distribution with standard deviation 0.1, so that the
            layer learns to forget where it started (Zimmermann, Tietz, Grothmann 2012), and 0 in
            evaluation.
        device: where the parameters live.
        dtype: their floating-point dtype.

    Raises:
        ConfigurationError: an unknown cell, an option out of range, or a parameter name that a
            torch module needs for itself.

    >>> import torch
    >>> layer = Recurrent("lstm", input_size=3, hidden_size=5)
    >>> output, state = layer(torch.randn(2, 7, 3))
    >>> output.shape, state[0].h.shape, state[0].c.shape
    (torch.Size([2, 7, 5]), torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        initial_state: InitialState = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_options(
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            flags={"bidirectional": bidirectional, "bias": bias},
            dtype=dtype,
        )
        if initial_state not in _INITIAL_STATES:
            raise ConfigurationError(
                f"unknown initial_state {initial_state!r}{nearest(initial_state, _INITIAL_STATES)}"
            )
        self.cell = _cell(cell)
        self.program: Program = compile_cell(self.cell, bias=bias)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = float(dropout)
        self.bias = bias
        self.initial_state: InitialState = initial_state
        self.layers = nn.ModuleDict()
        self.initial = nn.ModuleDict()
        for place, name in enumerate(stack.names(num_layers, bidirectional)):
            directions = 2 if bidirectional else 1
            width = input_size if place < directions else hidden_size * directions
            shapes = _shapes(self.program, {"D": width, "H": hidden_size})
            self.layers[name] = _Parameters(shapes, device=device, dtype=dtype)
            if initial_state == "learned":
                shapes = dict.fromkeys(self.cell.states, (hidden_size,))
                self.initial[name] = _Parameters(shapes, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew; learned initial states become 0."""
        for weights in self._weights():
            initialize(self.cell, self.program, weights)
        for states in self.initial.values():
            for value in states.parameters():
                nn.init.zeros_(value)

    def forward(
        self,
        x: Tensor,
        state: Sequence[State] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run over a batch of sequences.

        Args:
            x: input (B, T, D); B and T may be 0.
            state: the state to start from, as this method returned it; the initial state unless
                given.
            lengths: the length of each row, between 0 and T; T unless given. Steps beyond it
                give the output 0 and leave the state alone.

        Returns:
            The output (B, T, H), or (B, T, 2H) when bidirectional: forward, then reverse. The
            state after the last step: a named tuple for each layer, its fields the states of the
            cell, each (B, H); when bidirectional two for each layer, forward and reverse of layer
            0, forward and reverse of layer 1, and so on.

        Raises:
            ShapeError: a shape, dtype or device that does not fit.
        """
        x = self._check_input(x, ("B", "T", "D"))
        batch, time, _ = x.shape
        found = check_lengths(lengths, batch=batch, time=time, device=x.device)
        output, after = stack.run(
            self.program,
            x if found is None else clear_padding(x, found),
            self.start(batch) if state is None else self._check_state(state, batch),
            self._weights(),
            bidirectional=self.bidirectional,
            dropout=self.dropout if self.training else 0.0,
            lengths=found,
        )
        return output, tuple(make_state(self.cell.states, values) for values in after)

    def step(
        self, x_t: Tensor, state: Sequence[State] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run a single step, for streams.

        Args:
            x_t: input of this step (B, D).
            state: the state that the last step returned; the initial state unless given.

        Returns:
            The output of this step (B, H) and the state after it, as of `forward`.

        Raises:
            ShapeError: a shape, dtype or device that does not fit.
            ConfigurationError: the layer is bidirectional.

        >>> import torch
        >>> layer = Recurrent("gru", 3, 5)
        >>> output, state = layer.step(torch.randn(2, 3))
        >>> output, state = layer.step(torch.randn(2, 3), state)
        """
        if self.bidirectional:
            raise ConfigurationError(
                "a bidirectional layer cannot run step by step: its reverse direction begins at "
                "the last step; use forward(), or a layer with bidirectional=False"
            )
        x_t = self._check_input(x_t, ("B", "D"))
        output, after = self(x_t.unsqueeze(1), state)
        return output.squeeze(1), after

    def start(self, batch: int) -> tuple[State, ...]:
        """The state before the first step, for B = `batch` rows; as of `forward`."""
        names = self.cell.states
        like = self._like()
        size = (batch, self.hidden_size)
        if self.initial_state == "learned":
            return tuple(
                make_state(names, tuple(getattr(values, name).expand(size) for name in names))
                for values in self.initial.values()
            )
        noise = _NOISE if self.initial_state == "random" and self.training else 0.0
        return tuple(
            make_state(names, tuple(_draw(like, size, noise) for _ in names)) for _ in self.layers
        )

    def weights(self, layer: int = 0, direction: str = "forward") -> dict[str, Tensor]:
        """The parameters of one layer by the names of the equations.

        Args:
            layer: 0 to L - 1.
            direction: "forward" or "reverse".

        Returns:
            Name -> parameter: {"W_z": (H, D), "U_z": (H, H), "b_z": (H,), ...}.

        Raises:
            ConfigurationError: there is no such layer or direction.
        """
        place = stack.position(
            layer, direction, num_layers=self.num_layers, bidirectional=self.bidirectional
        )
        return self._weights()[place]

    def extra_repr(self) -> str:
        """The constructor's arguments, for printing."""
        shown = f"{self.cell.name!r}, {self.input_size}, {self.hidden_size}"
        changed = {
            "num_layers": (self.num_layers, 1),
            "bidirectional": (self.bidirectional, False),
            "dropout": (self.dropout, 0.0),
            "bias": (self.bias, True),
            "initial_state": (self.initial_state, "zeros"),
        }
        return shown + "".join(f", {k}={v!r}" for k, (v, usual) in changed.items() if v != usual)

    def __getstate__(self) -> dict[str, object]:
        # The cell travels as its text and the program is compiled again where it arrives, so that
        # a pickled layer depends on nothing but the equations.
        return {**self.__dict__, "cell": self.cell.to_json(), "program": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.cell = Cell.from_json(state["cell"])  # type: ignore[arg-type]
        self.program = compile_cell(self.cell, bias=self.bias)

    def _weights(self) -> list[dict[str, Tensor]]:
        names = [name for name, _ in self.program.parameters]
        return [{name: getattr(m, name) for name in names} for m in self.layers.values()]

    def _like(self) -> Tensor:
        """A parameter, for its dtype and device."""
        first, _ = self.program.parameters[0]
        like: Tensor = getattr(self.layers["0"], first)
        return like

    def _check_input(self, x: Tensor, letters: tuple[str, ...]) -> Tensor:
        x = check_tensor(x, what="the input", like=self._like())
        if x.ndim != len(letters) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"the input must have shape ({', '.join(letters)}) with D = {self.input_size}; it "
                f"has {tuple(x.shape)}"
            )
        return x

    def _check_state(self, state: Sequence[State], batch: int) -> list[Sequence[Tensor]]:
        names = list(self.layers)
        if not isinstance(state, tuple | list) or len(state) != len(names):
            given = (
                f"{len(state)} of them"
                if isinstance(state, tuple | list)
                else f"a {type(state).__name__}"
            )
            raise ShapeError(
                f"the state must be a tuple with one named tuple for each of {', '.join(names)} "
                f"(layers, and directions), as forward() returns it; it is {given}"
            )
        return [
            check_state(
                values,
                names=self.cell.states,
                batch=batch,
                like=self._like(),
                hidden=self.hidden_size,
                what=f"the state of layer {name}",
            )
            for name, values in zip(names, state, strict=True)
        ]


class _Parameters(nn.Module):
    """Parameters under the names of the equations."""

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


def _shapes(program: Program, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(sizes[letter] for letter in shape) for name, shape in program.parameters}


def _cell(cell: str | Cell) -> Cell:
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise ConfigurationError(
            f"cell must be a name or a comporta.Cell; it is a {type(cell).__name__}"
        )
    return cells.get(cell)


def _draw(like: Tensor, size: tuple[int, int], deviation: float) -> Tensor:
    drawn = like.new_zeros(size)
    return drawn.normal_(std=deviation) if deviation else drawn
