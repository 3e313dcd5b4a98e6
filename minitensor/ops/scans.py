"""Running sums and products along an axis, of the flat array if it is None. ``dtype`` is the type
to compute and to answer in.
"""

from __future__ import annotations

from minitensor.engine.op import op
from minitensor.ops.recurrences import earlier_product, recurrence
from minitensor.ops.reductions import computed_in

__all__ = ["cumprod", "cumsum"]


@op
def cumsum(xp, x, /, axis=None, dtype=None):
    """Running sum along ``axis``; default: of the flat array."""
    return computed_in(dtype, x.cumsum, axis=axis)


@cumsum.vjp
def _(xp, g, x_shape, axis):
    axis = 0 if axis is None else axis
    return xp.flip(xp.flip(g, axis=axis).cumsum(axis=axis), axis=axis).reshape(x_shape)


@op
def cumprod(xp, x, /, axis=None, dtype=None):
    """Running product along ``axis``; default: of the flat array."""
    return computed_in(dtype, x.cumprod, axis=axis)


cumsum.takes("axis", "dtype", "out")
cumprod.takes("axis", "dtype", "out")


@cumprod.vjp
def _(xp, g, x, out, axis):
    if axis is None or x.ndim == 0:
        return _cumprod_dx(xp, g, x.reshape((-1,)), out, 0).reshape(x.shape)
    return _cumprod_dx(xp, g, x, out, axis)


def _cumprod_dx(xp, g, x, out, axis):
    # dL/dx_i = sum over k >= i of g_k * product of x_j for j <= k, j != i. Not by out_k / x_i: x_i
    # may be 0, and out_k may have overflowed or vanished where that product has not.
    # It is the product of those before i times s_i = sum over k >= i of g_k * product of x_j for
    # i < j <= k, and s_i = g_i + x_(i+1) s_(i+1): a recurrence from the end, in which the factors
    # are one place late.
    g, x, out = (xp.flip(a.swapaxes(axis, -1), axis=-1) for a in (g, x, out))
    sums = recurrence(xp, g, xp.concatenate([xp.zeros_like(x[..., :1]), x[..., :-1]], axis=-1))
    before = earlier_product(xp, xp.flip(out, axis=-1))
    return (before * xp.flip(sums, axis=-1)).swapaxes(axis, -1)
