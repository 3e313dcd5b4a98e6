"""Functions of one number that the compiler turns into instructions for many numbers at once.

Those of the C library are called number by number. Of float32 these are polynomials, right to 3e-7
of the value; float64, in which few train, goes to the C library. NaN stays NaN, and infinity gives
the limit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.extending import overload

__all__ = [
    "COMPILED", "exp", "intrinsic", "minus", "ordered", "over", "root", "sigmoid", "tanh", "unordered", "upper_tail",
]  # fmt: skip

# Leave for the loops: sums may be reordered, and products joined to them. NaN and infinity keep
# their meaning ("nnan" and "ninf" are not among these).
COMPILED = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "error_model": "numpy"}
# For what must be computed as it is written. It becomes a piece of each function that calls it.
EXACT = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}
f32 = np.float32
intrinsic: Any = extending.intrinsic  # to a type checker a function that takes what its compiler does


def _by_type(function, single):
    """Let ``function`` be ``single`` for float32 and itself for float64."""

    def choose(x):
        if x == types.float32:
            return single
        return function if x == types.float64 else None

    overload(function, jit_options=EXACT)(choose)
    return function


@intrinsic
def _bits(_context, x):
    """The bits of a float32 as an integer."""
    return types.int32(types.float32), lambda _, builder, signature, values: builder.bitcast(values[0], ir.IntType(32))


@intrinsic
def _from_bits(_context, bits):
    """The float32 that has these bits."""
    return types.float32(types.int32), lambda _, builder, signature, values: builder.bitcast(values[0], ir.FloatType())


@njit(**EXACT)
def minus(x, y):
    """``x - y``, which no loop may take apart: of ``(x - y) - z`` reordered, a small z would be
    lost.
    """
    return x - y


@njit(**EXACT)
def over(x, y):
    """``x / y``, which no loop may join to another division: ``(x / y) (x / y)`` is finite where
    ``x x / (y y)`` is not.
    """
    return x / y


@njit(**EXACT)
def root(x):
    """The square root as the processor has it: estimates of it make NaN of infinity."""
    return math.sqrt(x)


# --- exp ------------------------------------------------------------------------------------------

LEAST, GREATEST = f32(-87.33654), f32(88.72283)  # where a float32 begins to be subnormal, and is infinite
SHIFT = f32(12582912.0)  # 1.5 * 2^23: the sum of it and a whole number has that number as its last bits
LOG2E, LN2_HIGH, LN2_LOW = f32(1.44269504), f32(0.693359375), f32(-2.12194440e-4)


def exp(x):
    """The exponential function; a float32 below the normal ones is 0."""
    return math.exp(x)


def _exp(x):
    # exp(x) = 2^k exp(r), r within half a ln 2; the polynomial is that of Cephes' expf (Moshier,
    # 1992).
    near = LEAST if x < LEAST else (GREATEST if x > GREATEST else x)
    k = np.rint(near * LOG2E)
    r = near - k * LN2_HIGH - k * LN2_LOW
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1)
    # 2^k goes to the exponent as an integer: as a factor it might be joined to another one and
    # overflow.
    power = _bits(np.float32(k + SHIFT)) << np.int32(23)
    value = _from_bits(np.int32(_bits(np.float32(p)) + power))
    value = f32(0) if x < LEAST else (f32(np.inf) if x > GREATEST else value)
    return value if x == x else x  # the bits of a NaN are none to add to


_by_type(exp, _exp)


# --- what is made of it ---------------------------------------------------------------------------


def sigmoid(x):
    """``1 / (1 + exp(-x))``."""
    return 1.0 / (1.0 + math.exp(-x))


def _sigmoid(x):
    return f32(1) / (f32(1) + exp(-x))


_by_type(sigmoid, _sigmoid)


def tanh(x):
    """The hyperbolic tangent."""
    return math.tanh(x)


def _tanh(x):
    # Near 0 a polynomial, Cephes' tanhf; elsewhere 1 - 2 / (exp(2 |x|) + 1).
    size = abs(x)
    square = x * x
    p = f32(-5.70498872745e-3)
    p = p * square + f32(2.06390887954e-2)
    p = p * square + f32(-5.37397155531e-2)
    p = p * square + f32(1.33314422036e-1)
    p = p * square + f32(-3.33332819422e-1)
    near = p * square * x + x
    far = f32(1) - f32(2) / (exp(f32(2) * size) + f32(1))
    return near if size < f32(0.625) else (-far if x < f32(0) else far)


_by_type(tanh, _tanh)


# --- the normal distribution ----------------------------------------------------------------------


def upper_tail(x, e):
    """``1 - Phi(x)`` of the standard normal for x >= 0, given ``e = exp(-x^2 / 2)``."""
    return 0.5 * math.erfc(x * math.sqrt(0.5))


def _upper_tail(x, e):
    # erfc(z) = exp(-z^2) t P(t), t = 1 / (1 + 0.355 z): the form of Abramowitz and Stegun, 7.1.26;
    # P was fitted to scipy.special.erfcx and has a relative error of 3e-8 for all z >= 0.
    t = f32(1) / (f32(1) + STRETCH * x)
    p = f32(0.03957239218)
    p = p * t + f32(-0.1590624968)
    p = p * t + f32(0.1832186864)
    p = p * t + f32(-0.05804630247)
    p = p * t + f32(0.1240311948)
    p = p * t + f32(0.1186566622)
    p = p * t + f32(0.1634506348)
    p = p * t + f32(0.1876030932)
    p = p * t + f32(0.2002888141)
    p = p * t + f32(0.2002872963)
    return f32(0.5) * e * t * p


STRETCH = f32(0.355 * math.sqrt(0.5))
overload(upper_tail, jit_options=EXACT)(
    lambda x, e: _upper_tail if x == types.float32 else (upper_tail if x == types.float64 else None)
)


# --- the order of numbers -------------------------------------------------------------------------


def ordered(x):
    """An integer that is greater for a greater float, and the greatest for NaN: maxima of integers
    are taken many at once, those of floats, where a NaN may be among them, one by one.
    """
    raise NotImplementedError("compiled only")


def _ordered32(x):
    bits = _bits(x)
    number = np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return number if x == x else np.int32(0x7FFFFFFF)  # a NaN may have a sign


def _ordered64(x):
    bits = _bits64(x)
    number = bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))
    return number if x == x else np.int64(0x7FFFFFFFFFFFFFFF)


def unordered(n):
    """The float of such an integer."""
    raise NotImplementedError("compiled only")


def _unordered32(n):
    return _from_bits(np.int32(n ^ ((n >> np.int32(31)) & np.int32(0x7FFFFFFF))))


def _unordered64(n):
    return _from_bits64(np.int64(n ^ ((n >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))))


@intrinsic
def _bits64(_context, x):
    """The bits of a float64 as an integer."""
    return types.int64(types.float64), lambda _, builder, signature, values: builder.bitcast(values[0], ir.IntType(64))


@intrinsic
def _from_bits64(_context, bits):
    """The float64 that has these bits."""
    return types.float64(types.int64), lambda _, builder, signature, values: builder.bitcast(values[0], ir.DoubleType())


overload(ordered, jit_options=EXACT)(lambda x: {types.float32: _ordered32, types.float64: _ordered64}.get(x))
overload(unordered, jit_options=EXACT)(lambda n: {types.int32: _unordered32, types.int64: _unordered64}.get(n))
