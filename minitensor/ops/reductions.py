"""Reductions. ``axis`` is None (all axes), an int, or a tuple of ints; ``keepdims`` keeps reduced
axes with length 1.

Arguments stand in NumPy's order; ``dtype`` is the type to compute and to answer in. Of NumPy's,
``out``, ``where`` and ``initial`` are refused.
"""

from __future__ import annotations

import math
from functools import partial

from minitensor.backend import as_dtype, compute_dtype, is_floating, is_narrow, np
from minitensor.engine.axes import axes_of
from minitensor.engine.op import op
from minitensor.engine.sums import MANY
from minitensor.ops.recurrences import product_of_others
from minitensor.ops.scaling import unit_of

__all__ = [
    "all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip

EXTREME = "axis", "out", "keepdims", "initial", "where"
SUMMED = "axis", "dtype", *EXTREME[1:]
SPREAD = "axis", "dtype", "out", "ddof", "keepdims", "where", "mean"


def keep_shape(shape, axis):
    """``shape`` with the reduced axes of length 1."""
    gone = axes_of("reduction", axis, len(shape))
    return tuple(1 if i in gone else n for i, n in enumerate(shape))


def keep(y, shape, axis):
    """``y``, a reduction of something of ``shape``, with its reduced axes back as 1."""
    return y.reshape(keep_shape(shape, axis))


def dropped(y, axis, keepdims):
    """``y``, a reduction with its reduced axes kept as 1, without them unless ``keepdims``."""
    return y if keepdims else y.squeeze(axis=axis)


def count_of(shape, axis):
    return math.prod(shape[a] for a in axes_of("reduction", axis, len(shape)))


def _checked(dtype):
    if isinstance(dtype, bool):
        raise TypeError("dtype stands before keepdims: write keepdims=True by its name")
    return as_dtype(dtype)


def computed_in(dtype, method, **options):
    """What a method of an array gives, computed in ``dtype``: in float32 and rounded once if that
    has 16 bits.
    """
    if dtype is None:
        return method(**options)
    dtype = _checked(dtype)
    return method(dtype=np.dtype(np.float32) if is_narrow(dtype) else dtype, **options).astype(dtype)


@op
def sum(xp, x, /, axis=None, dtype=None, *, keepdims=False):
    """Sum over ``axis``."""
    method = x.sum if x.size < MANY else partial(xp.sum, x)
    return computed_in(dtype, method, axis=axis, keepdims=keepdims)


sum.takes(*SUMMED)


@sum.vjp
def _(xp, g, x_shape, axis):
    return xp.broadcast_to(keep(g, x_shape, axis), x_shape)


@op
def mean(xp, x, /, axis=None, dtype=None, *, keepdims=False):
    """Mean over ``axis``."""
    return computed_in(dtype, x.mean, axis=axis, keepdims=keepdims)


mean.takes("axis", "dtype", "out", "keepdims", "where")


@mean.vjp
def _(xp, g, x_shape, axis):
    count = count_of(x_shape, axis)
    return xp.broadcast_to(keep(g, x_shape, axis) / float(count), x_shape) if count else xp.zeros(x_shape)


def _variance(xp, x, axis, dtype, ddof):
    """``(variance, unit)``: the variance in squares of ``unit``, reduced axes of length 1. It is 0
    if all are equal.
    """
    if dtype is not None:
        x = x.astype(compute_dtype(_checked(dtype)))
    unit = unit_of(x, axis) if is_floating(x.dtype) else None
    scaled = x if unit is None else x / unit
    variance = scaled.var(axis=axis, keepdims=True, ddof=ddof)
    if x.size:  # the mean of equal numbers is not always that number
        high = scaled.max(axis=axis, keepdims=True)
        same = xp.isfinite(high) & xp.equal(high, scaled.min(axis=axis, keepdims=True))
        variance = xp.where(same, variance * 0.0, variance)
    return variance, unit


def _ending(out, axis, dtype, keepdims):
    """The end of var and std, which compute with the reduced axes kept."""
    out = out if dtype is None else out.astype(as_dtype(dtype))
    return dropped(out, axis, keepdims)


def _centred(x, axis):
    """``x - mean(x)``, also if the sum of x overflows."""
    unit = unit_of(x, axis)
    return x - (x.mean(axis=axis, keepdims=True) if unit is None else (x / unit).mean(axis=axis, keepdims=True) * unit)


@op
def var(xp, x, /, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Variance over ``axis``: ``sum((x - mean)^2) / (n - ddof)``; ``correction`` is another name of
    ``ddof``.
    """
    out, unit = _variance(xp, x, axis, dtype, ddof)
    out = out if unit is None else out * unit * unit
    return _ending(out, axis, dtype, keepdims)


var.takes(*SPREAD, correction="ddof")


@var.vjp
def _(g, x, axis, ddof):
    # d var / dx = 2 (x - mean) / (n - ddof): the mean's own derivative sums to zero.
    return keep(g, x.shape, axis) * _centred(x, axis) * 2.0 / (count_of(x.shape, axis) - ddof)


@op
def std(xp, x, /, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Standard deviation over ``axis``: ``sqrt(var)``, also if that overflows or vanishes;
    derivative 0 if it is 0.

    ``correction`` is another name of ``ddof``.
    """
    out, unit = _variance(xp, x, axis, dtype, ddof)
    out = xp.sqrt(out) if unit is None else xp.sqrt(out) * unit
    return _ending(out, axis, dtype, keepdims)


std.takes(*SPREAD, correction="ddof")


@std.vjp
def _(xp, g, x, out, axis, ddof):
    out = keep(out, x.shape, axis)
    zero = xp.equal(out, 0)
    ratio = xp.where(zero, 0.0, _centred(x, axis) / xp.where(zero, 1.0, out))  # at most sqrt(n), whatever the size of x
    return keep(g, x.shape, axis) * ratio / (count_of(x.shape, axis) - ddof)


def _extreme_rule(xp, g, x, out, axis):
    """All elements that attain the extreme share the gradient evenly."""
    hit = xp.equal(x, keep(out, x.shape, axis)).astype(g.dtype)
    return keep(g, x.shape, axis) * hit / hit.sum(axis=axis, keepdims=True)


def _refuse_nothing(name, x, axis):
    """Raise ValueError if the extreme of no elements is asked for."""
    if x.size == 0 and count_of(x.shape, axis) == 0:
        raise ValueError(f"there is no {name} of no elements" + ("" if axis is None else f": axis {axis} is empty"))


@op
def max(xp, x, /, axis=None, *, keepdims=False):
    """Maximum over ``axis``; ties share the gradient evenly. Raises ValueError if there is no
    element.
    """
    _refuse_nothing("maximum", x, axis)
    return x.max(axis=axis, keepdims=keepdims)


@op
def min(xp, x, /, axis=None, *, keepdims=False):
    """Minimum over ``axis``; ties share the gradient evenly. Raises ValueError if there is no
    element.
    """
    _refuse_nothing("minimum", x, axis)
    return x.min(axis=axis, keepdims=keepdims)


max.takes(*EXTREME)
min.takes(*EXTREME)
max.vjp(_extreme_rule)
min.vjp(_extreme_rule)


@op
def logsumexp(xp, x, /, axis=None, *, keepdims=False):
    """``log(sum(exp(x)))`` over ``axis``, shifted by the maximum so that it cannot overflow; minus
    infinity for no elements.

    Of elements that are all minus infinity the derivative is 0. Infinite elements share it evenly.
    """
    if x.size == 0 and count_of(x.shape, axis) == 0:
        out = xp.full(keep_shape(x.shape, axis), -math.inf, dtype=compute_dtype(x.dtype))
        return dropped(out, axis, keepdims)
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    total = xp.exp(x - top).sum(axis=axis, keepdims=True)
    empty = xp.equal(total, 0)
    out = xp.log(xp.where(empty, 1.0, total)) + xp.where(empty, -math.inf, top)
    out = out.astype(x.dtype) if is_floating(x.dtype) else out
    return dropped(out, axis, keepdims)


@logsumexp.vjp
def _(xp, g, x, out, axis):
    # dL/dx_i = g exp(x_i - out), NaN of a row that holds NaN. If out is infinite, the difference is
    # undefined: the greatest element's place is taken instead.
    out = keep(out, x.shape, axis)
    known = xp.logical_not(xp.isinf(out))
    share = xp.exp(xp.where(known, x, -math.inf) - xp.where(known, out, 0.0))
    infinite = xp.equal(x, math.inf).astype(share.dtype)
    count = infinite.sum(axis=axis, keepdims=True)
    return keep(g, x.shape, axis) * (share + infinite / xp.where(xp.equal(count, 0), 1.0, count))


@op
def prod(xp, x, /, axis=None, dtype=None, *, keepdims=False):
    """Product over ``axis``."""
    return computed_in(dtype, x.prod, axis=axis, keepdims=keepdims)


prod.takes(*SUMMED)


@prod.vjp
def _(xp, g, x, axis):
    # dL/dx_i = g * product of the others. Not out / x_i: x_i may be 0, and out may have overflowed
    # or vanished where the product of the others has not.
    g = keep(g, x.shape, axis)
    gone = axes_of("prod", axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in gone)
    order = kept + gone
    moved = xp.permute_dims(x, order)
    flat = moved.reshape((*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in gone)))
    rest = product_of_others(xp, flat).reshape(moved.shape)
    return g * xp.permute_dims(rest, tuple(order.index(a) for a in range(x.ndim)))


# --- no gradient ----------------------------------------------------------------------------------


@op
def argmax(xp, x, /, axis=None, *, keepdims=False):
    """Index of the first maximum along ``axis`` (default: into the flat array), int64. ValueError
    if there is no element.
    """
    _refuse_nothing("maximum", x, axis)
    return x.argmax(axis=axis, keepdims=keepdims)


@op
def argmin(xp, x, /, axis=None, *, keepdims=False):
    """Index of the first minimum along ``axis`` (default: into the flat array), int64. ValueError
    if there is no element.
    """
    _refuse_nothing("minimum", x, axis)
    return x.argmin(axis=axis, keepdims=keepdims)


argmax.takes("axis", "out", "keepdims")
argmin.takes("axis", "out", "keepdims")


@op
def all(xp, x, /, axis=None, *, keepdims=False):
    """Whether every element along ``axis`` is true."""
    return x.all(axis=axis, keepdims=keepdims)


@op
def any(xp, x, /, axis=None, *, keepdims=False):
    """Whether some element along ``axis`` is true."""
    return x.any(axis=axis, keepdims=keepdims)


all.takes("axis", "out", "keepdims", "where")
any.takes("axis", "out", "keepdims", "where")
