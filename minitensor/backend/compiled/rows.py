"""Softmax, norms and cross-entropy, row by row: each row is read from memory once.

Matrices are contiguous, (N, D). A part is as many rows as have about STEP elements; sums over the
rows, which parameters' gradients are, go by BAND columns.
"""

from __future__ import annotations

import math

import numpy as np

from minitensor.backend.compiled import STEP
from minitensor.backend.compiled.lowlevel import entry, parallel, part
from minitensor.backend.compiled.maths import exp, minus, ordered, over, root, unordered

__all__ = [
    "column_sums", "cross_entropy", "cross_entropy_gradient", "log_softmax", "log_softmax_gradient", "norm", "norm_columns",
    "norm_gradient", "softmax", "softmax_gradient",
]  # fmt: skip

BAND = 64


@part
def _column_sums(number, g, out):
    zero = g.dtype.type(0)
    low, high = number * BAND, min(g.shape[1], (number + 1) * BAND)
    out = out[low:high]
    for j in range(out.size):
        out[j] = zero
    for i in range(g.shape[0]):
        row = g[i, low:high]
        for j in range(out.size):
            out[j] += row[j]


@entry
def column_sums(pool, g, out):
    """``out[j] = sum of g[i, j] over i``."""
    parallel(pool, (g.shape[1] + BAND - 1) // BAND, _column_sums, (g, out))


# --- softmax --------------------------------------------------------------------------------------


@part
def _softmax(number, x, y, each):
    rows, width = x.shape
    for i in range(number * each, min(rows, (number + 1) * each)):
        top = ordered(x[i, 0])
        for j in range(width):
            top = max(top, ordered(x[i, j]))
        greatest, total = unordered(top), x.dtype.type(0)
        for j in range(width):
            y[i, j] = exp(minus(x[i, j], greatest))
        for j in range(width):
            total += y[i, j]
        share = x.dtype.type(1) / total
        for j in range(width):
            y[i, j] *= share


@entry
def softmax(pool, x, y):
    """``y = exp(x) / sum(exp(x))``, shifted by the maximum."""
    each = max(1, STEP // x.shape[1])
    parallel(pool, (x.shape[0] + each - 1) // each, _softmax, (x, y, each))


@part
def _softmax_gradient(number, y, g, gx, each):
    rows, width = y.shape
    for i in range(number * each, min(rows, (number + 1) * each)):
        total = y.dtype.type(0)
        for j in range(width):
            total += g[i, j] * y[i, j]
        for j in range(width):
            gx[i, j] = y[i, j] * (g[i, j] - total)


@entry
def softmax_gradient(pool, y, g, gx):
    """``gx = y (g - <g, y>)``."""
    each = max(1, STEP // y.shape[1])
    parallel(pool, (y.shape[0] + each - 1) // each, _softmax_gradient, (y, g, gx, each))


@part
def greatest_and_shift(row):
    """``(greatest, shift)`` of a row: the logarithm of its softmax is ``x - greatest - shift``."""
    top = ordered(row[0])
    for j in range(row.size):
        top = max(top, ordered(row[j]))
    greatest = unordered(top)
    place = 0
    while place < row.size - 1 and not row[place] == greatest:
        place += 1
    # log1p of the sum without the greatest, whose share is 1, keeps the digits of a logarithm
    # near 0.
    rest = row.dtype.type(0)
    for j in range(place):
        rest += exp(minus(row[j], greatest))
    for j in range(place + 1, row.size):
        rest += exp(minus(row[j], greatest))
    rest += minus(row[place], greatest)  # 0, or NaN where it is infinite
    return greatest, row.dtype.type(math.log1p(rest))


@part
def _log_softmax(number, x, y, each):
    rows, width = x.shape
    for i in range(number * each, min(rows, (number + 1) * each)):
        greatest, shift = greatest_and_shift(x[i])
        for j in range(width):
            y[i, j] = minus(minus(x[i, j], greatest), shift)


@entry
def log_softmax(pool, x, y):
    """``y = x - log(sum(exp(x)))``."""
    each = max(1, STEP // x.shape[1])
    parallel(pool, (x.shape[0] + each - 1) // each, _log_softmax, (x, y, each))


@part
def _log_softmax_gradient(number, y, g, gx, each):
    rows, width = y.shape
    nearly = y.dtype.type(-0.01)
    for i in range(number * each, min(rows, (number + 1) * each)):
        total, top = y.dtype.type(0), ordered(y[i, 0])
        for j in range(width):
            total += g[i, j]
            top = max(top, ordered(y[i, j]))
        for j in range(width):
            gx[i, j] = g[i, j] - exp(y[i, j]) * total
        if unordered(top) > nearly:  # a probability of nearly 1: g - total and p - 1 keep their digits
            place = 0
            while place < width - 1 and not y[i, place] > nearly:
                place += 1
            others = y.dtype.type(0)
            for j in range(width):
                if j != place:
                    others += g[i, j]
            gx[i, place] = -others - y.dtype.type(math.expm1(y[i, place])) * total


@entry
def log_softmax_gradient(pool, y, g, gx):
    """``gx = g - exp(y) sum(g)``."""
    each = max(1, STEP // y.shape[1])
    parallel(pool, (y.shape[0] + each - 1) // each, _log_softmax_gradient, (y, g, gx, each))


# --- norms ----------------------------------------------------------------------------------------


@part
def _norm(number, x, weight, bias, eps, centred, y, mean, rstd, each):
    rows, width = x.shape
    zero, one, n = x.dtype.type(0), x.dtype.type(1), x.dtype.type(width)
    for i in range(number * each, min(rows, (number + 1) * each)):
        total, square = zero, zero
        if centred:
            for j in range(width):
                total += x[i, j]
        middle = total / n
        for j in range(width):
            square += minus(x[i, j], middle) * minus(x[i, j], middle)
        scale = over(one, root(square / n + eps))
        if scale == zero:  # the squares overflow: measure the row in its greatest element
            top = zero
            for j in range(width):
                top = max(top, abs(minus(x[i, j], middle)))
            if top < np.inf:
                square = zero
                for j in range(width):
                    square += over(minus(x[i, j], middle), top) * over(minus(x[i, j], middle), top)
                scale = over(one, top) * over(one, root(square / n + over(over(eps, top), top)))
        mean[i], rstd[i] = middle, scale
        for j in range(width):
            y[i, j] = minus(x[i, j], middle) * scale
        if weight.size:
            for j in range(width):
                y[i, j] *= weight[j]
        if bias.size:
            for j in range(width):
                y[i, j] += bias[j]


@entry
def norm(pool, x, weight, bias, eps, centred, y, mean, rstd):
    """``y = (x - mean) rstd weight + bias``; mean is 0 if not ``centred``; no weight or bias is an
    empty array.
    """
    each = max(1, STEP // x.shape[1])
    parallel(pool, (x.shape[0] + each - 1) // each, _norm, (x, weight, bias, eps, centred, y, mean, rstd, each))


@part
def _norm_gradient(number, x, weight, g, mean, rstd, centred, gx, each):
    rows, width = x.shape
    zero, n = x.dtype.type(0), x.dtype.type(width)
    for i in range(number * each, min(rows, (number + 1) * each)):
        middle, scale, total, along = mean[i], rstd[i], zero, zero
        if weight.size:
            for j in range(width):
                gx[i, j] = g[i, j] * weight[j]
        else:
            for j in range(width):
                gx[i, j] = g[i, j]
        for j in range(width):
            total += gx[i, j]
            along += gx[i, j] * (minus(x[i, j], middle) * scale)
        total, along = (total / n if centred else zero), along / n
        for j in range(width):
            gx[i, j] = scale * (gx[i, j] - total - minus(x[i, j], middle) * scale * along)


@entry
def norm_gradient(pool, x, weight, g, mean, rstd, centred, gx):
    """With h = g weight and u = (x - mean) rstd: ``gx = rstd (h - mean(h) - u mean(h u))``."""
    each = max(1, STEP // x.shape[1])
    parallel(pool, (x.shape[0] + each - 1) // each, _norm_gradient, (x, weight, g, mean, rstd, centred, gx, each))


@part
def _norm_columns(number, x, g, mean, rstd, gw, gb):
    zero = x.dtype.type(0)
    low, high = number * BAND, min(x.shape[1], (number + 1) * BAND)
    gw, gb = gw[low:high], gb[low:high]
    for j in range(gw.size):
        gw[j] = zero
        gb[j] = zero
    for i in range(x.shape[0]):
        middle, scale, u, h = mean[i], rstd[i], x[i, low:high], g[i, low:high]
        for j in range(gw.size):
            gw[j] += h[j] * (minus(u[j], middle) * scale)
        for j in range(gw.size):
            gb[j] += h[j]


@entry
def norm_columns(pool, x, g, mean, rstd, gw, gb):
    """``gw = sum of g u``, ``gb = sum of g`` over the rows."""
    parallel(pool, (x.shape[1] + BAND - 1) // BAND, _norm_columns, (x, g, mean, rstd, gw, gb))


# --- cross-entropy --------------------------------------------------------------------------------


@part
def _cross_entropy(number, x, targets, ignored, smoothing, loss, top, rest, each):
    rows, width = x.shape
    real = x.dtype.type
    zero, one, n = real(0), real(1), real(width)
    for i in range(number * each, min(rows, (number + 1) * each)):
        place = targets[i]
        if place == ignored:
            loss[i] = top[i] = rest[i] = zero
            continue
        highest, total = ordered(x[i, 0]), zero
        for j in range(width):
            highest = max(highest, ordered(x[i, j]))
        greatest, others = unordered(highest), zero
        for j in range(place):
            others += exp(minus(x[i, j], greatest))
        for j in range(place + 1, width):
            others += exp(minus(x[i, j], greatest))
        if smoothing:
            for j in range(width):
                total += minus(x[i, j], greatest)
        chosen = minus(x[i, place], greatest)
        top[i], rest[i] = greatest, others
        log_total = real(math.log1p(others + minus(exp(chosen), one)))
        loss[i] = log_total - (one - smoothing) * chosen
        if smoothing:
            loss[i] -= smoothing / n * total


@entry
def cross_entropy(pool, x, targets, ignored, smoothing, loss, top, rest):
    """The loss of each row, 0 if its target is ``ignored``; the row's maximum, and the sum of
    exp(x - maximum) without the target's.
    """
    each = max(1, STEP // x.shape[1])
    parallel(
        pool, (x.shape[0] + each - 1) // each, _cross_entropy, (x, targets, ignored, smoothing, loss, top, rest, each)
    )


@part
def _cross_entropy_gradient(number, x, targets, ignored, smoothing, top, rest, g, gx, each):
    rows, width = x.shape
    real = x.dtype.type
    one, share = real(1), smoothing / real(width)
    for i in range(number * each, min(rows, (number + 1) * each)):
        place = targets[i]
        if place == ignored:
            for j in range(width):
                gx[i, j] = real(0)
            continue
        own = exp(minus(x[i, place], top[i]))
        scale, less = g[i] / (rest[i] + own), g[i] * share
        for j in range(width):
            gx[i, j] = exp(minus(x[i, j], top[i])) * scale - less
        # At the target  B p - a R / (R + own) - b: no digit is lost if p is nearly 1.
        gx[i, place] = (smoothing * own - (one - smoothing) * rest[i]) * scale - less


@entry
def cross_entropy_gradient(pool, x, targets, ignored, smoothing, top, rest, g, gx):
    """``gx = g (softmax(x) - (1 - eps) onehot - eps / C)``, row by row."""
    each = max(1, STEP // x.shape[1])
    parallel(
        pool, (x.shape[0] + each - 1) // each, _cross_entropy_gradient,
        (x, targets, ignored, smoothing, top, rest, g, gx, each),
    )  # fmt: skip
