"""why_nan and the finding of detect_anomaly: planted faults are named, healthy runs raise no
alarm.
"""

import math
import re

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.diagnosis.cures import CAUSES

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
    "norm of one vector": (lambda: mt.sqrt((leaf(np.zeros(3)) ** 2).sum()) * 2.0, "slope of a root at 0", "sqrt"),
    "root in value_and_grad": (
        lambda: mt.value_and_grad(lambda x: mt.sqrt(x).sum())(zero)[1].sum(), "slope of a root at 0", "sqrt",
    ),
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
    "overflows that cancel": (
        lambda: F.linear(leaf([[1e200, -1e200]]), mt.full((1, 2), 1e200, dtype="float64")).sum(), "overflow", "linear",
    ),
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
        lambda: (lambda x: (x - x.mean()) / mt.std(x))(leaf([2.0, 2.0])).sum(), "division by a zero deviation", "divide",
    ),
    "x / root of var(x)": (
        lambda: (lambda x: (x - x.mean()) / mt.sqrt(mt.var(x)))(leaf([2.0, 2.0])).sum(), "division by a zero deviation", "divide",
    ),
    "layer norm without eps": (
        lambda: F.layer_norm(leaf([[1.0, 1.0]]), mt.ones(2), mt.zeros(2), eps=0.0).sum(),
        "division by a zero deviation", "layer_norm_last",
    ),
    "two zero norms": (
        lambda: (lambda x: x.sum(axis=-1) / (mt.norm(x, axis=-1) * mt.norm(x, axis=-1)))(leaf([[1.0], [0.0]])).sum(),
        "division by a zero norm", "divide",
    ),
    "infinity in the data, minus its mean": (
        lambda: (lambda x: (x - x.mean(axis=0)) * one)(mt.tensor(rows(1, value=math.inf, shape=(3, 2)))).sum(), DATA, "subtract",
    ),
    "inf - inf": (lambda: (one * -math.inf - one * -math.inf).sum(), "inf - inf", "subtract"),
    "sum of both infinities": (lambda: (one * mt.tensor([math.inf, -math.inf])).sum(), DATA, "multiply"),
    "0 * inf": (lambda: (masked((2, 2)) * mt.tensor([[1.0], [0.0]])).sum(), "0 * inf", "multiply"),
    "inf / inf": (lambda: (masked((2, 2)) / mt.full((2, 2), -math.inf)).sum(), "inf / inf", "divide"),
    "mean of nothing": (lambda: mt.mean(leaf(np.zeros((0, 3)))), "mean over nothing", "mean"),
    "mse_loss of nothing": (
        lambda: F.mse_loss(leaf(np.zeros((0, 2))), mt.zeros((0, 2), dtype="float64")), "mean over nothing", "divide",
    ),
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
    "root in value_and_grad": "division by a zero norm",
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


# --- what a finding says --------------------------------------------------------------------------


class Block(nn.Module):
    """A root below layers."""

    def __init__(self):
        self.first, self.last = nn.Linear(2, 2, bias=False), nn.Linear(2, 1)

    def forward(self, x):
        return self.last(mt.sqrt(mt.abs(self.first(x))))


def test_module_line_index_and_chain():
    model = nn.Sequential(nn.Tanh(), Block())
    x = mt.tensor([[1.0, 2.0], [0.0, 0.0]])
    finding = mt.why_nan(lambda: model(x).mean())
    assert (finding.module, finding.index, finding.of) == ("1", (1, 0), "x")
    assert finding.line.text == "return self.last(mt.sqrt(mt.abs(self.first(x))))"
    assert [step.op for step in finding.chain] == ["sqrt", "linear", "mean"]
    assert [step.module for step in finding.chain] == ["1", "1.last", ""]
    assert "in module 1" in str(finding) and "sqrt (1) > linear (1.last) > mean" in str(finding)


def test_an_id_outside_is_told_with_its_place():
    class Net(nn.Module):
        def __init__(self):
            self.table = nn.Embedding(5, 3)

        def forward(self, ids):
            return self.table(ids)

    net, x = Net(), leaf(np.ones((2, 5)))
    finding = mt.why_nan(lambda: net(mt.tensor([[0, 1], [2, 9]])).sum())
    assert (finding.op, finding.module, finding.index, finding.of) == ("embedding", "table", (1, 1), "the ids")
    assert finding.line.text == "return self.table(ids)" and "9" in finding.what
    places = {
        "cross_entropy": (lambda: F.cross_entropy(x, mt.tensor([0, 9])), (1,), "the targets"),
        "take": (lambda: mt.take(x, [1, 7], axis=1).sum(), (1,), "the ids"),
        "take_along_axis": (lambda: mt.take_along_axis(x, mt.tensor([[0], [-6]]), axis=1).sum(), (1, 0), "the ids"),
        "getitem": (lambda: x[[0, 1], [1, 7]].sum(), (1,), "the ids"),
    }
    for op, (function, index, of) in places.items():
        finding = mt.why_nan(function)
        assert (finding.cause, finding.op, finding.index, finding.of) == ("id outside", op, index, of), str(finding)
        assert finding.line.path == __file__ and function.__code__.co_firstlineno == finding.line.number
    ignored = mt.why_nan(lambda: F.cross_entropy(x, mt.tensor([-100, -100])))
    assert (ignored.cause, ignored.line.path) == ("mean over nothing", __file__)
    with pytest.raises(IndexError, match="list index out of range"):  # of Python's own
        mt.why_nan(lambda: x[[0, 1][2]].sum())


