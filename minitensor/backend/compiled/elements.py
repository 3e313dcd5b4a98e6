"""Activations, dropout and sums of two arrays, element by element: one pass over memory.

Arrays are contiguous lines of one length. A part is STEP elements.
"""

from __future__ import annotations

from minitensor.backend.compiled import STEP
from minitensor.backend.compiled.lowlevel import entry, parallel, part, piece
from minitensor.backend.compiled.maths import exp, sigmoid, tanh, upper_tail

__all__ = [
    "add", "gelu", "gelu_gradient", "gelu_tanh", "gelu_tanh_gradient", "multiply", "relu", "relu_gradient", "silu", "silu_gradient",
]  # fmt: skip

FAR = 40.0  # where Phi and the sigmoid are 0 or 1 to the last digit
LARGE = 1e30
TANH_SCALE, TANH_CUBE, DENSITY = 0.7978845608028654, 0.044715, 0.3989422804014327


@part
def _add(number, x, y, out):
    x, y, out = piece(x, number), piece(y, number), piece(out, number)
    for i in range(x.size):
        out[i] = x[i] + y[i]


@entry
def add(pool, x, y, out):
    """``out = x + y``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _add, (x, y, out))


@part
def _multiply(number, x, y, out):
    x, y, out = piece(x, number), piece(y, number), piece(out, number)
    for i in range(x.size):
        out[i] = x[i] * y[i]


@entry
def multiply(pool, x, y, out):
    """``out = x y``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _multiply, (x, y, out))


# --- relu -----------------------------------------------------------------------------------------


@part
def _relu(number, x, y):
    x, y = piece(x, number), piece(y, number)
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@entry
def relu(pool, x, y):
    """``y = max(x, 0)``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _relu, (x, y))


@part
def _relu_gradient(number, y, g, gx):
    y, g, gx = piece(y, number), piece(g, number), piece(gx, number)
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        gx[i] = g[i] * (one if y[i] > zero else zero)


@entry
def relu_gradient(pool, y, g, gx):
    """``gx = g [y > 0]``, as a product, so that NaN stays NaN."""
    parallel(pool, (y.size + STEP - 1) // STEP, _relu_gradient, (y, g, gx))


# --- gelu -----------------------------------------------------------------------------------------


@part
def _gelu(number, x, y):
    x, y = piece(x, number), piece(y, number)
    real = x.dtype.type
    far, zero, one, half = real(FAR), real(0), real(1), real(-0.5)
    for i in range(x.size):
        v = -far if x[i] < -far else x[i]  # -inf * 0 is NaN
        tail = upper_tail(abs(v), exp(half * v * v))
        y[i] = v * (one - tail if v > zero else tail)


@entry
def gelu(pool, x, y):
    """``y = x Phi(x)``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _gelu, (x, y))


@part
def _gelu_gradient(number, x, g, gx):
    x, g, gx = piece(x, number), piece(g, number), piece(gx, number)
    real = x.dtype.type
    far, zero, one, half, density = real(FAR), real(0), real(1), real(-0.5), real(DENSITY)
    for i in range(x.size):
        v = -far if x[i] < -far else (far if x[i] > far else x[i])
        e = exp(half * v * v)
        tail = upper_tail(abs(v), e)
        gx[i] = g[i] * ((one - tail if v > zero else tail) + v * e * density)


@entry
def gelu_gradient(pool, x, g, gx):
    """``gx = g (Phi(x) + x phi(x))``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _gelu_gradient, (x, g, gx))


@part
def _gelu_tanh(number, x, y):
    x, y = piece(x, number), piece(y, number)
    real = x.dtype.type
    far, one, half, scale, cube = real(FAR), real(1), real(0.5), real(TANH_SCALE), real(TANH_CUBE)
    for i in range(x.size):
        low = -far if x[i] < -far else x[i]
        v = far if low > far else low
        y[i] = low * (half * (one + tanh(scale * (v + cube * v * v * v))))


@entry
def gelu_tanh(pool, x, y):
    """``y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _gelu_tanh, (x, y))


@part
def _gelu_tanh_gradient(number, x, g, gx):
    x, g, gx = piece(x, number), piece(g, number), piece(gx, number)
    real = x.dtype.type
    far, one, half, scale, cube = real(FAR), real(1), real(0.5), real(TANH_SCALE), real(TANH_CUBE)
    two, three = real(2), real(3)
    for i in range(x.size):
        v = -far if x[i] < -far else (far if x[i] > far else x[i])
        phi = half * (one + tanh(scale * (v + cube * v * v * v)))
        density = two * phi * (one - phi) * (scale * (one + three * cube * v * v))
        gx[i] = g[i] * (phi + v * density)


@entry
def gelu_tanh_gradient(pool, x, g, gx):
    """The gradient of ``gelu_tanh``: with u its tanh's argument, Phi' = 2 Phi (1 - Phi) u'."""
    parallel(pool, (x.size + STEP - 1) // STEP, _gelu_tanh_gradient, (x, g, gx))


# --- silu -----------------------------------------------------------------------------------------


@part
def _silu(number, x, y):
    x, y = piece(x, number), piece(y, number)
    large = x.dtype.type(LARGE)
    for i in range(x.size):
        v = -large if x[i] < -large else x[i]
        y[i] = v * sigmoid(v)


@entry
def silu(pool, x, y):
    """``y = x s(x)``, s the sigmoid."""
    parallel(pool, (x.size + STEP - 1) // STEP, _silu, (x, y))


@part
def _silu_gradient(number, x, g, gx):
    x, g, gx = piece(x, number), piece(g, number), piece(gx, number)
    real = x.dtype.type
    far, large, one = real(FAR), real(LARGE), real(1)
    for i in range(x.size):
        v = -large if x[i] < -large else (far if x[i] > far else x[i])
        s = sigmoid(v)
        gx[i] = g[i] * (s + v * s * (one - s))


@entry
def silu_gradient(pool, x, g, gx):
    """``gx = g s(x) (1 + x s(-x))``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _silu_gradient, (x, g, gx))
