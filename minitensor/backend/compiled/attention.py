"""Attention in tiles: a block of queries against all the keys that it may see, a head at a time.

No matrix of all queries and keys is ever written: the backward pass makes the weights of a block
again, from the maximum and the sum of each row (Dao et al., "FlashAttention", 2022,
arXiv:2205.14135, section 3.1, with whole rows). Of causal attention the half above the diagonal is
left out, to the block.

Letters: B batch, H heads, T queries, S keys, K features of a head, V of a value. ``places`` are
addresses of the first element of arrays, ``steps`` the bytes to the next batch, head and row; the
last axis is contiguous. Units are blocks of queries, counted block by block within a head.
"""

from __future__ import annotations

import numpy as np

from minitensor.backend.compiled.lowlevel import array_at, call_gemm, entry, parallel, part
from minitensor.backend.compiled.maths import exp, minus, ordered, unordered

__all__ = ["attention", "attention_gradient", "rows_of"]

WORK = 1 << 18  # weights times features that a part should have at least


def rows_of(keys, causal):
    """Queries of a block, as measured: many make good products, few leave out more of a
    triangle.
    """
    if causal:
        return 128 if keys >= 1024 else 64
    return 256


@part
def _keys(first, rows, sizes, causal):
    """How many keys the queries from ``first`` on may see, the triangle alone considered."""
    queries, keys = sizes[2], sizes[3]
    return max(0, min(keys, first + rows + keys - queries)) if causal else keys


@part
def _hide(scores, row, seen, keys, mask, step, like):
    """The maximum of a row of scores, after what it may not see has been set to -inf."""
    nothing = like.dtype.type(-np.inf)
    if mask:
        visible = array_at(mask, (keys if step else 1,), np.uint8(0))
        if step:
            for s in range(seen):
                scores[row, s] = scores[row, s] if visible[s] else nothing
        elif not visible[0]:
            for s in range(seen):
                scores[row, s] = nothing
    for s in range(seen, keys):
        scores[row, s] = nothing
    top = ordered(nothing)
    for s in range(keys):
        top = max(top, ordered(scores[row, s]))
    return unordered(top)


@part
def _forward(number, gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals, each):
    batch, heads, queries, keys, features, width = sizes
    q, k, v, out = places
    blocks = (queries + block - 1) // block
    zero, one, size = tops.dtype.type(0), tops.dtype.type(1), tops.itemsize
    scratch = np.empty(block * keys, tops.dtype)
    for unit in range(number * each, min(batch * heads * blocks, (number + 1) * each)):
        head, first = unit // blocks, unit % blocks * block
        b, h = head // heads, head % heads
        rows = min(block, queries - first)
        several = _keys(first, rows, sizes, causal)
        at = out + b * steps[9] + h * steps[10] + first * steps[11]
        if several == 0:
            for i in range(rows):
                tops[head, first + i], totals[head, first + i] = zero, one
                line = array_at(at + i * steps[11], (width,), zero)
                for j in range(width):
                    line[j] = zero
            continue
        scores = scratch[: rows * several].reshape((rows, several))
        call_gemm(
            gemm, 0, 1, rows, several, features, scale, q + b * steps[0] + h * steps[1] + first * steps[2], steps[2] // size,
            k + b * steps[3] + h * steps[4], steps[5] // size, zero, scores.ctypes.data, several,
        )  # fmt: skip
        for i in range(rows):
            seen = _keys(first + i, 1, sizes, causal)
            place = mask + b * mask_steps[0] + h * mask_steps[1] + (first + i) * mask_steps[2] if mask else 0
            top = _hide(scores, i, seen, several, place, mask_steps[3], tops)
            total = zero
            if top == -np.inf:  # it may see nothing
                top, total = zero, one
                for s in range(several):
                    scores[i, s] = zero
            else:
                for s in range(several):
                    scores[i, s] = exp(minus(scores[i, s], top))
                for s in range(several):
                    total += scores[i, s]
            tops[head, first + i], totals[head, first + i] = top, total
            share = one / total
            if drop:
                factor = array_at(drop + ((head * queries + first + i) * keys) * size, (several,), zero)
                for s in range(several):
                    scores[i, s] *= share * factor[s]
            else:
                for s in range(several):
                    scores[i, s] *= share
        call_gemm(
            gemm, 0, 0, rows, width, several, one, scores.ctypes.data, several, v + b * steps[6] + h * steps[7], steps[8] // size,
            zero, at, steps[11] // size,
        )  # fmt: skip