def test_rows_of_bad_data_are_told_where_they_came_in():
    layer = nn.Linear(3, 2)
    finding = mt.why_nan(lambda: mt.tanh(layer(mt.tensor(rows(1, 3), dtype="float32"))).sum())
    assert (finding.rows, finding.index, finding.of, finding.op) == ((1, 3), (1, 1), "x", "linear")
    x = mt.tensor(rows(2, value=math.inf))  # it becomes NaN three ops later
    finding = mt.why_nan(lambda: mt.sin(x * 2.0 + 1.0).sum())
    assert (finding.cause, finding.rows, finding.op) == (DATA, (2,), "multiply")
    assert [step.op for step in finding.chain] == ["multiply", "add", "sin"]


def test_a_finite_loss_with_a_bad_gradient():
    x = leaf([0.0, 4.0])
    loss = mt.sqrt(x).sum()
    with np.errstate(all="ignore"):
        finding = mt.why_nan(loss)
        assert x.grad is None and (finding.cause, finding.phase) == ("slope of a root at 0", "backward")
        loss.backward(retain_graph=True)
        assert mt.why_nan(loss).cause == "slope of a root at 0"
        loss.backward()
    finding = mt.why_nan(loss)
    assert finding.cause == "unknown" and "backward has freed them" in str(finding)
    assert mt.why_nan(lambda: mt.sqrt(x).sum()).cause == "slope of a root at 0" and np.isinf(x.grad.data[0])


def test_the_error_of_detect_anomaly_has_the_finding():
    with mt.detect_anomaly(), pytest.raises(FloatingPointError, match="\nWhy NaN: log of 0 or less\n") as caught:
        mt.log(zero)
    assert caught.value.finding.cause == "log of 0 or less"
    with mt.detect_anomaly(), pytest.raises(FloatingPointError, match="sqrt > multiply > sum$") as caught:
        (mt.sqrt(leaf([0.0])) * 2.0).sum().backward()
    assert caught.value.finding.phase == "backward"
    with mt.detect_anomaly(), pytest.raises(FloatingPointError, match="Why NaN: slope of a root at 0") as caught:
        mt.checkpoint(lambda x: mt.sqrt(x) * 2.0, leaf([0.0])).sum().backward()


def test_the_loss_scale_is_that_of_the_greatest_gradient():
    finding = mt.why_nan(scaled_loss)  # the loss is 296, its gradients are 100 and 2
    assert finding.loss_scale == 2.0 ** math.floor(math.log2(65504 / 296)) == 128.0
    assert "loss scale of 128 or less" in finding.cure
    w = leaf([1.0], "float16")  # .grad rounds to 16 bits what was finite
    loss = (w.astype("float32") * 3e5).sum()
    finding = mt.why_nan(loss)
    assert (finding.cause, finding.phase) == ("16-bit overflow", "backward")
    loss.backward()
    assert np.isinf(w.grad.data).all() and 3e5 * finding.loss_scale <= 65504 < 3e5 * finding.loss_scale * 2


