"""Keras 3's recurrent layers on JAX under jit, with torch.nn's weights; None without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

# Keras's order of the gates, by their places in torch's.
_ORDER = {"GRU": [1, 0, 2], "LSTM": [0, 1, 2, 3], "RNN": [0]}


def steps(
    layer: nn.RNNBase, x: torch.Tensor, gradient: torch.Tensor
) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """Two functions: the outputs (B, T, H) over x (B, T, D), and the gradients of the weights.

    Args:
        layer: one layer in one direction.
        x: the input.
        gradient: of the outputs.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        import jax
        import jax.numpy as jnp
        import keras
    except ImportError:
        return None
    name = type(layer).__name__
    kinds = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM, "RNN": keras.layers.SimpleRNN}
    theirs = kinds[name](layer.hidden_size, return_sequences=True)
    theirs.build(tuple(x.shape))
    theirs.set_weights(_weights(layer, name))
    weights = [each.value for each in theirs.trainable_variables]
    others = [each.value for each in theirs.non_trainable_variables]
    inputs, towards = jnp.asarray(x.numpy()), jnp.asarray(gradient.numpy())

    def forward(weights: Any) -> Any:
        return theirs.stateless_call(weights, others, inputs)[0]

    run = jax.jit(forward)
    train = jax.jit(jax.grad(lambda weights: (forward(weights) * towards).sum()))
    return (
        lambda: jax.block_until_ready(run(weights)),
        lambda: jax.block_until_ready(train(weights)),
    )


def gradients(found: Any, layer: nn.RNNBase) -> list[np.ndarray]:
    """Keras's gradients as torch has them: of W, U and the vectors."""
    name = type(layer).__name__
    order = np.argsort(_ORDER[name])
    w, u, bias = (np.asarray(each) for each in found)
    vectors = [bias[0], bias[1]] if name == "GRU" else [bias, bias]
    return [_gates(each, order).T if each.ndim == 2 else _gates(each, order)
            for each in (w, u, *vectors)]  # fmt: skip


def _weights(layer: nn.RNNBase, name: str) -> list[np.ndarray]:
    w, u, b, c = (p.detach().numpy() for p in layer.parameters())
    order = _ORDER[name]
    b, c = _gates(b, order), _gates(c, order)
    bias = np.stack([b, c]) if name == "GRU" else b + c
    return [_gates(w.T, order), _gates(u.T, order), bias]


def _gates(numbers: np.ndarray, order: Any) -> np.ndarray:
    """The columns of the gates in another order."""
    parts = np.split(numbers, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)
