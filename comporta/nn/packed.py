"""What the drop-in layers share: torch's packed parameters, call forms and initialization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from comporta import cells
from comporta.cells.forms import projected
from comporta.errors import ShapeError
from comporta.kernels import Program, Weights, compile_cell
from comporta.nn import stack, weights
from comporta.nn.checks import check_options, check_tensor
from comporta.nn.lengths import pack_like, unpack
from comporta.nn.projection import Projection, check_projection
from comporta.nn.regularizers import InCall, Regularizers

Sequences = TypeVar("Sequences", Tensor, PackedSequence)


class PackedLayer(nn.Module):
    """Abstract: a cell of torch's with torch's parameters; `RNN`, `GRU` and `LSTM` are concrete."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        check_options(
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            flags={"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional},
            dtype=dtype,
        )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        cell = cells.get(weights.CELLS[mode])
        if proj_size != 0:
            check_projection("proj_size", proj_size, [hidden_size])
            cell = projected(cell)
        self.program: Program = compile_cell(cell, bias=bias)
        self._projection = Projection.of(cell, self.program, proj_size) if proj_size else None
        matrix = self._projection.matrix if self._projection else None
        self._names = weights.names(mode, bias, matrix)
        self._calls = self._in_calls()
        self._add_parameters(device, dtype)
        self.reset_parameters()

    def _add_parameters(self, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        kinds = weights.packed_names(self.bias, bool(self.proj_size))
        suffixes = stack.names(self.num_layers, self.bidirectional)
        self._parameters_of = [[f"{kind}_l{suffix}" for kind in kinds] for suffix in suffixes]
        directions = 2 if self.bidirectional else 1
        rows, out = weights.gates(self.mode) * self.hidden_size, self.proj_size or self.hidden_size
        for place, suffix in enumerate(suffixes):
            width = self.input_size if place < directions else out * directions
            shapes = {
                "weight_ih": (rows, width), "weight_hh": (rows, out),
                "weight_hr": (out, self.hidden_size),
            }  # fmt: skip
            for kind in kinds:
                value = torch.empty(shapes.get(kind, (rows,)), device=device, dtype=dtype)
                self.register_parameter(f"{kind}_l{suffix}", nn.Parameter(value))

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform within 1 / sqrt(H), in torch's order."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: no kernel here needs the parameters in one piece of memory."""

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The packed parameters, one list for each layer and direction."""
        return [list(weights.tensors) for weights in self._weights()]

    def weights(self, layer: int = 0, direction: str = "forward") -> dict[str, Tensor]:
        """The weights of one layer by the names of the equations.

        Args:
            layer: 0 to L - 1.
            direction: "forward" or "reverse".

        Returns:
            Name -> view of the packed parameter: {"W_z": (H, D), "U_z": (H, H), ...}.

        Raises:
            ConfigurationError: there is no such layer or direction.
        """
        place = stack.position(
            layer, direction, num_layers=self.num_layers, bidirectional=self.bidirectional
        )
        return self._weights()[place].apart()

    def extra_repr(self) -> str:
        """The constructor's arguments, for printing."""
        changed = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        shown = f"{self.input_size}, {self.hidden_size}"
        shown += f", proj_size={self.proj_size}" if self.proj_size else ""
        return shown + "".join(f", {k}={v}" for k, (v, usual) in changed.items() if v != usual)

    def _weights(self) -> list[Weights]:
        # torch's way from an attribute to a parameter is long; reparametrized ones are elsewhere.
        own: dict[str, Any] = self._parameters
        found = []
        for names in self._parameters_of:
            packed = [own[name] if name in own else getattr(self, name) for name in names]
            found.append(Weights(packed, self._names))
        return found

    def _in_calls(self) -> list[InCall]:
        """What is drawn in evaluation, and in training."""
        chosen = Regularizers(dropout=self.dropout)
        return [
            InCall(chosen, self.program, training, None, self._projection)
            for training in (False, True)
        ]

    def run(
        self, given: Sequences, hx: Sequence[Tensor] | None
    ) -> tuple[Sequences, tuple[Tensor, ...]]:
        """Run any of torch's call forms; states (L, B, H), or (2L, B, H), by `program.states`."""
        weights = self._weights()
        if isinstance(given, PackedSequence):
            return self._run_packed(given, hx, weights)
        x = check_tensor(given, what="the input", like=weights[0].tensors[0])
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            batched = "(B, T, D)" if self.batch_first else "(T, B, D)"
            raise ShapeError(
                f"the input must have shape {batched}, or (T, D) for a single sequence, with D = "
                f"{self.input_size}; it has {tuple(x.shape)}"
            )
        if x.ndim == 2:
            states = self._states(hx, (), x)
            states = states and [state.unsqueeze(1) for state in states]
            output, after = self._stack(x.unsqueeze(0), states, None, weights)
            return output.squeeze(0), tuple(state.squeeze(1) for state in after)
        rows = x if self.batch_first else x.transpose(0, 1)
        states = None if hx is None else self._states(hx, rows.shape[:1], x)
        output, after = self._stack(rows, states, None, weights)
        # torch's time-major output can be reshaped with .view(), and much code does so.
        return output if self.batch_first else output.transpose(0, 1).contiguous(), after

    def _run_packed(
        self, packed: PackedSequence, hx: Sequence[Tensor] | None, weights: Sequence[Weights]
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        data = check_tensor(packed.data, what="the input", like=weights[0].tensors[0])
        if data.ndim != 2 or data.shape[1] != self.input_size:
            raise ShapeError(
                f"the data of a PackedSequence must have shape (steps, D) with D = "
                f"{self.input_size}; it has {tuple(data.shape)}"
            )
        x, lengths = unpack(packed._replace(data=data))
        states = self._states(hx, x.shape[:1], data)
        if packed.sorted_indices is not None and states is not None:
            states = [state.index_select(1, packed.sorted_indices) for state in states]
        output, after = self._stack(x, states, lengths, weights)
        if packed.unsorted_indices is not None:
            after = tuple(state.index_select(1, packed.unsorted_indices) for state in after)
        return pack_like(output, packed, lengths), after

    def _states(
        self, hx: Sequence[Tensor] | None, batch: tuple[int, ...], like: Tensor
    ) -> list[Tensor] | None:
        """The states to start from, each (L, *batch, its size), or 2L for L; None for 0."""
        if hx is None:
            return None
        layers = self.num_layers * (2 if self.bidirectional else 1)
        names, hidden, narrow = self.program.states, self.hidden_size, self._projection
        sizes = [hidden] * len(names) if narrow is None else narrow.sizes(hidden)
        checked = []
        for name, size, value in zip(names, sizes, hx, strict=True):
            state = check_tensor(value, what=f"{name} of hx", like=like)
            shape = (layers, *batch, size)
            if state.shape != shape:
                letters = "(L, B, H)" if batch else "(L, H), the input being a single sequence,"
                raise ShapeError(
                    f"{name} of hx must have shape {letters} = {shape}, L counting both "
                    f"directions; it has {tuple(state.shape)}"
                )
            checked.append(state)
        return checked

    def _stack(
        self,
        rows: Tensor,
        states: Sequence[Tensor] | None,
        lengths: Tensor | None,
        weights: Sequence[Weights],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        call = self._calls[int(self.training)]
        if call.chosen.dropout != self.dropout:
            self._calls = self._in_calls()
            call = self._calls[int(self.training)]
        layers = None
        if states is not None:
            layers = list(zip(*(state.unbind(0) for state in states), strict=True))
        output, after = stack.run(
            rows,
            layers,
            weights,
            call=call,
            bidirectional=self.bidirectional,
            lengths=lengths,
        )
        if len(after) == 1:
            return output, tuple([value.unsqueeze(0) for value in after[0]])
        return output, tuple(torch.stack(values) for values in zip(*after, strict=True))