@entry
def attention(pool, gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals):
    """Write softmax(Q K^T scale) V; the maximum and the sum of each row go to ``tops`` and
    ``totals``, (B H, T).
    """
    batch, heads, queries, keys, features, width = sizes
    units = batch * heads * ((queries + block - 1) // block)
    each = max(1, WORK // max(1, min(block, queries) * keys * features))
    parallel(
        pool, (units + each - 1) // each, _forward,
        (gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals, each),
    )  # fmt: skip


@part
def _backward(number, gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals, each):
    # P = softmax(S), O = P V:
    # dP = g V^T,  dS = P * (dP - <dP, P>),  dQ = dS K,  dK = dS^T Q,  dV = P^T g.
    batch, heads, queries, keys, features, width = sizes
    q, k, v, g, dq, dk, dv = places
    blocks = (queries + block - 1) // block
    zero, one, size = tops.dtype.type(0), tops.dtype.type(1), tops.itemsize
    scratch = np.empty((2, block * keys), tops.dtype)
    for head in range(number * each, min(batch * heads, (number + 1) * each)):
        b, h = head // heads, head % heads
        keys_at, values_at = k + b * steps[3] + h * steps[4], v + b * steps[6] + h * steps[7]
        dk_at, dv_at = dk + b * steps[15] + h * steps[16], dv + b * steps[18] + h * steps[19]
        # The last block sees all keys: it writes what the others add to.
        for back in range(blocks):
            first = (blocks - 1 - back) * block
            rows = min(block, queries - first)
            several = _keys(first, rows, sizes, causal)
            before = one if back else zero
            query_at = q + b * steps[0] + h * steps[1] + first * steps[2]
            g_at = g + b * steps[9] + h * steps[10] + first * steps[11]
            dq_at = dq + b * steps[12] + h * steps[13] + first * steps[14]
            if several == 0:
                for i in range(rows):
                    line = array_at(dq_at + i * steps[14], (features,), zero)
                    for j in range(features):
                        line[j] = zero
                continue
            p, ds = (
                scratch[0, : rows * several].reshape((rows, several)),
                scratch[1, : rows * several].reshape((rows, several)),
            )
            call_gemm(
                gemm, 0, 1, rows, several, features, scale, query_at, steps[2] // size, keys_at, steps[5] // size,
                zero, p.ctypes.data, several,
            )  # fmt: skip
            call_gemm(
                gemm, 0, 1, rows, several, width, one, g_at, steps[11] // size, values_at, steps[8] // size,
                zero, ds.ctypes.data, several,
            )  # fmt: skip
            for i in range(rows):
                seen = _keys(first + i, 1, sizes, causal)
                place = mask + b * mask_steps[0] + h * mask_steps[1] + (first + i) * mask_steps[2] if mask else 0
                _hide(p, i, seen, several, place, mask_steps[3], tops)
                top, share, along = tops[head, first + i], one / totals[head, first + i], zero
                if drop:
                    factor = array_at(drop + ((head * queries + first + i) * keys) * size, (several,), zero)
                    for s in range(several):
                        p[i, s] = exp(minus(p[i, s], top)) * share
                        ds[i, s] *= factor[s]
                    for s in range(several):
                        along += p[i, s] * ds[i, s]
                    for s in range(several):
                        ds[i, s] = p[i, s] * (ds[i, s] - along) * scale
                        p[i, s] *= factor[s]
                else:
                    for s in range(several):
                        p[i, s] = exp(minus(p[i, s], top)) * share
                    for s in range(several):
                        along += p[i, s] * ds[i, s]
                    for s in range(several):
                        ds[i, s] = p[i, s] * (ds[i, s] - along) * scale
            call_gemm(
                gemm, 1, 0, several, width, rows, one, p.ctypes.data, several, g_at, steps[11] // size,
                before, dv_at, steps[20] // size,
            )  # fmt: skip
            call_gemm(
                gemm, 0, 0, rows, features, several, one, ds.ctypes.data, several, keys_at, steps[5] // size,
                zero, dq_at, steps[14] // size,
            )  # fmt: skip
            call_gemm(
                gemm, 1, 0, several, features, rows, one, ds.ctypes.data, several, query_at, steps[2] // size,
                before, dk_at, steps[17] // size,
            )  # fmt: skip


@entry
def attention_gradient(pool, gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals):
    """Write dQ, dK and dV, given g."""
    batch, heads, queries, keys, features, width = sizes
    each = max(1, WORK // max(1, queries * keys * features))
    parallel(
        pool, (batch * heads + each - 1) // each, _backward,
        (gemm, sizes, block, causal, scale, places, steps, mask, mask_steps, drop, tops, totals, each),
    )  # fmt: skip
