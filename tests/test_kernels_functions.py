"""The vector functions: at most three units in the last place, and IEEE 754 at the edges.

Each function runs where it always runs, in a fused kernel: a cell `h = f(W @ x)` whose matrix is 1
is f on every number of x, exactly. The truth is numpy's long double.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta import kernels
from comporta.cells import Cell
from comporta.cells.equation import FUNCTIONS
from comporta.kernels import compile_cell

Long = NDArray[np.longdouble]
DTYPES = [torch.float32, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

if np.finfo(np.longdouble).nmant < 63:
    pytest.skip("needs a long double of 64 bits to judge float64", allow_module_level=True)


def run(text: str, a: Tensor, b: Tensor | None = None) -> Tensor:
    """The expression of the text on the numbers a (as x) and b (as the state h)."""
    program = compile_cell(Cell("function", text))
    count = a.shape[0]
    weights = {"W": torch.ones(1, 1, dtype=a.dtype)}
    state = torch.zeros(count, 1, dtype=a.dtype) if b is None else b.view(count, 1)
    with kernels.use("cpu"):
        output, _ = kernels.run(program, a.view(count, 1, 1), [state], weights)
    return output.view(count)


def function(name: str, a: Tensor) -> Tensor:
    return run(f"h = {name}(W @ x)", a)


def gradient(name: str, a: Tensor) -> Tensor:
    """The derivative that the adjoint computes."""
    a = a.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(name, a).sum(), a)
    return found


def long(a: Tensor) -> Long:
    return a.numpy().astype(np.longdouble)


def softplus(a: Long) -> Long:
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def sigmoid(a: Long) -> Long:
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e))


TRUTH: dict[str, Callable[[Long], Long]] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": softplus,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "abs": np.abs,
    "relu": lambda a: np.maximum(a, 0),
}


def test_every_function_of_one_argument_is_here() -> None:
    elementwise = {name for name, count in FUNCTIONS.items() if count == 1} - {"layer_norm"}
    assert set(TRUTH) == elementwise


def spread(dtype: torch.dtype, low: float, high: float, count: int = 20_000) -> Tensor:
    """Numbers of both signs from `low` to `high` in size: evenly spread, and evenly in exponent."""
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    even = low + (high - low) * u
    magnitude = torch.exp(math.log(low) + (math.log(high) - math.log(low)) * u)
    numbers = torch.cat([even, magnitude]).to(dtype)
    return torch.cat([numbers, -numbers])


def units_off(found: Tensor, truth: Long) -> tuple[float, int]:
    """The largest error in units of the last place of the truth, and where it is."""
    dtype = found.numpy().dtype
    tiniest = np.finfo(dtype).smallest_subnormal.astype(np.longdouble)
    _, exponent = np.frexp(truth)
    unit = np.ldexp(np.longdouble(1), exponent - 1 - np.finfo(dtype).nmant)
    off = np.abs(long(found) - truth) / np.maximum(unit, tiniest)
    return float(off.max()), int(off.argmax())


def check(found: Tensor, a: Tensor, truth: Long, units: float, what: str) -> None:
    worst, place = units_off(found, truth)
    assert worst <= units, f"{what}({a[place].item()!r}) is off by {worst:.2f} ulp"


# name, smallest and largest size of the argument in float32 and in float64
RANGES: list[tuple[str, tuple[float, float], tuple[float, float]]] = [
    ("sigmoid", (1e-38, 86.9), (1e-300, 700.0)),
    ("tanh", (1e-38, 30.0), (1e-300, 40.0)),
    ("softplus", (1e-38, 87.0), (1e-300, 700.0)),
    ("exp", (1e-38, 88.5), (1e-300, 709.0)),
    ("log", (1e-38, 3e38), (1e-300, 1e308)),
    ("sqrt", (1e-38, 3e38), (1e-300, 1e308)),
    ("sin", (1e-38, 1e3), (1e-300, 1e3)),
    ("abs", (1e-38, 3e38), (1e-300, 1e308)),
    ("relu", (1e-38, 3e38), (1e-300, 1e308)),
]
EXACT = {"sqrt": 0.5, "abs": 0.0, "relu": 0.0}


@pytest.mark.parametrize(("name", "single", "double"), RANGES, ids=[r[0] for r in RANGES])
@every_dtype
def test_accuracy(
    name: str, single: tuple[float, float], double: tuple[float, float], dtype: torch.dtype
) -> None:
    a = spread(dtype, *(single if dtype == torch.float32 else double))
    if name in ("log", "sqrt"):
        a = a[a > 0]
    check(function(name, a), a, TRUTH[name](long(a)), EXACT.get(name, 3.0), name)


@every_dtype
def test_accuracy_where_functions_are_hard(dtype: torch.dtype) -> None:
    """Near the zeros of log, at multiples of ln 2 and of pi, where tanh begins to bend."""
    generator = torch.Generator().manual_seed(2)
    near = torch.rand(20_000, generator=generator, dtype=torch.float64) - 0.5
    near_one = (1 + near * torch.logspace(-12, 0, 20_000, dtype=torch.float64)).to(dtype)
    check(function("log", near_one), near_one, np.log(long(near_one)), 3.0, "log")
    whole = torch.arange(-120, 121, dtype=torch.float64).repeat(20)
    at_ln2 = ((whole + 0.5) * math.log(2) + 1e-6 * near[: whole.numel()]).to(dtype)
    at_ln2 = at_ln2[at_ln2.abs() < 87]
    for name in ("exp", "sigmoid", "tanh", "softplus"):
        check(function(name, at_ln2), at_ln2, TRUTH[name](long(at_ln2)), 3.0, name)
    small = (near * 0.7).to(dtype)
    check(function("tanh", small), small, np.tanh(long(small)), 3.0, "tanh")


@every_dtype
def test_sine_near_its_zeros(dtype: torch.dtype) -> None:
    """The float nearest to k pi has a sine far below 1, and all its digits count."""
    k = torch.arange(1, 319, dtype=torch.float64)
    a = torch.cat([k * math.pi, (k - 0.5) * math.pi]).to(dtype)
    found, truth = function("sin", a), np.sin(long(a))
    check(found, a, truth, 3.0, "sin")


@every_dtype
def test_below_the_normal_range_results_fade(dtype: torch.dtype) -> None:
    """exp is rounded to subnormals; sigmoid may be 0 where it would be one; both end at 0."""
    tiny = torch.finfo(dtype).tiny
    low, lowest = (-103.9, -87.4) if dtype == torch.float32 else (-745.0, -708.5)
    a = torch.linspace(low, lowest, 5000, dtype=torch.float64).to(dtype)
    found, truth = function("exp", a), np.exp(long(a))
    smallest = np.finfo(a.numpy().dtype).smallest_subnormal
    assert float(np.abs(long(found) - truth).max()) <= 3 * float(smallest)
    found = function("sigmoid", a)
    assert bool((found >= 0).all())
    assert bool((found <= 1.5 * tiny).all())
    for name in ("exp", "sigmoid", "softplus"):
        assert function(name, torch.tensor([-1e4, -torch.inf], dtype=dtype)).tolist() == [0, 0]


@every_dtype
def test_above_the_range_results_are_infinite_or_their_limit(dtype: torch.dtype) -> None:
    over = 88.8 if dtype == torch.float32 else 709.8
    a = torch.tensor([over, 1e4, torch.inf], dtype=dtype)
    assert function("exp", a).tolist() == [torch.inf] * 3
    assert function("softplus", a).tolist() == a.tolist()
    assert function("sigmoid", a).tolist() == [1, 1, 1]
    assert function("tanh", a).tolist() == [1, 1, 1]
    assert function("tanh", -a).tolist() == [-1, -1, -1]


def edges(dtype: torch.dtype) -> Tensor:
    info = torch.finfo(dtype)
    smallest = torch.tensor(0.0, dtype=dtype).nextafter(torch.tensor(1.0, dtype=dtype)).item()
    sizes = [0.0, smallest, 3 * smallest, info.tiny / 2, info.tiny, 1.0, info.max, torch.inf]
    return torch.tensor([*sizes, *(-size for size in sizes), torch.nan], dtype=dtype)


_TORCHS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
}


def same_kind(found: Tensor, expected: Tensor, a: Tensor, name: str) -> None:
    """NaN, infinities, zeros where torch has them; everything else within 3 ulp."""
    for value, right, argument in zip(found, expected, a, strict=True):
        case = f"{name}({argument.item()!r}) is {value.item()!r}, and {right.item()!r} in torch"
        if right.isnan() or right.isinf() or right == 0:
            assert torch.equal(value.nan_to_num(2.5), right.nan_to_num(2.5)), case
        else:
            off, _ = units_off(value.view(1), long(right.view(1)))
            assert off <= 3, case


@pytest.mark.parametrize("name", _TORCHS)
@every_dtype
def test_edges_are_torchs(name: str, dtype: torch.dtype) -> None:
    a = edges(dtype)
    same_kind(function(name, a), _TORCHS[name](a), a, name)


@every_dtype
def test_sine_at_the_edges(dtype: torch.dtype) -> None:
    a = edges(dtype)
    a = a[(a.abs() <= 1e3) | a.isnan() | a.isinf()]
    same_kind(function("sin", a), torch.sin(a), a, "sin")


@every_dtype
def test_odd_functions_keep_the_sign_of_zero(dtype: torch.dtype) -> None:
    zeros = torch.tensor([0.0, -0.0], dtype=dtype)
    for name in ("tanh", "sin", "sqrt"):
        assert (
            function(name, zeros).signbit().tolist() == run("h = W @ x", zeros).signbit().tolist()
        )


@every_dtype
def test_sine_far_out_stays_a_sine(dtype: torch.dtype) -> None:
    """Beyond 1e4 its digits are lost one after the other, but it never leaves -1 .. 1."""
    found = function("sin", spread(dtype, 1e4, 1e30, 2000))
    assert bool((found.abs() <= 1).all())


BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "min(W @ x, h)": torch.minimum,
    "max(W @ x, h)": torch.maximum,
    "W @ x + h": torch.add,
    "W @ x - h": torch.sub,
    "W @ x * h": torch.mul,
    "(W @ x) * h": torch.mul,
    "(W @ x) / h": torch.div,
    "where(W @ x < h, 1, 2)": lambda a, b: torch.where(a < b, 1.0, 2.0),
    "where(W @ x <= h, 1, 2)": lambda a, b: torch.where(a <= b, 1.0, 2.0),
    "where(W @ x > h, 1, 2)": lambda a, b: torch.where(a > b, 1.0, 2.0),
    "where(W @ x >= h, 1, 2)": lambda a, b: torch.where(a >= b, 1.0, 2.0),
    "clip(W @ x, -1, h)": lambda a, b: torch.minimum(a.clamp_min(-1), b),
    "-(W @ x) + 0 * h": lambda a, b: -a + 0 * b,
}


@pytest.mark.parametrize("expression", BINARY)
@every_dtype
def test_operations_on_two_values_are_torchs(expression: str, dtype: torch.dtype) -> None:
    """Exactly, for every pair of edges and numbers, NaN included."""
    numbers = torch.cat([edges(dtype), torch.tensor([0.1, -2.5, 3.0], dtype=dtype)])
    a, b = (grid.flatten() for grid in torch.meshgrid(numbers, numbers, indexing="ij"))
    found = run(f"h = {expression}", a, b)
    expected = BINARY[expression](a, b).to(dtype)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(2.5), expected.nan_to_num(2.5))


SLOPES: dict[str, Callable[[Long], Long]] = {
    "sigmoid": lambda a: sigmoid(a) * sigmoid(-a),
    "tanh": lambda a: 1 - np.tanh(a) ** 2,
    "softplus": sigmoid,
    "exp": np.exp,
    "log": lambda a: 1 / a,
    "sqrt": lambda a: 0.5 / np.sqrt(a),
    "sin": np.cos,
    "abs": np.sign,
    "relu": lambda a: np.heaviside(a, 0),
}


@pytest.mark.parametrize("name", TRUTH)
@every_dtype
def test_slopes(name: str, dtype: torch.dtype) -> None:
    """Derivatives are computed from the value where that is possible: a few roundings of 1."""
    a = spread(dtype, 1e-3, 30.0, 2000)
    a = a[a > 0] if name in ("log", "sqrt") else a
    found, truth = gradient(name, a), SLOPES[name](long(a))
    scale = np.maximum(np.abs(truth), 1)
    off = np.abs(long(found) - truth) / scale / torch.finfo(dtype).eps
    assert float(off.max()) <= 8, f"slope of {name} at {a[int(off.argmax())].item()!r}"


@pytest.mark.parametrize("name", TRUTH)
@every_dtype
def test_slopes_at_zero_and_at_nan_are_torchs(name: str, dtype: torch.dtype) -> None:
    a = torch.tensor([0.0, torch.nan, torch.inf], dtype=dtype, requires_grad=True)
    torchs = _TORCHS.get(name, torch.sin)
    if name == "softplus":
        torchs = torch.nn.functional.softplus
    (expected,) = torch.autograd.grad(torchs(a).sum(), a)
    found = gradient(name, a.detach())
    assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0)), (found, expected)
