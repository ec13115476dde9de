"""What regularizes a stack of layers, and what of it is drawn in one call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop

from comporta.cells import Cell
from comporta.cells.forms import resettable, state_dropped, zoned_out
from comporta.errors import ConfigurationError, nearest
from comporta.kernels import Program, compile_cell, hidden_size
from comporta.nn.checks import check_probability
from comporta.nn.dropout import locked
from comporta.nn.initialization import recurrent_matrices
from comporta.nn.projection import Projection


@dataclass(frozen=True, kw_only=True)
class Regularizers:
    """Probabilities, all 0 unless given; all but zoneout do nothing outside training.

    Args:
        dropout: of zeroing an element between two layers.
        input_dropout: of zeroing a feature of a layer's input in all steps of a row.
        state_dropout: of zeroing a unit's state, in all steps of a row, where products read it.
        weight_drop: of zeroing an element of the matrices that multiply the state.
        zoneout: state -> probability that a unit's state stays as it is for a step.

    Attributes:
        active: the names of those that are not 0.

    Raises:
        ConfigurationError: not a probability.
    """

    dropout: float = 0.0
    input_dropout: float = 0.0
    state_dropout: float = 0.0
    weight_drop: float = 0.0
    zoneout: Mapping[str, float] = field(default_factory=dict)
    active: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = ("dropout", "input_dropout", "state_dropout", "weight_drop")
        for name in names:
            check_probability(name, getattr(self, name))
        # By name, for torch.compile may take the numbers for variables.
        active = frozenset(name for name in (*names, "zoneout") if getattr(self, name))
        object.__setattr__(self, "active", active)

    def programs(self, cell: Cell, *, bias: bool) -> dict[tuple[bool, bool], Program]:
        """The steps they make of a cell: (in training, with beginnings inside rows) -> a program.

        Args:
            cell: the cell of all layers.
            bias: whether the vectors that are only ever added are kept.
        """
        found = {}
        for training in (False, True):
            form = state_dropped(cell) if training and "state_dropout" in self.active else cell
            form = zoned_out(form) if "zoneout" in self.active else form
            found[training, False] = compile_cell(form, bias=bias)
            found[training, True] = compile_cell(resettable(form), bias=bias)
        return found


@dataclass(frozen=True)
class InCall:
    """The regularizers in one call, or in all that begin no sequence inside a row.

    Attributes:
        chosen: the regularizers.
        program: the step they make of the cell.
        training: whether the layers are in training.
        begins: where a row begins anew (B, T), bool; None for nowhere.
        projection: what is narrower than the cell.
    """

    chosen: Regularizers
    program: Program
    training: bool
    begins: Tensor | None = None
    projection: Projection | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the kernel runs on what the layer has: nothing is drawn, nothing widened."""
        drawn = self.program.streams or (self.training and self.chosen.active)
        return not drawn and self.projection is None

    def enter(self, layer: int, x: Tensor) -> Tensor:
        """The input (B, T, D) as layer `layer` reads it."""
        if not self.training:
            return x
        if layer and "dropout" in self.chosen.active:
            x = drop(x, self.chosen.dropout)
        return locked(x, self.chosen.input_dropout) if "input_dropout" in self.chosen.active else x

    def weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights of a layer as this call uses them."""
        if self.training and "weight_drop" in self.chosen.active:
            dropped = recurrent_matrices(self.program)
            weights = {
                name: drop(weight, self.chosen.weight_drop) if name in dropped else weight
                for name, weight in weights.items()
            }
        return weights if self.projection is None else self.projection.weights(weights)

    def hidden(self, weights: Mapping[str, Tensor]) -> int:
        """H of a layer with these weights."""
        if self.projection is None:
            return hidden_size(self.program, weights)
        return weights[self.projection.matrix].shape[1]

    def states(self, states: Sequence[Tensor], hidden: int) -> Sequence[Tensor]:
        """The states of a layer, each (B, H), as this call uses them."""
        return states if self.projection is None else self.projection.widened(states, hidden)

    def leave(
        self, output: Tensor, states: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What a layer gives of the output and the states of a kernel."""
        if self.projection is None:
            return output, states
        return output[..., : self.projection.size], self.projection.cut(states)

    def streams(self, x: Tensor, hidden: int, *, reverse: bool) -> list[Tensor]:
        """The streams (B, T, H) of the program, for a layer and direction.

        Args:
            x: the input of the layer (B, T, D).
            hidden: H.
            reverse: whether it runs from the last step to the first.
        """
        batch, time, _ = x.shape
        return [
            self._stream(name, x, hidden, reverse).expand(batch, time, hidden)
            for name in self.program.streams
        ]

    def _stream(self, name: str, x: Tensor, hidden: int, reverse: bool) -> Tensor:
        if name == "begins":
            assert self.begins is not None
            begins = _of_the_other_end(self.begins) if reverse else self.begins
            return begins.unsqueeze(2).to(x.dtype)
        kind, _, state = name.partition("_")
        if kind == "mask":
            return drop(x.new_ones(x.shape[0], 1, hidden), self.chosen.state_dropout)
        stay = self.chosen.zoneout.get(state, 0.0)
        if self.training and stay:
            return _drawn(x, (*x.shape[:2], hidden), stay)
        return x.new_full((1, 1, hidden), stay)


def _drawn(like: Tensor, size: tuple[int, ...], p: float) -> Tensor:
    """Ones with probability p, to 1/65,536, and zeros.

    One random number of 64 bits serves four elements: drawing is what zoneout costs.
    """
    count = math.prod(size)
    words = torch.randint(-(2**63), 2**63 - 1, (-(-count // 4),), device=like.device)
    numbers = words.view(torch.int16)[:count].view(size)
    # Compared in place: torch is a few times as fast at it as with truth values.
    bound = round(p * 2**16) - 2**15
    return numbers.lt_(min(bound, 2**15 - 1)).to(like.dtype)


def _of_the_other_end(begins: Tensor) -> Tensor:
    """Where a row begins that is read from its end: at the step before each beginning."""
    last = begins.new_zeros(begins.shape[0], 1)
    return torch.cat([begins[:, 1:], last], dim=1)


def zoneout_of(given: float | Mapping[str, float], states: Sequence[str]) -> Mapping[str, float]:
    """Zoneout as a probability for each state; empty where none is above 0.

    Raises:
        ConfigurationError: a state that the cell does not have, or not a probability.

    >>> zoneout_of(0.1, ("h", "c"))
    {'h': 0.1, 'c': 0.1}
    """
    chosen = dict(given) if isinstance(given, Mapping) else dict.fromkeys(states, given)
    for state, p in chosen.items():
        if state not in states:
            raise ConfigurationError(
                f"zoneout names the state {state!r}{nearest(str(state), states)}"
            )
        check_probability(f"zoneout of {state}" if isinstance(given, Mapping) else "zoneout", p)
    return chosen if any(chosen.values()) else {}
