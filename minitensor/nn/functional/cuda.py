"""CUDA kernels of fused ops: overrides of the same contract, held to the same definitions.

An override serves float32 and float64; other types run the kernel for all devices on
CuPy. The CUDA texts, with their formulas, are ``backend/cu/``.
"""

from __future__ import annotations

import functools

from minitensor.backend import compute_dtype, is_narrow, np, widen
from minitensor.engine.autocast import in_16_bits, rounded
from minitensor.nn.functional import attention as attention_file
from minitensor.nn.functional import cuda_attention
from minitensor.nn.functional.activations import gelu, relu, silu
from minitensor.nn.functional.blocks import as_rows, home_of
from minitensor.nn.functional.divergence import check_pairs, symmetric_kl_div
from minitensor.nn.functional.likelihood import _cross_entropy, weight_gradient
from minitensor.nn.functional.norm import layer_norm_last, rms_norm_last
from minitensor.nn.functional.overrides import override
from minitensor.nn.functional.probabilities import log_softmax, softmax

# Rows that one thread of norm_columns adds up, or more if that would make too many chunks.
CHUNK = 64
MOST_CHUNKS = 65_535  # of a grid along y


_override = functools.partial(override, device="cuda")


# --- rows -----------------------------------------------------------------------------------------


def _softmax(xp, x, axis, logarithm):
    moved = xp.moveaxis(x, axis, -1)
    rows = xp.ascontiguousarray(as_rows(moved))  # (N, D)
    y = xp.empty_like(rows)
    xp.kernels.rows("softmax_forward", x.dtype, *rows.shape, rows, y, rows.shape[1], logarithm)

    def backward(g):
        g = xp.ascontiguousarray(as_rows(xp.moveaxis(g, axis, -1)))
        gx = xp.empty_like(y)
        xp.kernels.rows("softmax_backward", x.dtype, *y.shape, y, g, gx, y.shape[1], logarithm)
        return (xp.moveaxis(gx.reshape(moved.shape), -1, axis),)

    return xp.moveaxis(y.reshape(moved.shape), -1, axis), backward


@_override(softmax)
def _(xp, x, *, axis=-1, needs):
    return _softmax(xp, x, axis, False)


@_override(log_softmax)
def _(xp, x, *, axis=-1, needs):
    return _softmax(xp, x, axis, True)


