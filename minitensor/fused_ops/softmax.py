"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from minitensor.fuse import fused
from minitensor.fused_ops.blocks import as_rows, row_blocks
from minitensor.ops.elementwise import exp
from minitensor.ops.reductions import logsumexp
from minitensor.ops.reductions import max as maximum_of
from minitensor.tensor import Tensor, asarray

__all__ = ["log_softmax", "softmax"]


@fused
def softmax(x, *, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``, shifted by the maximum so that it cannot overflow. Rows of -inf alone are NaN."""
    x = asarray(x)
    e = exp(
        x - Tensor(maximum_of(x.detach(), axis=axis, keepdims=True).data)
    )  # a shift cancels: it carries no gradient
    return e / e.sum(axis=axis, keepdims=True)


@softmax.kernel
def _(xp, x, *, axis=-1):
    moved = xp.moveaxis(x, axis, -1)
    rows = as_rows(moved)
    out = xp.empty(rows.shape, dtype=_floating(xp, x))
    for block in row_blocks(xp, rows):
        e = out[block]
        xp.subtract(rows[block], rows[block].max(axis=-1, keepdims=True), out=e)
        xp.exp(e, out=e)
        e /= xp.einsum("ij->i", e)[:, None]

    def backward(g):
        # dy_i/dx_j = y_i (1[i = j] - y_j), so  dL/dx = y * (g - <g, y>).
        g = as_rows(xp.moveaxis(g, axis, -1))
        gx = xp.empty(out.shape, dtype=out.dtype)
        for block in row_blocks(xp, out):
            y = out[block]
            xp.subtract(g[block], xp.einsum("ij,ij->i", g[block], y)[:, None], out=gx[block])
            gx[block] *= y
        return (xp.moveaxis(gx.reshape(moved.shape), -1, axis),)

    return xp.moveaxis(out.reshape(moved.shape), -1, axis), backward


@fused
def log_softmax(x, *, axis=-1):
    """``x - log(sum(exp(x)))`` along ``axis``."""
    return x - logsumexp(x, axis=axis, keepdims=True)


@log_softmax.kernel
def _(xp, x, *, axis=-1):
    moved = xp.moveaxis(x, axis, -1)
    rows = as_rows(moved)
    out = xp.empty(rows.shape, dtype=_floating(xp, x))
    for block in row_blocks(xp, rows):
        y = out[block]
        xp.subtract(rows[block], rows[block].max(axis=-1, keepdims=True), out=y)
        y -= xp.log(xp.einsum("ij->i", xp.exp(y)))[:, None]

    def backward(g):
        # dL/dx = g - softmax(x) * sum(g).
        g = as_rows(xp.moveaxis(g, axis, -1))
        gx = xp.empty(out.shape, dtype=out.dtype)
        for block in row_blocks(xp, out):
            y = gx[block]
            xp.exp(out[block], out=y)
            y *= -xp.einsum("ij->i", g[block])[:, None]
            y += g[block]
        return (xp.moveaxis(gx.reshape(moved.shape), -1, axis),)

    return xp.moveaxis(out.reshape(moved.shape), -1, axis), backward


def _floating(xp, x):
    return x.dtype if x.dtype.kind == "f" else xp.float32
