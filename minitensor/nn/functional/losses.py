"""Losses of a prediction and a target of one shape: they refuse to broadcast. Those of classes are
in ``likelihood.py``.

A loss of numbers of 16 bits is computed in float32 and rounded at its end: the square of 300 is no
float16, its mean may be one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.backend import is_narrow, np, widen
from minitensor.engine.autocast import autocast_dtype
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.blocks import all_floats
from minitensor.ops.elementwise import abs as absolute
from minitensor.ops.elementwise import equal, exp, isfinite, log, log1p, where
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.shape import broadcast_to

__all__ = ["binary_cross_entropy_with_logits", "huber_loss", "kl_div", "l1_loss", "mse_loss"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


def reduced(loss, reduction, dtype, count=None):
    """``loss``, computed in at least float32, reduced and brought to ``dtype``; "mean" divides by
    ``count``, or by its size.
    """
    if reduction == "mean":
        loss = sum_of(loss) / (loss.size if count is None else count)
    elif reduction == "sum":
        loss = sum_of(loss)
    elif reduction != "none":
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    return loss.astype(dtype) if is_narrow(dtype) else loss


def common_dtype(*tensors):
    """The type of a loss of ``tensors`` (None may stand among them): that of 16 bits which all
    have, unless ``mt.autocast`` is on, else one of NumPy's rules.
    """
    dtypes = {x.dtype for x in tensors if x is not None}
    keeps = len(dtypes) == 1 and (autocast_dtype() is None or not is_narrow(*dtypes))
    return dtypes.pop() if keeps else np.dtype(np.float32)


def times(factor, x):
    """``factor * x``; a factor of 0 silences what is not finite."""
    return factor * where(equal(factor, 0.0) & ~isfinite(x), 0.0, x)


def _pair(name, prediction, target) -> tuple[Tensor, Tensor, np.dtype[Any]]:
    prediction, target = asarray(prediction), asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name}: prediction {prediction.shape} and target {target.shape} must have equal shapes; nothing is broadcast"
        )
    dtype = common_dtype(prediction, target)
    return *all_floats(widen(prediction), widen(target)), dtype


def mse_loss(prediction: TensorLike, target: TensorLike, reduction: str = "mean") -> Tensor:
    """Squared error ``(prediction - target)^2``."""
    prediction, target, dtype = _pair("mse_loss", prediction, target)
    difference = prediction - target
    return reduced(difference * difference, reduction, dtype)


def l1_loss(prediction: TensorLike, target: TensorLike, reduction: str = "mean") -> Tensor:
    """Absolute error ``|prediction - target|``; derivative 0 at 0."""
    prediction, target, dtype = _pair("l1_loss", prediction, target)
    return reduced(absolute(prediction - target), reduction, dtype)


def huber_loss(prediction: TensorLike, target: TensorLike, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """``d^2 / 2`` if ``|d| <= delta``, else ``delta (|d| - delta / 2)``, with d the difference.
    Huber 1964.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    prediction, target, dtype = _pair("huber_loss", prediction, target)
    difference = prediction - target
    size = absolute(difference)
    near = size <= delta  # of what is far, the square is kept out: it may be infinite, and 0 * inf is NaN
    square = 0.5 * where(near, difference, 0.0) * where(near, difference, 0.0)
    if math.isfinite(delta):
        square = where(near, square, delta * (where(near, 0.5 * delta, size) - 0.5 * delta))
    return reduced(square, reduction, dtype)


def binary_cross_entropy_with_logits(
    logits: TensorLike, targets: TensorLike, weight: TensorLike | None = None, reduction: str = "mean"
) -> Tensor:
    """``-t log s(x) - (1 - t) log(1 - s(x))`` with s the sigmoid; targets from 0 to 1.

    Computed as ``log(1 + exp(-|x|))`` plus ``x (1 - t)``, if x is negative ``-x t``: terms of one
    sign, so that every digit is right. weight: a factor per element, broadcast to their shape; one
    of 0 silences NaN and infinite logits.
    """
    logits, targets, dtype = _pair("binary_cross_entropy_with_logits", logits, targets)
    if weight is not None:
        weight = asarray(weight)
        dtype = dtype if weight.dtype == dtype else np.dtype(np.float32)
        weight = broadcast_to(widen(weight), logits.shape)  # a weight never makes the loss larger
        logits = where(equal(weight, 0.0) & ~isfinite(logits), 0.0, logits)
    positive = logits >= 0  # two branches, each right in every derivative; that of |x| at 0 would not be
    losses = log1p(exp(where(positive, -logits, logits))) + times(where(positive, 1.0 - targets, 0.0 - targets), logits)
    return reduced(losses if weight is None else losses * weight, reduction, dtype)


def kl_div(log_probabilities: TensorLike, targets: TensorLike, reduction: str = "mean") -> Tensor:
    """Kullback-Leibler divergence, elementwise ``t (log t - log p)`` (0 if t is 0); targets are
    probabilities.

    reduction "batchmean" divides the sum by the length of the first axis, which is the divergence
    proper; "mean" by the size.
    """
    log_p, targets, dtype = _pair("kl_div", log_probabilities, targets)
    zero = equal(targets, 0)
    losses = where(zero, 0.0, targets * (log(where(zero, 1.0, targets)) - where(zero, 0.0, log_p)))
    if reduction == "batchmean":
        return reduced(losses, "sum", dtype) / losses.shape[0]
    return reduced(losses, reduction, dtype)
