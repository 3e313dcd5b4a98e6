"""Attention of long sequences on the host, a tile of the scores at a time: no (T, S) is ever held.

The forward pass takes some queries at a time, with all keys that one of them may see, and keeps of
their scores the logarithm of the sum of exponentials, one number for each query. The backward pass
takes some keys at a time, with all queries that may see one, and makes the probabilities again
(Rabe and Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135):

    L = log sum exp(S),  P = exp(S - L),  O = P V
    dS = P * (g V^T - <g, O>),  dQ = dS K,  dK = dS^T Q,  dV = P^T g

Of a causal attention only tiles that reach below the diagonal are computed. Each matrix is a 2-D
product by itself, which BLAS runs on all cores; NumPy runs a stack of them on one.

Letters: T queries, S keys, K features of a head.
"""

from __future__ import annotations

import math
from itertools import product

__all__ = ["LEAST", "forward"]

ROWS = 128  # queries, or keys, of a tile
LEAST = 1 << 19  # scores of a head; fewer are faster whole, or in blocks, for all heads at once

# A row is shifted only where it must be, as in ``attention._softmax_rows``, and by its own numbers.
TALL, TINY = 60.0, 1e-12


def forward(xp, q, k, v, mask, bias, drop, scale, out, causal):
    """Write softmax(Q K^T scale + bias) V to ``out``; returns a function of (g, dq, dk, dv) that
    fills the gradients and returns that of ``bias``.

    q, k, v: (..., T, K), (..., S, K), (..., S, V); mask, bias, drop broadcast to (..., T, S).
    """
    lead, blind = q.shape[:-2], max(0, q.shape[-2] - k.shape[-2]) if causal else 0
    if blind:  # the first queries see no key
        out[..., :blind, :] = 0
        q, out = q[..., blind:, :], out[..., blind:, :]
        mask, bias, drop = (a if a is None or a.shape[-2] == 1 else a[..., blind:, :] for a in (mask, bias, drop))
    dtype = out.dtype
    masks, biases, drops = (_by_head(xp, a, lead) for a in (mask, bias, drop))
    sums = xp.empty(q.shape[:-1], dtype=dtype)  # L, (..., T)
    buffer = xp.empty(min(ROWS, q.shape[-2]) * k.shape[-2], dtype=dtype)
    for head in product(*map(range, lead)):
        scores = _Scores(xp, k[head], masks[head], biases[head], causal, q.shape[-2], dtype)
        _forward(xp, scores, q[head] * dtype.type(scale), v[head], drops[head], out[head], sums[head], buffer)

    def backward(g, dq, dk, dv):
        if blind:
            dq[..., :blind, :] = 0
            g, dq = g[..., blind:, :], dq[..., blind:, :]
        slopes = None if bias is None else xp.zeros((*lead, blind + q.shape[-2], k.shape[-2]), dtype=dtype)
        room = xp.empty((2, min(ROWS, k.shape[-2]) * q.shape[-2]), dtype=dtype)
        for head in product(*map(range, lead)):
            scores = _Scores(xp, _widened(xp, k[head], 1, dtype), masks[head], biases[head], causal, q.shape[-2], dtype)
            shifted = _widened(xp, q[head] * dtype.type(scale), -sums[head], dtype)
            delta = xp.einsum("ij,ij->i", g[head], out[head])
            slope = None if slopes is None else slopes[head][blind:]
            _backward(
                xp, scores, shifted, v[head], drops[head], g[head], delta, room, (dq[head], dk[head], dv[head], slope)
            )
            dq[head] *= dtype.type(scale)
        return slopes

    return backward


def _by_head(xp, array, lead):
    """``array`` (..., T, S) with all leading axes; T and S stay 1 if they are."""
    return (
        dict.fromkeys(product(*map(range, lead)))
        if array is None
        else xp.broadcast_to(array, (*lead, *array.shape[-2:]))
    )


def _widened(xp, x, column, dtype):
    """``x`` (N, K) with one more column: a product of two such adds to each row a number of its
    own, without another pass.
    """
    wide = xp.empty((x.shape[0], x.shape[1] + 1), dtype=dtype)
    wide[:, :-1], wide[:, -1] = x, column
    return wide


def _part(array, rows, columns):
    """A tile of ``array`` (T or 1, S or 1)."""
    return array[rows if array.shape[0] > 1 else slice(None), columns if array.shape[1] > 1 else slice(None)]


