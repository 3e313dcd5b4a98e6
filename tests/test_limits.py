"""Losses and activations at infinities, far out, for confident scores, and of nothing: value,
gradient and second derivative.

The gradient is asked for twice, of the kernels and of the recorded definitions.
"""

import math

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from tests.backend.parity import nowhere

INF, NAN = math.inf, math.nan


def derivatives(function, *values, dtype="float64"):
    """The value, the gradients of its sum (plain and recorded) and those of the sum of the
    gradients' squares.
    """
    leaves = [mt.tensor(v, dtype=dtype, requires_grad=True) for v in values]
    value = function(*leaves)
    plain = mt.grad(value.sum(), leaves)
    recorded = mt.grad(function(*leaves).sum(), leaves, create_graph=True)
    squares = sum((g * g).sum() for g in recorded)
    # Empty if slopes are constant.
    second = mt.grad(squares, leaves, allow_unused=True) if squares.requires_grad else []
    return value, plain, recorded, [g for g in second if g is not None]


def tail(x):
    """``log(1 + exp(-x))`` of a large x."""
    return math.log1p(math.exp(-x))


def bce(target):
    return lambda x: F.binary_cross_entropy_with_logits(x, mt.full(x.shape, target, dtype=x.dtype), reduction="none")


def huber(x):
    return F.huber_loss(x, mt.zeros_like(x), reduction="none")


S20 = 1.0 / (1.0 + math.exp(20.0))  # sigmoid(-20)
# Function, argument, value, slope.
POINTS = [
    (F.softplus, INF, INF, 1.0), (F.softplus, -INF, 0.0, 0.0), (F.softplus, -20.0, tail(20.0), S20), (F.softplus, 1e30, 1e30, 1.0),
    (F.sigmoid, INF, 1.0, 0.0), (F.sigmoid, -INF, 0.0, 0.0), (F.sigmoid, -20.0, S20, S20 * (1 - S20)),
    (F.sigmoid, 20.0, 1 - S20, S20 * (1 - S20)),
    (F.silu, INF, INF, 1.0), (F.silu, -INF, 0.0, 0.0), (F.silu, -20.0, -20.0 * S20, S20 * (1 - 20.0 * (1 - S20))),
    (F.silu, 1e30, 1e30, 1.0),
    (F.gelu, INF, INF, 1.0), (F.gelu, -INF, 0.0, 0.0), (F.gelu, 1e30, 1e30, 1.0), (F.elu, -INF, -1.0, 0.0),
    (lambda x: F.gelu(x, approximate="tanh"), INF, INF, 1.0), (lambda x: F.gelu(x, approximate="tanh"), -1e30, 0.0, 0.0),
    (huber, INF, INF, 1.0), (huber, -INF, INF, -1.0), (huber, 1e30, 1e30, 1.0),
    (bce(1.0), INF, 0.0, 0.0), (bce(1.0), -INF, INF, -1.0), (bce(0.0), INF, INF, 1.0), (bce(0.0), -INF, 0.0, 0.0),
    (bce(1.0), 20.0, tail(20.0), -S20), (bce(1.0), 10.0, tail(10.0), -1 / (1 + math.exp(10.0))), (bce(0.0), -20.0, tail(20.0), S20),
    (bce(1.0), 0.0, math.log(2.0), -0.5), (bce(0.25), 20.0, 15.0 + tail(20.0), 0.75 - S20),
    (bce(0.25), -20.0, 5.0 + tail(20.0), S20 - 0.25),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("function", "x", "value", "slope"), POINTS)
def test_value_and_slope_are_the_limits_and_right_to_rounding(function, x, value, slope, dtype):
    close = dict(rtol=20 * np.finfo(dtype).eps, atol=0)
    found, plain, recorded, second = derivatives(function, [x], dtype=dtype)
    np.testing.assert_allclose(found.numpy(), [value], **close)
    for g in (*plain, *recorded):
        np.testing.assert_allclose(g.numpy(), [slope], **close)
    assert all(np.isfinite(g.numpy()).all() for g in second)