def test_the_update_that_broke_a_parameter():
    layer = nn.Linear(2, 1)
    adam = optim.Adam(layer.parameters(), lr=0.5)
    x = mt.tensor([[1.0, 2.0]])
    for slope in (1.0, math.nan):
        layer(x).backward(mt.tensor([[slope]]))
        adam.step()
    finding = mt.why_nan(layer(x).sum())
    assert finding.cause == PARAMETER and finding.of in ("the parameter weight", "the parameter bias")
    assert "Adam has updated it in 2 step(s), with lr 0.5" in finding.what and "so that a gradient did" in finding.what
    sgd = optim.SGD(Block().parameters(), lr=0.5)
    weight = sgd.param_groups[0]["params"][0]
    weight.grad = mt.full(weight.shape, math.nan)
    before = weight.tolist()
    with mt.detect_anomaly(), pytest.raises(FloatingPointError, match="step 1 of SGD .* has not been made") as caught:
        sgd.step()
    assert caught.value.finding.cause == "update with a bad gradient" and weight.tolist() == before
    weight.grad = mt.full(weight.shape, 1e30)
    sgd.param_groups[0]["lr"] = 1e30
    with mt.detect_anomaly(), pytest.raises(FloatingPointError, match="made first.weight -inf with a finite gradient"):
        sgd.step()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_parameter_that_something_else_spoilt_is_no_fault_of_the_learning_rate(bad):
    w, idle = leaf([1.0, 2.0]), leaf([bad])  # the second has no gradient, and is not updated
    sgd = optim.SGD([w, idle], lr=0.1)

    def train(spoil, after):
        for i in range(3):
            sgd.zero_grad()
            loss = (w * w).sum()
            loss.backward()
            if i == 1 and not after:
                w.assign(spoil)
            sgd.step()
            if i == 1 and after:
                w.assign(spoil)
        return loss

    assert mt.why_nan(lambda: train([1.0, 2.0], False)) is None
    for after in (False, True):
        w.assign([1.0, 2.0])
        finding = mt.why_nan(lambda after=after: train([1.0, bad], after))
        assert (finding.cause, finding.index) == (PARAMETER, (1,))
        assert "it was finite after them: assign(), or a file, wrote it since" in finding.what


def test_a_spoilt_state_of_the_optimiser_is_no_fault_of_the_learning_rate():
    w = leaf([1.0, 2.0])
    adam = optim.Adam([w], lr=0.1)
    (w * w).sum().backward()
    adam.step()
    saved = adam.state_dict()
    saved["state"]["0"]["exp_avg"] = mt.tensor([0.1, math.nan])
    adam.load_state_dict(saved)
    with (
        mt.detect_anomaly(),
        pytest.raises(FloatingPointError, match="its exp_avg holds NaN, which an earlier") as caught,
    ):
        adam.step()
    assert caught.value.finding.cause == "update with a bad gradient"


def test_an_eps_of_0_divides_by_0():
    for kind in (optim.Adam, optim.RMSprop):
        w = leaf([1.0, 0.0])
        step = kind([w], lr=0.1, eps=0.0)

        def train(w=w, step=step):
            loss = (w[:1] ** 2).sum()
            loss.backward()
            step.step()
            return loss

        finding = mt.why_nan(train)
        assert (finding.cause, finding.phase, finding.index) == ("0 / 0", "update", (1,))
        assert "eps" in finding.what


