"""Attention by compiled tiles: what ``backend/compiled/attention.py`` is given."""

from __future__ import annotations

import functools

from minitensor.nn.functional.attention import _attention, _by_heads, _heads_of, _packed, _visible, led_by, written
from minitensor.nn.functional.overrides import override

_override = functools.partial(override, device="cpu")


def _rows(xp, x):
    """``x`` (B, H, T, K), or a copy, with rows that are contiguous and do not overlap."""
    width, step = x.shape[-1] * x.itemsize, x.strides[-2]
    plain = (x.strides[-1] == x.itemsize or x.shape[-1] == 1) and step % x.itemsize == 0
    if not plain or (x.shape[-2] > 1 and step < width):
        x = xp.ascontiguousarray(x)
    return x


def _steps(x):
    """Bytes from one batch, head and row of ``x`` to the next."""
    batch, head, row, _ = x.strides
    return batch, head, row if x.shape[2] > 1 else x.shape[3] * x.itemsize


def _place(x):
    return x.__array_interface__["data"][0]


class _Tiles:
    """One attention: operands (B, H, T or S, K or V), and what both passes need."""

    def __init__(self, xp, q, k, v, mask, drop, scale, causal):
        self.xp, self.q, self.k, self.v = xp, *(_rows(xp, x) for x in (q, k, v))
        batch, heads, queries, features = q.shape
        keys, dtype = k.shape[2], q.dtype
        scores = (batch, heads, queries, keys)
        self.mask, mask_steps = mask, (0, 0, 0, 0)
        if mask is not None:
            self.mask = xp.ascontiguousarray(mask)
            mask_steps = xp.broadcast_to(self.mask, scores).strides
        self.drop = drop if drop is None else xp.ascontiguousarray(xp.broadcast_to(drop, scores))
        self.tops, self.totals = xp.empty((2, batch * heads, queries), dtype=dtype)
        sizes = (batch, heads, queries, keys, features, v.shape[3])
        self.before = (
            xp.kernels.multiplies(dtype), sizes, xp.kernels.rows_of(keys, causal), causal, dtype.type(scale)
        )  # fmt: skip
        self.after = (
            0 if mask is None else _place(self.mask), mask_steps, 0 if drop is None else _place(self.drop), self.tops, self.totals
        )  # fmt: skip

    def run(self, name, *arrays):
        """Run a kernel on the operands and ``arrays``."""
        arrays = (self.q, self.k, self.v, *arrays)
        steps = tuple(step for x in arrays for step in _steps(x))
        self.xp.kernels.run(name, *self.before, tuple(map(_place, arrays)), steps, *self.after)

    def forward(self, out):
        """Write the mixture of the values to ``out`` (B, H, T, V)."""
        self.run("attention", out)

    def backward(self, g, dq, dk, dv):
        """Fill the gradients, given that of the mixture."""
        self.run("attention_gradient", _rows(self.xp, g), dq, dk, dv)


@_override(_attention)
def _(xp, query, key, value, mask=None, bias=None, drop=None, *, scale, causal=False, drawn=None, needs):
    if bias is not None or not xp.kernels.multiplies(query.dtype):
        return None
    given = [x for x in (query, key, value, mask) if x is not None]
    lead = xp.broadcast_shapes(*[x.shape[:-2] for x in given])
    if len(lead) > 2:
        return None
    four = (1,) * (2 - len(lead)) + lead
    q, k, v = (led_by(xp, x, lead).reshape(*four, *x.shape[-2:]) for x in (query, key, value))
    q, k, v = _visible(xp, q, k, v, mask, causal)
    tiles = _Tiles(xp, q, k, v, mask, written(drop, drawn), scale, causal)
    out = _by_heads(xp, (*four, q.shape[2], v.shape[3]), q.dtype)
    tiles.forward(out)

    def backward(g):
        gradients = [_by_heads(xp, x.shape, x.dtype) for x in (q, k, v)]
        tiles.backward(g.reshape(out.shape), *gradients)
        dq, dk, dv = (d.reshape(*lead, *d.shape[2:]) for d in gradients)
        return dq, dk, dv, None, None, None

    return out.reshape(*lead, *out.shape[2:]), backward


@_override(_packed)
def _(xp, qkv, mask=None, drop=None, *, n_heads, scale, causal=False, drawn=None, needs):
    if not xp.kernels.multiplies(qkv.dtype):
        return None
    qkv = xp.ascontiguousarray(qkv)
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = _heads_of(qkv, n_heads)
    if mask is not None and not xp.surely_moderate(qkv):  # asked of the whole, which has no gaps
        q, k, v = _visible(xp, q, k, v, mask, causal)
    tiles = _Tiles(xp, q, k, v, mask, written(drop, drawn), scale, causal)
    out = xp.empty((batch, length, n_heads, width // n_heads), dtype=qkv.dtype)  # (B, T, H, K)
    tiles.forward(out.swapaxes(1, 2))

    def backward(g):
        gradient = xp.empty(qkv.shape, dtype=qkv.dtype)
        tiles.backward(g.reshape(out.shape).swapaxes(1, 2), *_heads_of(gradient, n_heads))
        return gradient, None, None

    return out.reshape(batch, length, width), backward
