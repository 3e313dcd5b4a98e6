"""Losses. They refuse to broadcast: a prediction and its target must have equal shapes."""

from __future__ import annotations

from minitensor.backend import namespace
from minitensor.fuse import fused
from minitensor.fused_ops.blocks import row_blocks
from minitensor.fused_ops.softmax import log_softmax
from minitensor.ops.elementwise import abs as absolute
from minitensor.ops.elementwise import equal, log, logaddexp, not_equal, where
from minitensor.ops.indexing import take_along_axis
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.shape import broadcast_to
from minitensor.tensor import asarray

__all__ = [
    "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss",
]  # fmt: skip


def _reduce(loss, reduction, count=None):
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum_of(loss)
    if reduction == "mean":
        return sum_of(loss) / (loss.size if count is None else count)
    raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


# --- classification -----------------------------------------------------------------------------------------------------------


@fused
def _cross_entropy(logits, targets, weight=None, *, ignore_index, label_smoothing):
    """Loss of each target, 0 where it is ``ignore_index``; logits (N, C), targets (N,), weight (C,) or None."""
    classes = logits.shape[-1]
    real = not_equal(targets, ignore_index)
    log_p = log_softmax.definition(logits)
    chosen = take_along_axis(log_p, where(real, targets, 0).reshape((-1, 1)), -1).reshape((-1,))
    scale = 1.0 if weight is None else weight[where(real, targets, 0)]
    loss = -(1.0 - label_smoothing) * scale * chosen
    if label_smoothing:  # without it, a class of probability 0 has no say: 0 * -inf would be NaN
        loss = loss - label_smoothing / classes * sum_of(log_p if weight is None else log_p * weight, axis=-1)
    return where(real, loss, 0.0)


@_cross_entropy.kernel
def _(xp, logits, targets, weight=None, *, ignore_index, label_smoothing, needs):
    # With a = (1 - eps) w_t, b_c = eps / C w_c and B = sum of b_c:
    #     loss = (a + B) log(sum exp x) - a x_t - sum_c b_c x_c,    d loss / dx = (a + B) softmax(x) - a onehot(t) - b.
    count, classes = logits.shape
    dtype = logits.dtype
    real = targets != ignore_index
    places = xp.where(real, targets, 0)
    share = dtype.type(label_smoothing / classes)
    b = share if weight is None else share * weight
    total_b = label_smoothing if weight is None else b.sum()
    a = (1.0 - label_smoothing) * (xp.ones(count, dtype=dtype) if weight is None else weight[places])
    loss = xp.empty(count, dtype=dtype)

    def fill(gradient):
        """Losses of all rows, and d loss / dx in ``gradient`` if it is an array; each block while it is in the cache."""
        for block in row_blocks(xp, logits):
            x = logits[block]
            rows = xp.arange(len(x))
            e = xp.subtract(x, x.max(axis=-1)[:, None], out=None if gradient is None else gradient[block])
            chosen = e[rows, places[block]]
            smooth = 0.0
            if label_smoothing:
                smooth = share * xp.einsum("ij->i", e) if weight is None else xp.einsum("ij,j->i", e, b)
            xp.exp(e, out=e)
            total = xp.einsum("ij->i", e)
            loss[block] = (a[block] + total_b) * xp.log(total) - a[block] * chosen - smooth
            if gradient is not None:
                e *= ((a[block] + total_b) / total)[:, None]
                if label_smoothing:
                    e -= b
                e[rows, places[block]] -= a[block]
        return gradient

    ready = [fill(xp.empty(logits.shape, dtype=dtype))] if needs[0] else fill(None)

    def backward(g):
        g = xp.where(real, g, dtype.type(0))
        gw = weight_gradient(xp, logits, places, g, label_smoothing) if needs[2] else None
        if not needs[0]:
            return None, None, gw
        # The first call scales the array made above, in place; another one (retain_graph) makes it anew.
        gradient = ready.pop() if ready else fill(xp.empty(logits.shape, dtype=dtype))
        gradient *= g[:, None]
        return gradient, None, gw

    return xp.where(real, loss, dtype.type(0)), backward


def weight_gradient(xp, logits, places, g, label_smoothing):
    """Of the class weights: ``- sum over rows of g ((1 - eps) [t = c] + eps / C) log p_c``; g is 0 where the target is ignored."""
    log_p = logits - logits.max(axis=-1, keepdims=True)
    log_p -= xp.log(xp.exp(log_p).sum(axis=-1, keepdims=True))
    gradient = xp.matmul(g, log_p) * (-label_smoothing / logits.shape[-1])
    xp.add_at(gradient, places, g * log_p[xp.arange(len(g)), places] * (label_smoothing - 1.0))
    return gradient


