"""Dropout for sequences: what is dropped together, how often, and what stays."""

from __future__ import annotations

import pytest
import torch

from comporta.errors import ConfigurationError, ShapeError
from comporta.nn.dropout import LockedDropout


def test_locked_dropout_drops_a_feature_at_all_steps_or_none() -> None:
    x = torch.rand(200, 7, 50) + 1
    y = LockedDropout(0.3)(x)
    dropped = y == 0
    assert (dropped == dropped[:, :1]).all()
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.7)
    rates = dropped[:, 0].float()
    # 10000 draws: the standard error is 0.005.
    assert float(rates.mean()) == pytest.approx(0.3, abs=0.03)
    assert rates.mean(1).std() > 0, "rows have masks of their own"


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero() -> None:
    x = torch.randn(2, 3, 4)
    assert LockedDropout(0.9).eval()(x) is x
    assert LockedDropout(0.0)(x) is x


def test_gradients_of_locked_dropout_are_those_of_its_mask() -> None:
    x = torch.ones(2, 3, 4, requires_grad=True)
    y = LockedDropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y)


def test_refusals() -> None:
    with pytest.raises(ConfigurationError, match=r"dropout is 1\.0"):
        LockedDropout(1.0)
    with pytest.raises(ConfigurationError, match=r"dropout is -0\.1"):
        LockedDropout(-0.1)
    with pytest.raises(ShapeError, match=r"expected \(B, T, D\)"):
        LockedDropout(0.5)(torch.zeros(2, 3))
