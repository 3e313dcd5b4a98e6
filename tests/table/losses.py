"""Rows of the losses."""

import numpy as np
from hypothesis import strategies as st
from table.functional import numpy_log_softmax, row
from table.row import Row

import minitensor.nn.functional as F
from minitensor.testing import strategies as mst

A, B = np.zeros((2, 3)), np.zeros((3,))
REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def reduced(losses, reduction, count=None):
    """The last step of every loss."""
    if reduction == "none":
        return losses
    return losses.sum() / (1.0 if reduction == "sum" else losses.size if count is None else count)


@st.composite
def class_cases(draw, smoothing=True):
    """Scores, targets of which some are ignored, weights of the classes."""
    scale = draw(st.sampled_from([1.0, 1.0, 1000.0]))  # some so far apart that an exponential overflows
    shape = draw(mst.shapes(0, 2, 1, 3))
    classes = draw(st.integers(2, 4))
    targets = np.array(draw(mst.ids(shape, classes, ignore=-100)))
    targets[(0,) * targets.ndim] = 0  # one that counts: the mean of nothing is no number
    weight = draw(st.one_of(st.none(), mst.tensors((classes,), 0.5, 1.5)))
    named = {"reduction": draw(REDUCTIONS)}
    if smoothing:
        named["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 0.6]))
    return [draw(mst.tensors((*shape, classes))) * scale, targets, weight, named]


def numpy_nll(log_p, targets, weight, reduction, label_smoothing=0.0):
    """Target distribution times log-probabilities."""
    classes = log_p.shape[-1]
    weight = np.ones(classes) if weight is None else weight
    real = targets != -100
    wanted = (1.0 - label_smoothing) * np.eye(classes)[np.where(real, targets, 0)] + label_smoothing / classes
    losses = np.where(real, -(wanted * weight * log_p).sum(axis=-1), 0.0)
    return reduced(losses, reduction, (weight[np.where(real, targets, 0)] * real).sum())


def numpy_cross_entropy(logits, targets, weight, reduction, label_smoothing):
    """Of the softmax."""
    return numpy_nll(numpy_log_softmax(logits, -1), targets, weight, reduction, label_smoothing)


@st.composite
def soft_cases(draw):
    """Scores and a distribution over the classes for each."""
    x = draw(mst.tensors(min_dims=1, min_side=1, max_side=4))
    y = draw(mst.tensors(x.shape, 0.1, 1.0))
    return [x, y, {"label_smoothing": draw(st.sampled_from([0.0, 0.2])), "reduction": draw(REDUCTIONS)}]


def numpy_soft(logits, targets, label_smoothing, reduction):
    """The same with soft labels."""
    wanted = (1.0 - label_smoothing) * targets + label_smoothing / logits.shape[-1]
    return reduced(-(wanted * numpy_log_softmax(logits, -1)).sum(axis=-1), reduction)


@st.composite
def pairs(draw, low=(-2.0, -2.0), high=(2.0, 2.0), extra=(), reductions=REDUCTIONS):
    """A prediction and a target of one shape."""
    reduction = draw(reductions)
    shape = draw(mst.shapes(1, 2, 0 if reduction in ("none", "sum") else 1, 3))
    named = {name: draw(strategy) for name, strategy in extra}
    return [draw(mst.tensors(shape, a, b)) for a, b in zip(low, high)] + [{"reduction": reduction, **named}]


def elementwise(function):
    """A NumPy loss from the formula of one element."""
    return lambda x, y, reduction, **named: reduced(function(x, y, **named), reduction)


def numpy_huber(x, y, delta):
    """Quadratic near 0, linear beyond."""
    d = np.abs(x - y)
    return np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def numpy_kl(log_p, target, reduction):
    """By element, with the divergence proper as "batchmean"."""
    losses = target * (np.log(np.where(target == 0, 1.0, target)) - log_p)
    return losses.sum() / len(losses) if reduction == "batchmean" else reduced(losses, reduction)


@st.composite
def pairs_of_rows(draw):
    """Pairs of rows of scores, near and far."""
    before, rows, classes = draw(mst.shapes(0, 2, 0, 3)), draw(st.integers(0, 3)), draw(st.integers(1, 4))
    scale = draw(st.sampled_from([1.0, 1.0, 1000.0]))  # some so far apart that an exponential overflows
    x = (draw(mst.tensors((*before, 2, rows, classes))) * scale).numpy().copy()
    if draw(st.booleans()):  # the same but for two that change places: equal logarithms in the others
        x[..., 1, :, :] = x[..., 0, :, :]
        x[..., 1, :, :2] = x[..., 0, :, :2][..., ::-1]
    return [x]


def numpy_symmetric_kl(logits):
    """The mean of both divergences, each by its formula."""
    p, q = (numpy_log_softmax(logits[..., side, :, :], -1) for side in (0, 1))
    return ((np.exp(p) * (p - q)).sum(axis=-1) + (np.exp(q) * (q - p)).sum(axis=-1)) / 2


def numpy_bce(x, y):
    """Both terms as they are defined."""
    s = 1.0 / (1.0 + np.exp(-x))
    return -y * np.log(s) - (1 - y) * np.log(1 - s)


def refused(name):
    """A loss does not broadcast."""
    return (([A, B], {}, ValueError, rf"{name}: prediction \(2, 3\) and target \(3,\) must have equal shapes"),)


def class_errors(name):
    """Targets that are no classes, or not in the places of the scores."""
    return (
        ([A, np.array([0, 3])], {}, IndexError, f"{name}: target 3 is not a class: there are 3"),
        (
            [A, np.array([0, 1, 2])],
            {},
            ValueError,
            rf"{name}: targets \(3,\) must have the shape of the scores \(2, 3\)",
        ),
        ([A, np.array([0, 1]) > 0], {}, TypeError, f"{name}: targets must be integers, got bool"),
        ([A, np.array([0, 1])], {"reduction": "median"}, ValueError, "reduction must be"),
    )


ROWS = [
    row(
        "cross_entropy", class_cases(), numpy_cross_entropy, examples=60, ops=("cross_entropy",),
        errors=(
            *class_errors("cross_entropy"),
            ([A, A[:1]], {}, ValueError, r"soft targets \(1, 3\) must have the shape of the logits \(2, 3\)"),
            ([A, np.array([0, 1]), np.zeros(2)], {}, ValueError, r"weight \(2,\) must hold one number per class"),
            ([A, np.array([0, 1])], {"label_smoothing": 1.0}, ValueError, "label_smoothing must be"),
        ),
    ),
    Row("cross_entropy of soft labels", F.cross_entropy, soft_cases(), numpy_soft, where="F"),
    row("nll_loss", class_cases(smoothing=False), numpy_nll, errors=class_errors("nll_loss")),
    row("mse_loss", pairs(), elementwise(lambda x, y: (x - y) ** 2), errors=refused("mse_loss")),
    row("l1_loss", pairs(), elementwise(lambda x, y: np.abs(x - y)), errors=refused("l1_loss")),
    row(
        "huber_loss", pairs(extra=(("delta", st.sampled_from([1.0, 0.6])),)), elementwise(numpy_huber),
        errors=refused("huber_loss"),
    ),
    row(
        "binary_cross_entropy_with_logits", pairs(low=(-3.0, 0.0), high=(3.0, 1.0)), elementwise(numpy_bce),
        errors=refused("binary_cross_entropy_with_logits"),
    ),
    row(
        "kl_div", pairs((-3.0, 0.1), (-0.1, 1.0), reductions=st.sampled_from(["mean", "sum", "none", "batchmean"])), numpy_kl,
        errors=refused("kl_div"),
    ),
    row(
        "symmetric_kl_div", pairs_of_rows(), numpy_symmetric_kl, ops=("symmetric_kl_div",),
        errors=(([A], {}, ValueError, r"logits \(2, 3\) must be \(..., 2, T, C\)"),),
    ),
]  # fmt: skip
