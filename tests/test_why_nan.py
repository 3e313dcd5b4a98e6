"""why_nan and the finding of detect_anomaly: planted faults are named, healthy runs raise no
alarm.
"""

import math

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.diagnosis.finding import CAUSES

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
DATA, PARAMETER = "NaN or infinity in the data", "NaN or infinity in a parameter"


KEPT = []  # somebody holds the parameters


def leaf(values, dtype="float64"):
    KEPT.append(mt.tensor(np.array(values), dtype=dtype, requires_grad=True))
    return KEPT[-1]


def rows(*bad, value=math.nan, shape=(4, 3)):
    """Data with a bad number in some rows."""
    x = np.random.default_rng(0).normal(size=shape)
    x[list(bad), 1] = value
    return x


def masked(shape=(2, 3)):
    scores = np.zeros(shape)
    scores[1] = -math.inf
    return leaf(np.ones(shape)) + mt.tensor(scores)


def softmax_by_hand(s):
    e = mt.exp(s)
    return e / e.sum(axis=-1, keepdims=True)


def stable_softmax(s):
    e = mt.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(bias):
    q = leaf(np.ones((1, 1, 2, 4)))
    return F.scaled_dot_product_attention(q, q, q, bias=mt.tensor(bias)).sum()


def mean_of_masked(mask):
    x, mask = leaf([1.0, 2.0]), mt.tensor(mask)
    return (x * mask).sum() / mask.sum()


def spoilt(value):
    layer = nn.Linear(3, 2)
    KEPT.append(layer)
    weight = layer.weight.detach().numpy().copy()
    weight[0, 1] = value
    layer.weight.assign(weight)
    return layer(mt.ones((4, 3))).sum()


def through_layers(x):
    mt.random.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))(mt.tensor(x, dtype="float32")).sum()


def scaled_loss():
    w = leaf([3.0, -2.0], "float16")
    return (w * mt.tensor([100.0, 2.0], dtype="float16")).sum() * 65536.0


