"""Losses of classification: cross-entropy of scores, with integer targets and with soft labels, and
of log-probabilities.

What stands at a target that does not count reaches nothing, whatever it is: ``0 * NaN`` is NaN, so
it must be gone, not weightless.

Letters: N targets, C classes, eps the label smoothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.backend import is_floating, namespace, widen
from minitensor.engine.fused import fused
from minitensor.engine.mode import reads_values
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.activations import softplus
from minitensor.nn.functional.blocks import as_floats, row_blocks
from minitensor.nn.functional.losses import common_dtype, reduced, times
from minitensor.nn.functional.probabilities import log_softmax
from minitensor.ops.creation import arange
from minitensor.ops.elementwise import equal, isfinite, not_equal, where
from minitensor.ops.ids import wide_ids
from minitensor.ops.indexing import take_along_axis
from minitensor.ops.reductions import all as all_of
from minitensor.ops.reductions import logsumexp
from minitensor.ops.reductions import max as maximum_of
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.shape import expand_dims

__all__ = ["cross_entropy", "nll_loss"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


# --- the fused op ---------------------------------------------------------------------------------


@fused(name="cross_entropy")
def _cross_entropy(logits, targets, weight=None, *, ignore_index, label_smoothing):
    """Loss of each target, 0 if it is ``ignore_index``; logits (N, C), targets (N,), weight (C,) or
    None.

    With z = x - max(x):  log(sum exp z) - z_t = softplus(log(sum of exp z_c over c != t) - z_t),
    which keeps every digit of a loss near 0, and of its derivatives.
    """
    if not logits.size:
        return sum_of(logits, axis=-1)
    real, classes = not_equal(targets, ignore_index), logits.shape[-1]
    places = where(real, targets, 0)
    scale = 1.0 - label_smoothing if weight is None else (1.0 - label_smoothing) * weight[places]
    top = maximum_of(logits.detach(), axis=-1)  # a shift cancels: it carries no gradient
    dead = ~real
    if weight is not None:  # nor does a target whose class has weight 0 say anything
        dead = dead | ((scale + label_smoothing / classes * sum_of(weight) == 0) & ~isfinite(top))
    z = where(expand_dims(dead, -1), 0.0, logits) - expand_dims(where(dead | (top == -math.inf), 0.0, top), -1)
    mine = equal(arange(classes, device=logits.device), expand_dims(places, -1))
    others = logsumexp(where(mine, -math.inf, z), axis=-1)
    chosen = take_along_axis(z, expand_dims(places, -1), -1).reshape((-1,))
    loss = softplus(others - chosen)
    loss = scale * loss if weight is None else times(scale, loss)
    if label_smoothing:
        terms = logsumexp(z, axis=-1, keepdims=True) - z
        loss = loss + label_smoothing / classes * sum_of(terms if weight is None else times(weight, terms), axis=-1)
    return where(dead, 0.0, loss)


@_cross_entropy.kernel
def _(xp, logits, targets, weight=None, *, ignore_index, label_smoothing, needs):
    # With a = (1 - eps) w_t, b_c = eps / C w_c, B = sum of b_c, z = x - max(x) and R = sum of exp
    # z_c over c != t:
    #     loss = (a + B) log(R + exp z_t) - a z_t - sum_c b_c z_c,
    #     d loss / dx = (a + B) softmax(x) - a onehot(t) - b,
    # at t itself  B p_t - a R / (R + exp z_t) - b_t,  and the logarithm is
    # log1p(R + (exp z_t - 1)): no digit is lost if p_t is nearly 1.
    count, classes = logits.shape
    dtype = logits.dtype if weight is None else xp.result_type(logits, weight)
    real = targets != ignore_index
    places = xp.where(real, targets, 0)
    share = dtype.type(label_smoothing / max(classes, 1))
    b = share if weight is None else share * weight
    total_b = dtype.type(label_smoothing) if weight is None else b.sum()
    a = (1.0 - label_smoothing) * (xp.ones(count, dtype=dtype) if weight is None else weight[places])
    idle = ~real | (a + total_b == 0)
    careful = xp.name != "cpu" or bool(idle.any())
    numbers, (chosen, rest, smooth) = xp.arange(count), xp.zeros((3, count), dtype=dtype)
    mine = xp.ones(count, dtype=dtype)

    def fill(gradient):
        """The terms of each row's loss, and d loss / dx in ``gradient`` if it is an array; each
        block while it is in the cache.
        """
        for block in row_blocks(xp, logits):
            x = logits[block]
            x, top, _ = _alive(xp, x, idle[block]) if careful else (x, x.max(axis=-1), None)
            at = numbers[: len(x)], places[block]
            e = xp.subtract(x, top[:, None], out=None if gradient is None else gradient[block])
            chosen[block] = e[at]
            if label_smoothing:
                said = e if weight is None else xp.where(b == 0, dtype.type(0), e) * b  # 0 * -inf is NaN
                smooth[block] = xp.einsum("ij->i", said)
            xp.exp(e, out=e)
            mine[block] = own = e[at]
            e[at] = 0.0
            rest[block] = others = xp.einsum("ij->i", e)
            if gradient is not None:
                total = others + own
                e *= ((a[block] + total_b) / total)[:, None]
                if label_smoothing:
                    e -= b
                slope = -a[block] * others / total
                e[at] = (
                    slope
                    if not label_smoothing
                    else slope + total_b * own / total - (share if weight is None else b[at[1]])
                )
        return gradient

    ready = [fill(xp.empty(logits.shape, dtype=dtype))] if needs[0] else fill(None)

    def backward(g):
        g = xp.where(real, g, dtype.type(0))
        gw = weight_gradient(xp, logits, places, weight, g, label_smoothing) if needs[2] else None
        if not needs[0]:
            return None, None, gw
        # The first call scales the array made above, in place; another one (retain_graph) makes it
        # anew.
        gradient = ready.pop() if ready else fill(xp.empty(logits.shape, dtype=dtype))
        gradient *= g[:, None]
        return gradient, None, gw

    loss = (
        (a + total_b) * xp.log1p(rest + (mine - 1.0))
        - a * xp.where(a == 0, dtype.type(0), chosen)
        - smooth * (share if weight is None else 1.0)
    )
    return xp.where(real, loss, dtype.type(0)), backward


def _alive(xp, x, idle):
    """``x``, the maximum of each row, and which rows are dead: idle and without a finite maximum;
    these are zeros.
    """
    top = x.max(axis=-1)
    dead = idle & ~xp.isfinite(top)
    if xp.name == "cpu" and not dead.any():  # a GPU would wait
        return x, top, dead
    return xp.where(dead[:, None], x.dtype.type(0), x), xp.where(dead, x.dtype.type(0), top), dead


def weight_gradient(xp, logits, places, weight, g, label_smoothing):
    """Of the class weights: ``- sum over rows of g ((1 - eps) [t = c] + eps / C) log p_c``; g is 0
    if the target is ignored.
    """
    if not logits.size:
        return xp.zeros(logits.shape[-1], dtype=logits.dtype)
    total = (1.0 - label_smoothing) * weight[places] + label_smoothing / logits.shape[-1] * weight.sum()
    logits, top, dead = _alive(xp, logits, (g == 0) | (total == 0))
    rows = xp.arange(len(g))
    z = logits - top[:, None]
    e = xp.exp(z)
    own, chosen = e[rows, places], z[rows, places]
    e[rows, places] = 0.0
    others = e.sum(axis=-1)
    log_total = xp.log1p(others + (own - 1.0))  # as the loss has it: no digit is lost if p_t is nearly 1
    said = (g != 0) & ~dead
    mine = xp.where(said & ~((weight[places] == 0) & ~xp.isfinite(chosen)), chosen - log_total, z.dtype.type(0))
    gradient = xp.zeros(logits.shape[-1], dtype=z.dtype)
    if label_smoothing:
        log_p = z - log_total[:, None]
        silent = ~said[:, None] | ((weight == 0) & ~xp.isfinite(log_p))  # 0 * -inf is NaN
        log_p = xp.where(silent, log_p.dtype.type(0), log_p)
        gradient += xp.matmul(g, log_p) * (-label_smoothing / logits.shape[-1])
    xp.add_at(gradient, places, g * mine * (label_smoothing - 1.0))
    return gradient


# --- public ---------------------------------------------------------------------------------------


@reads_values("targets")
def cross_entropy(
    logits: TensorLike,
    targets: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of softmax(logits) against ``targets``, in nats.

    logits: (..., C), classes last. targets: integers (...), or probabilities (..., C) for soft
    labels. weight: (C,), a factor per class. Targets equal to ``ignore_index`` do not count; "mean"
    divides by the number (with ``weight``: by the total weight) of those that do. label_smoothing
    eps: the target becomes ``(1 - eps) onehot + eps / C`` (Szegedy et al. 2016, section 7). A class
    whose share of the target or whose weight is 0 has no say, even if its logit is -inf.
    """
    logits, targets = as_floats(asarray(logits)), asarray(targets)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be at least 0 and below 1, got {label_smoothing}")
    weight = None if weight is None else asarray(weight)
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"cross_entropy: weight {weight.shape} must hold one number per class, logits are {logits.shape}"
        )
    if is_floating(targets.dtype):
        return _soft_cross_entropy(logits, targets, weight, label_smoothing, reduction)
    targets = _classes("cross_entropy", logits, targets, ignore_index)
    dtype, flat = common_dtype(logits, weight), targets.reshape((-1,))
    losses = _cross_entropy(
        widen(logits).reshape((flat.size, logits.shape[-1])),
        flat,
        widen(weight),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    return reduced(losses.reshape(targets.shape), reduction, dtype, _count(targets, weight, ignore_index, reduction))


def _soft_cross_entropy(logits, targets, weight, label_smoothing, reduction):
    if targets.shape != logits.shape:
        raise ValueError(
            f"cross_entropy: soft targets {targets.shape} must have the shape of the logits {logits.shape}"
        )
    dtype = common_dtype(logits, targets, weight)
    logits, shares = (
        widen(logits),
        widen(targets) * (1.0 - label_smoothing) + label_smoothing / max(logits.shape[-1], 1),
    )
    shares = shares if weight is None else shares * widen(weight)
    if logits.shape[-1]:
        idle = all_of(shares == 0, axis=-1, keepdims=True)
        logits = where(idle & ~isfinite(maximum_of(logits, axis=-1, keepdims=True)), 0.0, logits)
    return reduced(-sum_of(times(shares, log_softmax(logits)), axis=-1), reduction, dtype)


def _classes(name, scores, targets, ignore_index) -> Tensor:
    """``targets`` as int64, checked to be classes of ``scores`` or ``ignore_index``."""
    if targets.dtype.kind not in "iu":
        raise TypeError(f"{name}: targets must be integers, got {targets.dtype}")
    if scores.ndim == 0 or targets.shape != scores.shape[:-1]:
        raise ValueError(
            f"{name}: targets {targets.shape} must have the shape of the scores {scores.shape} without the last axis"
        )
    targets = Tensor(wide_ids(targets._array))
    xp, classes = namespace(targets.device), scores.shape[-1]
    message = f"{name}: target {{id}} is not a class: there are {classes} (ignore_index = {ignore_index})"
    xp.check_ids(message, xp.where(xp.equal(targets._array, ignore_index), 0, targets._array), 0, max(classes, 1))
    return targets


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
    return sum_of(where(real, widen(weight)[where(real, targets, 0)], 0.0))


@reads_values("targets")
def nll_loss(
    log_probabilities: TensorLike,
    targets: TensorLike,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood ``-log p[target]``; log_probabilities (..., C) as log_softmax gives
    them, targets integers (...).
    """
    log_p, targets = as_floats(asarray(log_probabilities)), asarray(targets)
    targets = _classes("nll_loss", log_p, targets, ignore_index)
    weight = None if weight is None else asarray(weight)
    dtype, real = common_dtype(log_p, weight), not_equal(targets, ignore_index)
    places = where(real, targets, 0)
    chosen = take_along_axis(widen(log_p), places.reshape((*targets.shape, 1)), -1).reshape(targets.shape)
    losses = -where(real, chosen, 0.0)
    if weight is not None:
        losses = times(where(real, widen(weight)[places], 0.0), losses)
    return reduced(losses, reduction, dtype, _count(targets, weight, ignore_index, reduction))