class _Scores:
    """Makes tiles of the scores of one head."""

    def __init__(self, xp, k, mask, bias, causal, queries, dtype):
        self.xp, self.k, self.mask, self.bias, self.queries, self.keys = xp, k, mask, bias, queries, len(k)
        self.behind = self.keys - queries if causal else self.keys  # query t sees keys up to t + behind
        self.low, self.high = dtype.type(-math.inf), dtype.type(math.inf)
        self.above = xp.triu(xp.ones((ROWS, ROWS), dtype=bool)) if causal else None

    def tile(self, q, rows, columns, buffer):
        """The scores of queries ``q`` at ``rows`` and keys ``columns``, in ``buffer``."""
        xp, width = self.xp, columns.stop - columns.start
        s = buffer[: len(q) * width].reshape(len(q), width)
        xp.matmul(q, self.k[columns].T, out=s)
        if self.bias is not None:
            s += _part(self.bias, rows, columns)
        if self.mask is not None:
            xp.fmin(s, xp.where(_part(self.mask, rows, columns), self.high, self.low), out=s)
        if self.above is not None:
            first = rows.start + self.behind + 1 - columns.start  # the key that the first query sees no more
            corner = s[: max(0, width - first), first:]
            xp.copyto(corner, self.low, where=self.above[: len(corner), : len(corner)])
        return s


def _forward(xp, scores, q, v, drop, out, sums, buffer):
    """One head: fill ``out`` (T, V) and ``sums`` (T,)."""
    ones = xp.ones(scores.keys, dtype=out.dtype)
    for start in range(0, len(q), ROWS):
        rows = slice(start, min(start + ROWS, len(q)))
        columns = slice(0, min(scores.keys, rows.stop + scores.behind))
        place = q[rows], rows, columns, buffer
        s, shift = scores.tile(*place), None
        if not s.max() <= TALL:  # a tall row somewhere, or NaN
            top = _tops(xp, s)
            shift = xp.where(top <= TALL, top.dtype.type(0), top)
        e, total = _exponentials(xp, s, shift, ones[columns])
        small = ~(total >= TINY)
        if small.any():  # or rows that see nothing: all are made again, since BLAS may round fewer otherwise
            shift = xp.where(small, _tops(xp, (again := scores.tile(*place))), 0 if shift is None else shift)
            e, total = _exponentials(xp, again, shift, ones[columns])
            total[total == 0] = 1
        if drop is not None:
            e *= _part(drop, rows, columns)
        xp.divide(xp.matmul(e, v[columns]), total[:, None], out=out[rows])
        xp.log(total, out=sums[rows])
        if shift is not None:
            sums[rows] += shift


def _exponentials(xp, s, shift, ones):
    """``exp(s - shift)`` in place of ``s``, and its row sums."""
    if shift is not None:
        s -= shift[:, None]
    e = xp.exp(s, out=s)
    return e, xp.matmul(e, ones)


def _tops(xp, scores):
    """The maximum of each row, 0 where nothing is seen."""
    top = scores.max(axis=-1)
    top[top == -math.inf] = 0
    return top


def _backward(xp, scores, q, v, drop, g, delta, room, gradients):
    """One head: fill dQ / scale, dK, dV and the gradient of the bias."""
    dq, dk, dv, slope = gradients
    dtype, features, k = dq.dtype, dk.shape[-1], scores.k[:, :-1]
    if drop is None:  # - <g, O> comes with the product
        pulled, values = _widened(xp, g, -delta, dtype), _widened(xp, v, 1, dtype)
    else:
        pulled, values = g, v
    dq[...] = 0
    for start in range(0, len(k), ROWS):
        columns = slice(start, min(start + ROWS, len(k)))
        rows = slice(max(0, start - scores.behind), len(q))
        p = xp.exp(s := scores.tile(q[rows], rows, columns, room[0]), out=s)
        ds = xp.matmul(pulled[rows], values[columns].T, out=room[1][: p.size].reshape(p.shape))
        if drop is None:
            xp.matmul(p.T, g[rows], out=dv[columns])
        else:
            kept = _part(drop, rows, columns)
            xp.matmul((p * kept).T, g[rows], out=dv[columns])
            ds *= kept
            ds -= delta[rows, None]
        ds *= p
        if slope is not None:
            slope[rows, columns] = ds
        xp.matmul(ds.T, q[rows, :features], out=dk[columns])
        dq[rows] += xp.matmul(ds, k[columns])
