"""The language's operations on vectors, in plain arithmetic.

They are accurate to three units in the last place (sin and cos as long as the argument is small
against 1e4). exp, sigmoid, tanh and softplus rest on one series, softplus and log on another. NaN
and infinities flow through as IEEE 754 says. The same formulas serve float32 and float64, with
more terms for the latter.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import cache

from llvmlite import ir
from numpy.polynomial import Chebyshev, Polynomial

from comporta.kernels.cpu.emit import Emitter, Value

# Number of series terms that bring the truncation error below half a unit in the last place.
_EXP_TERMS = {32: 6, 64: 13}
_WAVE_TERMS = {32: 5, 64: 9}
_LOG_TERMS = {32: 5, 64: 11}
_LOG1P_TERMS = {32: 8, 64: 17}
# 2**n is made of exponent bits, so n must stay in the range of normal numbers.
_LARGEST_EXPONENT = {32: 127, 64: 1023}
_MANTISSA_BITS = {32: 23, 64: 52}
# ln 2 in two parts: the first has so few bits that its product with n is exact.
_LN2 = {
    32: (0.693359375, -2.12194440054690583e-4),
    64: (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
# pi / 2 in parts. A fused multiply-add subtracts n times the first without rounding, since what is
# left has fewer digits.
_HALF_PI = {
    32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    64: (1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21),
}
# Where the exponential is 0 or infinity; where sigmoid is no normal number any more; where tanh is
# 1 in every bit.
_EXP_RANGE = {32: (-104.0, 104.0), 64: (-746.0, 746.0)}
_SIGMOID_LIMIT = {32: 87.3, 64: 708.3}
_TANH_IS_ONE = {32: 9.5, 64: 20.0}


class VectorMath:
    """Emits operations on the vectors of one function."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter
        self.b = emitter.builder
        self.real = emitter.real
        self.one = self.real.splat(1.0)
        self.zero = self.real.splat(0.0)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """The value of one statement's operation."""
        binary: dict[str, Callable[[Value, Value], Value]] = {
            "add": self.b.fadd,
            "sub": self.b.fsub,
            "mul": self.b.fmul,
            "normalize": self.b.fmul,
            "div": self.b.fdiv,
        }
        if op in binary:
            return binary[op](*args)
        compare = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
        if op in compare:
            return self.b.fcmp_ordered(compare[op], *args)
        return getattr(self, f"_{op}")(*args)

    def _copy(self, a: Value) -> Value:
        return a

    def _where(self, condition: Value, a: Value, b: Value) -> Value:
        return self.b.select(condition, a, b)

    def _neg(self, a: Value) -> Value:
        return self.b.fneg(a)

    def _abs(self, a: Value) -> Value:
        return self.e.intrinsic("fabs", a)

    def _sqrt(self, a: Value) -> Value:
        return self.e.intrinsic("sqrt", a)

    def _sin(self, a: Value) -> Value:
        return self._wave(a, 0)

    def _cos(self, a: Value) -> Value:
        return self._wave(a, 1)

    def _wave(self, a: Value, quarter: int) -> Value:
        """sin(a + quarter * pi / 2): a = n pi / 2 + r, then the series of sin or cos of r."""
        b, real = self.b, self.real
        n = self.e.intrinsic("rint", b.fmul(a, real.splat(2.0 / math.pi)))
        r = a
        for part in _HALF_PI[real.bits]:
            r = self.e.fma(n, real.splat(-part), r)
        r = self._clamp(r, -0.8, 0.8)
        z = b.fmul(r, r)
        terms = _WAVE_TERMS[real.bits]
        odd = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(1, terms + 1)]
        even = [(-1.0) ** k / math.factorial(2 * k) for k in range(1, terms + 1)]
        sine = self.e.fma(b.fmul(z, r), self._series(z, odd), r)
        cosine = self.e.fma(z, self._series(z, even), self.one)
        quadrant = b.add(self._whole(n), self._integers(quarter))
        is_odd = b.icmp_unsigned("!=", b.and_(quadrant, self._integers(1)), self._integers(0))
        flips = b.icmp_unsigned("!=", b.and_(quadrant, self._integers(2)), self._integers(0))
        value = b.select(is_odd, cosine, sine)
        return b.select(flips, b.fneg(value), value)

    def _min(self, a: Value, b: Value) -> Value:
        return self._choose("<", a, b)

    def _max(self, a: Value, b: Value) -> Value:
        return self._choose(">", a, b)

    def _choose(self, comparison: str, a: Value, b: Value) -> Value:
        """min or max; NaN if either is NaN, as in torch."""
        a_wins = self.b.fcmp_ordered(comparison, a, b)
        a_is_nan = self.b.fcmp_unordered("uno", a, a)
        return self.b.select(self.b.or_(a_wins, a_is_nan), a, b)

    def _relu(self, a: Value) -> Value:
        return self.b.select(self.b.fcmp_ordered("<", a, self.zero), self.zero, a)

    def _exp(self, a: Value) -> Value:
        n, m, _ = self._reduce(self._clamp(a, *_EXP_RANGE[self.real.bits]))
        # Two factors, so that results below the normal range are rounded and not cut off.
        half = self.e.intrinsic("floor", self.b.fmul(n, self.real.splat(0.5)))
        first = self.b.fmul(self.b.fadd(self.one, m), self._power_of_two(half))
        return self.b.fmul(first, self._power_of_two(self.b.fsub(n, half)))

    def _sigmoid(self, a: Value) -> Value:
        limit = _SIGMOID_LIMIT[self.real.bits]
        _, m, scale = self._reduce(self._clamp(a, -limit, limit), sign=-1.0)
        exp = self.e.fma(m, scale, scale)
        value = self._quotient(self.one, self.b.fadd(self.one, exp))
        # Beyond the limit it would be subnormal.
        fades = self.b.fcmp_ordered("<", a, self.real.splat(-limit))
        return self.b.select(fades, self.zero, value)

    def _tanh(self, a: Value) -> Value:
        limit = _TANH_IS_ONE[self.real.bits]
        clamped = self._clamp(a, -limit, limit)
        _, m, scale = self._reduce(self.b.fadd(clamped, clamped), is_small=True)
        # exp(2a) - 1 = scale * m + (scale - 1), which keeps its digits near 0, where scale is 1.
        expm1 = self.e.fma(m, scale, self.b.fsub(scale, self.one))
        return self._quotient(expm1, self.b.fadd(expm1, self.real.splat(2.0)))

    def _quotient(self, a: Value, b: Value) -> Value:
        """a / b within a unit in the last place, for |a| <= b and b between 1 and 2**126.

        A division of long vectors takes as long as the rest of a function.
        """
        estimate = self.e.reciprocal(b)
        if estimate is None:
            return self.b.fdiv(a, b)
        value = self.b.fmul(a, estimate)
        remainder = self.e.fma(self.b.fneg(b), value, a)
        return self.e.fma(remainder, estimate, value)

    def _softplus(self, a: Value) -> Value:
        # max(a, 0) + log(1 + u) with u = exp(-|a|), and log(1 + u) = 2 artanh(u / (2 + u)).
        u = self._exp(self.b.fneg(self._abs(a)))
        ratio = self.b.fdiv(u, self.b.fadd(u, self.real.splat(2.0)))
        return self.b.fadd(self._relu(a), self._twice_artanh(ratio, _LOG1P_TERMS[self.real.bits]))

    def _log(self, a: Value) -> Value:
        b, real = self.b, self.real
        tiny = b.fcmp_ordered("<", a, real.splat(2.0 ** (1 - _LARGEST_EXPONENT[real.bits])))
        lift = 2 * _MANTISSA_BITS[real.bits]
        lifted = b.select(tiny, b.fmul(a, real.splat(2.0**lift)), a)
        bits = b.bitcast(lifted, ir.VectorType(real.integer, real.lanes))
        # Subtracting the bits of sqrt(1/2) makes the exponent change at sqrt(1/2), not at 1.
        half_root = self._integers(_bits_of(math.sqrt(0.5), real.bits))
        exponent = b.ashr(b.sub(bits, half_root), self._integers(_MANTISSA_BITS[real.bits]))
        mantissa_bits = b.sub(bits, b.shl(exponent, self._integers(_MANTISSA_BITS[real.bits])))
        mantissa = b.bitcast(mantissa_bits, real.vector)
        n = b.sitofp(exponent, real.vector)
        n = b.fsub(n, b.select(tiny, real.splat(float(lift)), self.zero))
        f = b.fsub(mantissa, self.one)
        s = b.fdiv(f, b.fadd(f, real.splat(2.0)))
        series = self._twice_artanh(s, _LOG_TERMS[real.bits])
        high, low = _LN2[real.bits]
        result = self.e.fma(n, real.splat(high), self.e.fma(n, real.splat(low), series))
        result = b.select(b.fcmp_ordered("==", a, self.zero), real.splat(-math.inf), result)
        result = b.select(b.fcmp_unordered("<", a, self.zero), real.splat(math.nan), result)
        return b.select(b.fcmp_ordered("==", a, real.splat(math.inf)), a, result)

    def _twice_artanh(self, s: Value, terms: int) -> Value:
        """2 s (1 + s^2 / 3 + s^4 / 5 + ...)"""
        z = self.b.fmul(s, s)
        series = self._series(z, [1.0 / (2 * k + 1) for k in range(1, terms + 1)])
        twice = self.b.fadd(s, s)
        return self.e.fma(self.b.fmul(twice, z), series, twice)

    def _reduce(
        self, a: Value, *, sign: float = 1.0, is_small: bool = False
    ) -> tuple[Value, Value, Value]:
        """(n, m, 2**n) with exp(sign * a) = 2**n * (1 + m), n whole and |m| < 0.42.

        sign * a = n ln 2 + r with |r| <= ln(2) / 2, and m = r + r^2 (1/2! + r/3! + ...). The power
        is right where it is a normal number. Where a is small, n times what one number lacks of
        ln 2 is too little to be seen.
        """
        b, real = self.b, self.real
        # Adding a number this large rounds n to a whole one, with its exponent in the lowest bits.
        magic = real.splat(1.5 * 2.0 ** _MANTISSA_BITS[real.bits] + _LARGEST_EXPONENT[real.bits])
        shifted = self.e.fma(a, real.splat(sign / math.log(2.0)), magic)
        n = b.fsub(shifted, magic)
        exponent = b.bitcast(shifted, ir.VectorType(real.integer, real.lanes))
        exponent = b.shl(exponent, self._integers(_MANTISSA_BITS[real.bits]))
        r = a
        for part in (math.log(2.0),) if is_small else _LN2[real.bits]:
            r = self.e.fma(n, real.splat(-sign * part), r)
        # r is sign times as large here; so are the odd powers of it.
        series = self._series(r, [sign**k * c for k, c in enumerate(_exp_coefficients(real.bits))])
        rest = r if sign > 0 else b.fneg(r)
        return n, self.e.fma(b.fmul(r, r), series, rest), b.bitcast(exponent, real.vector)

    def _series(self, z: Value, coefficients: Sequence[float]) -> Value:
        """c[0] + c[1] z + c[2] z^2 + ..., neighbours paired until one is left (Estrin's scheme).

        Horner's rule takes as many steps, but each has to wait for the last one.
        """
        terms: list[Value] = [self.real.splat(c) for c in coefficients]
        while len(terms) > 1:
            if len(terms) % 2:
                # An odd one goes to the term before it: no power of z is needed for it alone.
                last = terms.pop()
                terms[-1] = self.e.fma(last, z, terms[-1])
            terms = [self.e.fma(b, z, a) for a, b in zip(terms[::2], terms[1::2], strict=True)]
            z = self.b.fmul(z, z)
        return terms[0]

    def _whole(self, n: Value) -> Value:
        """A vector of whole numbers as integers; only the low bits hold."""
        # Adding 1.5 * 2**mantissa_bits leaves the whole number in the lowest bits.
        magic = self.real.splat(1.5 * 2.0 ** _MANTISSA_BITS[self.real.bits])
        integers = ir.VectorType(self.real.integer, self.real.lanes)
        return self.b.bitcast(self.b.fadd(n, magic), integers)

    def _power_of_two(self, n: Value) -> Value:
        """2**n for a vector of whole numbers, by writing the exponent bits."""
        biased = self.b.fadd(n, self.real.splat(float(_LARGEST_EXPONENT[self.real.bits])))
        exponent = self.b.shl(self._whole(biased), self._integers(_MANTISSA_BITS[self.real.bits]))
        return self.b.bitcast(exponent, self.real.vector)

    def _clamp(self, a: Value, low: float, high: float) -> Value:
        """a within low .. high; NaN stays NaN."""
        a = self.b.select(self.b.fcmp_ordered(">", a, top := self.real.splat(high)), top, a)
        return self.b.select(self.b.fcmp_ordered("<", a, end := self.real.splat(low)), end, a)

    def _integers(self, value: int) -> Value:
        return ir.Constant(
            ir.VectorType(self.real.integer, self.real.lanes), [value] * self.real.lanes
        )


@cache
def _exp_coefficients(bits: int) -> list[float]:
    """Coefficients of 1, r, ... of (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2.

    For float32 those of the polynomial that is right at Chebyshev's points, which needs a term less
    than the series, whose error is nearly all at the ends. They are computed in float64, and for
    float64 they would have too few digits.
    """
    series = [1.0 / math.factorial(k) for k in range(2, _EXP_TERMS[64] + 1)]
    if bits == 64:
        return series
    ends = [-0.5 * math.log(2.0), 0.5 * math.log(2.0)]
    fitted = Chebyshev.interpolate(Polynomial(series), _EXP_TERMS[32] - 2, domain=ends)
    return [float(coefficient) for coefficient in fitted.convert(kind=Polynomial).coef]


def _bits_of(value: float, bits: int) -> int:
    kinds = {32: ("<f", "<i"), 64: ("<d", "<q")}[bits]
    return int(struct.unpack(kinds[1], struct.pack(kinds[0], value))[0])
