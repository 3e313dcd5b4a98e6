"""Compiled CPU kernels of fused ops: overrides of the same contract, held to the same definitions.

The kernels, with their formulas, are in ``backend/compiled/``. What they do not serve, such as a
weight per class, runs in NumPy.
"""

from __future__ import annotations

import functools

from minitensor.nn.functional.activations import gelu, relu, silu
from minitensor.nn.functional.affine import linear
from minitensor.nn.functional.blocks import as_rows
from minitensor.nn.functional.divergence import check_pairs, symmetric_kl_div
from minitensor.nn.functional.dropping import _dropout
from minitensor.nn.functional.likelihood import _cross_entropy
from minitensor.nn.functional.norm import layer_norm_last, rms_norm_last
from minitensor.nn.functional.overrides import override
from minitensor.nn.functional.probabilities import log_softmax, softmax

_override = functools.partial(override, device="cpu")

SMALL = 1 << 14  # multiply-adds of a product, or elements, up to which NumPy is as quick


# --- the affine map -------------------------------------------------------------------------------


@_override(linear)
def _(xp, x, weight, bias=None, *, needs):
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:  # NumPy broadcasts it, or refuses
        return None
    if x.size * len(weight) <= SMALL or not xp.kernels.multiplies(x.dtype):
        return None
    product, rows, weight = xp.kernels.products.product, xp.ready(as_rows(x)), xp.ready(weight)  # (N, in), (out, in)
    out = xp.empty((len(rows), len(weight)), dtype=x.dtype)
    product(rows, weight, out, transpose_b=True, bias=None if bias is None else xp.ready(bias))

    def backward(g):
        g = xp.ready(as_rows(g))
        gx = product(g, weight, xp.empty_like(rows)).reshape(x.shape) if needs[0] else None
        gw = product(g, rows, xp.empty_like(weight), transpose_a=True) if needs[1] else None
        return gx, gw, column_sums(xp, g) if needs[2] else None

    return out.reshape(*x.shape[:-1], len(weight)), backward


def column_sums(xp, g):
    """``g.sum(axis=0)`` of a contiguous matrix."""
    out = xp.empty(g.shape[1], dtype=g.dtype)
    xp.kernels.run("column_sums", g, out)
    return out


# --- rows -----------------------------------------------------------------------------------------


def _along(xp, x, axis, forward, backward):
    """A softmax along any axis from kernels of rows: ``(x, y)`` and ``(y, g, gx)``."""
    moved = xp.moveaxis(x, axis, -1)
    rows = xp.ready(as_rows(moved))  # (N, D)
    y = xp.empty_like(rows)
    xp.kernels.run(forward, rows, y)

    def pull(g):
        gx = xp.empty_like(y)
        xp.kernels.run(backward, y, xp.ready(as_rows(xp.moveaxis(g, axis, -1))), gx)
        return (xp.moveaxis(gx.reshape(moved.shape), -1, axis),)

    return xp.moveaxis(y.reshape(moved.shape), -1, axis), pull


@_override(softmax)
def _(xp, x, *, axis=-1, needs):
    return _along(xp, x, axis, "softmax", "softmax_gradient")


@_override(log_softmax)
def _(xp, x, *, axis=-1, needs):
    return _along(xp, x, axis, "log_softmax", "log_softmax_gradient")


def _norm(xp, x, weight, bias, eps, needs, centred):
    rows, nothing = xp.ready(as_rows(x)), xp.empty(0, dtype=x.dtype)  # (N, D)
    weight, bias = (nothing if p is None else xp.ready(p) for p in (weight, bias))
    y, (mean, rstd) = xp.empty_like(rows), xp.empty((2, len(rows)), dtype=x.dtype)
    xp.kernels.run("norm", rows, weight, bias, x.dtype.type(eps), centred, y, mean, rstd)

    def backward(g):
        g = xp.ready(as_rows(g))
        gx = gw = gb = None
        if needs[0]:
            gx = xp.empty_like(rows)
            xp.kernels.run("norm_gradient", rows, weight, g, mean, rstd, centred, gx)
            gx = gx.reshape(x.shape)
        if any(needs[1:]):
            gw, gb = (xp.empty(rows.shape[1], dtype=x.dtype) for _ in range(2))
            xp.kernels.run("norm_columns", rows, g, mean, rstd, gw, gb)
        return gx, gw, gb

    return y.reshape(x.shape), backward


