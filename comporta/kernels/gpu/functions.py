"""The language's operations on tiles of float32, and how programs meet, for kernels in Triton.

NaN and infinities flow through as IEEE 754 says.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(a):
    """1 / (1 + exp(-a))"""
    return 1.0 / (1.0 + tl.exp(-a))


@triton.jit
def tanh(a):
    """(exp(a) - exp(-a)) / (exp(a) + exp(-a))"""
    # Away from 0 by an exponential that never overflows, near 0 by the series.
    e = tl.exp(-2.0 * tl.abs(a))
    far = (1.0 - e) / (1.0 + e)
    z = a * a
    series = -1.0 / 3 + z * (2.0 / 15 + z * (-17.0 / 315 + z * (62.0 / 2835)))
    return tl.where(tl.abs(a) < 0.3, a + a * z * series, tl.where(a < 0.0, -far, far))


@triton.jit
def softplus(a):
    """log(1 + exp(a))"""
    # max(a, 0) + log(1 + u) with u = exp(-|a|), and log(1 + u) = 2 artanh(u / (2 + u)).
    u = tl.exp(-tl.abs(a))
    t = u / (2.0 + u)
    z = t * t
    series = 1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13 + z * (1.0 / 15)))
    series = 1.0 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * series)))
    return relu(a) + 2.0 * t * series


@triton.jit
def relu(a):
    """max(a, 0)"""
    return tl.where(a < 0.0, 0.0, a)


@triton.jit
def minimum(a, b):
    """NaN if either is NaN, as in torch."""
    return tl.where((a < b) | (a != a), a, b)


@triton.jit
def maximum(a, b):
    """NaN if either is NaN, as in torch."""
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def meet(counter, everybody):
    """Wait until the programs that share rows have come here `everybody` times in all.

    What any of them stored before is seen by all that load it after.
    """
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < everybody:
        pass
    tl.debug_barrier()


@triton.jit
def compose(decay, inflow, later_decay, later_inflow):
    """One step after another, both affine in what is carried to them."""
    return decay * later_decay, later_decay * inflow + later_inflow


@triton.jit
def announce(flag):
    """Let `wait_for` go on, which then sees what this program stored."""
    tl.debug_barrier()
    tl.atomic_add(flag, 1, sem="release", scope="gpu")


@triton.jit
def wait_for(flag):
    """Wait until another program has announced something."""
    while tl.atomic_add(flag, 0, sem="acquire", scope="gpu") == 0:
        pass
    tl.debug_barrier()