def exploding(kind, lr, steps=60):
    """Trains until there is no number; the modes tell where."""
    w = leaf([1.0, -2.0], "float32")
    optimizer = kind([w], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mt.mean((w**4) * mt.tensor([1.0, 3.0]))
        loss.backward()
        optimizer.step()
    return loss


def exploding_exponential():
    w = leaf([0.5, 0.1], "float32")
    optimizer = optim.Adam([w], lr=500.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss = mt.exp(-w).sum() + mt.exp(w).sum()
        loss.backward()
        optimizer.step()
    return loss


def hooked(value):
    x = leaf([1.0, 2.0])
    y = x * 2.0
    y.register_hook(lambda g: mt.tensor(np.full(2, value)))
    return mt.tanh(y).sum()


@mt.op
def entropy(xp, x):
    """An op of somebody else."""
    return -x * xp.log(x)


entropy.vjp(lambda xp, g, x: -g * (xp.log(x) + 1.0))

zero, one = leaf([1.0, 0.0]), leaf([1.0, 2.0])
BIG = np.array([[0.0, 0.0], [-math.inf, -math.inf]])
FAULTS = {  # name: (a function that computes the loss, the cause, the op)
    "log of 0": (lambda: mt.log(zero).sum(), "log of 0 or less", "log"),
    "log of a negative": (lambda: mt.log(leaf([1.0, -2.0])).sum(), "log of 0 or less", "log"),
    "log2 of 0": (lambda: mt.log2(zero).sum(), "log of 0 or less", "log2"),
    "log1p of -1": (lambda: mt.log1p(leaf([0.0, -1.0])).sum(), "log of 0 or less", "log1p"),
    "log of a probability that vanished": (
        lambda: -mt.log(F.softmax(leaf([0.0, 2000.0]))).sum(), "log of 0 or less", "log",
    ),
    "entropy of 0": (lambda: (mt.tensor([0.0, 1.0]) * mt.log(mt.tensor([0.0, 1.0]))).sum(), "log of 0 or less", "log"),
    "0 / 0": (lambda: (zero / mt.tensor([1.0, 0.0])).sum(), "0 / 0", "divide"),
    "1 / 0": (lambda: (one / mt.tensor([1.0, 0.0])).sum(), "x / 0", "divide"),
    "reciprocal": (lambda: mt.reciprocal(zero).sum(), "x / 0", "reciprocal"),
    "0 ** -1": (lambda: (zero**-1.0).sum(), "x / 0", "power"),
    "remainder by 0": (lambda: mt.remainder(one, mt.tensor([1.0, 0.0])).sum(), "x / 0", "remainder"),
    "slope of sqrt": (lambda: mt.sqrt(zero).sum(), "slope of a root at 0", "sqrt"),
    "slope of x ** 0.5": (lambda: (zero**0.5).sum(), "slope of a root at 0", "power"),
    "norm by hand": (lambda: mt.sqrt((leaf(np.zeros((2, 3))) ** 2).sum(axis=-1)).sum(), "slope of a root at 0", "sqrt"),
    "std by hand": (lambda: mt.sqrt(mt.var(leaf(np.ones((2, 3))), axis=-1)).sum(), "slope of a root at 0", "sqrt"),
    "root behind where": (lambda: mt.where(zero > 0, mt.sqrt(zero), 0.0).sum(), "slope of a root at 0", "sqrt"),
    "root of a negative": (lambda: mt.sqrt(leaf([1.0, -1.0])).sum(), "root of a negative number", "sqrt"),
    "negative base": (lambda: (leaf([1.0, -8.0]) ** (1.0 / 3.0)).sum(), "negative base", "power"),
    "slope in the exponent": (
        lambda: (mt.tensor([-2.0]) ** leaf([2.0])).sum(), "negative base", "power",
    ),
    "arcsin": (lambda: mt.arcsin(leaf([0.5, 1.5])).sum(), "outside the domain", "arcsin"),
    "arccos in backward": (lambda: mt.arccos(leaf([0.5, 1.0])).sum(), "outside the domain", "arccos"),
    "arctanh": (lambda: mt.arctanh(leaf([0.5, 1.0])).sum(), "outside the domain", "arctanh"),
    "arccosh": (lambda: mt.arccosh(leaf([2.0, 0.5])).sum(), "outside the domain", "arccosh"),
    "a masked row": (lambda: (F.softmax(masked()) * np.arange(3.0)).sum(), "masked row", "softmax"),
    "a masked row, log_softmax": (lambda: F.log_softmax(masked()).sum(), "masked row", "log_softmax"),
    "a masked row, by hand": (lambda: (softmax_by_hand(masked()) * np.arange(3.0)).sum(), "masked row", "divide"),
    "a masked row, shifted": (lambda: (stable_softmax(masked()) * np.arange(3.0)).sum(), "masked row", "subtract"),
    "exp": (lambda: mt.exp(leaf([1.0, 1000.0])).sum(), "exp overflow", "exp"),
    "softmax by hand": (lambda: softmax_by_hand(leaf([1.0, 1000.0])).sum(), "exp overflow", "exp"),
    "cosh": (lambda: mt.cosh(leaf([1.0, -1000.0])).sum(), "exp overflow", "cosh"),
    "square": (lambda: mt.square(leaf([1.0, 1e30], "float32")).sum(), "overflow", "square"),
    "product": (lambda: (leaf([1e200]) * mt.tensor([1e200], dtype="float64")).sum(), "overflow", "multiply"),
    "linear": (lambda: F.linear(leaf([[1e200]]), mt.tensor([[1e200]], dtype="float64")).sum(), "overflow", "linear"),
    "sum": (lambda: (leaf([1e308, 1e308]) * 1.0).sum(), "overflow", "sum"),
    "overflow in backward": (lambda: (leaf([1e-200]) * 1e200 * 1e200).sum(), "overflow", "multiply"),
    "float16": (lambda: mt.square(leaf([1.0, 300.0], "float16")).sum(), "16-bit overflow", "square"),
    "float16 exp": (lambda: mt.exp(leaf([12.0], "float16")).sum(), "16-bit overflow", "exp"),
    "float16 cast": (lambda: leaf([1e5], "float32").astype("float16").sum(), "16-bit overflow", "astype"),
    "float16 linear": (
        lambda: F.linear(leaf(np.full((1, 4), 200.0), "float16"), mt.full((1, 4), 200.0, dtype="float16")).sum(),
        "16-bit overflow", "linear",
    ),
    "loss scale": (scaled_loss, "16-bit overflow", "multiply"),
    "NaN in the data": (lambda: through_layers(rows(1, 3)), DATA, "linear"),
    "infinity in the data": (lambda: through_layers(rows(2, value=math.inf)), DATA, "linear"),
    "NaN in targets": (lambda: F.mse_loss(leaf(np.zeros((4, 3))), mt.tensor(rows(0))), DATA, "subtract"),
    "infinity through ops": (
        lambda: nn.LayerNorm(3)(mt.tanh(mt.tensor(rows(2, value=math.inf)) * 2.0) + mt.tensor(rows(2, value=math.inf))).sum(),
        DATA, "add",
    ),
    "NaN in a parameter": (lambda: spoilt(math.nan), PARAMETER, "linear"),
    "infinity in a parameter": (lambda: spoilt(-math.inf), PARAMETER, "linear"),
    "x / norm(x)": (
        lambda: (lambda x: x / mt.norm(x, axis=-1, keepdims=True))(leaf([[3.0, 4.0], [0.0, 0.0]])).sum(),
        "division by a zero norm", "divide",
    ),
    "cosine of constants": (
        lambda: (leaf([[1.0, 1.0]]) * (lambda x: x / mt.norm(x))(mt.zeros((1, 2)))).sum(), "division by a zero norm", "divide",
    ),
    "x / std(x)": (
        lambda: (lambda x: (x - x.mean()) / mt.std(x))(leaf([2.0, 2.0])).sum(), "division by a zero norm", "divide",
    ),
    "layer norm without eps": (
        lambda: F.layer_norm(leaf([[1.0, 1.0]]), mt.ones(2), mt.zeros(2), eps=0.0).sum(),
        "division by a zero norm", "layer_norm_last",
    ),
    "inf - inf": (lambda: (one * -math.inf - one * -math.inf).sum(), "inf - inf", "subtract"),
    "sum of both infinities": (lambda: (one * mt.tensor([math.inf, -math.inf])).sum(), DATA, "multiply"),
    "0 * inf": (lambda: (masked((2, 2)) * mt.tensor([[1.0], [0.0]])).sum(), "0 * inf", "multiply"),
    "inf / inf": (lambda: (masked((2, 2)) / mt.full((2, 2), -math.inf)).sum(), "inf / inf", "divide"),
    "mean of nothing": (lambda: mt.mean(leaf(np.zeros((0, 3)))), "mean over nothing", "mean"),
    "mean of a mask of zeros": (lambda: mean_of_masked([0.0, 0.0]), "mean over nothing", "divide"),
    "all targets ignored": (
        lambda: F.cross_entropy(leaf(np.zeros((2, 3))), mt.tensor([-100, -100])), "mean over nothing", "cross_entropy",
    ),
    "variance of one": (lambda: mt.var(leaf([[1.0], [2.0]]), axis=1, ddof=1).sum(), "variance of one element", "var"),
    "std of one": (lambda: mt.std(leaf([3.0]), ddof=1), "variance of one element", "std"),
    "an id outside": (lambda: nn.Embedding(5, 2)(mt.tensor([1, 5])).sum(), "id outside", "embedding"),
    "a class outside": (lambda: F.cross_entropy(leaf(np.zeros((2, 3))), mt.tensor([0, 3])), "id outside", "cross_entropy"),
    "SGD explodes": (lambda: exploding(optim.SGD, 1e3), "learning rate", ""),
    "momentum explodes": (lambda: exploding(lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9), 10.0), "learning rate", ""),
    "Adam explodes": (exploding_exponential, "learning rate", "exp"),
    "a hook": (lambda: hooked(math.nan), "gradient that was given", "multiply"),
    "an op of one's own": (lambda: entropy(leaf([0.5, 0.0])).sum(), "undefined value", "entropy"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "cause", "op"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(function, cause, op):
    finding = mt.why_nan(function)
    assert finding is not None and (finding.cause, op in finding.op) == (cause, True), str(finding)
    text = str(finding)
    assert text.startswith(f"Why NaN: {cause}") and "cure: " in text and finding.cause in CAUSES
    if cause not in ("id outside", "learning rate") and op != "cross_entropy":
        assert finding.line is not None and finding.line.path == __file__, text
        assert finding.index is not None and finding.chain, text


# What a recorded graph alone tells; of the others it says that it does not know.
UNKNOWN = {
    "entropy of 0", "remainder by 0", "float16 cast", "0 * inf", "inf / inf", "SGD explodes", "momentum explodes",
    "Adam explodes",
}  # fmt: skip
OTHERWISE = {  # true as well, and all that the graph holds
    "a masked row, by hand": "0 / 0",
    "cosine of constants": DATA,
    "mean of a mask of zeros": "0 / 0",
}
REFUSED = {"all targets ignored", "an id outside", "a class outside"}


def test_what_a_graph_tells_that_was_recorded_without_a_mode():
    for name, (function, cause, _) in FAULTS.items():
        if name in REFUSED:
            continue
        with np.errstate(all="ignore"):
            finding = mt.why_nan(function())
        assert finding is not None, name
        assert finding.cause == ("unknown" if name in UNKNOWN else OTHERWISE.get(name, cause)), f"{name}: {finding}"
        if finding.phase == "forward":
            assert any("detect_anomaly" in note or "no graph" in note for note in finding.notes), f"{name}: {finding}"