@_override(layer_norm_last)
def _(xp, x, weight=None, bias=None, *, eps=1e-5, needs):
    return _norm(xp, x, weight, bias, eps, needs, True)


@_override(rms_norm_last)
def _(xp, x, weight=None, *, eps=1e-6, needs):
    y, backward = _norm(xp, x, weight, None, eps, needs, False)
    return y, lambda g: backward(g)[:2]


@_override(_cross_entropy)
def _(xp, logits, targets, weight=None, *, ignore_index, label_smoothing, needs):
    if weight is not None:
        return None
    x, targets, real = xp.ready(logits), xp.ready(targets.astype(xp.int64, copy=False)), logits.dtype.type
    loss, top, rest = xp.empty((3, len(x)), dtype=x.dtype)
    xp.kernels.run("cross_entropy", x, targets, ignore_index, real(label_smoothing), loss, top, rest)

    def backward(g):
        if not needs[0]:
            return None, None, None
        gx = xp.empty_like(x)
        smoothing = real(label_smoothing)
        xp.kernels.run("cross_entropy_gradient", x, targets, ignore_index, smoothing, top, rest, xp.ready(g), gx)
        return gx, None, None

    return loss, backward


@_override(symmetric_kl_div)
def _(xp, logits, *, needs):
    check_pairs(logits.shape)
    *before, _, steps, width = logits.shape
    pairs, count = xp.ready(logits).reshape(-1, 2, steps, width), logits.size // (2 * width)
    out, logs, means = (xp.empty(shape, dtype=logits.dtype) for shape in (count, (4, count), (2, count)))
    xp.kernels.run("symmetric_kl", pairs, logs, out, means)

    def backward(g):
        gradient = xp.empty_like(pairs)
        xp.kernels.run("symmetric_kl_gradient", pairs, logs, means, xp.ready(g).reshape(-1), gradient)
        return (gradient.reshape(logits.shape),)

    return out.reshape(*before, steps), backward


# --- elements -------------------------------------------------------------------------------------


def _each(xp, x, forward, backward):
    """An activation from kernels of lines: ``(x, y)`` and ``(x, g, gx)``."""
    line = xp.ready(x).reshape(-1)
    y = xp.empty_like(line)
    xp.kernels.run(forward, line, y)

    def pull(g):
        gx = xp.empty_like(line)
        xp.kernels.run(backward, line, xp.ready(g).reshape(-1), gx)
        return (gx.reshape(x.shape),)

    return y.reshape(x.shape), pull


@_override(relu)
def _(xp, x, *, needs):
    if x.size <= SMALL:
        return None
    line = xp.ready(x).reshape(-1)
    y = xp.empty_like(line)
    xp.kernels.run("relu", line, y)

    def backward(g):
        gx = xp.empty_like(y)
        xp.kernels.run("relu_gradient", y, xp.ready(g).reshape(-1), gx)
        return (gx.reshape(x.shape),)

    return y.reshape(x.shape), backward


@_override(_dropout)
def _(xp, x, *, mask, needs):
    if x.size <= SMALL or mask.dtype != x.dtype:
        return None
    line = xp.ready(mask).reshape(-1)

    def times_mask(x):
        y = xp.empty_like(line)
        xp.kernels.run("multiply", xp.ready(x).reshape(-1), line, y)
        return y.reshape(mask.shape)

    return times_mask(x), lambda g: (times_mask(g),)


@_override(gelu)
def _(xp, x, *, approximate="none", needs):
    if approximate not in ("none", "tanh"):
        return None
    name = "gelu" if approximate == "none" else "gelu_tanh"
    return _each(xp, x, name, f"{name}_gradient")


@_override(silu)
def _(xp, x, *, needs):
    return _each(xp, x, "silu", "silu_gradient")
