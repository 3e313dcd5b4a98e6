"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1).

Letters: B batch, H heads, T queries, S keys, K features of a head. One boolean meaning of a mask
everywhere: True = may attend.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.backend import compute_dtype, device_of, is_narrow, namespace, widen
from minitensor.engine.fused import fused
from minitensor.engine.mode import reads_values
from minitensor.engine.settings import number
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional import attention_tiles as tiles
from minitensor.nn.functional.blocks import as_floats, as_rows, row_blocks
from minitensor.nn.functional.causal import below
from minitensor.nn.functional.dropping import Drawn, dropout_mask
from minitensor.nn.functional.masking import as_mask, blank_hidden, surely_moderate
from minitensor.nn.functional.watching import tell_watchers, watched
from minitensor.ops.elementwise import exp, where
from minitensor.ops.linalg import matmul
from minitensor.ops.reductions import max as maximum_of
from minitensor.ops.shape import swapaxes

__all__ = ["attention_weights", "packed_attention", "scaled_dot_product_attention"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike
    from minitensor.random import Generator


# --- definition -----------------------------------------------------------------------------------


def _probabilities(query, key, mask, bias, scale):
    """softmax(Q K^T scale + bias) over the keys that ``mask`` allows; a row without any is zero."""
    scores = matmul(query, swapaxes(key, axis1=-1, axis2=-2)) * scale  # (B, H, T, S)
    scores = scores if bias is None else scores + bias
    if not scores.size:  # no keys, or no queries
        return scores
    if mask is None:
        e = exp(scores - maximum_of(scores.detach(), axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    top = maximum_of(where(mask, scores.detach(), -math.inf), axis=-1, keepdims=True)
    top = where(top == -math.inf, 0.0, top)
    e = where(mask, exp(where(mask, scores - top, 0.0)), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / where(total == 0, 1.0, total)


@fused(name="scaled_dot_product_attention")
def _attention(query, key, value, mask=None, bias=None, drop=None, *, scale, causal=False, drawn=None):
    mask, drop = _with_triangle(mask, causal, query, key), drop if drawn is None else Tensor(drawn.written())
    if mask is not None:
        query, key, value = blank_hidden(where, query, key, value, mask)
    weights = _probabilities(query, key, mask, bias, scale)
    weights = weights if drop is None else weights * drop
    return matmul(weights, value)


def _with_triangle(mask, causal, query, key):
    """The mask, a Tensor or None, with the triangle in it if the attention is causal."""
    if not causal:
        return mask
    return Tensor(below(None if mask is None else mask._array, query.shape[-2], key.shape[-2], query.device))


@fused(name="packed_attention")
def _packed(qkv, mask=None, drop=None, *, n_heads, scale, causal=False, drawn=None):
    q, k, v = _heads_of(qkv, n_heads)
    y = _attention.definition(q, k, v, mask, None, drop, scale=scale, causal=causal, drawn=drawn)
    return swapaxes(y, axis1=1, axis2=2).reshape((qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3))


def _heads_of(qkv, n_heads):
    """(B, T, 3 H K) as three (B, H, T, K): views, on raw arrays and Tensors alike."""
    batch, length, width = qkv.shape
    parts = qkv.reshape((batch, length, 3, n_heads, width // (3 * n_heads)))  # (B, T, 3, H, K)
    return [parts[:, :, i].swapaxes(1, 2) for i in range(3)]


# --- kernel ---------------------------------------------------------------------------------------

# NumPy's maximum of each row takes as long as all the rest of a softmax, so a row is shifted only
# where it must be: not if its maximum is at most TALL (no sum of its exponentials overflows) and
# that sum is at least TINY (none that counts underflows). Which way a row goes is decided by its
# own numbers alone, so that no bit of it depends on the rows that lie beside it.
TALL, TINY = 60.0, 1e-12


def _softmax_rows(xp, rows):
    """Softmax of each row of (N, S) in place; a row of nothing but -inf becomes zeros."""
    for block in row_blocks(xp, rows):
        scores = rows[block]
        if xp.name != "cpu":  # to ask about values would be to wait
            e, total = _shifted(xp, scores)
        elif scores.max() <= TALL:
            e = xp.exp(scores)
            total = xp.einsum("ij->i", e)
        else:  # a tall row somewhere, or NaN
            e, total = xp.empty_like(scores), xp.zeros(len(scores), dtype=scores.dtype)
            low = scores.max(axis=-1) <= TALL
            e[low] = xp.exp(scores[low])
            total[low] = xp.einsum("ij->i", e[low])
        if xp.name == "cpu" and not (total >= TINY).all():
            other = ~(total >= TINY)
            e[other], total[other] = _shifted(xp, scores[other])
        xp.divide(e, total[:, None], out=scores)


def _shifted(xp, scores):
    """``(exp(scores - row maximum), row sums)``, with sum 1 for a row of nothing but -inf."""
    top = scores.max(axis=-1, keepdims=True)
    top = xp.where(top == -math.inf, top.dtype.type(0), top)
    e = xp.exp(scores - top)
    total = xp.einsum("ij->i", e)
    return e, xp.where(total == 0, total.dtype.type(1), total)


def _forward(xp, q, k, v, mask, bias, drop, scale, out):
    """Write softmax(Q K^T scale) V to ``out``.

    Returns the weights, and a function of (g, dq, dk, dv) that fills the gradients.
    """
    weights = xp.matmul(q, k.swapaxes(-1, -2))  # (B, H, T, S)
    weights *= scale
    if bias is not None:
        weights = weights + bias
    if mask is not None:  # by a minimum: a sum of inf, or of NaN, and -inf is NaN; fmin(NaN, -inf) is -inf
        ceiling = xp.where(mask, weights.dtype.type(math.inf), weights.dtype.type(-math.inf))
        weights = xp.fmin(weights, ceiling, out=weights if ceiling.ndim <= weights.ndim else None)
    # A product of strided operands may not be contiguous: its rows must be a view.
    weights = xp.ascontiguousarray(weights)
    _softmax_rows(xp, as_rows(weights))
    dropped = weights if drop is None else weights * drop
    xp.matmul(dropped, v, out=out)

    def backward(g, dq, dk, dv):
        # P = softmax(S), O = P V:
        # dP = g V^T,  dS = P * (dP - <dP, P>),  dQ = dS K,  dK = dS^T Q,  dV = P^T g.
        xp.matmul(dropped.swapaxes(-1, -2), g, out=dv)
        ds = xp.ascontiguousarray(xp.matmul(g, v.swapaxes(-1, -2)))
        if drop is not None:
            ds *= drop
        rows, p = as_rows(ds), as_rows(weights)
        for block in row_blocks(xp, rows):
            part = rows[block]
            part -= xp.einsum("ij,ij->i", part, p[block])[:, None]
            part *= p[block]
        return pull_scores(xp, ds, q, k, bias, scale, dq, dk)

    return weights, backward


# Queries of a causal attention that are taken together, with the keys that they see; half as many
# of a short one.
BLOCK_ROWS = 64


def _attend(xp, q, k, v, mask, bias, drop, scale, causal, out, forward):
    """Write the attention to ``out``; returns what fills the gradients, as ``_forward`` does."""
    q, k, v = _visible(xp, q, k, v, mask, causal)
    queries, keys = q.shape[-2], k.shape[-2]
    if xp.name == "cpu" and queries * keys >= tiles.LEAST:
        return tiles.forward(xp, q, k, v, mask, bias, drop, scale, out, causal)
    rows = max(1, min(BLOCK_ROWS, max(BLOCK_ROWS // 2, queries // 2)))
    if causal and xp.name == "cpu" and rows < queries <= keys:
        return _in_blocks(xp, q, k, v, mask, bias, drop, scale, out, rows)
    if causal:
        mask = below(mask, queries, keys, device_of(q))
    return forward(xp, q, k, v, mask, bias, drop, scale, out)[1]


def _in_blocks(xp, q, k, v, mask, bias, drop, scale, out, step):
    """`_forward` of a causal attention, ``step`` queries at a time: most of what lies above the
    diagonal is left out.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    blocks = []
    for start in range(0, queries, step):
        rows = slice(start, min(start + step, queries))
        seen = slice(0, rows.stop + keys - queries)
        allowed, added, kept = (None if a is None else _block(a, rows, seen) for a in (mask, bias, drop))
        allowed = below(allowed, rows.stop - start, seen.stop, device_of(q))
        parts = q[..., rows, :], k[..., seen, :], v[..., seen, :]
        _, pull = _forward(xp, parts[0], parts[1], parts[2], allowed, added, kept, scale, out[..., rows, :])
        blocks.append((rows, seen, pull))

    def backward(g, dq, dk, dv):
        slopes = None if bias is None else xp.zeros((*q.shape[:-1], keys), dtype=dq.dtype)
        for rows, seen, pull in reversed(blocks):  # the last block sees all keys
            first = seen.stop == keys
            into = [dk, dv] if first else [xp.empty_like(x[..., seen, :]) for x in (dk, dv)]
            slope = pull(g[..., rows, :], dq[..., rows, :], *into)
            if not first:
                dk[..., seen, :] += into[0]
                dv[..., seen, :] += into[1]
            if slopes is not None:
                slopes[..., rows, seen] = slope
        return slopes

    return backward


def _block(array, rows, columns):
    """A block of ``array`` (..., T or 1, S or 1)."""
    return array[..., rows if array.shape[-2] > 1 else slice(None), columns if array.shape[-1] > 1 else slice(None)]


hidden_by: dict = {}  # name of a namespace -> what does ``blank_hidden`` there in fewer passes, or gives None


def _visible(xp, q, k, v, mask, causal):
    """Q, K and V without what is hidden, if that can matter."""
    queries, keys = q.shape[-2], k.shape[-2]
    if (mask is None and (not causal or queries <= keys)) or xp.surely_moderate(q, k, v):
        return q, k, v
    mask = below(mask, queries, keys, device_of(q)) if causal else mask
    hide = hidden_by.get(xp.name)
    where = _bits_where(xp) if is_narrow(q.dtype) else xp.where
    return (hide and hide(xp, q, k, v, mask)) or blank_hidden(where, q, k, v, mask)


def _bits_where(xp):
    """``where(condition, x, 0)`` of numbers of 16 bits, by their bits: zero has none."""
    return lambda condition, x, _: xp.where(condition, x.view(xp.uint16), xp.uint16(0)).view(x.dtype)


def written(drop, drawn):
    """The mask of dropout, raw: ``drop``, or what ``drawn`` stands for; None without one."""
    return drop if drawn is None else drawn.written()


def pull_scores(xp, ds, q, k, bias, scale, dq, dk):
    """Fill dQ and dK from the gradient ``ds`` of the scores, which is overwritten.

    Returns the gradient of ``bias``, None without one.
    """
    bias_gradient = ds.copy() if bias is not None else None
    ds *= scale
    xp.matmul(ds, k, out=dq)
    xp.matmul(ds.swapaxes(-1, -2), q, out=dk)
    return bias_gradient


def led_by(xp, x, lead):
    """``x`` (..., T, K) with the axes ``lead`` in front.

    As it is if it has them: what is broadcast is read-only, and looked through in a slower way.
    """
    return x if x.shape[:-2] == lead else xp.broadcast_to(x, (*lead, *x.shape[-2:]))


def _by_heads(xp, shape, dtype):
    """An empty (B, H, T, K), in memory (B, T, H, K), so that joining heads copies nothing."""
    batch, heads, length, width = shape
    return xp.empty((batch, length, heads, width), dtype=dtype).swapaxes(1, 2)


@_attention.kernel
def _(xp, query, key, value, mask=None, bias=None, drop=None, *, scale, causal=False, drawn=None, forward=_forward):
    drop = written(drop, drawn)
    given = [x for x in (query, key, value, mask, bias) if x is not None]
    lead = xp.broadcast_shapes(*[x.shape[:-2] for x in given])
    full = [as_floats(x) for x in (query, key, value)]
    q, k, v = full = [led_by(xp, x, lead) for x in full]
    dtype = compute_dtype(*[x.dtype for x in (*full, bias) if x is not None])

    def new(rows, width):
        if len(lead) == 2:
            return _by_heads(xp, (*lead, rows, width), dtype)
        return xp.empty((*lead, rows, width), dtype=dtype)

    out = new(query.shape[-2], value.shape[-1])
    if bias is not None and bias.ndim < 2:
        bias = bias.reshape((1,) * (2 - bias.ndim) + bias.shape)  # (T or 1, S or 1)
    pull = _attend(xp, q, k, v, mask, bias, drop, scale, causal, out, forward)

    def backward(g):
        gradients = [new(*x.shape[-2:]) for x in full]
        return (*gradients[:2], gradients[2], None, pull(g, *gradients), None)

    return out, backward


@_packed.kernel
def _(xp, qkv, mask=None, drop=None, *, n_heads, scale, causal=False, drawn=None, forward=_forward):
    drop = written(drop, drawn)
    qkv = as_floats(qkv)
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    out = xp.empty((batch, length, n_heads, width // n_heads), dtype=qkv.dtype)  # (B, T, H, K)
    q, k, v = _heads_of(qkv, n_heads)  # each (B, H, T, K)
    pull = _attend(xp, q, k, v, mask, None, drop, scale, causal, out.swapaxes(1, 2), forward)

    def backward(g):
        gradient = xp.empty(qkv.shape, dtype=qkv.dtype)
        pull(g.reshape(out.shape).swapaxes(1, 2), *_heads_of(gradient, n_heads))
        return gradient, None, None

    return out.reshape(batch, length, width), backward


# --- public ---------------------------------------------------------------------------------------


def _allowed(mask, scores, device):
    """The mask that was given as a boolean Tensor (..., T, S), or None; scores: their shape."""
    mask = as_mask(mask, scores, device)
    return None if mask is None else Tensor(mask._array.reshape((1,) * (2 - mask.ndim) + mask.shape))


def _scale(features):
    """What scores are multiplied by: 1 / sqrt(K); without features all are 0, whatever it is."""
    return 1.0 / math.sqrt(max(features, 1))


def _scaled(name, query, scale, features) -> tuple[Tensor, float]:
    """The query, and the number that the scores are multiplied by.

    A Tensor that learns, or that has a number for each head, multiplies the query instead.
    """
    if scale is None:
        return query, _scale(features)
    if isinstance(scale, Tensor) and (scale.requires_grad or scale.ndim):
        return query * scale.astype(query.dtype), 1.0
    return query, number(name, "scale", scale)


@reads_values("mask")
def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    mask: TensorLike | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
    scale: float | Tensor | None = None,
    bias: TensorLike | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """``softmax(Q K^T * scale + bias) V``, by heads.

    query: (..., T, K); key: (..., S, K); value: (..., S, V); returns (..., T, V). mask: boolean,
    True = may attend, broadcasts to (..., T, S). is_causal: query t sees keys up to t + S - T.
    scale: a number, or a tensor that multiplies the query and gets its gradient; default:
    1 / sqrt(K). bias: added to the scores. dropout: probability of dropping a weight. A query that
    may see no key gives zeros, and a key that no query may see is ignored, even if it holds NaN.
    Each row is computed for itself: no bit of it depends on another row, or on what is padded. No
    (T, S) of a long sequence is held, but for a mask, a bias or, on the CPU, dropout of that shape.

    Raises TypeError for a mask that is not boolean or on another device, and ValueError for shapes
    that do not fit.
    """
    query, key, value = asarray(query), asarray(key), asarray(value)
    if query.ndim < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"attention: query {query.shape} and key {key.shape} must share the last axis, "
            f"key and value {value.shape} the last but one"
        )
    scores = (*_lead(query, key), query.shape[-2], key.shape[-2])
    allowed = _allowed(mask, scores, query.device)
    query, factor = _scaled("scaled_dot_product_attention", query, scale, query.shape[-1])
    drop, drawn = _drop(scores, dropout, generator, query)
    bias = None if bias is None else asarray(bias)
    causal = bool(is_causal) and query.shape[-2] > 1  # a query alone is the last, and sees every key
    y = _attention(query, key, value, allowed, bias, drop, scale=factor, causal=causal, **drawn)
    if watched():
        tell_watchers(query, key, value, dict(mask=allowed, is_causal=causal, scale=factor, bias=bias), y)
    return _as_given(y, drop, query, key, value, bias)


def _lead(query, key):
    """The axes of the scores before (T, S)."""
    return namespace("cpu").broadcast_shapes(query.shape[:-2], key.shape[:-2])


def _drop(shape, dropout, generator, query):
    """``(drop, keywords)``: the mask of dropout as a Tensor, or on a GPU, where kernels draw it, as
    the keyword ``drawn``.
    """
    mask = dropout_mask(shape, dropout, True, generator, query.device, query.dtype)
    if isinstance(mask, Drawn):
        return None, {"drawn": mask}
    return None if mask is None else Tensor(mask), {}


def _as_given(y, drop, *inputs):
    """``y`` in the 16 bits of all inputs: the float32 of the mask of dropout is no input's type."""
    dtypes = {x.dtype for x in inputs if x is not None}
    return y.astype(*dtypes) if drop is not None and len(dtypes) == 1 and is_narrow(*dtypes) else y


@reads_values("mask")
def packed_attention(
    qkv: TensorLike,
    n_heads: int,
    mask: TensorLike | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Self-attention from one packed projection, heads split and joined inside.

    qkv: (B, T, 3 D), the queries, keys and values side by side, D = H K; returns (B, T, D). scale:
    default: 1 / sqrt(K). Equal to ``scaled_dot_product_attention`` on the three parts, with fewer
    copies.
    """
    qkv = asarray(qkv)
    if qkv.ndim != 3 or qkv.shape[2] % (3 * n_heads):
        raise ValueError(
            f"packed_attention: qkv {qkv.shape} must be (B, T, 3 D) with D a multiple of n_heads = {n_heads}"
        )
    batch, length, width = qkv.shape
    scores = (batch, n_heads, length, length)
    allowed, (drop, drawn) = _allowed(mask, scores, qkv.device), _drop(scores, dropout, generator, qkv)
    scale = _scale(width // (3 * n_heads)) if scale is None else number("packed_attention", "scale", scale)
    y = _packed(qkv, allowed, drop, n_heads=n_heads, scale=scale, causal=bool(is_causal), **drawn)
    if watched():
        heads = y.reshape((batch, length, n_heads, -1)).swapaxes(1, 2)  # (B, T, D) to (B, H, T, K)
        how = dict(mask=allowed, is_causal=bool(is_causal), scale=scale, bias=None)
        tell_watchers(*_heads_of(qkv, n_heads), how, heads)
    return _as_given(y, drop, qkv)


@reads_values("mask")
def attention_weights(
    query: TensorLike,
    key: TensorLike,
    mask: TensorLike | None = None,
    is_causal: bool = False,
    scale: float | Tensor | None = None,
    bias: TensorLike | None = None,
) -> Tensor:
    """The probabilities (..., T, S) of ``scaled_dot_product_attention``, to be looked at."""
    query, key = asarray(query), asarray(key)
    allowed = _allowed(mask, (*_lead(query, key), query.shape[-2], key.shape[-2]), query.device)
    allowed = _with_triangle(allowed, is_causal, query, key)
    scale, dtype = _scale(query.shape[-1]) if scale is None else scale, query.dtype
    query, key, bias = widen(query), widen(key), None if bias is None else widen(asarray(bias))
    if allowed is not None and not surely_moderate(query, key):
        query, key, _ = blank_hidden(where, query, key, key, allowed)
    weights = _probabilities(query, key, allowed, bias, scale)
    return weights.astype(dtype) if is_narrow(dtype) else weights
