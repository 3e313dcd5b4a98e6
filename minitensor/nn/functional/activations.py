"""Activations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.engine.fused import fused
from minitensor.engine.op import op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.blocks import as_floats, row_blocks
from minitensor.ops.elementwise import clip, erf, expm1, maximum, tanh, where

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


@fused
def relu(x):
    """``max(x, 0)``; derivative 0 at 0."""
    return where(x > 0, x, maximum(x, 0).detach())


@relu.kernel
def _(xp, x):
    y = xp.maximum(x, 0)
    return y, lambda g: (g * xp.greater(y, 0),)


LARGEST, FAR = 1e30, 40.0  # finite in every type that is computed in; where a sigmoid or Phi is 1 to the last digit


@op
def sigmoid(xp, x):
    """``1 / (1 + exp(-x))``, without overflow."""
    e = xp.exp(xp.clip(x, -LARGEST, FAR))
    return e / (1.0 + e)


# s'(x) = s(x) s(-x): of 1 - s(x) no digit would be left if s(x) is nearly 1.
sigmoid.vjp(lambda xp, g, x, out: g * (out * _logistic(xp, -x)))


def _logistic(xp, x):
    """The sigmoid in a rule: the op if the pass is recorded."""
    return sigmoid(x) if isinstance(x, Tensor) else sigmoid.function(xp, x)


@op
def softplus(xp, x):
    """``log(1 + exp(x))``, without overflow."""
    x = as_floats(x)  # minus an integer without a sign is a great one
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


softplus.vjp(lambda xp, g, x: g * _logistic(xp, x))


@fused
def silu(x):
    """``x * sigmoid(x)`` (Hendrycks and Gimpel 2016; also "swish"); 0 at -inf."""
    near = clip(x, -LARGEST, LARGEST)
    return near * sigmoid(x) + maximum(x - LARGEST, 0.0)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """``x`` if positive, else ``alpha * (exp(x) - 1)``. Clevert et al. 2015, arXiv:1511.07289."""
    x = asarray(x)
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x)))


def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """``x`` if positive, else ``negative_slope * x``."""
    x = asarray(x)
    return where(x > 0, x, negative_slope * x)


@fused
def gelu(x, *, approximate="none"):
    """``x * Phi(x)``, Phi the distribution function of the standard normal; "tanh" approximates it
    as GPT-2 does.

    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, arXiv:1606.08415.
    """
    _check_approximate(approximate)
    near = clip(x, -FAR, FAR)
    if approximate == "tanh":
        phi = 0.5 * (1.0 + tanh(_TANH_SCALE * (near + _TANH_CUBE * near * near * near)))
    else:
        phi = 0.5 * (1.0 + erf(near * _ROOT_HALF))
    return near * phi + maximum(x - FAR, 0.0)


_ROOT_HALF, _TANH_SCALE, _TANH_CUBE = math.sqrt(0.5), math.sqrt(2.0 / math.pi), 0.044715


def _check_approximate(approximate):
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')


def _by_blocks(xp, function, *arrays):
    """An array that ``function(out, *arrays)`` fills, elementwise, in cache-sized pieces."""
    flat = [a.reshape(-1, 1) for a in arrays]
    out = xp.empty(flat[0].shape, dtype=arrays[0].dtype)
    for block in row_blocks(xp, out, arrays=2):
        function(out[block], *[a[block] for a in flat])
    return out.reshape(arrays[0].shape)


@gelu.kernel
def _(xp, x, *, approximate="none"):
    _check_approximate(approximate)
    x = as_floats(x)

    def twice_normal(x):
        """2 Phi(x)."""
        if approximate == "tanh":
            y = x * x
            y *= _TANH_SCALE * _TANH_CUBE
            y += _TANH_SCALE
            y *= x
            xp.tanh(y, out=y)
        else:
            y = xp.erf(x * _ROOT_HALF)
        y += 1.0
        return y

    def value(y, x):
        xp.clip(x, -FAR, math.inf, out=y)
        near = xp.minimum(y, FAR)
        y *= 0.5
        y *= twice_normal(near)

    def slope(s, g, x):
        x = xp.clip(x, -FAR, FAR)
        phi = twice_normal(x)
        xp.multiply(x, x, out=s)
        if approximate == "tanh":
            # With Phi = (1 + tanh u) / 2:  Phi' = (1 - tanh^2 u) u' / 2 = 2 Phi (2 - 2 Phi) u' / 2.
            s *= 3.0 * _TANH_SCALE * _TANH_CUBE
            s += _TANH_SCALE
            s *= x
            s *= 2.0 - phi
            s += 1.0
            s *= phi
            s *= 0.5
        else:
            # Phi' = exp(-x^2 / 2) / sqrt(2 pi).
            s *= -0.5
            xp.exp(s, out=s)
            s *= x
            s *= math.sqrt(2.0 / math.pi)
            s += phi
            s *= 0.5
        s *= g

    return _by_blocks(xp, value, x), lambda g: (_by_blocks(xp, slope, g, x),)


@silu.kernel
def _(xp, x):
    x = as_floats(x)

    def value(y, x):
        xp.clip(x, -LARGEST, FAR, out=y)
        xp.exp(y, out=y)
        y /= 1.0 + y
        y *= xp.clip(x, -LARGEST, math.inf)

    def slope(s, g, x):
        # d/dx x s(x) = s(x) + x s(x) s(-x), with e = exp(x):  s(x) = e / (1 + e),  s(-x) = 1 / (1 +
        # e).
        x = xp.clip(x, -LARGEST, FAR)
        xp.exp(x, out=s)
        d = 1.0 + s
        s /= d
        x /= d
        x += 1.0
        s *= x
        s *= g

    return _by_blocks(xp, value, x), lambda g: (_by_blocks(xp, slope, g, x),)