@pytest.mark.parametrize("x", [0.0, 0.5, -0.5, 20.0, -20.0])
def test_the_second_derivative_of_confident_answers(x):
    curvature = math.exp(-abs(x)) / (1.0 + math.exp(-abs(x))) ** 2  # s(x) s(-x)
    for function in (F.softplus, bce(1.0), bce(0.0), bce(0.25)):
        leaf = mt.tensor([x], requires_grad=True)
        first = mt.grad(function(leaf).sum(), leaf, create_graph=True)
        np.testing.assert_allclose(mt.grad(first.sum(), leaf).numpy(), [curvature], rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_a_confident_cross_entropy_keeps_its_digits(shift):
    scores, exact = [[shift + 20.0, shift]], tail(20.0)
    losses = [
        lambda x: F.cross_entropy(x, [0]),
        lambda x: F.nll_loss(F.log_softmax(x), [0]),
        lambda x: F.cross_entropy(x, mt.tensor([[1.0, 0.0]])),
    ]
    for loss in losses:
        value, plain, recorded, _ = derivatives(loss, scores, dtype="float32")
        np.testing.assert_allclose(value.numpy(), exact, rtol=1e-6)
        for g in (*plain, *recorded):
            np.testing.assert_allclose(g.numpy(), [[-S20, S20]], rtol=1e-6)
    np.testing.assert_allclose(F.log_softmax(mt.tensor(scores)).numpy(), [[-exact, -20.0]], rtol=1e-6)


@pytest.mark.parametrize(("norm", "row"), [(F.layer_norm, [3.0, -1.0, 2.0, 0.5]), (F.rms_norm, [3.0, -1.0, 2.0, 0.5])])
@pytest.mark.parametrize("size", [1e-30, 1e20, 1e30])
def test_norms_of_far_rows(norm, row, size):
    """Of huge rows the result is that of rows of ordinary size without eps; the gradient is as much
    smaller as they are larger.
    """
    g, rows = [[1.0, 0.5, -2.0, 0.0]], [row, [x / 2.0 for x in row]]
    far, near = (
        mt.tensor(np.multiply(rows, by), dtype=dtype, requires_grad=True)
        for by, dtype in ((size, "float32"), (1.0, "float64"))
    )
    expected = norm(near, eps=0.0) if size > 1.0 else near * (size / math.sqrt(1e-5))
    if size < 1.0 and norm is F.layer_norm:
        expected = expected - expected.mean(axis=-1, keepdims=True)
    for recorded in (False, True):
        y = norm(far, eps=1e-5)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=2e-6, atol=2e-6 * min(size, 1.0))
        found = mt.grad((y * mt.tensor(g)).sum(), far, create_graph=recorded)
        wanted = mt.grad((expected * mt.tensor(g)).sum(), near, retain_graph=True).numpy()
        np.testing.assert_allclose(found.numpy() * np.float64(size), wanted, rtol=1e-5, atol=1e-6 * min(size, 1.0))


# --- what does not count --------------------------------------------------------------------------


IGNORED = [[0.5, 1.0, -1.0], [NAN, 0.0, INF], [-INF, -INF, -INF], [INF, 0.0, NAN]]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_ignored_reaches_no_gradient_of_any_order(reduction, smoothing):
    labels, weight = np.array([1, -100, -100, -100]), [1.0, 2.0, 0.5]
    soft = mt.tensor([[0.0, 1.0, 0.0], *[[0.0] * 3] * 3])
    plain = dict(reduction=reduction)
    losses = [
        lambda x, w: F.cross_entropy(x, labels, w, label_smoothing=smoothing, **plain),
        lambda x, w: F.cross_entropy(x, labels, label_smoothing=smoothing, **plain) + 0.0 * w.sum(),
        lambda x, w: F.nll_loss(x, labels, w, **plain),
        lambda x, w: F.cross_entropy(x, soft, w, **plain),
        lambda x, w: F.cross_entropy(x, [1, 2, 2, 2], w * mt.tensor([1.0, 1.0, 0.0]), **plain),
        lambda x, w: F.binary_cross_entropy_with_logits(x, mt.ones_like(x), weight=w.sum() * soft.sum(axis=-1)[:, None], **plain),
        lambda x, w: F.kl_div(mt.where(mt.isnan(x), -INF, x), soft, **plain) + 0.0 * w.sum(),
    ]  # fmt: skip
    for loss in losses:
        value, first, recorded, second = derivatives(loss, IGNORED, weight)
        assert np.isfinite(value.numpy()).all()
        for g in (*first, *recorded, *second):
            assert np.isfinite(g.numpy()).all() and (g.ndim == 1 or not g.numpy()[1:].any())
        for a, b in zip(first, recorded):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-15)


