"""Activations, and dropout."""

from __future__ import annotations

import math

from minitensor import random
from minitensor.backend import namespace
from minitensor.fuse import fused
from minitensor.fused_ops.blocks import row_blocks
from minitensor.op import op
from minitensor.ops.elementwise import erf, expm1, logaddexp, tanh, where
from minitensor.tensor import asarray

__all__ = ["dropout", "elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]


@op
def relu(xp, x):
    """``max(x, 0)``; derivative 0 at 0."""
    return xp.maximum(x, 0.0) if x.dtype.kind == "f" else xp.maximum(x, 0)


relu.vjp(lambda xp, g, out: g * xp.greater(out, 0))


@op
def sigmoid(xp, x):
    """``1 / (1 + exp(-x))``, without overflow."""
    e = xp.exp(-xp.abs(x))
    return xp.where(xp.greater_equal(x, 0), 1.0, e) / (1.0 + e)


sigmoid.vjp(lambda g, out: g * (out * (1.0 - out)))


@fused
def silu(x):
    """``x * sigmoid(x)`` (Hendrycks and Gimpel 2016; also "swish")."""
    return x * sigmoid(x)


def softplus(x):
    """``log(1 + exp(x))``, without overflow."""
    return logaddexp(x, 0.0)


def elu(x, alpha=1.0):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``. Clevert et al. 2015, arXiv:1511.07289."""
    x = asarray(x)
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x)))


def leaky_relu(x, negative_slope=0.01):
    """``x`` where positive, else ``negative_slope * x``."""
    x = asarray(x)
    return where(x > 0, x, negative_slope * x)


@fused
def gelu(x, *, approximate="none"):
    """``x * Phi(x)``, Phi the distribution function of the standard normal; "tanh" approximates it as GPT-2 does.

    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, arXiv:1606.08415.
    """
    _check_approximate(approximate)
    if approximate == "tanh":
        return 0.5 * x * (1.0 + tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x)))
    return 0.5 * x * (1.0 + erf(x * _ROOT_HALF))


_ROOT_HALF, _TANH_SCALE, _TANH_CUBE = math.sqrt(0.5), math.sqrt(2.0 / math.pi), 0.044715


def _check_approximate(approximate):
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')


def _by_blocks(xp, function, *arrays):
    """``function(*arrays)`` elementwise in cache-sized pieces."""
    flat = [a.reshape(-1, 1) for a in arrays]
    out = xp.empty(flat[0].shape, dtype=arrays[0].dtype)
    for block in row_blocks(xp, flat[0]):
        out[block] = function(*[a[block] for a in flat])
    return out.reshape(arrays[0].shape)


@gelu.kernel
def _(xp, x, *, approximate="none"):
    _check_approximate(approximate)
    x = x if x.dtype.kind == "f" else x.astype(xp.float32)

    def normal(x):  # Phi(x) and its derivative's factor
        if approximate == "tanh":
            return 0.5 * (1.0 + xp.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x)))
        return 0.5 * (1.0 + xp.erf(x * _ROOT_HALF))

    def slope(g, x):
        phi = normal(x)
        if approximate == "tanh":
            # d/dx 0.5 (1 + tanh u) = 0.5 (1 - tanh^2 u) u' = 2 phi (1 - phi) u'.
            density = 2.0 * phi * (1.0 - phi) * (_TANH_SCALE * (1.0 + 3.0 * _TANH_CUBE * x * x))
        else:
            density = xp.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
        return g * (phi + x * density)

    return _by_blocks(xp, lambda x: x * normal(x), x), lambda g: (_by_blocks(xp, slope, g, x),)


@silu.kernel
def _(xp, x):
    x = x if x.dtype.kind == "f" else x.astype(xp.float32)

    def logistic(x):
        return 0.5 * (1.0 + xp.tanh(0.5 * x))

    def slope(g, x):
        s = logistic(x)
        return g * (s * (1.0 + x * (1.0 - s)))

    return _by_blocks(xp, lambda x: x * logistic(x), x), lambda g: (_by_blocks(xp, slope, g, x),)


# --- dropout ------------------------------------------------------------------------------------------------------------------


@op
def _dropout(xp, x, *, mask):
    return x * mask


_dropout.name = "dropout"
_dropout.vjp(lambda xp, g, mask: g * xp.asarray(mask))


def dropout(x, p=0.5, training=True, generator=None):
    """Zero each element with probability ``p`` and multiply the others by ``1 / (1 - p)``.

    The bits come from ``generator`` (the default one where None), 16 an element. Without training, or with p = 0, x itself.
    Srivastava et al., "Dropout", JMLR 2014.
    """
    x = asarray(x)
    mask = dropout_mask(x.shape, p, training, generator, x.device, x.dtype)
    return x if mask is None else _dropout(x, mask=mask)


def dropout_mask(shape, p, training, generator, device, dtype):
    """A raw array: 0 with probability ``p``, else ``1 / (1 - p)``; None where nothing is dropped."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout: p must be at least 0 and below 1, got {p}")
    if not training or p == 0.0:
        return None
    xp = namespace(device)
    bits = (generator or random.default).halves(shape, device)
    mask = xp.greater_equal(bits, xp.uint16(round(p * 65536))).astype(dtype)
    mask *= 1.0 / (1.0 - p)
    return mask
