"""Recurrent: any cell as a torch module; layers, directions, initial states, streaming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from comporta.cells import Cell
from comporta.cells.forms import normalized, projected
from comporta.errors import ConfigurationError, ShapeError, nearest
from comporta.kernels import Program, compile_cell
from comporta.nn import stack
from comporta.nn.checks import (
    cell_of,
    check_begins,
    check_options,
    check_state,
    check_tensor,
    hidden_sizes,
)
from comporta.nn.connections import Connections, Highway, connect
from comporta.nn.initialization import initialize
from comporta.nn.lengths import check_lengths, clear_padding
from comporta.nn.parameters import Parameters, shapes_of
from comporta.nn.projection import Projection, check_projection
from comporta.nn.regularizers import InCall, Regularizers, zoneout_of
from comporta.nn.state import State, state_class

InitialState: TypeAlias = Literal["zeros", "learned", "random"]
_INITIAL_STATES = ("zeros", "learned", "random")
_NOISE = 0.1


class Recurrent(nn.Module):
    """A cell run over sequences, in one or more layers.

    The equations are those of the cell: `print(layer.cell)`. Layer l > 0 reads the output of layer
    l - 1. Parameters carry the names of the equations: `layers.0.W_z` in `state_dict()`, and
    `layers.0_reverse.W_z` for the direction from the last step to the first.

    Weights start as `comporta.nn.initialization` says: orthogonal on the way of the state, within
    sqrt(6 / (rows + columns)) elsewhere, vectors as the cell says.

    Args:
        cell: a name from `comporta.cells.names()`, or a `comporta.Cell`.
        input_size: D.
        hidden_size: H; or a size for each layer, which says how many there are.
        num_layers: L.
        bidirectional: whether each layer also runs backwards, with weights of its own.
        dropout: probability of zeroing an element between two layers, in training.
        input_dropout: probability of zeroing a feature of a layer's input for a whole row, in
            training (Gal, Ghahramani 2016, arXiv:1512.05287).
        state_dropout: the same for a unit's state, where products read it; in a cell none of whose
            products does, for its output.
        weight_drop: probability of zeroing an element of the matrices that multiply the state, in
            training (Merity et al. 2018, arXiv:1708.02182).
        zoneout: probability that a unit's state stays as it was for a step, or one for each state,
            as in {"h": 0.05, "c": 0.5} (Krueger et al. 2017, arXiv:1606.01305). In evaluation
            nothing is drawn: the state is the mean of both, as in the paper.
        layer_norm: whether products, and a state that the output squashes, are normalized; see
            `comporta.cells.forms.normalized` (Ba, Kiros, Hinton 2016, arXiv:1607.06450).
        projection_size: P, where the output, and the state that products read, is a projection of
            what the cell computes; see `comporta.cells.forms.projected` (Sak, Senior, Beaufays
            2014, arXiv:1402.1128).
        connections: around each layer whose output is as wide as its input: "none"; "residual",
            y = x + f(x); "highway", y = t f(x) + (1 - t) x with a gate t that reads x.
        bias: whether the vectors that are only ever added are kept.
        initial_state: the state before the first step when none is given. "zeros"; "learned", a
            parameter `initial.0.h` (H,) for each layer and state, first 0; "random", in training
            drawn at each call from a normal distribution with standard deviation 0.1, so that the
            layer learns to forget where it started (Zimmermann, Tietz, Grothmann 2012), and 0 in
            evaluation.
        device: where the parameters live.
        dtype: their floating-point dtype.

    Raises:
        ConfigurationError: an unknown cell, an option out of range, a parameter name that a
            torch module needs for itself, or a cell with streams of its own.

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
        hidden_size: int | Sequence[int],
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        state_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        layer_norm: bool = False,
        projection_size: int | None = None,
        connections: Connections = "none",
        bias: bool = True,
        initial_state: InitialState = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = hidden_sizes(hidden_size, num_layers)
        for size in set(sizes):
            check_options(
                input_size=input_size,
                hidden_size=size,
                num_layers=len(sizes),
                dropout=dropout,
                flags={"bidirectional": bidirectional, "bias": bias, "layer_norm": layer_norm},
                dtype=dtype,
            )
        if initial_state not in _INITIAL_STATES:
            raise ConfigurationError(
                f"unknown initial_state {initial_state!r}{nearest(initial_state, _INITIAL_STATES)}"
            )
        if projection_size is not None:
            check_projection("projection_size", projection_size, sizes)
        self.cell = _form(cell_of(cell), layer_norm, projection_size is not None)
        self.input_size = input_size
        self.hidden_sizes = sizes
        self.hidden_size = sizes[-1]
        self.num_layers = len(sizes)
        self.bidirectional = bidirectional
        self.regularizers = Regularizers(
            dropout=float(dropout),
            input_dropout=input_dropout,
            state_dropout=state_dropout,
            weight_drop=weight_drop,
            zoneout=zoneout_of(zoneout, self.cell.states),
        )
        self.bias = bias
        self.projection_size = projection_size
        self._remember()
        self.initial_state: InitialState = initial_state
        self.layers = nn.ModuleDict()
        self.initial = nn.ModuleDict()
        self._add_parameters(device, dtype)
        made = connect(connections, self.widths, device=device, dtype=dtype)
        self.connections = nn.ModuleDict({str(layer): join for layer, join in made.items()})
        self.reset_parameters()

    def _remember(self) -> None:
        """What follows from the cell and would take long to derive in every call."""
        self.program: Program = compile_cell(self.cell, bias=self.bias)
        self._programs = self.regularizers.programs(self.cell, bias=self.bias)
        size = self.projection_size
        self.projection = Projection.of(self.cell, self.program, size) if size else None
        self._calls = [self._in_call(training, None) for training in (False, True)]
        self._state = state_class(self.cell.states)

    def _add_parameters(self, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        for place, name in enumerate(stack.names(self.num_layers, self.bidirectional)):
            into, size = self.widths[place // self._directions][0], self._size(place)
            shapes = shapes_of(self.program, {"D": into, "H": size}, self.projection)
            self.layers[name] = Parameters(shapes, device=device, dtype=dtype)
            if self.initial_state == "learned":
                shapes = {name: (n,) for name, n in self._state_sizes(place).items()}
                self.initial[name] = Parameters(shapes, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw all weights anew; learned initial states become 0."""
        for weights in self._weights():
            initialize(self.cell, self.program, weights)
        for states in self.initial.values():
            for value in states.parameters():
                nn.init.zeros_(value)
        for connection in self.connections.values():
            if isinstance(connection, Highway):
                connection.reset_parameters()

    @property
    def widths(self) -> list[tuple[int, int]]:
        """The width of the input and of the output of each layer."""
        outs = [(self.projection_size or size) * self._directions for size in self.hidden_sizes]
        return list(zip([self.input_size, *outs], outs, strict=False))

    def forward(
        self,
        x: Tensor,
        state: Sequence[State] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run over a batch of sequences.

        Args:
            x: input (B, T, D); B and T may be 0.
            state: the state to start from, as this method returned it; the initial state unless
                given.
            lengths: the length of each row, between 0 and T; T unless given. Steps beyond it
                give the output 0 and leave the state alone.
            begins: where a new sequence begins inside a row (B, T), bool: such a step starts from
                states of 0, in either direction.

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
        if begins is not None:
            check_begins(begins, batch=batch, time=time, device=x.device)
        output, after = stack.run(
            x if found is None else clear_padding(x, found),
            self._start(batch) if state is None else self._check_state(state, batch),
            self._weights(),
            call=self.in_call(begins),
            bidirectional=self.bidirectional,
            lengths=found,
            connections={int(layer): join for layer, join in self.connections.items()},
        )
        return output, tuple([self._state(*values) for values in after])

    def in_call(self, begins: Tensor | None = None) -> InCall:
        """The step of every layer in one call, and what regularizes it."""
        if begins is None:
            # As an index torch.compile does not take a truth value in every version.
            return self._calls[int(self.training)]
        return self._in_call(self.training, begins)

    def _in_call(self, training: bool, begins: Tensor | None) -> InCall:
        program = self._programs[training, begins is not None]
        return InCall(self.regularizers, program, training, begins, self.projection)

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
        if self.initial_state == "learned":
            learned = [[getattr(m, name) for name in names] for m in self.initial.values()]
            return tuple([self._state(*[s.expand(batch, -1) for s in each]) for each in learned])
        noise = _NOISE if self.initial_state == "random" and self.training else 0.0
        sizes = [self._state_sizes(place).values() for place in range(len(self.layers))]
        return tuple([self._state(*[_draw(like, (batch, n), noise) for n in ns]) for ns in sizes])

    def _start(self, batch: int) -> tuple[State, ...] | None:
        """As `start`; None where it is 0 whatever the layer's mode."""
        return None if self.initial_state == "zeros" else self.start(batch)

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
        alike = len(set(self.hidden_sizes)) == 1
        hidden = self.hidden_size if alike else list(self.hidden_sizes)
        shown = f"{self.cell.name!r}, {self.input_size}, {hidden}"
        active = self.regularizers.active
        kinds = {type(join).__name__.lower() for join in self.connections.values()}
        changed = {
            "num_layers": (self.num_layers if alike else 1, 1),
            "bidirectional": (self.bidirectional, False),
            **{name: (getattr(self.regularizers, name), 0.0) for name in sorted(active)},
            "projection_size": (self.projection_size, None),
            "connections": (next(iter(kinds), "none"), "none"),
            "bias": (self.bias, True),
            "initial_state": (self.initial_state, "zeros"),
        }
        return shown + "".join(f", {k}={v!r}" for k, (v, usual) in changed.items() if v != usual)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _size(self, place: int) -> int:
        """H of a layer and direction."""
        return self.hidden_sizes[place // self._directions]

    def _state_sizes(self, place: int) -> dict[str, int]:
        """The size of each state of a layer and direction."""
        hidden, names = self._size(place), self.cell.states
        sizes = [hidden] * len(names) if self.projection is None else self.projection.sizes(hidden)
        return dict(zip(names, sizes, strict=True))

    def __getstate__(self) -> dict[str, object]:
        # The cell travels as its text and the program is compiled again where it arrives, so that
        # a pickled layer depends on nothing but the equations.
        derived = dict.fromkeys(("program", "projection", "_programs", "_calls", "_state"))
        return {**self.__dict__, **derived, "cell": self.cell.to_json()}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.cell = Cell.from_json(state["cell"])  # type: ignore[arg-type]
        self._remember()

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
                sizes=self._state_sizes(place),
                batch=batch,
                like=self._like(),
                what=f"the state of layer {name}",
            )
            for place, (name, values) in enumerate(zip(names, state, strict=True))
        ]


def _form(cell: Cell, is_normalized: bool, is_projected: bool) -> Cell:
    cell = normalized(cell) if is_normalized else cell
    return projected(cell) if is_projected else cell


def _draw(like: Tensor, size: tuple[int, int], deviation: float) -> Tensor:
    drawn = like.new_zeros(size)
    return drawn.normal_(std=deviation) if deviation else drawn