def test_a_class_of_share_0_has_no_say_at_minus_infinity():
    value, plain, recorded, _ = derivatives(
        lambda x: F.cross_entropy(x, mt.tensor([[0.0, 1.0, 0.0]])), [[-INF, 0.0, 0.0]]
    )
    assert value.item() == pytest.approx(math.log(2.0), rel=1e-7)
    for g in (*plain, *recorded):
        np.testing.assert_allclose(g.numpy(), [[0.0, -0.5, 0.5]], rtol=1e-7)
    assert F.cross_entropy(mt.tensor([[-INF, 0.0]]), [1], label_smoothing=0.1).item() == INF  # as in PyTorch
    assert F.cross_entropy(mt.tensor([[-INF, 0.0]]), [1], [0.0, 1.0], label_smoothing=0.1).item() == 0.0
    assert F.cross_entropy(mt.tensor([[3.0], [1e30]]), [0, 0]).item() == 0.0


def test_a_key_that_a_query_must_not_see_may_be_huge():
    q, k = np.ones((1, 2, 2), np.float32), np.ones((1, 3, 2), np.float32)
    q[0, 1], k[0, 2] = 1e20, 3e38
    mask = np.array([[True, True, False], [True, False, True]])
    with np.errstate(all="ignore"):  # query 1 sees it, and its row is NaN
        y = F.scaled_dot_product_attention(mt.tensor(q), mt.tensor(k), mt.tensor(k * 0 + 1), mask)
    np.testing.assert_allclose(y.numpy()[0, 0], [1.0, 1.0])


# --- nothing --------------------------------------------------------------------------------------


def attention(**named):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **named)


def layer(kind, *sizes, **named):
    return lambda *x: kind(*sizes).astype("float64")(*x, **named)


NOTHING = [
    (attention(), (2, 3, 4), (2, 0, 4), (2, 0, 5)),
    (attention(is_causal=True, dropout=0.5), (2, 2, 3, 4), (2, 2, 0, 4), (2, 2, 0, 4)),
    (attention(mask=np.ones((1, 0), bool)), (2, 3, 4), (2, 0, 4), (2, 0, 5)), (attention(), (2, 0, 4), (2, 3, 4), (2, 3, 4)),
    (attention(), (0, 3, 4), (0, 3, 4), (0, 3, 4)), (attention(), (2, 3, 0), (2, 3, 0), (2, 3, 4)),
    (lambda x: F.packed_attention(x, 2), (2, 0, 12)), (F.attention_weights, (2, 3, 4), (2, 0, 4)),
    (layer(nn.MultiHeadAttention, 4, 2), (2, 3, 4), (2, 0, 4)), (layer(nn.AdditiveAttention, 3, 4, 5), (2, 3, 3), (2, 0, 4)),
    (layer(nn.DotAttention, 3, 4), (2, 3, 3), (2, 0, 4)), (layer(nn.Transformer, 4, 2, 1, 1, 8), (2, 0, 4), (2, 3, 4)),
    (layer(nn.Transformer, 4, 2, 1, 1, 8), (0, 3, 4), (0, 2, 4)), (lambda x: nn.LSTM(3, 4).astype("float64")(x)[0], (0, 2, 3)),
    (F.softmax, (2, 0)), (F.softmax, (0, 2)), (lambda x: F.softmax(x, axis=0), (0, 2)), (F.log_softmax, (2, 0)),
    (F.log_softmax, (0, 2)),
    (F.layer_norm, (2, 0)), (F.layer_norm, (0, 3), (3,), (3,)), (F.rms_norm, (2, 0)), (F.rms_norm, (0, 3), (3,)),
    (F.linear, (0, 3), (2, 3), (2,)), (F.linear, (4, 0), (2, 0), (2,)), (F.gelu, (0, 3)), (F.silu, (0, 3)), (F.softplus, (0, 3)),
    (F.dropout, (0, 3)), (F.elu, (0, 3)), (lambda w: F.embedding(np.zeros((0, 2), int), w), (3, 2)),
    (F.conv2d, (0, 2, 4, 4), (3, 2, 2, 2)),
    (lambda x, w: F.cross_entropy(x, np.zeros(0, int), w, label_smoothing=0.1, reduction="none"), (0, 3), (3,)),
    (lambda x: F.cross_entropy(x, [-100, -100], reduction="sum"), (2, 0)),
    (lambda x, y: F.cross_entropy(x, y, reduction="sum"), (2, 0), (2, 0)),
    (lambda x: F.nll_loss(x, np.zeros(0, int), reduction="sum"), (0, 3)),
    (lambda x, y: F.huber_loss(x, y, reduction="sum"), (0, 3), (0, 3)),
    (lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="sum"), (0, 3), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize("case", NOTHING)
def test_axes_of_length_0(case):
    """Values are there, and zero if a query meets no key; so are gradients, of the kernels and
    recorded.
    """
    function, *shapes = case
    leaves = [mt.tensor(np.full(shape, 0.5), requires_grad=True) for shape in shapes]
    for recorded in (False, True):
        y = function(*leaves)
        assert np.isfinite(y.numpy()).all()
        for leaf, g in zip(leaves, mt.grad((y * y).sum(), leaves, create_graph=recorded, allow_unused=True)):
            assert g is None or (g.shape == leaf.shape and np.isfinite(g.numpy()).all())
    if function.__qualname__.startswith("attention.") and leaves[1].shape[-2] == 0:
        assert y.shape == (*shapes[0][:-1], shapes[2][-1]) and not y.numpy().any()


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1e-6, 0.001, 0.3, 0.99, 0.999, 0.99999])
def test_the_mean_stays_for_every_probability(p):
    mt.random.seed(0)
    count = int(min(max(400.0 / (1.0 - p), 4e5), 2e7))
    y = F.dropout(mt.ones(count), p).numpy()
    kept = np.count_nonzero(y) / count
    assert abs(kept - (1.0 - p)) < 5.0 * math.sqrt(p * (1.0 - p) / count) + 1e-12
    np.testing.assert_allclose(y.max(), 1.0 / (1.0 - p), rtol=1e-6)


