"""Reductions and scans. ``axis`` is None (all axes), an int, or a tuple of ints; ``keepdims`` keeps reduced axes with length 1.

Arguments stand in NumPy's order; ``dtype`` is the type to compute and to answer in. Of NumPy's, ``out``, ``where`` and ``initial``
are refused.
"""

from __future__ import annotations

import math

from minitensor.axes import axes_of
from minitensor.backend import as_dtype, is_floating, is_narrow, np
from minitensor.op import op

__all__ = [
    "all", "any", "argmax", "argmin", "cumprod", "cumsum", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip

EXTREME = "axis", "out", "keepdims", "initial", "where"
SUMMED = "axis", "dtype", *EXTREME[1:]
SPREAD = "axis", "dtype", "out", "ddof", "keepdims", "where", "mean"


def _keep(y, shape, axis):
    """``y``, a reduction of something of ``shape``, with its reduced axes back as 1."""
    gone = axes_of("reduction", axis, len(shape))
    return y.reshape(tuple(1 if i in gone else n for i, n in enumerate(shape)))


def _count(shape, axis):
    return math.prod(shape[a] for a in axes_of("reduction", axis, len(shape)))


def _in(dtype, method, **options):
    """What a method of an array gives, computed in ``dtype``: in float32 and rounded once where that has 16 bits."""
    if dtype is None:
        return method(**options)
    if isinstance(dtype, bool):
        raise TypeError("dtype stands before keepdims: write keepdims=True by its name")
    dtype = as_dtype(dtype)
    return method(dtype=np.dtype(np.float32) if is_narrow(dtype) else dtype, **options).astype(dtype)


@op
def sum(xp, x, *, axis=None, dtype=None, keepdims=False):
    """Sum over ``axis``."""
    return _in(dtype, x.sum, axis=axis, keepdims=keepdims)


sum.takes(*SUMMED)


@sum.vjp
def _(xp, g, x_shape, axis):
    return xp.broadcast_to(_keep(g, x_shape, axis), x_shape)


@op
def mean(xp, x, *, axis=None, dtype=None, keepdims=False):
    """Mean over ``axis``."""
    return _in(dtype, x.mean, axis=axis, keepdims=keepdims)


mean.takes("axis", "dtype", "out", "keepdims", "where")


@mean.vjp
def _(xp, g, x_shape, axis):
    count = _count(x_shape, axis)
    return xp.broadcast_to(_keep(g, x_shape, axis) / float(count), x_shape) if count else xp.zeros(x_shape)


@op
def var(xp, x, *, axis=None, dtype=None, ddof=0, keepdims=False):
    """Variance over ``axis``: ``sum((x - mean)^2) / (n - ddof)``; ``correction`` is another name of ``ddof``."""
    return _in(dtype, x.var, axis=axis, ddof=ddof, keepdims=keepdims)


var.takes(*SPREAD, correction="ddof")


@var.vjp
def _(g, x, axis, ddof):
    # d var / dx = 2 (x - mean) / (n - ddof): the mean's own derivative sums to zero.
    centred = x - x.mean(axis=axis, keepdims=True)
    return _keep(g, x.shape, axis) * centred * 2.0 / (_count(x.shape, axis) - ddof)


@op
def std(xp, x, *, axis=None, dtype=None, ddof=0, keepdims=False):
    """Standard deviation over ``axis``: ``sqrt(var)``; derivative 0 where it is 0. ``correction`` is another name of ``ddof``."""
    return _in(dtype, x.std, axis=axis, ddof=ddof, keepdims=keepdims)


std.takes(*SPREAD, correction="ddof")


@std.vjp
def _(xp, g, x, out, axis, ddof):
    out = _keep(out, x.shape, axis)
    scale = xp.where(xp.equal(out, 0), 0.0, 1.0 / xp.where(xp.equal(out, 0), 1.0, out))
    centred = x - x.mean(axis=axis, keepdims=True)
    return _keep(g, x.shape, axis) * scale * centred / (_count(x.shape, axis) - ddof)


def _extreme_rule(xp, g, x, out, axis):
    """All elements that attain the extreme share the gradient evenly."""
    hit = xp.equal(x, _keep(out, x.shape, axis)).astype(g.dtype)
    return _keep(g, x.shape, axis) * hit / hit.sum(axis=axis, keepdims=True)


@op
def max(xp, x, *, axis=None, keepdims=False):
    """Maximum over ``axis``; ties share the gradient evenly."""
    return x.max(axis=axis, keepdims=keepdims)


@op
def min(xp, x, *, axis=None, keepdims=False):
    """Minimum over ``axis``; ties share the gradient evenly."""
    return x.min(axis=axis, keepdims=keepdims)


max.takes(*EXTREME)
min.takes(*EXTREME)
max.vjp(_extreme_rule)
min.vjp(_extreme_rule)


@op
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` over ``axis``, shifted by the maximum so that it cannot overflow."""
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    total = xp.exp(x - top).sum(axis=axis, keepdims=True)
    empty = xp.equal(total, 0)
    out = xp.log(xp.where(empty, 1.0, total)) + xp.where(empty, -math.inf, top)
    out = out.astype(x.dtype) if is_floating(x.dtype) else out
    return out if keepdims else out.squeeze(axis=axis)


@logsumexp.vjp
def _(xp, g, x, out, axis):
    out = _keep(out, x.shape, axis)
    empty = xp.equal(out, -math.inf)  # a sum of nothing but zeros: derivative 0, not NaN
    return _keep(g, x.shape, axis) * xp.where(
        empty, 0.0, xp.exp(xp.where(empty, -math.inf, x - xp.where(empty, 0.0, out)))
    )


# --- products and scans -------------------------------------------------------------------------------------------------------


def _others(xp, x):
    """(..., i, j): x_j of the last axis, with 1 in place of x_i. For products of all but one factor, right at zeros too."""
    return xp.where(xp.eye(x.shape[-1], dtype="bool"), 1.0, xp.expand_dims(x, -2))


@op
def prod(xp, x, *, axis=None, dtype=None, keepdims=False):
    """Product over ``axis``."""
    return _in(dtype, x.prod, axis=axis, keepdims=keepdims)


prod.takes(*SUMMED)


@prod.vjp
def _(xp, g, x, out, axis):
    # dL/dx_i = g * product of the others: out / x_i, or multiplied out where a factor is zero.
    g = _keep(g, x.shape, axis)
    if not bool((x == 0).any()):
        return g * _keep(out, x.shape, axis) / x
    gone = axes_of("prod", axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in gone)
    order = kept + gone
    moved = xp.permute_dims(x, order)
    flat = moved.reshape((*(x.shape[a] for a in kept), -1))
    rest = _others(xp, flat).prod(axis=-1).reshape(moved.shape)
    return g * xp.permute_dims(rest, tuple(order.index(a) for a in range(x.ndim)))


@op
def cumsum(xp, x, *, axis=None, dtype=None):
    """Running sum along ``axis``; of the flat array where None."""
    return _in(dtype, x.cumsum, axis=axis)


@cumsum.vjp
def _(xp, g, x_shape, axis):
    axis = 0 if axis is None else axis
    return xp.flip(xp.flip(g, axis=axis).cumsum(axis=axis), axis=axis).reshape(x_shape)


@op
def cumprod(xp, x, *, axis=None, dtype=None):
    """Running product along ``axis``; of the flat array where None."""
    return _in(dtype, x.cumprod, axis=axis)


cumsum.takes("axis", "dtype", "out")
cumprod.takes("axis", "dtype", "out")


@cumprod.vjp
def _(xp, g, x, out, axis):
    if axis is None or x.ndim == 0:
        return _cumprod_dx(xp, g, x.reshape((-1,)), out, 0).reshape(x.shape)
    return _cumprod_dx(xp, g, x, out, axis)


def _cumprod_dx(xp, g, x, out, axis):
    # dL/dx_i = sum over k >= i of g_k * product of x_j for j <= k, j != i.
    if not bool((x == 0).any()):
        return xp.flip(xp.flip(g * out, axis=axis).cumsum(axis=axis), axis=axis) / x
    moved = x.swapaxes(axis, -1)
    rest = _others(xp, moved).cumprod(axis=-1)  # (..., i, k)
    later = xp.triu(xp.ones((x.shape[axis],) * 2))  # 1 where k >= i
    return (xp.expand_dims(g.swapaxes(axis, -1), -2) * rest * later).sum(axis=-1).swapaxes(axis, -1)


# --- no gradient --------------------------------------------------------------------------------------------------------------


@op
def argmax(xp, x, *, axis=None, keepdims=False):
    """Index of the first maximum along ``axis`` (into the flat array where None), int64."""
    return x.argmax(axis=axis, keepdims=keepdims)


@op
def argmin(xp, x, *, axis=None, keepdims=False):
    """Index of the first minimum along ``axis`` (into the flat array where None), int64."""
    return x.argmin(axis=axis, keepdims=keepdims)


argmax.takes("axis", "out", "keepdims")
argmin.takes("axis", "out", "keepdims")


@op
def all(xp, x, *, axis=None, keepdims=False):
    """Whether every element along ``axis`` is true."""
    return x.all(axis=axis, keepdims=keepdims)


@op
def any(xp, x, *, axis=None, keepdims=False):
    """Whether some element along ``axis`` is true."""
    return x.any(axis=axis, keepdims=keepdims)


all.takes("axis", "out", "keepdims", "where")
any.takes("axis", "out", "keepdims", "where")
