"""The comparator accepts rounding and rejects every kind of wrong kernel."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from comparator import FACTORS, allowed_error, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from comporta import kernels
from comporta.cells import get
from comporta.kernels import compile_cell

BATCH, TIME, INPUT, HIDDEN = 3, 5, 4, 6
Weights = dict[str, Tensor]


def weights_of_gru() -> Weights:
    sizes = {"D": INPUT, "H": HIDDEN}
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn([sizes[s] for s in shape], generator=generator).double() / 2
        for name, shape in compile_cell(get("gru")).parameters
    }


def gru(weights: Weights, dtype: torch.dtype) -> dict[str, Tensor]:
    """Output, final state and gradients of a GRU on fixed data, by the reference backend."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(BATCH, TIME, INPUT, generator=generator).to(dtype).requires_grad_()
    h = torch.randn(BATCH, HIDDEN, generator=generator).to(dtype).requires_grad_()
    towards = torch.randn(BATCH, TIME, HIDDEN, generator=generator).to(dtype)
    leaves = {name: weight.to(dtype).requires_grad_() for name, weight in weights.items()}
    with kernels.use("reference"):
        output, (final,) = kernels.run(compile_cell(get("gru")), x, [h], leaves)
    wanted = {"x": x, "h": h, **leaves}
    gradients = torch.autograd.grad((output * towards).sum(), list(wanted.values()))
    named = {f"d{name}": grad for name, grad in zip(wanted, gradients, strict=True)}
    return {"output": output, "final": final, **named}


def compare(wrong: dict[str, Tensor], dtype: torch.dtype) -> None:
    truth = gru({name: w.to(dtype).double() for name, w in weights_of_gru().items()}, torch.float64)
    for name, value in wrong.items():
        assert_close(value, truth[name], dtype=dtype, terms=BATCH * TIME, what=name)


def wrong_sign(weights: Weights) -> Weights:
    return {**weights, "U_n": -weights["U_n"]}


def swapped_gates(weights: Weights) -> Weights:
    return {**weights, "W_z": weights["W_r"], "W_r": weights["W_z"]}


def dropped_bias(weights: Weights) -> Weights:
    return {**weights, "b_n": torch.zeros(HIDDEN, dtype=torch.float64)}


def one_weight_off_by_a_thousandth(weights: Weights) -> Weights:
    changed = weights["U_r"].clone()
    changed[0, 0] += 1e-3
    return {**weights, "U_r": changed}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accepts_rounding(dtype: torch.dtype) -> None:
    compare(gru(weights_of_gru(), dtype), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "mistake", [wrong_sign, swapped_gates, dropped_bias, one_weight_off_by_a_thousandth]
)
def test_rejects_a_wrong_kernel(mistake: Callable[[Weights], Weights], dtype: torch.dtype) -> None:
    results = gru(mistake(weights_of_gru()), dtype)
    for name in ("output", "final", "dx", "dh", "dW_z", "dU_n", "db_r"):
        with pytest.raises(AssertionError, match=f"{name} is off by"):
            compare({name: results[name]}, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mistake", [wrong_sign, swapped_gates, dropped_bias])
def test_rejects_a_wrong_kernel_in_half_precision(
    mistake: Callable[[Weights], Weights], dtype: torch.dtype
) -> None:
    compare({"output": gru(weights_of_gru(), dtype)["output"]}, dtype)
    with pytest.raises(AssertionError, match="output is off by"):
        assert_close(
            gru(mistake(weights_of_gru()), dtype)["output"],
            gru(weights_of_gru(), torch.float64)["output"],
            dtype=dtype,
            what="output",
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rejects_a_value_that_is_not_finite(value: float) -> None:
    truth = torch.ones(3, dtype=torch.float64)
    spoilt = torch.tensor([1.0, value, 1.0])
    with pytest.raises(AssertionError, match="in other places"):
        assert_close(spoilt, truth, dtype=torch.float32)
    with pytest.raises(AssertionError, match="in other places"):
        assert_close(truth.float(), spoilt.double(), dtype=torch.float32)
    assert_close(spoilt, spoilt.double(), dtype=torch.float32)
    moved = spoilt.flip(0)[[1, 0, 2]].double()
    with pytest.raises(AssertionError, match="in other places"):
        assert_close(spoilt, moved, dtype=torch.float32)


def test_rejects_infinity_of_the_other_sign() -> None:
    with pytest.raises(AssertionError, match="in other places"):
        assert_close(
            torch.tensor([math.inf]),
            torch.tensor([-math.inf], dtype=torch.float64),
            dtype=torch.float32,
        )


def test_an_infinity_does_not_widen_the_tolerance() -> None:
    truth = torch.tensor([math.inf, 1.0], dtype=torch.float64)
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(torch.tensor([math.inf, 1.1]), truth, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(1,), (2, 3), (3, 1), ()])
def test_rejects_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match="has shape"):
        assert_close(torch.ones(shape), torch.ones(3, dtype=torch.float64), dtype=torch.float32)


def test_rejects_a_wrong_dtype() -> None:
    truth = torch.ones(3, dtype=torch.float64)
    with pytest.raises(AssertionError, match="has dtype"):
        assert_close(truth, truth, dtype=torch.float32)
    with pytest.raises(AssertionError, match="must be float64"):
        assert_close(truth.float(), truth.float(), dtype=torch.float32)


def test_zero_is_exactly_zero() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    assert_close(torch.zeros(3), zeros, dtype=torch.float32)
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(torch.full((3,), 1e-30), zeros, dtype=torch.float32)


def test_accepts_the_empty() -> None:
    assert_close(torch.ones(0, 3), torch.ones(0, 3, dtype=torch.float64), dtype=torch.float32)


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=20),
    place=st.integers(0, 19),
    sign=st.sampled_from([-1, 1]),
    terms=st.integers(1, 4),
    dtype=st.sampled_from(list(FACTORS)),
)
def test_the_border_lies_where_it_is_said(
    values: list[float], place: int, sign: int, terms: int, dtype: torch.dtype
) -> None:
    """At any element, 0.9 of the allowance passes and 1.1 of it does not."""
    # The leading 1 is the scale, whatever is done to another element.
    actual = torch.tensor([1.0, *values], dtype=torch.float64).to(dtype)
    allowed = FACTORS[dtype] * torch.finfo(dtype).eps * math.sqrt(terms)
    truth = actual.double()
    assert allowed_error(truth, dtype=dtype, terms=terms) == pytest.approx(allowed)
    error = torch.zeros_like(truth)
    error[1 + place % len(values)] = sign * allowed
    assert_close(actual, truth + 0.9 * error, dtype=dtype, terms=terms)
    with pytest.raises(AssertionError, match=r"1 of .* elements"):
        assert_close(actual, truth + 1.1 * error, dtype=dtype, terms=terms)
