"""CUDA kernels of fused ops: overrides of the same contract, held to the same definitions.

An override serves float32 and float64; other types run the kernel for all devices on
CuPy. The CUDA texts, with their formulas, are ``backend/cu/``.
"""

from __future__ import annotations

import functools

from minitensor.nn.functional import attention as attention_file
from minitensor.nn.functional.activations import gelu, silu
from minitensor.nn.functional.blocks import as_rows
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

    def backward(g):
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
            gw, gb = xp.sum(sums, axis=0)
        return gx, gw, gb

    return y.reshape(x.shape), backward


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


def _forward(xp, q, k, v, mask, bias, drop, scale, out):
    """As ``attention._forward``; mask, softmax and dropout are one kernel, as is their gradient."""
    scores = xp.matmul(q, k.swapaxes(-1, -2))  # (..., T, S)
    scores *= scale
    if bias is not None:
        scores = xp.ascontiguousarray(xp.add(scores, bias, dtype=scores.dtype))
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
        scores, mask, drop, weights, dropped, keys, heads, queries, *steps,
    )  # fmt: skip
    xp.matmul(dropped, v, out=out)

    def backward(g, dq, dk, dv):
        # O = D V, D = P drop, P = softmax(S):
        # dV = D^T g,  dD = g V^T;  the kernel gives dS;  dQ = dS K,  dK = dS^T Q.
        xp.matmul(dropped.swapaxes(-1, -2), g, out=dv)
        ds = xp.matmul(g, v.swapaxes(-1, -2))
        xp.kernels.rows("attention_backward", ds.dtype, rows, keys, weights, ds, drop, ds, keys)
        return attention_file.pull_scores(xp, ds, q, k, bias, scale, dq, dk)

    return weights, backward


for _op in (attention_file._attention, attention_file._packed):

    @_override(_op)
    def _(xp, *inputs, needs, _general=_op.kernels["any"][0], **keywords):
        return _general(xp, *inputs, forward=_forward, **keywords)
