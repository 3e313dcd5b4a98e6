"""detect_anomaly: an infinity that was given is no fault, on any way; one made of finite numbers
is, and every NaN.
"""

import math
import sys
import threading

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn

MASK = np.array([[0.0, -math.inf], [0.0, 0.0]])
KEEP = mt.tensor([[True, False], [True, True]])


def scores():
    return mt.tensor(np.array([[1.0, 2.0], [3.0, -4.0]]), requires_grad=True)


@mt.op
def shifted(xp, x, *, by):
    """An op of somebody else."""
    return x + by


shifted.vjp(lambda g: g)

WAYS = {
    "add": lambda x: x + mt.tensor(MASK),
    "add an array": lambda x: x + MASK,
    "where": lambda x: x + mt.where(KEEP, 0.0, -math.inf),
    "where of scores": lambda x: mt.where(KEEP, x, -math.inf),
    "multiply": lambda x: x - mt.tensor([[1.0, math.inf], [1.0, 1.0]]) * 2.0,
    "concat": lambda x: mt.concat([x, mt.tensor(MASK)], axis=1),
    "pad": lambda x: mt.pad(x, ((0, 0), (0, 1)), constant_values=-math.inf),
    "moved": lambda x: (x + MASK).T.reshape((2, 2)).T[::-1],
    "put": lambda x: mt.put_along_axis(x, mt.tensor([[0], [1]]), mt.tensor(np.full((2, 1), -math.inf)), 1),
    "clip": lambda x: mt.clip(x + MASK, -math.inf, 2.0),
    "maximum": lambda x: mt.maximum(x + MASK, -math.inf),
    "a keyword": lambda x: shifted(x, by=MASK),
}
ENDS = {
    "softmax": F.softmax,
    "its definition": F.softmax.definition,
    "logsumexp": lambda s: mt.logsumexp(s, axis=-1),
    "max": lambda s: s.max(axis=-1),
    "exp": mt.exp,
    "log_softmax": lambda s: mt.where(mt.isfinite(s), F.log_softmax(s), 0.0),
    "sigmoid": F.sigmoid,
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_given_infinity_passes(way, end, create_graph):
    def gradient(x):
        y = end(way(x))
        return mt.grad((y * np.arange(1.0, 1.0 + y.size).reshape(y.shape)).sum(), x, create_graph=create_graph)

    expected = gradient(scores())
    assert np.isfinite(expected.data).all()
    with mt.detect_anomaly():
        assert np.array_equal(gradient(scores()).data, expected.data)


def test_attention_with_an_additive_mask():
    q = mt.tensor(np.random.default_rng(0).normal(size=(1, 1, 3, 4)), requires_grad=True)
    bias = np.triu(np.full((3, 3), -np.inf), 1)
    with mt.detect_anomaly():
        F.scaled_dot_product_attention(q, q, q, bias=mt.tensor(bias)).sum().backward()
        nn.MultiHeadAttention(4, 2)(mt.ones((1, 3, 4)), mask=nn.causal_mask(3)).sum().backward()
    assert np.isfinite(q.grad.data).all()


INFINITE = np.array([math.inf, 0.0, 1.0])
FAULTS = {
    "log of 0": lambda x: mt.log(x),
    "1 / 0": lambda x: 1.0 / x,
    "overflow": lambda x: mt.exp(x * 1000.0),
    "inf - inf": lambda x: x - x,
    "0 times inf": lambda x: x * 0.0,
    "in a kernel": lambda x: F.linear(x[None] * 1e200, mt.tensor(np.array([[0.0, 0.0, 1e200]]))),
    "a NaN that was given": lambda x: x + mt.tensor([0.0, math.nan, 0.0]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("tracked", [False, True])
def test_what_an_op_makes_is_found_beside_a_given_infinity(fault, tracked):
    x = mt.tensor(INFINITE, requires_grad=tracked)
    with mt.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="forward"):
        fault(x)


def test_an_infinity_within_no_grad_is_a_fault_for_what_reads_it():
    w = mt.tensor([20.0, 20.0], requires_grad=True)

    def trained(read=lambda metric, loss: loss):
        loss = (w * w).mean()
        with mt.no_grad():
            metric = mt.exp(loss)  # infinite
        loss = read(metric, loss)
        mt.grad(loss, w)
        return loss

    # Shown, or cut off: nothing of it reaches the loss.
    silent = (
        lambda metric, loss: loss,
        lambda metric, loss: loss * min(metric.item(), 100.0),
        lambda metric, loss: loss * mt.no_grad(mt.minimum)(metric, 100.0),
    )
    for read in silent:
        assert mt.why_nan(lambda read=read: trained(read)) is None
        with mt.detect_anomaly(), np.errstate(all="ignore"):
            trained(read)
    told = (
        (lambda metric, loss: loss / metric, "divide", ["exp", "divide"]),
        (
            lambda metric, loss: mt.no_grad(lambda: metric * 2 - metric)() * loss,
            "subtract",
            ["exp", "multiply", "subtract"],
        ),
        (lambda metric, loss: loss * mt.no_grad(mt.sqrt)(metric), "multiply", ["exp", "sqrt", "multiply"]),
        (lambda metric, loss: [w.assign(metric + mt.zeros(2)), loss][1], "assign", ["exp", "add", "assign"]),
    )
    for read, reader, chain in told:
        finding = mt.why_nan(lambda read=read: trained(read))
        assert (finding.cause, finding.op) == ("exp overflow", "exp")
        assert [step.op for step in finding.chain] == chain
        assert f"it was made within mt.no_grad(), and read by {reader} at " in str(finding)
        with mt.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="exp overflow"):
            trained(read)
    finding = mt.why_nan(lambda: mt.no_grad(lambda: mt.exp(w * 1000.0).sum())())
    assert (finding.cause, [step.op for step in finding.chain]) == ("exp overflow", ["exp", "sum"])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("function", "values"),
    [
        (mt.sqrt, [0.0, 1.0]),
        (mt.sqrt, [0.0, math.inf]),
        (lambda x: x**0.5, [0.0, math.inf]),
    ],
)
def test_backward_finds_what_a_rule_makes(function, values, create_graph):
    x = mt.tensor(np.array(values), requires_grad=True)
    with mt.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        mt.grad(function(x).sum(), x, create_graph=create_graph)


