"""torch.nn's layers in ONNX Runtime, with the same weights; None where it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

# torch's order of gates -> ONNX's.
_ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}


def session(layer: nn.RNNBase, batch: int, time: int, *, threads: int) -> Any:
    """A session that maps X (T, B, D) and the first states (1, B, H) to Y and the last states.

    Args:
        layer: one layer in one direction.
        batch: B.
        time: T.
        threads: how many it may use.
    """
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError:
        return None
    name, hidden, depth = type(layer).__name__, layer.hidden_size, layer.input_size
    states = ["H", "C"] if name == "LSTM" else ["H"]
    order = _ORDER[name]
    held = {"W": layer.weight_ih_l0, "R": layer.weight_hh_l0}
    arrays = {key: _gates(value, order) for key, value in held.items()}
    biases = [_gates(each, order) for each in (layer.bias_ih_l0, layer.bias_hh_l0)]
    arrays["B"] = np.concatenate(biases)
    extra = {"linear_before_reset": 1} if name == "GRU" else {}
    outputs = ["Y", *(f"{state}1" for state in states)]
    node = helper.make_node(
        name, ["X", "W", "R", "B", "", *states], outputs, hidden_size=hidden, **extra
    )
    weights = [
        helper.make_tensor(key, TensorProto.FLOAT, (1, *value.shape), value.flatten())
        for key, value in arrays.items()
    ]
    shapes = {"X": (time, batch, depth)} | dict.fromkeys(states, (1, batch, hidden))
    shapes |= {"Y": (time, 1, batch, hidden)} | dict.fromkeys(outputs[1:], (1, batch, hidden))

    def info(names: list[str]) -> list[Any]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in names]

    graph = helper.make_graph([node], "layer", info(["X", *states]), info(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads must not spin on while others are measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def runner(layer: nn.RNNBase, x: torch.Tensor, *, threads: int) -> Callable[[], Any] | None:
    """A function that runs the layer from zero states over x (B, T, D) and gives (B, T, H)."""
    batch, time, _ = x.shape
    made = session(layer, batch, time, threads=threads)
    if made is None:
        return None
    zeros = np.zeros((1, batch, layer.hidden_size), np.float32)
    states = ["H", "C"] if type(layer).__name__ == "LSTM" else ["H"]
    given = {"X": np.ascontiguousarray(x.numpy().transpose(1, 0, 2))} | dict.fromkeys(states, zeros)
    return lambda: made.run(["Y"], given)[0][:, 0].transpose(1, 0, 2)


def _gates(value: torch.Tensor, order: list[int]) -> np.ndarray[Any, Any]:
    gates = np.split(value.detach().numpy(), len(order))
    return np.concatenate([gates[place] for place in order])
