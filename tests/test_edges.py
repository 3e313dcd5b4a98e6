"""NaN, infinities, padding and empty sums at the places where a short cut would go wrong."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim


def test_nan_in_a_log_sum_stays_nan():
    x = mt.tensor([[np.nan, 1.0], [-np.inf, -np.inf], [0.0, 0.0]])
    np.testing.assert_array_equal(mt.logsumexp(x, axis=-1).data[:2], [np.nan, -np.inf])
    assert np.isnan(F.log_softmax.definition(x[:1]).data).all()


NAN_AT = {  # functions of a row whose value and whole gradient are NaN if one element is
    "logsumexp": lambda x: mt.logsumexp(x, axis=-1),
    "logaddexp": lambda x: mt.logaddexp(x[0], mt.logaddexp(x[1], x[2])),
    "max": lambda x: mt.max(x, axis=-1),
    "norm": mt.norm,
    "std": mt.std,
    "softmax": lambda x: F.softmax(x)[0],
    "log_softmax": lambda x: F.log_softmax(x)[0],
    "layer_norm": lambda x: F.layer_norm(x)[0],
    "rms_norm": lambda x: F.rms_norm(x)[0],
    "cross_entropy": lambda x: F.cross_entropy(x, 1),
    "attention": lambda x: F.scaled_dot_product_attention(x[:1, None], x[:, None], np.ones((3, 1))).sum(),
}


@pytest.mark.parametrize("name", NAN_AT)
def test_a_value_that_is_nan_has_no_clean_gradient(name):
    # A zero would let an optimiser step on as if nothing were.
    x = mt.tensor([np.nan, 1.0, 2.0], requires_grad=True)
    for create_graph in (False, True):
        with np.errstate(invalid="ignore"):
            y = NAN_AT[name](x)
            (slope,) = mt.grad(y, [x], create_graph=create_graph)
        assert np.isnan(y.item())
        assert np.isnan(slope.data).all(), slope


def test_infinite_elements_share_the_gradient_of_a_log_sum():
    x = mt.tensor([[np.inf, 1.0, np.inf], [-np.inf] * 3, [np.inf, np.nan, 0.0]], requires_grad=True)
    slope = mt.grad(mt.logsumexp(x, axis=-1), x, mt.ones(3)).data
    np.testing.assert_array_equal(slope, [[0.5, 0.0, 0.5], [0.0] * 3, [np.nan] * 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_weight_of_a_sure_class_has_a_gradient_with_all_its_digits(smoothing):
    # The loss is log(1 + exp(-32)), of which log(sum) - max knows not one digit.
    logits, weight = np.array([[0.0, -32.0]]), nn.Parameter(np.array([1.5, 0.5]))
    options = {"label_smoothing": smoothing, "reduction": "sum"}
    (found,) = mt.grad(F.cross_entropy(logits, [0], weight, **options), [weight])
    log_p = np.array([-np.log1p(np.exp(-32.0)), -32.0 - np.log1p(np.exp(-32.0))])
    want = -(1 - smoothing) * log_p * [1, 0] - smoothing / 2 * log_p
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-13)


def test_a_class_without_probability_has_finite_gradients_of_every_order():
    logits = mt.tensor([[0.0, -np.inf, 1.0]], requires_grad=True)
    weight = mt.ones(3, requires_grad=True)
    first = mt.grad(F.cross_entropy(logits, [0], weight), [logits, weight], create_graph=True)
    assert all(np.isfinite(g.data).all() for g in first)
    assert np.isfinite(mt.grad((first[0] * first[0]).sum(), logits).data).all()


def test_a_query_that_sees_nothing_gives_zeros_whatever_it_is():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 3, 4)) for _ in range(3))
    q[:, :, 1] = np.nan
    mask = np.ones((3, 3), dtype=bool)
    mask[1] = False
    tensors = [mt.tensor(x, requires_grad=True) for x in (q, k, v)]
    for create_graph in (False, True):
        y = F.scaled_dot_product_attention(*tensors, mask)
        assert (y.data[:, :, 1] == 0).all()
        for g in mt.grad((y * y).sum(), tensors, create_graph=create_graph):
            assert np.isfinite(g.data).all()


def test_a_mask_of_keys_alone_serves_every_derivative():
    x = mt.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    mask = mt.tensor([True, False, True])
    plain, wide = (F.scaled_dot_product_attention(x, x, x, m) for m in (mask, mask.broadcast_to((3, 3))))
    assert np.array_equal(plain.data, wide.data)
    first = mt.grad((plain * plain).sum(), x, create_graph=True)
    assert np.isfinite(mt.grad((first * first).sum(), x).data).all()


def test_a_negative_padding_index_counts_from_the_end():
    table = mt.ones((3, 2), requires_grad=True)
    F.embedding([0, 2], table, padding_idx=-1).sum().backward()
    assert table.grad.tolist() == [[1, 1], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match="padding_idx 3 is outside a table of 3 rows"):
        F.embedding([0], table, padding_idx=3)
    with pytest.raises(ValueError, match=r"must be a table \(n, d\)"):
        F.embedding([0], mt.ones(3))


def test_einsum_repeats_an_axis_of_length_one_by_letter():
    rng = np.random.default_rng(0)
    x, y = mt.tensor(rng.standard_normal(5), requires_grad=True), mt.tensor(rng.standard_normal(1), requires_grad=True)
    gx, gy = mt.grad(mt.einsum("i,i->", x, y), [x, y])
    np.testing.assert_allclose(gx.data, np.repeat(y.data, 5))
    np.testing.assert_allclose(gy.data, [x.data.sum()])


def test_a_large_einsum_goes_by_matrix_products():
    rng = np.random.default_rng(0)
    x, w = (mt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((4, 16, 32), (64, 32)))
    y, plain = mt.einsum("btd,ed->bte", x, w), x @ w.mT
    np.testing.assert_allclose(y.data, plain.data, rtol=1e-12)
    g = rng.standard_normal(y.shape)
    for ours, theirs in zip(mt.grad(y, [x, w], g), mt.grad(plain, [x, w], g)):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)


@pytest.mark.parametrize("op", [mt.var, mt.std])
def test_the_spread_of_nothing_and_of_one(op):
    x = mt.ones((0, 3), requires_grad=True)
    assert mt.grad(op(x, axis=1).sum(), x).shape == (0, 3)
    with np.errstate(all="ignore"):
        one = mt.ones(1, requires_grad=True)
        with pytest.warns(RuntimeWarning):
            y = op(one, ddof=1)
        assert np.isnan(mt.grad(y, one).data).all()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="n_heads must be a positive integer, got 0"):
        nn.MultiHeadAttention(8, 0)
    with pytest.raises(ValueError, match="delta must be positive"):
        F.huber_loss(mt.ones(1), mt.ones(1), delta=0.0)
    with pytest.raises(ValueError, match="broadcast"):
        F.binary_cross_entropy_with_logits(mt.ones((3, 1)), mt.ones((3, 1)), weight=mt.ones(4))


def test_an_optimiser_takes_one_tensor():
    w = mt.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    optim.SGD(w, lr=0.5).step()
    assert w.tolist() == [0.0, 0.0]


def test_the_checks_are_reached_from_the_package():
    assert mt.testing.gradcheck(mt.tanh, [mt.tensor([0.5])])


def test_convolutions_refuse_steps_and_padding_that_cannot_be():
    for settings in ({"stride": 0}, {"padding": -1}, {"stride": (1, 0)}):
        with pytest.raises(ValueError, match="(stride|padding) must be .* integer"):
            F.conv2d(mt.ones((1, 1, 3, 3)), mt.ones((1, 1, 2, 2)), **settings)


def test_one_hot_refuses_what_is_no_class():
    with pytest.raises(IndexError, match="one_hot: id 3 is not a class: there are 3"):
        F.one_hot([0, 3], 3)
    with pytest.raises(IndexError, match="one_hot: id -1 is not a class"):
        F.one_hot([0, -1], num_classes=3)
    with pytest.raises(ValueError, match="one_hot: num_classes must be a number of classes"):
        F.one_hot([0], -2)
    with pytest.raises(ValueError, match="one_hot: no ids to count the classes by: say num_classes"):
        F.one_hot(mt.zeros((0,), dtype="int64"))
    assert F.one_hot([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]] and F.one_hot(
        mt.zeros((2, 0), dtype="uint8"), 4
    ).shape == (2, 0, 4)


def test_one_number_is_formatted_as_a_number():
    assert f"{mt.tensor(1.5):.2f} {mt.tensor([2])}" == "1.50 tensor([2])"
    with pytest.raises(ValueError, match="item"):
        f"{mt.ones(3):.2f}"


def test_an_op_without_rules_does_not_drop_gradients():
    doubled = mt.op(_double)
    assert not doubled(mt.ones(2)).requires_grad
    with pytest.raises(RuntimeError, match="_double has no gradient rules"):
        doubled(mt.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="first parameter of <lambda> must be xp"):
        mt.op(lambda x: x)


def _double(xp, x):
    return 2 * x


def test_whole_division_has_the_signs_of_numpy():
    x, y = mt.tensor([-7.0, 7.0, 5.5], requires_grad=True), mt.tensor([2.0, -2.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal((x // y).numpy(), [-4, -4, 2])
    np.testing.assert_array_equal((x % y).numpy(), [1, -1, 1.5])
    assert (mt.tensor([7]) // 2).dtype == np.int64 and int(7 % mt.tensor([4])) == 3


def test_a_parameter_is_not_replaced_by_a_constant():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter.*assign"):
        layer.weight = mt.ones((2, 2))
    layer.bias = None
    layer.weight = nn.Parameter(mt.ones((2, 2)))
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_module_cast_between_forward_and_backward_is_noticed():
    layer = nn.Linear(2, 2)
    loss = layer(mt.ones((1, 2))).sum()
    layer.astype("float64")
    with pytest.raises(RuntimeError, match="moved or cast between forward and backward"):
        loss.backward()
    layer(mt.ones((1, 2), dtype="float64")).sum().backward()
    assert layer.weight.grad.dtype == np.float64


def test_what_is_no_number_is_unequal():
    x = mt.ones(2)
    assert not (x == None) and x != None and x != "one"  # noqa: E711
    with pytest.raises(TypeError, match="not supported"):
        x < "one"  # noqa: B015


def test_padding_of_nan_spares_the_weights_of_attention_alone():
    mt.random.seed(0)
    attention = nn.MultiHeadAttention(4, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    mask = nn.padding_mask([4, 2])
    clean = x.copy()
    x[1, 2:], clean[1, 2:] = np.nan, 0.0
    found = [mt.grad(attention(mt.tensor(v), mask=mask)[:, :2].sum(), list(attention.parameters())) for v in (x, clean)]
    for a, b in zip(*found):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_a_batch_without_targets_is_refused():
    with pytest.raises(ValueError, match="no target counts"):
        F.cross_entropy(mt.zeros((2, 3)), [-100, -100])
    assert F.cross_entropy(mt.zeros((2, 3)), [-100, -100], reduction="sum").item() == 0


def test_calls_in_the_wrong_order_are_told_the_right_one(tmp_path):
    with pytest.raises(TypeError, match="path comes first"):
        mt.save({"a": 1}, tmp_path / "x")
    with pytest.raises(TypeError, match=r"model\.parameters\(\)"):
        optim.Adam(nn.Linear(2, 2))


def test_check_op_takes_strategies_alone_and_in_lists():
    from minitensor.testing import check_op, strategies

    assert check_op(mt.tanh, strategies.tensors()).checked > 0
    assert check_op(mt.multiply, [strategies.tensors(shape=(2, 3)), mt.ones(3, dtype="float64")]).checked > 0
    with pytest.raises(AssertionError, match="no derivative was compared"):
        check_op(mt.tanh, [np.array([1, 2, 3])])


def test_a_switch_may_be_used_again_and_as_a_decorator():
    off, x = mt.no_grad(), mt.ones(3, requires_grad=True)
    with off:
        with off:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    with off:
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    doubled = off(lambda x: x * 2)
    assert not doubled(x).requires_grad and (x * 2).requires_grad