@pytest.mark.parametrize(
    "function", [lambda x: x * 2.0, lambda x: mt.concat([x, x]), F.relu, lambda x: F.linear(x[None], mt.ones((2, 2)))]
)
def test_an_infinite_gradient_that_was_given_passes(function):
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    with mt.detect_anomaly(), np.errstate(all="ignore"):
        y = function(x)
        y.backward(mt.full(y.shape, math.inf))
    assert np.isinf(x.grad.data).all()


def deep(function, calls):
    """``function``, called that many calls deep."""
    return deep(function, calls - 1) if calls else function()


@pytest.mark.parametrize("around", [0, 200])
def test_few_calls_of_python_are_made_for_each_op(around):
    # The time itself is in docs/howto/why-nan.md; calls can be counted without a clock.
    # What is around a script or a cell of a notebook is not looked at.
    w, calls = mt.ones(4, requires_grad=True), []
    script = compile("y = w\nfor _ in range(100):\n    y = mt.sin(y)\nmt.grad(y, w, mt.ones(4))", "<script>", "exec")

    def counted():
        with mt.detect_anomaly():
            exec(script, {"w": w, "mt": mt})
            sys.setprofile(lambda frame, event, arg: calls.append(event))
            exec(script, {"w": w, "mt": mt})
            sys.setprofile(None)

    thread = threading.Thread(target=deep, args=(counted, around))  # not as deep as the tests themselves
    thread.start()
    thread.join()
    called = sum(event in ("call", "c_call") for event in calls) / 100
    assert 10 < called < 110, called  # 83 when this was written, 148 before
