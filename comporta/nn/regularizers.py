"""What regularizes a stack of layers, and what of it is drawn in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop

from comporta.cells import Cell
from comporta.cells.forms import resettable, state_dropped, zoned_out
from comporta.errors import ConfigurationError, nearest
from comporta.kernels import Program, compile_cell
from comporta.nn.checks import check_probability
from comporta.nn.dropout import locked
from comporta.nn.initialization import recurrent_matrices


@dataclass(frozen=True, kw_only=True)
class Regularizers:
    """Probabilities, all 0 unless given; all but zoneout do nothing outside training.

    Args:
        dropout: of zeroing an element between two layers.
        input_dropout: of zeroing a feature of a layer's input in all steps of a row.
        state_dropout: of zeroing a unit's state, in all steps of a row, where products read it.
        weight_drop: of zeroing an element of the matrices that multiply the state.
        zoneout: state -> probability that a unit's state stays as it is for a step.

    Raises:
        ConfigurationError: not a probability.
    """

    dropout: float = 0.0
    input_dropout: float = 0.0
    state_dropout: float = 0.0
    weight_drop: float = 0.0
    zoneout: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("dropout", "input_dropout", "state_dropout", "weight_drop"):
            check_probability(name, getattr(self, name))

    def in_call(
        self, cell: Cell, *, bias: bool, training: bool, begins: Tensor | None = None
    ) -> InCall:
        """What of them acts in one call.

        Args:
            cell: the cell of all layers.
            bias: whether the vectors that are only ever added are kept.
            training: whether the layers are in training.
            begins: where a row begins anew (B, T), bool; None for nowhere.
        """
        if training and self.state_dropout:
            cell = state_dropped(cell)
        if self.zoneout:
            cell = zoned_out(cell)
        if begins is not None:
            cell = resettable(cell)
        return InCall(self, compile_cell(cell, bias=bias), training, begins)


@dataclass(frozen=True)
class InCall:
    """The regularizers in one call.

    Attributes:
        program: the step they make of the cell.
    """

    chosen: Regularizers
    program: Program
    training: bool
    begins: Tensor | None = None

    def enter(self, layer: int, x: Tensor) -> Tensor:
        """The input (B, T, D) as layer `layer` reads it."""
        if not self.training:
            return x
        if layer and self.chosen.dropout:
            x = drop(x, self.chosen.dropout)
        return locked(x, self.chosen.input_dropout) if self.chosen.input_dropout else x

    def weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights of a layer as this call uses them."""
        if not (self.training and self.chosen.weight_drop):
            return weights
        dropped = recurrent_matrices(self.program)
        return {
            name: drop(weight, self.chosen.weight_drop) if name in dropped else weight
            for name, weight in weights.items()
        }

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
            return x.new_empty(*x.shape[:2], hidden).bernoulli_(stay)
        return x.new_full((1, 1, hidden), stay)


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
