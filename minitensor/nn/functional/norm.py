"""Layer norm and RMS norm: over the last axis, and from there over several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.engine.fused import fused
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.blocks import as_floats, as_rows, row_blocks
from minitensor.ops.elementwise import abs as absolute
from minitensor.ops.elementwise import maximum, sqrt
from minitensor.ops.reductions import max as maximum_of
from minitensor.ops.reductions import mean

__all__ = ["layer_norm", "layer_norm_last", "rms_norm", "rms_norm_last"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


def _normalised(x, eps):
    """``x / sqrt(mean(x^2) + eps)``, measured in its greatest element if that is above 1: no square
    overflows.
    """
    unit = maximum(maximum_of(absolute(x.detach()), axis=-1, keepdims=True), 1.0)  # cancels: it carries no gradient
    x = x / unit
    return x / sqrt(mean(x * x, axis=-1, keepdims=True) + eps / unit / unit)


@fused
def layer_norm_last(x, weight=None, bias=None, *, eps=1e-5):
    """Normalise each vector of the last axis to mean 0 and variance 1, then scale and shift.

        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

    x: (..., D); weight, bias: (D,) or None; returns (..., D).
    Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
    """
    y = _normalised(x - mean(x, axis=-1, keepdims=True), eps) if x.size else x
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@layer_norm_last.kernel
def _(xp, x, weight=None, bias=None, *, eps=1e-5, needs):
    rows = as_rows(x)  # (N, D)
    width = rows.shape[1]
    unit = xp.empty(rows.shape, dtype=x.dtype)  # normalised, before scale and shift
    out = unit if weight is None and bias is None else xp.empty(rows.shape, dtype=x.dtype)
    rstd = xp.empty(len(rows), dtype=x.dtype)
    for block in row_blocks(xp, rows):
        u = unit[block]
        xp.subtract(rows[block], (xp.einsum("ij->i", rows[block]) / width)[:, None], out=u)
        rstd[block] = _reciprocal(xp, u, eps)
        u *= rstd[block][:, None]
        _scale_and_shift(xp, u, weight, bias, out[block])

    def backward(g):
        gx, gw = _pull_back(xp, as_rows(g), unit, rstd, weight, needs, centred=True)
        return gx if gx is None else gx.reshape(x.shape), gw, as_rows(g).sum(axis=0) if needs[2] else None

    return out.reshape(x.shape), backward


@fused
def rms_norm_last(x, weight=None, *, eps=1e-6):
    """Divide each vector of the last axis by its root mean square, then scale: ``y = x /
    sqrt(mean(x^2) + eps) * weight``.

    x: (..., D); weight: (D,) or None. Zhang and Sennrich, "Root Mean Square Layer Normalization",
    2019, arXiv:1910.07467.
    """
    y = _normalised(x, eps) if x.size else x
    return y if weight is None else y * weight


@rms_norm_last.kernel
def _(xp, x, weight=None, *, eps=1e-6, needs):
    rows = as_rows(x)
    unit = xp.empty(rows.shape, dtype=x.dtype)
    out = unit if weight is None else xp.empty(rows.shape, dtype=x.dtype)
    rstd = xp.empty(len(rows), dtype=x.dtype)
    for block in row_blocks(xp, rows):
        rstd[block] = _reciprocal(xp, rows[block], eps)
        xp.multiply(rows[block], rstd[block][:, None], out=unit[block])
        _scale_and_shift(xp, unit[block], weight, None, out[block])

    def backward(g):
        gx, gw = _pull_back(xp, as_rows(g), unit, rstd, weight, needs, centred=False)
        return gx if gx is None else gx.reshape(x.shape), gw

    return out.reshape(x.shape), backward


def _reciprocal(xp, u, eps):
    """``1 / sqrt(mean(u^2) + eps)`` of each row; of one whose squares overflow, measured in its
    greatest element.
    """
    rstd = 1.0 / xp.sqrt(xp.einsum("ij,ij->i", u, u) / u.shape[1] + eps)
    if xp.name == "cpu" and not rstd.all():
        top = xp.abs(u).max(axis=-1)
        far = (rstd == 0) & xp.isfinite(top)
        top, unit = top[far], u[far] / top[far][:, None]
        rstd[far] = 1.0 / (top * xp.sqrt(xp.einsum("ij,ij->i", unit, unit) / u.shape[1] + eps / top / top))
    return rstd


def _pull_back(xp, g, unit, rstd, weight, needs, centred):
    """Gradients of x and weight, None if not needed; ``unit`` is x normalised, ``centred`` whether
    its mean was taken off.

    With h = g * weight:  dL/dx = rstd * (h - mean(h) - unit * mean(h * unit)), without mean(h) if x
    was not centred.
    """
    width = unit.shape[1]
    gx: Any = xp.empty(unit.shape, dtype=unit.dtype) if needs[0] else None
    gw: Any = xp.zeros(width, dtype=unit.dtype) if needs[1] else None
    for block in row_blocks(xp, g):
        u, h = unit[block], g[block]
        if needs[1]:
            gw += xp.einsum("ij,ij->j", h, u)
        if needs[0]:
            part = gx[block]
            h = h if weight is None else xp.multiply(h, weight)
            xp.multiply(u, (xp.einsum("ij,ij->i", h, u) / -width)[:, None], out=part)
            part += h
            if centred:
                part -= (xp.einsum("ij->i", h) / width)[:, None]
            part *= rstd[block][:, None]
    return gx, gw


def _scale_and_shift(xp, unit, weight, bias, out):
    if weight is not None:
        xp.multiply(unit, weight, out=out)
        unit = out
    if bias is not None:
        xp.add(unit, bias, out=out)


# --- over several axes ----------------------------------------------------------------------------


def layer_norm(
    x: TensorLike, weight: TensorLike | None = None, bias: TensorLike | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over as many trailing axes as ``weight`` has (one if None) to mean 0 and variance
    1, then scale and shift.

        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias

    Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
    """
    return _over_trailing("layer_norm", layer_norm_last, x, (weight, bias), eps)


def rms_norm(x: TensorLike, weight: TensorLike | None = None, eps: float = 1e-6) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over as many trailing axes as ``weight`` has (one if
    None).

    Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.
    """
    return _over_trailing("rms_norm", rms_norm_last, x, (weight,), eps)


def _over_trailing(name, norm, x, parameters, eps):
    """``norm``, which works on the last axis, over the trailing axes that the parameters have."""
    x = as_floats(asarray(x))
    parameters = [None if p is None else asarray(p) for p in parameters]
    shape = next((p.shape for p in parameters if p is not None), x.shape[-1:])
    if (
        any(p is not None and p.shape != shape for p in parameters)
        or x.shape[x.ndim - len(shape) :] != shape
        or x.ndim == 0
    ):
        given = ", ".join(str(p.shape) for p in parameters if p is not None)
        raise ValueError(f"{name}: the parameters {given} must have the trailing axes of x {x.shape}")
    if len(shape) == 1:
        return norm(x, *parameters, eps=eps)
    flat = x.reshape((*x.shape[: x.ndim - len(shape)], math.prod(shape)))
    return norm(flat, *[None if p is None else p.reshape((-1,)) for p in parameters], eps=eps).reshape(x.shape)