CURED = {  # a fault, and what its cure says of it, with the numbers that it names
    "sqrt": (mt.sqrt, lambda x, small, near, divisor: mt.sqrt(x + small)),
    "log": (mt.log, lambda x, small, near, divisor: mt.log(mt.maximum(x, small))),
    "log1p": (lambda x: mt.log1p(x - 1.0), lambda x, small, near, divisor: mt.log1p(mt.maximum(x - 1.0, -1 + near))),
    "arccos": (
        lambda x: mt.arccos(x + 1.0), lambda x, small, near, divisor: mt.arccos(mt.clip(x + 1.0, -1 + near, 1 - near)),
    ),
    "arctanh": (
        lambda x: mt.arctanh(x - 1.0), lambda x, small, near, divisor: mt.arctanh(mt.clip(x - 1.0, -1 + near, 1 - near)),
    ),
    "arccosh": (mt.arccosh, lambda x, small, near, divisor: mt.arccosh(mt.maximum(x, 1 + near))),
    "divide": (lambda x: 1.0 / x, lambda x, small, near, divisor: 1.0 / (x + divisor)),
    "power": (lambda x: x**-1, lambda x, small, near, divisor: (x + divisor) ** -1),
    "root": (lambda x: x**0.5, lambda x, small, near, divisor: (x + small) ** 0.5),
    "norm": (lambda x: x / mt.norm(x), lambda x, small, near, divisor: x / mt.maximum(mt.norm(x), divisor)),
    "std": (lambda x: x / mt.std(x), lambda x, small, near, divisor: x / mt.maximum(mt.std(x), divisor)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_cure_that_is_followed_cures(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    small, near, divisor = {"float16": (1e-4, 1e-3, 1e-2), "bfloat16": (1e-12, 1e-2, 1e-12)}.get(
        dtype, (1e-12, 1e-6, 1e-12)
    )
    x = mt.tensor([0.0, 0.0], dtype=dtype, requires_grad=True)
    for name, (fault, cured) in CURED.items():
        cure = mt.why_nan(lambda fault=fault: fault(x).sum()).cure
        named = {float(number) for number in re.findall(r"\b1e-\d+(?=\D)", cure.partition(" (what")[0] + " ")}
        assert named and named <= {small, near, divisor}, f"{name}: {cure}"
        assert mt.why_nan(lambda cured=cured: cured(x, small, near, divisor).sum()) is None, f"{name}: {cure}"


def test_a_fault_of_forward_is_the_same_within_no_grad():
    for name in (
        "log of 0",
        "0 / 0",
        "exp",
        "softmax by hand",
        "float16",
        "inf - inf",
        "infinity through ops",
        "x / norm(x)",
    ):
        function = FAULTS[name][0]
        open_one, closed = mt.why_nan(function), mt.why_nan(lambda function=function: mt.no_grad(function)())
        assert (closed.cause, closed.op, closed.index) == (open_one.cause, open_one.op, open_one.index), (
            f"{name}: {closed}"
        )


def test_words_that_fit():
    x = leaf([[5.0, 0.0]], "float32")
    finding = mt.why_nan(lambda: (x**-1).sum())
    assert (finding.index, finding.of) == ((0, 1), "x") and "the base" in finding.cure
    for dtype, most in (("float32", 80), ("float16", 10)):
        far = leaf([1000.0], dtype)
        assert f"mt.clip(x, -{most}, {most})" in mt.why_nan(lambda far=far: mt.cosh(far)).cure
        assert mt.why_nan(lambda far=far, most=most: mt.cosh(mt.clip(far, -most, most))) is None
    singular = leaf(np.ones((2, 2)))
    assert "mt.eye" in mt.why_nan(lambda: mt.linalg.slogdet(singular)[1]).cure
    assert "number of classes" in mt.why_nan(lambda: F.cross_entropy(x, [7])).cure
    # A product of two parameters is no loss that was scaled.
    for shape in ((), (1,)):
        h = mt.full(shape, 300.0, dtype="float16", requires_grad=True)
        finding = mt.why_nan(lambda h=h: (h * h).sum())
        assert finding.loss_scale is None and "float32" in finding.cure
    # mt.where is named where it stands, and nowhere else.
    zeros = leaf([0.0, 0.0])
    spread = mt.why_nan(lambda: (zeros / (mt.sqrt(mt.mean(zeros * zeros)) + 1e-5)).sum())
    behind = mt.why_nan(lambda: mt.where(zeros > 0, mt.sqrt(zeros), 0.0).sum())
    assert spread.cause == behind.cause == "slope of a root at 0"
    assert "where" not in str(spread).replace("  where: ", "") and "mt.where around" in behind.notes[0]


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match="a tensor, or a function that computes one, not a float"):
        mt.why_nan(1.0)
    with pytest.raises(TypeError, match="must return the loss, a tensor, not a NoneType"):
        mt.why_nan(lambda: None)
    with pytest.raises(IndexError, match="too many indices"):  # no matter of ids
        mt.why_nan(lambda: one[0, 0])
    assert "no graph" in str(mt.why_nan(mt.tensor(math.nan)))


def test_nothing_is_kept_of_what_is_gone():
    from minitensor.diagnosis import places, records

    model = nn.Linear(3, 3)
    with mt.detect_anomaly(), mt.no_grad():
        x = mt.ones((2, 3))
        model(x).sum()
        before = len(records._records)
        for _ in range(300):  # carried on from step to step
            x = model(x) * 0.5
        assert len(records._records) <= before + 2 and records.record_of(x).depth < records.DEEPEST
    known = len(places._places.paths)
    del model, x
    assert len(places._places.paths) == known - 1


# --- no alarm -------------------------------------------------------------------------------------


def trained(model, loss, steps=2):
    adam = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        assert mt.why_nan(loss) is None
        with mt.detect_anomaly():
            adam.zero_grad()
            loss().backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()


def test_healthy_models_raise_no_alarm():
    from minitensor.models.gpt import GPT, GPTConfig
    from minitensor.models.transformer import Transformer, TransformerConfig

    ids = np.array([[1, 2, 3, 0], [4, 5, 0, 0]])
    gpt = GPT(GPTConfig(vocab_size=9, max_length=4, d_model=8, n_layers=1, n_heads=2))
    trained(gpt, lambda: gpt.loss(ids, ids))
    recurrent = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 4))
    trained(recurrent, lambda: recurrent(mt.tensor(ids))[0].sum())
    sixteen = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1)).astype("float16")
    trained(sixteen, lambda: sixteen(mt.ones((2, 3), dtype="float16")).mean())
    for name in ("a mask", "a boolean mask"):
        bias = None if "boolean" in name else mt.tensor(np.array([[0.0, -math.inf], [0.0, 0.0]]))
        q = leaf(np.ones((1, 1, 2, 4)))
        mask = mt.tensor([[False, False], [True, True]]) if bias is None else None
        assert (
            mt.why_nan(lambda q=q, m=mask, b=bias: F.scaled_dot_product_attention(q, q, q, mask=m, bias=b).sum())
            is None
        )
    config = TransformerConfig(9, 8, n_encoder_layers=1, n_decoder_layers=1, n_heads=2, d_ff=8)
    transformer = Transformer(config)
    trained(transformer, lambda: transformer.loss(ids, ids, ids))