def _norm(xp, x, weight, bias, eps, needs, centred):
    rows = xp.ascontiguousarray(as_rows(x))  # (N, D)
    weight, bias = (None if p is None else xp.ascontiguousarray(p) for p in (weight, bias))
    (count, width), dtype = rows.shape, x.dtype
    y, mean, rstd = xp.empty_like(rows), xp.empty(count, dtype=dtype), xp.empty(count, dtype=dtype)
    xp.kernels.rows("norm_forward", dtype, count, width, rows, weight, bias, y, mean, rstd, width, eps, centred)

    def backward(g, homes=None):
        g = xp.ascontiguousarray(as_rows(g))
        gx = gw = gb = None
        if needs[0]:
            gx = xp.empty_like(rows)
            xp.kernels.rows("norm_backward", dtype, count, width, rows, weight, g, mean, rstd, gx, width, centred)
            gx = gx.reshape(x.shape)
        if any(needs[1:]):
            chunk = max(CHUNK, -(-count // MOST_CHUNKS))
            chunks = -(-count // chunk)
            sums = xp.empty((chunks, 2, width), dtype=dtype)
            grid = -(-width // 32), chunks
            xp.kernels.launch("norm_columns", dtype, grid, 32, (rows, g, mean, rstd, sums, count, width, chunk))
            gw, gb = (home_of(homes, i, (width,), dtype) for i in (1, 2))
            pair = _side_by_side(gw, gb)
            made = xp.sum(sums, axis=0, out=pair)
            gw, gb = made if pair is None else (gw, gb)
        return gx, gw, gb

    return y.reshape(x.shape), backward


def _side_by_side(first, second):
    """Two vectors of one length as the rows of one array if they lie so in one memory, as weight
    and bias do in a flat buffer; else None.
    """
    if first is None or second is None or first.base is None or first.base is not second.base:
        return None
    if second.data.ptr != first.data.ptr + first.nbytes:
        return None
    start = (first.data.ptr - first.base.data.ptr) // first.itemsize
    return first.base.reshape(-1)[start : start + 2 * first.size].reshape(2, -1)


@_override(layer_norm_last)
def _(xp, x, weight=None, bias=None, *, eps=1e-5, needs):
    return _norm(xp, x, weight, bias, eps, needs, True)


@_override(rms_norm_last)
def _(xp, x, weight=None, *, eps=1e-6, needs):
    y, backward = _norm(xp, x, weight, None, eps, needs, False)
    return y, lambda g: backward(g)[:2]


# --- elements -------------------------------------------------------------------------------------


def _gated(xp, x, kind):
    line = xp.ascontiguousarray(x.reshape(-1))
    y = xp.empty_like(line)
    xp.kernels.each("gate_forward", x.dtype, x.size, line, y, x.size, kind)

    def backward(g):
        gx = xp.empty_like(line)
        xp.kernels.each("gate_backward", x.dtype, x.size, line, xp.ascontiguousarray(g.reshape(-1)), gx, x.size, kind)
        return (gx.reshape(x.shape),)

    return y.reshape(x.shape), backward


@_override(relu)
def _(xp, x, *, needs):
    y = xp.maximum(x, 0)

    def backward(g):
        kept, g = xp.ascontiguousarray(y), xp.ascontiguousarray(g)
        gx = xp.empty_like(g)
        xp.kernels.each("relu_backward", x.dtype, x.size, kept, g, gx, x.size)
        return (gx,)

    return y, backward


@_override(gelu)
def _(xp, x, *, approximate="none", needs):
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
    return _gated(xp, x, 0 if approximate == "none" else 1)


@_override(silu)
def _(xp, x, *, needs):
    return _gated(xp, x, 2)


# --- cross-entropy --------------------------------------------------------------------------------


@_override(_cross_entropy)
def _(xp, logits, targets, weight=None, *, ignore_index, label_smoothing, needs):
    logits, targets = xp.ascontiguousarray(logits), xp.ascontiguousarray(targets, dtype=xp.int64)
    weight = None if weight is None else xp.ascontiguousarray(weight)
    count, classes = logits.shape
    loss, top, rest = (xp.empty(count, dtype=logits.dtype) for _ in range(3))
    xp.kernels.rows(
        "cross_entropy", logits.dtype, count, classes,
        logits, targets, weight, loss, top, rest, classes, ignore_index, label_smoothing,
    )  # fmt: skip

    def backward(g):
        gx = None
        if needs[0]:
            gx = xp.empty_like(logits)
            xp.kernels.rows(
                "cross_entropy_gradient", logits.dtype, count, classes,
                logits, targets, weight, top, rest, xp.ascontiguousarray(g), gx, classes, ignore_index, label_smoothing,
            )  # fmt: skip
        if not needs[2]:
            return gx, None, None
        real = targets != ignore_index
        g, places = xp.where(real, g, logits.dtype.type(0)), xp.where(real, targets, 0)
        return gx, None, weight_gradient(xp, logits, places, weight, g, label_smoothing)

    return loss, backward


@_override(symmetric_kl_div)
def _(xp, logits, *, needs):
    check_pairs(logits.shape)
    x = xp.ascontiguousarray(logits)
    rows, classes = x.shape[-2:]
    loss = xp.zeros((*x.shape[:-3], rows), dtype=x.dtype)
    tops, shifts = (xp.empty((loss.size, 2), dtype=x.dtype) for _ in range(2))
    if x.size:
        xp.kernels.rows("symmetric_kl", x.dtype, loss.size, classes, x, loss, tops, shifts, classes, rows)

    def backward(g):
        gx = xp.empty_like(x)
        if x.size:
            xp.kernels.rows(
                "symmetric_kl_gradient", x.dtype, loss.size, classes,
                x, tops, shifts, xp.ascontiguousarray(g), gx, classes, rows,
            )  # fmt: skip
        return (gx,)

    return loss, backward


# --- attention ------------------------------------------------------------------------------------


def _mask_steps(xp, mask, shape):
    """``(contiguous mask, its steps)``; shape: that of the scores, (B, H, T, S).

    Steps are along batch, head, query and key, 0 for an axis that the mask repeats.
    """
    if mask is None:
        return None, (0, 0, 0, 0)
    mask = xp.ascontiguousarray(mask)
    # Truth values are bytes: strides count elements.
    return mask, xp.broadcast_to(mask, shape).strides


def _even(xp, x):
    """``x`` (..., T, K) in memory of that order, so that each product takes it as it lies; what is
    repeated stays one.
    """
    return x if 0 in x.strides else xp.ascontiguousarray(x)


def _hidden(xp, q, k, v, mask):
    """``masking.blank_hidden`` in one launch, of arrays (B, H, T or S, K); None if it cannot be."""
    if not xp.kernels.has(q.dtype) or not q.dtype == k.dtype == v.dtype or q.ndim != 4 or mask.ndim > 4:
        return None
    lead, queries, keys = q.shape[:2], q.shape[2], k.shape[2]
    if not lead == k.shape[:2] == v.shape[:2] or 0 in (*q.shape, *k.shape, *v.shape):
        return None
    mask, steps = _mask_steps(xp, mask, (*lead, queries, keys))
    item, given, places = q.itemsize, [], []
    for x in (q, k, v):
        x = x if x.strides[3] == item else xp.ascontiguousarray(x)
        given.append(x[0, 0, 0, :1])  # the kernel goes on from there by steps
        places += [step // item for step in x.strides[:3]]
    made = [xp.empty(x.shape, dtype=x.dtype) for x in (q, k, v)]
    rows, count = lead[0] * lead[1] * (queries + keys), lead[0] * lead[1] * queries
    width, deep = q.shape[3], v.shape[3]
    xp.kernels.rows(
        "attention_seen",
        q.dtype,
        rows,
        width,
        *given,
        mask,
        *made,
        count,
        width,
        deep,
        lead[1],
        queries,
        keys,
        *steps,
        *places,
    )
    return made


attention_file.hidden_by["cuda"] = _hidden


def _forward(xp, q, k, v, mask, bias, drop, scale, out):
    """As ``attention._forward``; scale, mask, softmax and dropout are one kernel, as is their
    gradient.

    Operands of 16 bits are multiplied as they are; the weights and the gradients of scores, which
    are float32, in halves of 16 bits.
    """
    q, k, v = _even(xp, q), _even(xp, k), _even(xp, v)
    product, parts = xp.matmul, lambda x: x
    if is_narrow(q.dtype):
        product, parts = xp.kernels.product, lambda x: xp.kernels.halves(x, q.dtype)
    scores = product(q, k.swapaxes(-1, -2))  # (..., T, S)
    inner = scale  # what the kernels multiply by
    if bias is not None:
        scores *= scale
        inner, scores = 1.0, xp.ascontiguousarray(xp.add(scores, bias, dtype=scores.dtype))
    queries, keys = scores.shape[-2:]
    heads = scores.shape[-3] if scores.ndim > 2 else 1
    rows = scores.size // keys
    four = (rows // queries // heads, heads, queries, keys)
    mask = mask if mask is None or scores.ndim <= 4 else xp.broadcast_to(mask, scores.shape).reshape(four)
    mask, steps = _mask_steps(xp, mask, four)
    drop = None if drop is None else xp.ascontiguousarray(drop)
    weights = xp.empty_like(scores)
    dropped = weights if drop is None else xp.empty_like(scores)
    xp.kernels.rows(
        "attention_forward", scores.dtype, rows, keys,
        scores, mask, drop, weights, dropped, keys, heads, queries, *steps, inner,
    )  # fmt: skip
    product(parts(dropped), v, out=out)

    def backward(g, dq, dk, dv):
        # O = D V, D = P drop, P = softmax(S):
        # dV = D^T g,  dD = g V^T;  the kernel gives dS;  dQ = dS K,  dK = dS^T Q.
        g = _even(xp, g)
        product(parts(dropped).swapaxes(-1, -2), g, out=dv)
        ds = product(g, v.swapaxes(-1, -2))
        xp.kernels.rows("attention_backward", ds.dtype, rows, keys, weights, ds, drop, ds, keys, inner)
        slopes = None
        if bias is not None:
            slopes = ds.copy()
            ds *= scale
        ds = parts(ds)
        product(ds, k, out=dq)
        product(ds.swapaxes(-1, -2), q, out=dk)
        return slopes

    return weights, backward


@_override(attention_file._attention)
def _(xp, query, key, value, mask=None, bias=None, drop=None, *, scale, causal=False, drawn=None, needs):
    given = query, key, value, mask, bias, drop
    made = cuda_attention.separate(xp, *given, drawn, scale, causal, needs[4])
    return made or _whole(xp, *given, scale=scale, causal=causal, drawn=drawn, forward=_forward)


_whole = attention_file._attention.kernels["any"][0]


@_override(attention_file._packed)
def _(xp, qkv, mask=None, drop=None, *, n_heads, scale, causal=False, drawn=None, needs):
    if made := cuda_attention.packed(xp, qkv, mask, drop, drawn, n_heads, scale, causal):
        return made
    return _packed_whole(xp, qkv, mask, drop, n_heads, scale, causal, drawn)


def _packed_whole(xp, qkv, mask, drop, n_heads, scale, causal, drawn):
    drop, dtype = attention_file.written(drop, drawn), compute_dtype(qkv.dtype)
    batch, length, width = qkv.shape
    parts = qkv.reshape(batch, length, 3, n_heads, width // (3 * n_heads))
    # (3, B, H, T, K): one copy, and no product needs another; with a mask it is that of `_hidden`
    apart = parts.transpose(2, 0, 3, 1, 4)
    apart = xp.ascontiguousarray(apart) if mask is None or not xp.kernels.has(qkv.dtype) else apart
    out = xp.empty(apart.shape[1:], dtype=dtype)  # (B, H, T, K)
    q, k, v = apart
    pull = attention_file._attend(xp, q, k, v, mask, None, drop, scale, causal, out, _forward)

    def backward(g):
        gradients = xp.empty(apart.shape, dtype=dtype)
        pull(g.reshape(batch, length, n_heads, -1).swapaxes(1, 2), *gradients)
        return gradients.transpose(1, 3, 0, 2, 4).reshape(qkv.shape), None, None

    return out.swapaxes(1, 2).reshape(batch, length, width // 3), backward


# --- attention of 16 bits -------------------------------------------------------------------------

# In tiles attention computes in float32. ``drop`` and ``bias`` are float32 whatever the others are.


def _in_tiles(op, xp, inputs, keywords):
    """``(out, backward)`` of the kernel in tiles, for operands of 16 bits."""
    out, backward = op.kernels["cuda"][0](xp, *map(widen, inputs), **keywords)
    return out, lambda g: backward(rounded(g, inputs[0].dtype))


@attention_file._attention.kernel(device="cuda, 16 bits")
def _(xp, query, key, value, mask=None, bias=None, drop=None, *, needs, **keywords):
    given = query, key, value, mask, widen(bias), widen(drop)
    if cuda_attention.in_tiles(xp, *given, keywords.get("drawn"), np.dtype(np.float32)):
        return _in_tiles(attention_file._attention, xp, given, {**keywords, "needs": needs})
    out, backward = _whole(xp, *given, **keywords, forward=_forward)
    return out, lambda g: backward(in_16_bits(g, query.dtype))


@attention_file._packed.kernel(device="cuda, 16 bits")
def _(xp, qkv, mask=None, drop=None, *, n_heads, scale, causal=False, drawn=None, needs):
    if cuda_attention.packed_in_tiles(qkv, drop, drawn, n_heads, np.dtype(np.float32)):
        keywords = {"n_heads": n_heads, "scale": scale, "causal": causal, "drawn": drawn, "needs": needs}
        return _in_tiles(attention_file._packed, xp, (qkv, mask, drop), keywords)
    out, backward = _packed_whole(xp, qkv, mask, drop, n_heads, scale, causal, drawn)
    return out, lambda g: backward(in_16_bits(g, qkv.dtype))
