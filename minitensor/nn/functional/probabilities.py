"""Softmax and its logarithm along one axis."""

from __future__ import annotations

import math

from minitensor.engine.fused import fused
from minitensor.engine.tensor import asarray
from minitensor.nn.functional.activations import softplus
from minitensor.nn.functional.blocks import as_floats, as_rows, row_blocks
from minitensor.ops.creation import arange
from minitensor.ops.elementwise import equal, exp, where
from minitensor.ops.reductions import argmax, logsumexp
from minitensor.ops.reductions import max as maximum_of
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.shape import moveaxis

__all__ = ["log_softmax", "softmax"]

NEARLY_ONE = -0.01  # the logarithm of a probability that only one of a row can have


def _along(xp, x, axis, forward, backward):
    """A kernel from two functions of blocks of rows: ``forward(x, out)`` and ``backward(g, y,
    out)`` fill their last argument.
    """
    x = as_floats(x)
    moved = xp.moveaxis(x, axis, -1)

    def fill(function, *matrices):
        out = xp.empty(matrices[0].shape, dtype=x.dtype)
        for block in row_blocks(xp, out):
            function(*[m[block] for m in matrices], out[block])
        return out

    def back(rows):
        return xp.moveaxis(rows.reshape(moved.shape), -1, axis)

    out = fill(forward, as_rows(moved))
    return back(out), lambda g: (back(fill(backward, as_rows(xp.moveaxis(g, axis, -1)), out)),)


@fused
def softmax(x, /, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``, shifted by the maximum so that it cannot overflow.
    Rows of -inf alone are NaN.
    """
    x = asarray(x)
    if not x.size:
        return x
    top = maximum_of(x.detach(), axis=axis, keepdims=True)  # a shift cancels: it carries no gradient
    e = exp(x - top)
    return e / e.sum(axis=axis, keepdims=True)


@softmax.kernel
def _(xp, x, *, axis=-1):
    def forward(x, y):
        xp.subtract(x, x.max(axis=-1, keepdims=True), out=y)
        xp.exp(y, out=y)
        y /= xp.einsum("ij->i", y)[:, None]

    def backward(g, y, gx):
        # dy_i/dx_j = y_i (1[i = j] - y_j), so  dL/dx = y * (g - <g, y>).
        xp.subtract(g, xp.einsum("ij,ij->i", g, y)[:, None], out=gx)
        gx *= y

    return _along(xp, x, axis, forward, backward)


def logarithms(xp, x, y):
    """Fill the rows of ``y`` (N, C) with the logarithm of the softmax of those of ``x``: by log1p
    of the sum without the greatest, whose share is 1, so that a logarithm near 0 keeps its digits.
    """
    at = xp.arange(len(x)), x.argmax(axis=-1)
    xp.subtract(x, x[at][:, None], out=y)
    e = xp.exp(y)
    e[at] = y[at]  # 0, or NaN where it is infinite
    y -= xp.log1p(xp.einsum("ij->i", e))[:, None]


@fused
def log_softmax(x, /, axis=-1):
    """``x - log(sum(exp(x)))`` along ``axis``.

    With m the place of the maximum and R = log(sum of exp(x_j) over j != m) - x_m, the logarithm is
    x_m + softplus(R): so one near 0, and its derivatives, keep every digit.
    """
    x = asarray(x)
    if not x.size:
        return x
    z = x - maximum_of(x.detach(), axis=axis, keepdims=True)  # a shift cancels: it carries no gradient
    places = moveaxis(arange(x.shape[axis], device=x.device).reshape((1,) * (x.ndim - 1) + (-1,)), -1, axis)
    greatest = equal(places, argmax(z, axis=axis, keepdims=True))
    own = sum_of(where(greatest, z, 0.0), axis=axis, keepdims=True)
    rest = logsumexp(where(greatest, -math.inf, z), axis=axis, keepdims=True) - own
    return where(greatest, 0.0, z - own) - softplus(rest)


@log_softmax.kernel
def _(xp, x, *, axis=-1):
    def backward(g, y, gx):
        # dL/dx = g - softmax(x) * sum(g), and = (g - sum(g)) - (softmax(x) - 1) * sum(g) if
        # softmax(x) is nearly 1.
        total = xp.einsum("ij->i", g)
        xp.exp(y, out=gx)
        gx *= -total[:, None]
        gx += g
        if xp.name == "cpu" and y.max() > NEARLY_ONE:
            places = y.argmax(axis=-1)
            rows = xp.flatnonzero(y[xp.arange(len(y)), places] > NEARLY_ONE)
            at = rows, places[rows]
            gx[at] = (g[at] - total[rows]) - xp.expm1(y[at]) * total[rows]

    return _along(xp, x, axis, lambda x, y: logarithms(xp, x, y), backward)
