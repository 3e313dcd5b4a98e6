"""How far two predictions are apart, pair by pair of rows.

Pairs are contiguous, (P, 2, T, C): rows x and y of C logits for each of the P T places. With the
logarithms u and v of their softmax, p = exp(u), q = exp(v) and d = u - v:

    L = sum of (p - q) d / 2
    dL/dx = (p (d - <p, d>) + p - q) / 2,   dL/dy = (q (<q, d> - d) + q - p) / 2
"""

from __future__ import annotations

import numpy as np

from minitensor.backend.compiled import STEP
from minitensor.backend.compiled.lowlevel import entry, parallel, part
from minitensor.backend.compiled.maths import exp, minus
from minitensor.backend.compiled.rows import greatest_and_shift

__all__ = ["symmetric_kl", "symmetric_kl_gradient"]

# The shift of a row is -log of its greatest probability: below this one no other can have as much.
NEARLY_SURE = 0.01


@part
def _logarithms(x, y, greatest_x, shift_x, greatest_y, shift_y, zero):
    """u, v and d of two numbers; d is 0 where both are -inf."""
    u, v = minus(minus(x, greatest_x), shift_x), minus(minus(y, greatest_y), shift_y)
    return u, v, zero if u == v else minus(u, v)


@part
def _symmetric_kl(number, pairs, logs, out, means, each):
    zero, half, steps = pairs.dtype.type(0), pairs.dtype.type(0.5), pairs.shape[2]
    for i in range(number * each, min(out.size, (number + 1) * each)):
        x, y = pairs[i // steps, 0, i % steps], pairs[i // steps, 1, i % steps]
        greatest_x, shift_x = greatest_and_shift(x)
        greatest_y, shift_y = greatest_and_shift(y)
        logs[0, i], logs[1, i], logs[2, i], logs[3, i] = greatest_x, shift_x, greatest_y, shift_y
        total = mean_x = mean_y = zero
        for j in range(x.size):
            u, v, d = _logarithms(x[j], y[j], greatest_x, shift_x, greatest_y, shift_y, zero)
            p, q = exp(u), exp(v)
            # An infinite d is of a class that only one row can have, be it by a probability that is
            # 0 in this type: that row has no gradient, and for the other the class counts nothing.
            endless = abs(d) == np.inf
            total += abs(d) if endless else minus(p, q) * d
            mean_x += (minus(d, d) if d > 0 else zero) if endless else p * d
            mean_y += (minus(d, d) if d < 0 else zero) if endless else q * d
        out[i], means[0, i], means[1, i] = half * total, mean_x, mean_y


@entry
def symmetric_kl(pool, pairs, logs, out, means):
    """L of each pair, an element of ``out``; ``logs`` (4, P T) and ``means`` (2, P T), which are
    <p, d> and <q, d>, are for the gradient.
    """
    each = max(1, STEP // (2 * pairs.shape[3]))
    parallel(pool, (out.size + each - 1) // each, _symmetric_kl, (pairs, logs, out, means, each))


@part
def _add_up(x, greatest, gx):
    """Make the gradient of the greatest of a row minus the sum of the others': it adds up to 0, and
    ``p - q`` has lost its digits there.
    """
    place = 0
    while place < x.size - 1 and not x[place] == greatest:
        place += 1
    others = x.dtype.type(0)
    for j in range(place):
        others += gx[j]
    for j in range(place + 1, x.size):
        others += gx[j]
    gx[place] = -others


@part
def _symmetric_kl_gradient(number, pairs, logs, means, g, gradient, each):
    zero, half, steps = pairs.dtype.type(0), pairs.dtype.type(0.5), pairs.shape[2]
    for i in range(number * each, min(g.size, (number + 1) * each)):
        at, step = i // steps, i % steps
        x, y, gx, gy = pairs[at, 0, step], pairs[at, 1, step], gradient[at, 0, step], gradient[at, 1, step]
        greatest_x, shift_x, greatest_y, shift_y = logs[0, i], logs[1, i], logs[2, i], logs[3, i]
        mean_x, mean_y, share = means[0, i], means[1, i], half * g[i]
        for j in range(x.size):
            u, v, d = _logarithms(x[j], y[j], greatest_x, shift_x, greatest_y, shift_y, zero)
            p, q = exp(u), exp(v)
            apart = minus(p, q)
            gx[j] = share * (p * minus(d, mean_x) + apart)
            gy[j] = share * (q * minus(mean_y, d) - apart)
        if shift_x < NEARLY_SURE:
            _add_up(x, greatest_x, gx)
        if shift_y < NEARLY_SURE:
            _add_up(y, greatest_y, gy)


@entry
def symmetric_kl_gradient(pool, pairs, logs, means, g, gradient):
    """``gradient``, that of the pairs, from ``g``, that of L."""
    each = max(1, STEP // (2 * pairs.shape[3]))
    parallel(pool, (g.size + each - 1) // each, _symmetric_kl_gradient, (pairs, logs, means, g, gradient, each))