def cross_entropy(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Cross-entropy of softmax(logits) against ``targets``, in nats.

    logits: (..., C), classes last. targets: integers (...), or probabilities (..., C) for soft labels. weight: (C,), a factor per
    class. Targets equal to ``ignore_index`` do not count; "mean" divides by the number (with ``weight``: by the total weight) of
    those that do. label_smoothing eps: the target becomes ``(1 - eps) onehot + eps / C`` (Szegedy et al. 2016, section 7).
    """
    logits, targets = asarray(logits), asarray(targets)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be at least 0 and below 1, got {label_smoothing}")
    weight = None if weight is None else asarray(weight)
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"cross_entropy: weight {weight.shape} must hold one number per class, logits are {logits.shape}"
        )
    if targets.dtype.kind == "f":
        return _soft_cross_entropy(logits, targets, weight, label_smoothing, reduction)
    _check_classes("cross_entropy", logits, targets, ignore_index)
    flat = targets.reshape((-1,))
    losses = _cross_entropy(
        logits.reshape((flat.size, logits.shape[-1])),
        flat,
        weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    return _reduce(losses.reshape(targets.shape), reduction, _count(targets, weight, ignore_index, reduction))


def _soft_cross_entropy(logits, targets, weight, label_smoothing, reduction):
    if targets.shape != logits.shape:
        raise ValueError(
            f"cross_entropy: soft targets {targets.shape} must have the shape of the logits {logits.shape}"
        )
    targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    targets = targets if weight is None else targets * weight
    return _reduce(-sum_of(targets * log_softmax(logits), axis=-1), reduction)


def _check_classes(name, scores, targets, ignore_index):
    if targets.dtype.kind not in "iu":
        raise TypeError(f"{name}: targets must be integers, got {targets.dtype}")
    if scores.ndim == 0 or targets.shape != scores.shape[:-1]:
        raise ValueError(
            f"{name}: targets {targets.shape} must have the shape of the scores {scores.shape} without the last axis"
        )
    xp, classes = namespace(targets.device), scores.shape[-1]
    message = f"{name}: target {{id}} is not a class: there are {classes} (ignore_index = {ignore_index})"
    xp.check_ids(message, xp.where(xp.equal(targets._array, ignore_index), 0, targets._array), 0, max(classes, 1))


def _count(targets, weight, ignore_index, reduction):
    """What "mean" divides by: the number, or the total weight, of the targets that count."""
    if reduction != "mean":
        return None
    real = not_equal(targets, ignore_index)
    if targets.device == "cpu" and not real._array.any():
        raise ValueError(
            f'cross-entropy: no target counts, all {targets.size} are ignore_index = {ignore_index}; use reduction="sum", or leave '
            "such a batch out"
        )
    if weight is None:
        return sum_of(real).astype("float32")
    return sum_of(where(real, weight[where(real, targets, 0)], 0.0))


def nll_loss(log_probabilities, targets, weight=None, ignore_index=-100, reduction="mean"):
    """Negative log-likelihood ``-log p[target]``; log_probabilities (..., C) as log_softmax gives them, targets integers (...)."""
    log_p, targets = asarray(log_probabilities), asarray(targets)
    _check_classes("nll_loss", log_p, targets, ignore_index)
    weight = None if weight is None else asarray(weight)
    real = not_equal(targets, ignore_index)
    places = where(real, targets, 0)
    chosen = take_along_axis(log_p, places.reshape((*targets.shape, 1)), -1).reshape(targets.shape)
    losses = where(real, -chosen if weight is None else -chosen * weight[places], 0.0)
    return _reduce(losses, reduction, _count(targets, weight, ignore_index, reduction))


# --- regression ---------------------------------------------------------------------------------------------------------------


def _pair(name, prediction, target):
    prediction, target = asarray(prediction), asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name}: prediction {prediction.shape} and target {target.shape} must have equal shapes; nothing is broadcast"
        )
    return prediction, target


def mse_loss(prediction, target, reduction="mean"):
    """Squared error ``(prediction - target)^2``."""
    prediction, target = _pair("mse_loss", prediction, target)
    difference = prediction - target
    return _reduce(difference * difference, reduction)


def l1_loss(prediction, target, reduction="mean"):
    """Absolute error ``|prediction - target|``; derivative 0 at 0."""
    prediction, target = _pair("l1_loss", prediction, target)
    return _reduce(absolute(prediction - target), reduction)


def huber_loss(prediction, target, delta=1.0, reduction="mean"):
    """``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, with d the difference. Huber 1964."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    prediction, target = _pair("huber_loss", prediction, target)
    difference = prediction - target
    size = absolute(difference)
    return _reduce(where(size <= delta, 0.5 * difference * difference, delta * (size - 0.5 * delta)), reduction)


def binary_cross_entropy_with_logits(logits, targets, weight=None, reduction="mean"):
    """``-t log s(x) - (1 - t) log(1 - s(x))`` with s the sigmoid, computed without overflow; targets from 0 to 1.

    weight: a factor per element, broadcast to their shape.
    """
    logits, targets = _pair("binary_cross_entropy_with_logits", logits, targets)
    losses = logaddexp(logits, 0.0) - logits * targets
    if weight is not None:
        losses = losses * broadcast_to(asarray(weight), losses.shape)  # a weight never makes the loss larger
    return _reduce(losses, reduction)


def kl_div(log_probabilities, targets, reduction="mean"):
    """Kullback-Leibler divergence, elementwise ``t (log t - log p)`` (0 where t is 0); targets are probabilities.

    reduction "batchmean" divides the sum by the length of the first axis, which is the divergence proper; "mean" by the size.
    """
    log_p, targets = _pair("kl_div", log_probabilities, targets)
    zero = equal(targets, 0)
    losses = where(zero, 0.0, targets * (log(where(zero, 1.0, targets)) - log_p))
    if reduction == "batchmean":
        return sum_of(losses) / losses.shape[0]
    return _reduce(losses, reduction)
