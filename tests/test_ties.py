"""The one documented rule at every kink, and what IEEE arithmetic gives at the edges."""

import math

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F


def gradient(function, *values):
    """Gradients of the sum of ``function`` at lists of numbers."""
    leaves = [mt.tensor(v, dtype="float64", requires_grad=True) for v in values]
    found = mt.grad(function(*leaves).sum(), leaves, allow_unused=True)
    return [None if g is None else g.tolist() for g in found]


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (mt.abs, [-1.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (mt.sign, [-1.0, 0.0], [0.0, 0.0]),
        (mt.floor, [1.0, 1.5], [0.0, 0.0]),
        (F.relu, [-1.0, 0.0, -0.0, 2.0], [0.0, 0.0, 0.0, 1.0]),
        (F.leaky_relu, [0.0], [0.01]),
        (F.softplus, [0.0], [0.5]),
        (mt.max, [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
        (mt.min, [2.0, 2.0, 2.0, 2.0], [0.25] * 4),
        (mt.std, [2.0, 2.0], [0.0, 0.0]),
        (mt.norm, [0.0, 0.0], [0.0, 0.0]),
        (mt.prod, [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]),
        (mt.prod, [2.0, 0.0, 5.0], [0.0, 10.0, 0.0]),
        (lambda x: mt.cumprod(x, axis=0), [2.0, 0.0, 5.0], [1.0, 12.0, 0.0]),
        (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
        (lambda x: mt.clip(x, 0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0], [0.0, 0.5, 1.0, 0.5, 0.0]),
        (lambda x: mt.sort(x), [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]),
        (lambda x: mt.topk(x, 1)[0], [3.0, 3.0], [1.0, 0.0]),
        (lambda x: F.l1_loss(x, [1.0, 2.0], reduction="sum"), [1.0, 3.0], [0.0, 1.0]),
    ],
)
def test_one_rule_at_every_kink(function, x, expected):
    assert np.allclose(gradient(function, x)[0], expected, rtol=1e-15)


@pytest.mark.parametrize("function", [mt.maximum, mt.minimum])
def test_a_tie_of_two_shares_evenly(function):
    assert gradient(function, [2.0], [2.0]) == [[0.5], [0.5]]


def test_a_tie_with_a_bound_shares_with_the_bound():
    assert gradient(lambda x, low: mt.clip(x, low), [1.0, 0.0], [1.0, 1.0]) == [[0.5, 0.0], [0.5, 1.0]]


def test_logsumexp_of_infinities():
    inf = math.inf
    assert mt.logsumexp(mt.asarray([-inf, -inf])).item() == -inf
    assert mt.logsumexp(mt.asarray([-inf, 2.0])).item() == 2.0
    assert gradient(mt.logsumexp, [-inf, -inf]) == [[0.0, 0.0]]
    assert gradient(mt.logsumexp, [-inf, 2.0]) == [[0.0, 1.0]]
    assert mt.logsumexp(mt.asarray([1000.0, 1000.0])).item() == pytest.approx(1000.0 + math.log(2.0))


@pytest.mark.parametrize("function", [F.sigmoid, F.softplus, F.silu, F.gelu, F.elu, mt.tanh, F.softmax, F.log_softmax])
def test_no_overflow_far_out(function):
    x = [[-1e4, -90.0, 0.0, 90.0, 1e4]]
    value = function(mt.asarray(x)).data
    assert np.isfinite(value).all()
    assert np.isfinite(gradient(function, x)[0]).all()


def test_losses_far_out():
    far = [[-1e4, 1e4]]
    assert F.binary_cross_entropy_with_logits(far, [[0.0, 1.0]]).item() == 0.0
    assert F.binary_cross_entropy_with_logits(far, [[1.0, 0.0]]).item() == 1e4
    assert F.cross_entropy(far, [0]).item() == 2e4
    assert gradient(lambda x: F.cross_entropy(x, [0]), far) == [[[-1.0, 1.0]]]


def test_a_fully_masked_row_and_nan_in_padding():
    q, k, v = (np.random.default_rng(i).standard_normal((1, 2, 3, 4)) for i in range(3))
    mask = np.array([[True, True, False], [False, False, False], [True, False, False]])
    k[..., 2, :], v[..., 2, :] = np.nan, np.inf

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, mask=mask)

    out = attend(mt.asarray(q), mt.asarray(k), mt.asarray(v)).data
    assert np.isfinite(out).all() and not out[..., 1, :].any()
    gq, gk, gv = (np.array(g) for g in gradient(attend, q, k, v))
    assert np.isfinite(gq).all() and not gq[..., 1, :].any()
    assert np.isfinite(gk).all() and np.isfinite(gv).all()
    assert not gk[..., 2, :].any() and not gv[..., 2, :].any()


def test_ieee_at_the_edges():
    with np.errstate(all="ignore"):
        assert mt.divide(mt.asarray([1.0, 0.0]), 0.0).tolist()[0] == math.inf
        assert math.isnan(mt.log(mt.asarray(-1.0)).item())
        assert math.isnan(mt.max(mt.asarray([1.0, math.nan])).item())
