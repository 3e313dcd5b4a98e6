"""Attention in tiles on a GPU: what ``backend/cu/attention_tiles.cu`` is given."""

from __future__ import annotations

from minitensor.nn.functional.attention import _by_heads, _heads_of

__all__ = ["in_tiles", "packed", "packed_in_tiles", "separate"]

# Bytes of all scores from which on tiles serve: they save memory, not time. On an H100 cuBLAS is
# faster than they are at every length that was measured, up to 4096, by 1.2 to 1.9 (forward and
# backward in float32, without dropout).
LEAST = 1 << 28
WIDEST = 128  # features of a head, or of a value: beyond a tile of them weights are made once more
THREADS = 256
MOST = 1 << 31  # blocks of a grid, and what the kernels count rows and steps with

_TILE = {4: 64, 8: 32}  # rows of a tile by the bytes of a number, as in the CUDA text


class _Tiles:
    """One attention: operands (B, H, T or S, K or V), and what both passes need."""

    def __init__(self, xp, q, k, v, mask, bias, drawn, scale, causal):
        self.xp, self.q, self.k, self.v = xp, *(_rows(xp, x) for x in (q, k, v))
        batch, heads, queries, features = q.shape
        keys, self.dtype = k.shape[2], q.dtype
        scores, tile = (batch, heads, queries, keys), _TILE[q.dtype.itemsize]
        mask, bias = (None if x is None else xp.broadcast_to(x, scores) for x in (mask, bias))
        self.masks = None if mask is None else _first(mask), None if bias is None else _first(bias)
        behind = keys - queries if causal else keys  # query t sees keys up to t + behind
        self.sizes = heads, queries, keys, features, v.shape[3], behind, scale
        self.mask_steps = (*_steps(mask), *_steps(bias))
        self.drop = (0, 0, 0, 0, 0, 1.0, None)
        if drawn is not None:
            self.drop = (*drawn.key, drawn.counter, drawn.cut, 64 // drawn.bits, drawn.factor, drawn.shift())
        widths = v.shape[3], features, max(v.shape[3], features)  # of what each kernel writes
        grids = zip((queries, queries, keys), widths)
        self.grids = [(batch * heads * -(-rows // tile), -(-width // tile)) for rows, width in grids]
        self.sums = xp.empty((2, batch * heads, queries), dtype=self.dtype)  # the maximum and the sum of each row
        # Of a causal attention no kernel comes to what lies above the diagonal.
        self.slopes = xp.zeros if causal else xp.empty

    def _run(self, name, grid, arrays, numbers):
        """Run a kernel on ``arrays`` (B, H, T or S, K or V), by their steps, and on ``numbers``."""
        steps = [step for x in arrays for step in _steps(x)[:3]]
        given = *map(_first, arrays), *numbers, *self.masks, *self.sizes, *steps, *self.mask_steps, *self.drop
        self.xp.kernels.launch(name, self.dtype, grid, THREADS, given)

    def forward(self, out):
        """Write the mixture of the values to ``out`` (B, H, T, V)."""
        self._run("attention_tiles", self.grids[0], (self.q, self.k, self.v, out), self.sums)

    def backward(self, g, out, dq, dk, dv, learns):
        """Fill the gradients, given that of ``out``; returns that of the bias, if it ``learns``."""
        g, deltas = _rows(self.xp, g), self.xp.empty(self.sums.shape[1:], dtype=self.dtype)
        slopes = self.slopes((*self.q.shape[:3], self.k.shape[2]), dtype=self.dtype) if learns else None
        given = self.q, self.k, self.v, g
        self._run("attention_tiles_queries", self.grids[1], (*given, out, dq), (*self.sums, deltas, slopes))
        self._run("attention_tiles_keys", self.grids[2], (*given, dk, dv), (*self.sums, deltas))
        return slopes


def _rows(xp, x):
    """``x`` (B, H, T, K), or a copy, with rows that are contiguous."""
    return x if x.strides[-1] == x.itemsize or x.shape[-1] == 1 else xp.ascontiguousarray(x)


def _first(x):
    """The first element of ``x``: the kernels go on from there by steps."""
    return x[(0,) * (x.ndim - 1)][:1]


def _steps(x):
    """Elements from one to the next along the four axes of ``x``; 0 if x is None."""
    return (0, 0, 0, 0) if x is None else tuple(step // x.itemsize for step in x.strides)


def _serves(shape, width, dtype, lead):
    """Whether tiles serve, and pay; shape: (T, S, K)."""
    queries, keys, features = shape
    heads = lead[0] * lead[1]
    scores, blocks = heads * queries * keys, heads * -(-max(queries, keys) // _TILE[dtype.itemsize])
    whole = scores == 0 or scores * dtype.itemsize < LEAST
    return not whole and max(features, width) <= WIDEST and max(blocks, queries, keys) < MOST


def _suits(drop, drawn, shape):
    """Whether the mask of dropout, if there is one, is drawn for each score of ``shape``."""
    return drop is None and (drawn is None or drawn.shape == shape)


def _leads(xp, *given):
    """The axes before the last two of all operands, as they are and as two or more."""
    lead = xp.broadcast_shapes(*[x.shape[:-2] for x in given if x is not None])
    return lead, (1,) * (2 - len(lead)) + lead


def in_tiles(xp, query, key, value, mask, bias, drop, drawn, dtype):
    """Whether ``separate`` serves, for numbers of ``dtype``."""
    lead, four = _leads(xp, query, key, value, mask, bias)
    shape = query.shape[-2], key.shape[-2], query.shape[-1]
    if len(four) > 2 or not _suits(drop, drawn, (*lead, *shape[:2])):
        return False
    return _serves(shape, value.shape[-1], dtype, four)


def packed_in_tiles(qkv, drop, drawn, n_heads, dtype):
    """Whether ``packed`` serves, for numbers of ``dtype``."""
    batch, length, width = qkv.shape
    features = width // (3 * n_heads)
    if not _suits(drop, drawn, (batch, n_heads, length, length)):
        return False
    return _serves((length, length, features), features, dtype, (batch, n_heads))


def separate(xp, query, key, value, mask, bias, drop, drawn, scale, causal, learns):
    """``(out, backward)`` of ``attention._attention`` in tiles; None where they do not serve.

    learns: whether the gradient of the bias is wanted, which has the shape of all scores.
    """
    lead, four = _leads(xp, query, key, value, mask, bias)
    if not in_tiles(xp, query, key, value, mask, bias, drop, drawn, query.dtype):
        return None
    q, k, v = (xp.broadcast_to(x, (*four, *x.shape[-2:])) for x in (query, key, value))
    tiles = _Tiles(xp, q, k, v, mask, bias, drawn, scale, causal)
    out = _by_heads(xp, (*q.shape[:3], v.shape[3]), q.dtype)
    tiles.forward(out)

    def backward(g):
        dq, dk, dv = (_by_heads(xp, x.shape, x.dtype) for x in (q, k, v))
        slopes = tiles.backward(g.reshape(out.shape), out, dq, dk, dv, learns)
        dq, dk, dv = (d.reshape(*lead, *d.shape[2:]) for d in (dq, dk, dv))
        return dq, dk, dv, None, slopes if slopes is None else slopes.reshape(*lead, *slopes.shape[2:]), None

    return out.reshape(*lead, *out.shape[2:]), backward


def packed(xp, qkv, mask, drop, drawn, n_heads, scale, causal):
    """``(out, backward)`` of ``attention._packed`` in tiles; None where they do not serve."""
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    features = width // n_heads
    if not packed_in_tiles(qkv, drop, drawn, n_heads, qkv.dtype):
        return None
    q, k, v = _heads_of(xp.ascontiguousarray(qkv), n_heads)
    tiles = _Tiles(xp, q, k, v, mask, None, drawn, scale, causal)
    out = xp.empty((batch, length, n_heads, features), dtype=qkv.dtype)  # (B, T, H, K)
    tiles.forward(out.swapaxes(1, 2))

    def backward(g):
        gradient = xp.empty((batch, length, 3 * width), dtype=qkv.dtype)
        dq, dk, dv = _heads_of(gradient, n_heads)
        tiles.backward(g.reshape(out.shape).swapaxes(1, 2), out.swapaxes(1, 2), dq, dk, dv, False)
        return gradient, None, None

    return out.reshape(batch, length, width), backward
