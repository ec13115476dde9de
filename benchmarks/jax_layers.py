"""torch.nn's layers as a lax.scan under jit, with the same weights; None without JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn


def steps(
    layer: nn.RNNBase, x: torch.Tensor, gradient: torch.Tensor
) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """Two functions: the outputs (B, T, H) over x (B, T, D), and the gradients of the parameters.

    Args:
        layer: one layer in one direction.
        x: the input.
        gradient: of the outputs.
    """
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    hidden, name = layer.hidden_size, type(layer).__name__
    weights = [jnp.asarray(p.detach().numpy()) for p in layer.parameters()]
    inputs = jnp.asarray(x.numpy().transpose(1, 0, 2))
    towards = jnp.asarray(gradient.numpy().transpose(1, 0, 2))

    def gru(state: Any, given: Any, u: Any, c: Any) -> tuple[Any, Any]:
        (h,) = state
        r, z, n = jnp.split(given, 3, axis=1)
        past_r, past_z, past_n = jnp.split(h @ u.T + c, 3, axis=1)
        z = jax.nn.sigmoid(z + past_z)
        n = jnp.tanh(n + jax.nn.sigmoid(r + past_r) * past_n)
        h = z * h + (1 - z) * n
        return (h,), h

    def lstm(state: Any, given: Any, u: Any, b: Any) -> tuple[Any, Any]:
        h, c = state
        i, f, g, o = jnp.split(given + h @ u.T + b, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def rnn(state: Any, given: Any, u: Any, c: Any) -> tuple[Any, Any]:
        (h,) = state
        h = jnp.tanh(given + h @ u.T + c)
        return (h,), h

    cell = {"GRU": gru, "LSTM": lstm, "RNN": rnn}[name]
    count = 2 if name == "LSTM" else 1

    def forward(weights: Any) -> Any:
        w, u, b, c = weights
        start = (jnp.zeros((inputs.shape[1], hidden), jnp.float32),) * count
        # The products of the inputs are taken out of the loop, as a good hand would.
        return jax.lax.scan(lambda s, g: cell(s, g, u, c), start, inputs @ w.T + b)[1]

    run = jax.jit(forward)
    train = jax.jit(jax.grad(lambda weights: (forward(weights) * towards).sum()))

    def outputs() -> Any:
        return jax.block_until_ready(run(weights)).transpose(1, 0, 2)

    return outputs, lambda: jax.block_until_ready(train(weights))


def gradients(found: Any, _layer: nn.RNNBase) -> list[np.ndarray]:
    """The gradients as torch has them."""
    return [np.asarray(each) for each in found]
