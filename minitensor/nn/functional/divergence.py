"""How far two predictions are apart."""

from __future__ import annotations

import math

from minitensor.engine.fused import fused
from minitensor.engine.tensor import asarray
from minitensor.nn.functional.blocks import as_floats, row_blocks
from minitensor.nn.functional.probabilities import log_softmax, logarithms
from minitensor.ops.elementwise import equal, exp, isinf, where
from minitensor.ops.reductions import sum as sum_of

__all__ = ["symmetric_kl_div"]

NEARLY_ONE = 0.99  # a probability that only one of a row can have


@fused
def symmetric_kl_div(logits, /):
    """``(KL(p || q) + KL(q || p)) / 2`` in nats for the rows of a pair, with p and q their softmax:
    the sum of ``(p - q) (log p - log q) / 2``; logits (..., 2, T, C) to (..., T).

    A class that both rows have at -inf counts nothing; one that only one of them has at -inf makes
    it infinite, and the gradient is none: infinite or NaN for that class, and all over the row that
    can have it. Half of the divergence of Jeffreys (1946).
    """
    x = asarray(logits)
    check_pairs(x.shape)
    one, other = log_softmax(x[..., 0, :, :]), log_softmax(x[..., 1, :, :])
    never = equal(one, -math.inf) & equal(other, -math.inf)
    apart = where(never, 0.0, one) - where(never, 0.0, other)
    endless = where(isinf(apart), apart, 0.0)  # whose probabilities may have underflowed to 0 and 0
    finite = where(isinf(apart), 0.0, apart)
    return 0.5 * sum_of((exp(one) - exp(other)) * finite + endless * endless, axis=-1)


def check_pairs(shape):
    """Raise ValueError if this is not the shape of pairs."""
    if len(shape) < 3 or shape[-3] != 2:
        raise ValueError(f"symmetric_kl_div: logits {shape} must be (..., 2, T, C), the two predictions along axis -3")


@symmetric_kl_div.kernel
def _(xp, logits):
    # With d = log p - log q:
    #     dL/dx = g / 2 (p (d - <p, d>) + p - q),      dL/dy = g / 2 (q (<q, d> - d) + q - p).
    check_pairs(logits.shape)
    x = as_floats(logits)
    pairs = x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])  # (P, 2, T, C)
    out = xp.zeros((pairs.shape[0], pairs.shape[2]), dtype=x.dtype)
    blocks = list(row_blocks(xp, pairs.reshape(len(pairs), math.prod(pairs.shape[1:])), 4))

    def parts(block):
        log_p, log_q = (_logarithms(xp, pairs[block, side]) for side in (0, 1))
        p, q = xp.exp(log_p), xp.exp(log_q)
        same = log_p == log_q  # -inf and -inf among them, whose difference is no number
        apart = xp.where(same, x.dtype.type(0), log_p) - xp.where(same, x.dtype.type(0), log_q)
        return p, q, apart

    for block in blocks:
        p, q, apart = parts(block)
        endless = xp.isinf(apart)  # times a difference that may have underflowed to 0
        apart[endless] = 0.0
        terms = (p - q) * apart
        terms[endless] = math.inf
        out[block] = xp.einsum("pij->pi", terms) / 2

    def backward(g):
        g = g.reshape(out.shape)[..., None] / 2
        gx = xp.empty(pairs.shape, dtype=x.dtype)
        for block in blocks:
            p, q, apart = parts(block)
            endless = xp.isinf(apart)
            finite = xp.where(endless, x.dtype.type(0), apart)
            for side, one, other, sign in ((0, p, q, 1), (1, q, p, -1)):
                # An infinite d is of a class that only one row can have: it has no gradient then.
                alone = (endless & (sign * apart > 0)).any(axis=-1)
                mean = xp.where(alone, x.dtype.type(math.nan), xp.einsum("pij,pij->pi", one, finite))[..., None]
                gradient = one * (sign * (finite - mean)) + (one - other)
                gradient[endless] = math.nan
                gx[block, side] = g[block] * _adding_up(xp, one, gradient)
        return (gx.reshape(x.shape),)

    return out.reshape(*x.shape[:-3], x.shape[-2]), backward


def _adding_up(xp, p, gradient):
    """The gradient of rows (P, T, C), with that of a class which is nearly sure as minus the sum of
    the others': it adds up to 0, and ``p - q`` has lost its digits there.
    """
    p, rows = p.reshape(-1, p.shape[-1]), gradient.reshape(-1, p.shape[-1])
    places = p.argmax(axis=-1)
    sure = xp.flatnonzero(p[xp.arange(len(p)), places] > NEARLY_ONE)
    at = sure, places[sure]
    rows[at] = 0.0
    rows[at] = -xp.einsum("ij->i", rows[sure])
    return gradient


def _logarithms(xp, x):
    """The logarithm of the softmax of rows (P, T, C)."""
    y = xp.empty(x.shape, dtype=x.dtype)
    logarithms(xp, x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y
