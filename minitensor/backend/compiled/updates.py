"""Adam and the norm of gradients in one pass over memory, the bits of dropout, and the gradient of
an embedding.

Arrays are contiguous lines of one length.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from minitensor.backend.compiled import STEP
from minitensor.backend.compiled.lowlevel import add_atomic, entry, parallel, part, piece
from minitensor.backend.compiled.maths import intrinsic, over, root

__all__ = ["adam", "add_rows", "count_immoderate", "dropout_mask", "random_words", "scale", "squares"]


LONG = 1 << 15  # elements of a part where four arrays are read: long stretches are fetched ahead


@part
def _adam(number, p, g, m, v, beta1, rest1, beta2, rest2, keep, coupled, eps, size):
    low, high = number * LONG, min(p.size, (number + 1) * LONG)
    p, g, m, v = p[low:high], g[low:high], m[low:high], v[low:high]
    zero = p.dtype.type(0)
    for i in range(p.size):
        value = p[i] * keep
        gradient = g[i] + (coupled * value if coupled != 0 else zero)  # 0 times an infinite weight is NaN
        m[i] = beta1 * m[i] + rest1 * gradient
        v[i] = beta2 * v[i] + rest2 * gradient * gradient
        p[i] = value - size * over(m[i], root(v[i]) + eps)


@entry
def adam(pool, p, g, m, v, beta1, rest1, beta2, rest2, keep, coupled, eps, size):
    """The update of ``optim.Adam``, with both corrections folded into ``eps`` and ``size``.

    rest1, rest2: 1 - beta1, 1 - beta2. If the compiler saw that, it would make ``g^2 + beta2
    (v - g^2)``, and inf - inf is NaN.
    """
    parallel(
        pool, (p.size + LONG - 1) // LONG, _adam, (p, g, m, v, beta1, rest1, beta2, rest2, keep, coupled, eps, size)
    )


@part
def _squares(number, x, totals):
    x = piece(x, number)
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * x[i]
    totals[number] = total


@entry
def squares(pool, x, totals):
    """The sum of the squares of each STEP elements."""
    parallel(pool, (x.size + STEP - 1) // STEP, _squares, (x, totals))


@part
def _scale(number, x, factor):
    x = piece(x, number)
    for i in range(x.size):
        x[i] *= factor


@entry
def scale(pool, x, factor):
    """``x *= factor``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _scale, (x, factor))


@part
def _count_immoderate(number, x, bound, found):
    x = piece(x, number)
    many = 0
    for i in range(x.size):
        many += 0 if abs(x[i]) < bound else 1
    if many:
        add_atomic(found.ctypes.data, many)


@entry
def count_immoderate(pool, x, bound, found):
    """Add to ``found`` how many elements are not numbers of a size below ``bound``."""
    parallel(pool, (x.size + STEP - 1) // STEP, _count_immoderate, (x, bound, found))


# --- random bits ----------------------------------------------------------------------------------


@intrinsic
def _product128(_context, x, y):
    """``(high, low)`` words of the product of two words."""

    def generate(context, builder, signature, values):
        wide = ir.IntType(128)
        x, y = (builder.zext(value, wide) for value in values)
        product = builder.mul(x, y)
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (high, builder.trunc(product, ir.IntType(64))))

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), generate


u64 = np.uint64
M0, M1 = u64(0xD2E7470EE14C6C93), u64(0xCA5A826395121157)
W0, W1 = u64(0x9E3779B97F4A7C15), u64(0xBB67AE8584CAA73B)


@part
def philox(c0, c1, k0, k1):
    """The four words of a block of Philox4x64-10 (Salmon et al. 2011)."""
    c2 = c3 = u64(0)
    for _ in range(10):
        high0, low0 = _product128(M0, c0)
        high1, low1 = _product128(M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = u64(k0 + W0), u64(k1 + W1)
    return c0, c1, c2, c3


@part
def _random_words(number, key0, key1, counter, out):
    out = piece(out, number)
    for i in range((out.size + 3) // 4):
        block = u64(counter + u64(number * (STEP // 4) + i))
        words = philox(block, u64(block < counter), key0, key1)
        if 4 * i + 4 <= out.size:
            out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3] = words
        else:
            for j in range(out.size - 4 * i):
                out[4 * i + j] = words[j]


@entry
def random_words(pool, key0, key1, counter, out):
    """``out``, uint64, filled from block ``counter`` on."""
    parallel(pool, (out.size + STEP - 1) // STEP, _random_words, (key0, key1, counter, out))


@part
def _dropout_mask(number, key0, key1, counter, cut, kept, out):
    zero, out = out.dtype.type(0), piece(out, number)
    words = np.empty(STEP // 4, np.uint64)
    for i in range((out.size + 15) // 16):
        block = u64(counter + u64(number * (STEP // 16) + i))
        w0, w1, w2, w3 = philox(block, u64(block < counter), key0, key1)
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = w0, w1, w2, w3
    halves = words.view(np.uint16)
    for i in range(out.size):
        out[i] = kept if halves[i] >= cut else zero


@entry
def dropout_mask(pool, key0, key1, counter, cut, kept, out):
    """``kept`` where 16 bits are at least ``cut``, else 0: four elements a word."""
    parallel(pool, (out.size + STEP - 1) // STEP, _dropout_mask, (key0, key1, counter, cut, kept, out))


# --- the gradient of an embedding -----------------------------------------------------------------


@part
def _add_rows(number, out, ids, order, starts, rows, each):
    for i in range(number * each, min(starts.size - 1, (number + 1) * each)):
        target = out[ids[order[starts[i]]]]
        for k in range(starts[i], starts[i + 1]):
            row = rows[order[k]]
            for j in range(target.size):
                target[j] += row[j]


@entry
def add_rows(pool, out, ids, order, starts, rows):
    """``out[ids[k]] += rows[k]``; ``order`` sorts the ids, ``starts`` are where each new one
    begins.
    """
    each = max(1, STEP // max(1, out.shape[1]))
    parallel(pool, (starts.size - 1 + each - 1) // each, _add_rows, (out, ids, order, starts, rows, each))
