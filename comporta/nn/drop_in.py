"""RNN, GRU and LSTM with the signatures and the state_dict of torch.nn: one import is changed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError, nearest
from comporta.nn.packed import PackedLayer, Sequences


class RNN(PackedLayer):
    """`torch.nn.RNN`, computed by the cells "rnn" and "rnn-relu".

    h = tanh(W_h x + b_h + U_h h + c_h), or with relu for tanh.

    Elman 1990. Arguments, call forms, attributes, `state_dict` and initialization are torch's; a
    PackedSequence gives a PackedSequence.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L.
        nonlinearity: "tanh" or "relu".
        bias: whether the biases b_h and c_h are kept.
        batch_first: whether inputs and outputs are (B, T, D) and not (T, B, D).
        dropout: probability of zeroing an element between two layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        device: where the parameters live.
        dtype: their floating-point dtype.

    Deviation: a sequence of length T = 0 gives an empty output, where torch refuses.

    Raises:
        ConfigurationError: an option out of range.

    >>> output, h_n = RNN(3, 5, batch_first=True)(torch.randn(2, 7, 3))
    >>> output.shape, h_n.shape
    (torch.Size([2, 7, 5]), torch.Size([1, 2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        modes = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
        if nonlinearity not in modes:
            raise ConfigurationError(
                f"unknown nonlinearity {nonlinearity!r}{nearest(str(nonlinearity), modes)}"
            )
        super().__init__(
            modes[nonlinearity],
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def forward(self, input: Sequences, hx: Tensor | None = None) -> tuple[Sequences, Tensor]:
        """Run over sequences.

        Args:
            input: (T, B, D), (B, T, D) with `batch_first`, (T, D) for a single sequence, or a
                PackedSequence.
            hx: the state to start from, (L, B, H), or (L, H) for a single sequence, L counting
                both directions; 0 unless given.

        Returns:
            The output in the form of the input, with H, or 2H when bidirectional, for D; and the
            state after the last step, in the form of `hx`.

        Raises:
            ShapeError: a shape, dtype or device that does not fit.
        """
        output, (h_n,) = self.run(input, None if hx is None else (hx,))
        return output, h_n


class GRU(PackedLayer):
    """`torch.nn.GRU`, computed by the cell "gru" (reset after the product).

    z = sigmoid(W_z x + b_z + U_z h + c_z), r likewise,
    n = tanh(W_n x + b_n + r * (U_n h + c_n)), h = z * h + (1 - z) * n.

    Cho et al. 2014, arXiv:1406.1078. Arguments, call forms, attributes, `state_dict` and
    initialization are torch's; a PackedSequence gives a PackedSequence.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L.
        bias: whether the biases b and c are kept.
        batch_first: whether inputs and outputs are (B, T, D) and not (T, B, D).
        dropout: probability of zeroing an element between two layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        device: where the parameters live.
        dtype: their floating-point dtype.

    Deviation: a sequence of length T = 0 gives an empty output, where torch refuses.

    Raises:
        ConfigurationError: an option out of range.

    >>> output, h_n = GRU(3, 5, batch_first=True)(torch.randn(2, 7, 3))
    >>> output.shape, h_n.shape
    (torch.Size([2, 7, 5]), torch.Size([1, 2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Sequences, hx: Tensor | None = None) -> tuple[Sequences, Tensor]:
        """Run over sequences; see `RNN.forward`."""
        output, (h_n,) = self.run(input, None if hx is None else (hx,))
        return output, h_n


class LSTM(PackedLayer):
    """`torch.nn.LSTM`, computed by the cell "lstm".

    i = sigmoid(W_i x + b_i + U_i h + c_i), f and o likewise,
    g = tanh(W_g x + b_g + U_g h + c_g), c = i * g + f * c, h = o * tanh(c).

    Hochreiter, Schmidhuber 1997; forget gate: Gers, Schmidhuber, Cummins 2000. Arguments, call
    forms, attributes, `state_dict` and initialization are torch's; a PackedSequence gives a
    PackedSequence.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L.
        bias: whether the biases b and c are kept.
        batch_first: whether inputs and outputs are (B, T, D) and not (T, B, D).
        dropout: probability of zeroing an element between two layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        proj_size: P, where the output and h are a projection of o * tanh(c), below H; 0 for none
            (Sak, Senior, Beaufays 2014, arXiv:1402.1128).
        device: where the parameters live.
        dtype: their floating-point dtype.

    Deviation: a sequence of length T = 0 gives an empty output, where torch refuses.

    Raises:
        ConfigurationError: an option out of range.

    >>> output, (h_n, c_n) = LSTM(3, 5, batch_first=True)(torch.randn(2, 7, 3))
    >>> output.shape, c_n.shape
    (torch.Size([2, 7, 5]), torch.Size([1, 2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            proj_size=proj_size,
        )

    def forward(
        self, input: Sequences, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Sequences, tuple[Tensor, Tensor]]:
        """Run over sequences; as `RNN.forward`, with the pair (h, c) for the state."""
        if hx is not None and (not isinstance(hx, tuple | list) or len(hx) != 2):
            raise ShapeError(
                f"hx of an LSTM must be a pair of tensors (h, c); it is a {type(hx).__name__}"
            )
        output, (h_n, c_n) = self.run(input, hx)
        return output, (h_n, c_n)
