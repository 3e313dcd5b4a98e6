"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from minitensor.fuse import fused
from minitensor.fused_ops.blocks import as_rows, row_blocks
from minitensor.ops.elementwise import exp
from minitensor.ops.reductions import logsumexp
from minitensor.ops.reductions import max as maximum_of
from minitensor.tensor import Tensor, asarray

__all__ = ["log_softmax", "softmax"]


def _along(xp, x, axis, forward, backward):
    """A kernel from two functions of blocks of rows: ``forward(x, out)`` and ``backward(g, y, out)`` fill their last argument."""
    dtype = x.dtype if x.dtype.kind == "f" else xp.float32
    moved = xp.moveaxis(x, axis, -1)

    def fill(function, *matrices):
        out = xp.empty(matrices[0].shape, dtype=dtype)
        for block in row_blocks(xp, out):
            function(*[m[block] for m in matrices], out[block])
        return out

    def back(rows):
        return xp.moveaxis(rows.reshape(moved.shape), -1, axis)

    out = fill(forward, as_rows(moved))
    return back(out), lambda g: (back(fill(backward, as_rows(xp.moveaxis(g, axis, -1)), out)),)


@fused
def softmax(x, *, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``, shifted by the maximum so that it cannot overflow. Rows of -inf alone are NaN."""
    x = asarray(x)
    top = Tensor(maximum_of(x.detach(), axis=axis, keepdims=True)._array)  # a shift cancels: it carries no gradient
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


@fused
def log_softmax(x, *, axis=-1):
    """``x - log(sum(exp(x)))`` along ``axis``."""
    return x - logsumexp(x, axis=axis, keepdims=True)


@log_softmax.kernel
def _(xp, x, *, axis=-1):
    def forward(x, y):
        xp.subtract(x, x.max(axis=-1, keepdims=True), out=y)
        y -= xp.log(xp.einsum("ij->i", xp.exp(y)))[:, None]

    def backward(g, y, gx):
        # dL/dx = g - softmax(x) * sum(g).
        xp.exp(y, out=gx)
        gx *= -xp.einsum("ij->i", g)[:, None]
        gx += g

    return _along(xp, x, axis, forward, backward)
