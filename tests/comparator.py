"""The one comparator of the test suite: a result against the float64 truth, in units of rounding.

Tests of layers and of kernels compare outputs, final states and gradients with `assert_close` and
nothing else, so that a tolerance is loosened in one place or nowhere. `test_comparator.py` holds it
to rejecting wrong kernels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# How many roundings of the largest element an error may amount to. A value of a gated cell is a
# sum of a few products through two or three functions, each good to an ulp or two, and a recurrent
# step feeds its error to the next: eight roundings at unit scale cover that, and the smallest
# mistake in an equation is thousands. Half precision has so few digits that eight of its roundings
# would cover real mistakes, hence four.
FACTORS = {torch.float64: 8, torch.float32: 8, torch.bfloat16: 4, torch.float16: 4}


def allowed_error(expected: Tensor, *, dtype: torch.dtype, terms: int = 1) -> float:
    """The largest absolute error that rounding in `dtype` explains.

    factor(dtype) * eps(dtype) * max |expected| * sqrt(terms)

    The scale is the largest element and not each element, since a small element is mostly the
    difference of large ones, and carries their error. The growth is the square root, since the
    roundings of a sum are independent in sign; a bound with `terms` itself would hide mistakes.

    Args:
        expected: the truth, of any shape.
        dtype: what the result was computed in.
        terms: how many numbers of the scale of the result were summed for each element, or passed
            their error on to it: T for outputs, states and their gradients, B * T for the
            gradient of a weight.
    """
    finite = expected[torch.isfinite(expected)]
    scale = finite.abs().max().item() if finite.numel() else 0.0
    return FACTORS[dtype] * torch.finfo(dtype).eps * scale * math.sqrt(terms)


def assert_close(
    actual: Tensor, expected: Tensor, *, dtype: torch.dtype, terms: int = 1, what: str = "result"
) -> None:
    """Require that a result is the truth but for rounding.

    Args:
        actual: the result; must have the dtype `dtype` and the shape of `expected`, and NaN and
            infinities (with their sign) exactly where `expected` has them.
        expected: the truth, computed in float64.
        dtype: what the result was computed in.
        terms: see `allowed_error`.
        what: the name of the result, for the message.
    """
    assert expected.dtype == torch.float64, f"the truth of {what} must be float64"
    assert actual.dtype == dtype, f"{what} has dtype {actual.dtype}, not {dtype}"
    assert actual.shape == expected.shape, (
        f"{what} has shape {tuple(actual.shape)}, not {tuple(expected.shape)}"
    )
    actual, expected = actual.detach().cpu().double(), expected.detach().cpu()
    assert torch.equal(actual.isnan(), expected.isnan()), f"{what} has NaN in other places"
    for infinity in (math.inf, -math.inf):
        assert torch.equal(actual == infinity, expected == infinity), (
            f"{what} has {infinity} in other places"
        )
    finite = torch.isfinite(expected)
    error = (actual[finite] - expected[finite]).abs()
    if not error.numel():
        return
    allowed = allowed_error(expected, dtype=dtype, terms=terms)
    worst = error.max().item()
    assert worst <= allowed, (
        f"{what} is off by {worst:.3g}, and rounding explains {allowed:.3g}; "
        f"{int((error > allowed).sum())} of {error.numel()} elements are too far off"
    )