def test_dropout_of_everything_gives_zeros_everywhere():
    x = mt.ones((2, 3, 4), requires_grad=True)
    for y in (
        F.dropout(x, 1.0),
        nn.Dropout(1.0)(x),
        F.scaled_dot_product_attention(x, x, x, dropout=1.0),
        F.dropout(x, 0.9999999),
    ):
        assert y.shape == x.shape and not y.numpy().any() and not mt.grad(y.sum(), x).numpy().any()
    assert np.isfinite(nn.LSTM(4, 4, 2, dropout=1.0)(x)[0].numpy()).all()
    assert np.isfinite(nn.MultiHeadAttention(4, 2, dropout=1.0)(x).numpy()).all()
    far = mt.full(400_000, 1e-3, dtype="float16")
    assert (
        F.dropout(far, 0.99999).astype("float32").mean().item() < 1.0
        and np.isfinite(F.dropout(far, 0.99999).numpy()).all()
    )


@pytest.mark.parametrize(
    "x, of_prod, of_cumprod",
    [
        ([1e-200, 1e-200], [1e-200, 1e-200], [1.0, 1e-200]),  # the product vanishes, its gradient does not
        ([1e200, 1e-300, 1e200], [1e-100, np.inf, 1e-100], [1.0, np.inf, 1e-100]),
        ([2.0, 0.0, 3.0], [0.0, 6.0, 0.0], [1.0, 8.0, 0.0]),
    ],
)
def test_a_product_that_vanishes_or_overflows_has_the_gradient_of_the_other_factors(x, of_prod, of_cumprod):
    with np.errstate(over="ignore"):
        for function, right in ((mt.prod, of_prod), (mt.cumprod, of_cumprod)):
            leaf = mt.tensor(x, dtype="float64", requires_grad=True)
            function(leaf).sum().backward()
            np.testing.assert_allclose(leaf.grad.numpy(), right, rtol=1e-12)


def drawn_nowhere():
    return nowhere(np.random.default_rng(0).standard_normal((2, 4, 3)))


def test_divergence_is_infinite_where_one_row_cannot_have_a_class_and_the_other_can():
    pairs = drawn_nowhere()
    value = F.symmetric_kl_div(pairs).numpy()
    np.testing.assert_allclose(value[:2], F.symmetric_kl_div(pairs[:, :2, [0, 2]]).numpy(), rtol=1e-12)
    np.testing.assert_array_equal(value[2:], [INF, INF])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("last", [-3000.0, -740.0, -95.0, -5.0])  # no probability, subnormal ones, a small one
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_gradient_of_an_infinite_divergence_looks_like_one(dtype, last):
    pairs = drawn_nowhere()
    pairs[1, 3, 0] = last
    _, plain, recorded, _ = derivatives(F.symmetric_kl_div, pairs, dtype=dtype)
    _, (right,), _, _ = derivatives(F.symmetric_kl_div, pairs[:, :2, [0, 2]], dtype=dtype)
    for gradient in (plain[0].numpy(), recorded[0].numpy()):
        np.testing.assert_allclose(gradient[:, :2, [0, 2]], right.numpy(), rtol=1e-5)
        assert not gradient[:, :2, 1].any()
        assert not np.isfinite(gradient[:, 2:, 0]).any()
        assert not np.isfinite(gradient[[0, 1], [2, 3]]).any()  # the rows that can have the class
