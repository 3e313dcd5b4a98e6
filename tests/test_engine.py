"""The promises of the engine: what backward does, in which order, how often, and what
it refuses.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import check_op, gradcheck, gradgradcheck


def leaf(value):
    """A float64 leaf."""
    return mt.tensor(np.asarray(value, dtype=np.float64), requires_grad=True)


def draw(*shape, seed=0):
    """A random float64 leaf."""
    return leaf(np.random.default_rng(seed).standard_normal(shape))


# --- backward and grad ----------------------------------------------------------------------------


def test_gradients_of_leaves_add_up_over_calls():
    x = leaf([1.0, 2.0])
    for count in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * count, 4.0 * count]
    x.grad = None
    assert x.grad is None


def test_what_is_deposited_is_shared_with_nobody():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = np.array([1.0, 1.0])
    (x + y).backward(mt.asarray(g))
    x.grad.assign([99.0, 1.0])
    assert y.grad.tolist() == [1.0, 1.0]
    assert g.tolist() == [1.0, 1.0]


def test_repeated_use_of_one_tensor_in_one_op_and_in_many():
    x = leaf([2.0, -1.0])
    y = x * x + x * 3.0 + mt.exp(x) * x
    y.backward(mt.ones((2,), dtype="float64"))
    expected = 2 * x.data + 3.0 + np.exp(x.data) * (1 + x.data)
    assert np.allclose(x.grad.data, expected, rtol=1e-14)


def test_a_diamond_is_walked_once():
    """Paths double at every step: 2^60 of them, 120 nodes."""
    x = y = leaf(1.0)
    for _ in range(60):
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1.0


def test_views_and_slices_with_repeated_indices():
    x = leaf(np.arange(6.0).reshape(2, 3))
    ids = np.array([0, 0, 1, 0])
    g = np.random.default_rng(0).standard_normal((4, 3))
    y = x.T.T[ids] * 1.0 + x.reshape((6,))[:3]
    y.backward(mt.asarray(g))
    expected = np.zeros((2, 3))
    np.add.at(expected, ids, g)
    expected[0] += g.sum(axis=0)
    assert np.allclose(x.grad.data, expected, rtol=1e-14)


def test_a_loop_over_slices_adds_into_one_buffer():
    x = draw(50, 3)
    total = x[0] * 0.0
    for t in range(50):
        total = total + x[t] * float(t)
    total.backward(mt.ones((3,), dtype="float64"))
    assert np.array_equal(x.grad.data, np.repeat(np.arange(50.0)[:, None], 3, axis=1))


def test_scattered_and_plain_gradients_meet_in_any_order():
    ids = np.array([1, 1, 2])
    for build in (
        lambda x: (x[ids], x * 2.0, x[1:]),
        lambda x: (x * 2.0, x[1:], x[ids]),
        lambda x: (x[1:], x[ids], x * 2.0),
    ):
        x = draw(4, 2)
        total = sum(((part * part).sum() for part in build(x)), start=mt.zeros((), dtype="float64"))
        total.backward()
        counts = 8.0 + np.array([0, 1, 1, 1]) * 2.0 + np.array([0, 2, 1, 0]) * 2.0
        assert np.allclose(x.grad.data, x.data * counts[:, None], rtol=1e-13)


def test_zero_size_and_0d():
    x = draw(0, 3)
    y = draw(3)
    out = (x * y).sum() + (y * y).sum()
    out.backward()
    assert x.grad.shape == (0, 3)
    assert np.allclose(y.grad.data, 2 * y.data)
    z = leaf(2.0)
    (z**3).backward()
    assert isinstance(z.grad.data, np.ndarray) and z.grad.shape == () and z.grad.item() == 12.0


def test_mixed_dtypes_come_back_in_their_own():
    x = mt.tensor(np.ones(3, dtype=np.float32), requires_grad=True)
    y = leaf(np.full(3, 2.0))
    out = x * y
    assert out.dtype == np.float64
    out.sum().backward()
    assert x.grad.dtype == np.float32 and y.grad.dtype == np.float64
    assert (x * 2).dtype == (x * 2.5).dtype == (x / 3).dtype == (2**x).dtype == np.float32, (
        "a Python number widens nothing"
    )
    assert (mt.arange(3) * x).sum().dtype in (np.float32, np.float64)


def test_retained_gradients_of_intermediate_results():
    x = leaf([1.0, 2.0])
    y = x * 3.0
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0]
    assert x.grad.tolist() == [18.0, 36.0]


def test_hooks_see_the_whole_gradient_once_and_may_change_it():
    x = leaf([1.0, 2.0])
    seen = []
    y = x * 1.0
    remove = y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10.0)
    (y * 2.0 + y * y).sum().backward()
    assert seen == [[4.0, 6.0]]
    assert x.grad.tolist() == [40.0, 60.0]
    remove()
    z = x * y.detach()
    z.sum().backward()
    assert len(seen) == 1


def test_a_hook_of_another_shape_is_refused():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"hook returned a gradient of shape \(\) for a tensor of shape \(2,\)"):
        x.sum().backward()


def test_grad_leaves_deposits_alone():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    gx, gy = mt.grad((x * y).sum(), [x, y])
    assert gx.tolist() == [3.0, 4.0] and gy.tolist() == [1.0, 2.0]
    assert x.grad is None and y.grad is None


def test_grad_of_several_outputs_and_of_intermediate_results():
    x = leaf([1.0, 2.0])
    y = x * x
    z = y * 3.0
    g = mt.asarray(np.array([1.0, -1.0]))
    assert mt.grad([y, z], y, grad_outputs=[g, g]).tolist() == [4.0, -4.0]
    z = x * x * 3.0
    assert mt.grad([z, x * x], x, grad_outputs=[g, g]).tolist() == [8.0, -16.0]


def test_grad_says_what_is_wrong():
    x, y = leaf([1.0]), leaf([1.0])
    with pytest.raises(ValueError, match="do not depend on input 0.*allow_unused=True"):
        mt.grad(x.sum(), y)
    assert mt.grad(x.sum(), [x, y], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="output 0 does not require a gradient"):
        mt.grad(mt.ones((1,)).sum(), x)
    with pytest.raises(RuntimeError, match="input 0 does not require a gradient"):
        mt.grad(x.sum(), mt.ones((1,)))
    with pytest.raises(ValueError, match="1 outputs but 2 grad_outputs"):
        mt.grad(x.sum(), x, grad_outputs=[None, None])


def test_backward_says_what_is_wrong():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"shape \(2,\); a gradient starts from one number"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\), the output \(2,\)"):
        (x * 2).backward(mt.ones((3,)))
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        mt.ones((1,)).backward()
    with pytest.raises(TypeError, match="only floating tensors can require a gradient"):
        mt.tensor([1, 2], requires_grad=True)


def test_a_freed_graph_is_refused_and_a_retained_one_is_not():
    x = leaf([1.0, 2.0])
    y = mt.exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert np.allclose(x.grad.data, 2 * np.exp(x.data))
    with pytest.raises(RuntimeError, match="a second time through a graph that has been freed.*retain_graph=True"):
        y.backward()


# --- higher derivatives ---------------------------------------------------------------------------


def test_three_derivatives_of_a_polynomial_by_grad_and_by_backward():
    x = leaf([1.5, -0.5])
    y = (x**4).sum()
    for expected in (4 * x.data**3, 12 * x.data**2, 24 * x.data):
        y = mt.grad(y, x, create_graph=True)
        assert np.allclose(y.data, expected, rtol=1e-13)
        y = y.sum()
    z = leaf(2.0)
    (z**3).backward(create_graph=True)
    first = z.grad
    z.grad = None
    first.backward()
    assert z.grad.item() == 12.0


def test_third_derivatives_by_differences():
    x, y = draw(2, 3), draw(3, seed=1)

    def second(x, y):
        g = mt.grad((mt.tanh(x) * mt.exp(y) / (x * x + 1.0)).sum(), x, create_graph=True)
        return g * y

    def differentiable(x, y):
        with mt.enable_grad():
            return second(x if x.requires_grad else x.detach().requires_grad_(), y)

    gradcheck(differentiable, [x, y])
    gradgradcheck(differentiable, [x, y])


def test_hessian_of_a_small_network_is_symmetric():
    w = draw(6)
    x = np.random.default_rng(1).standard_normal((5, 2))
    y = mt.tanh(mt.asarray(x) @ w[:4].reshape((2, 2))) @ w[4:]
    (g,) = mt.grad((y * y).mean(), [w], create_graph=True)
    hessian = np.stack([mt.grad(g[i], w, create_graph=True).data for i in range(6)])
    assert np.abs(hessian).max() > 0.01
    assert np.allclose(hessian, hessian.T, rtol=1e-12, atol=1e-14)


# --- switches -------------------------------------------------------------------------------------


def test_no_grad_records_nothing_and_changes_no_bit():
    x, y = draw(3, 4), draw(4, seed=1)

    def compute():
        return mt.tanh(x @ y[:, None]).sum() * x.mean()

    recorded = compute()
    with mt.no_grad():
        plain = compute()
        with mt.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert not plain.requires_grad and recorded.requires_grad
    assert plain.data.tobytes() == recorded.data.tobytes()


def test_no_grad_as_a_decorator_and_after_an_error():
    @mt.no_grad()
    def double(x):
        return x * 2

    x = leaf([1.0])
    assert not double(x).requires_grad and not double(x).requires_grad
    with pytest.raises(KeyError), mt.no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_anomaly_in_forward_names_op_line_and_operands():
    x = leaf([1.0, -1.0, 4.0])
    with mt.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
        mt.log(x * 1.0)
    message = str(caught.value)
    assert message.startswith("log: non-finite value in forward, called at") and "test_engine.py:" in message
    assert "result: (3,) float64" in message and "1 NaN, 0 infinite" in message
    assert "x: (3,) float64, finite values from -1 to 4" in message


def test_anomaly_in_backward_names_op_input_and_line():
    x = leaf([0.0, 4.0])
    with mt.detect_anomaly(), np.errstate(all="ignore"):
        y = mt.sqrt(x).sum()
        with pytest.raises(FloatingPointError) as caught:
            y.backward()
    message = str(caught.value)
    assert (
        message.startswith("sqrt: non-finite value in backward, gradient of x, called at")
        and "test_engine.py:" in message
    )
    assert "1 infinite" in message


def test_without_detect_anomaly_arithmetic_is_ieee():
    with np.errstate(all="ignore"):
        assert np.isnan(mt.log(leaf([-1.0])).data).all()


# --- stale values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda w, x: x @ w,
        lambda w, x: x @ w.T,
        lambda w, x: x * w.reshape((9,))[3:6],
        lambda w, x: x * w.detach()[1],
        lambda w, x: mt.nn.functional.linear(x, w),
    ],
    ids=["itself", "transposed", "slice of a view", "detached", "fused"],
)
def test_a_saved_value_overwritten_since_is_refused_by_name(use):
    import minitensor.nn.functional  # noqa: F401  (mt.nn)

    w, x = draw(3, 3), draw(3, 3, seed=1)
    w.name = "encoder.weight"
    y = use(w, x).sum()
    w.assign(np.zeros((3, 3)))
    with pytest.raises(RuntimeError, match="the value of encoder.weight that this op saved has been overwritten"):
        y.backward()
    use(w, x).sum().backward()


def test_an_update_that_no_rule_saw_is_no_error():
    w, x, other = draw(3), draw(3, seed=1), draw(3, seed=2)
    y = (w + x).sum() + (x * 2.0).sum()  # w is not saved: addition needs no operand
    w.assign(0.0)
    other.assign(1.0)
    y.backward()
    assert w.grad.tolist() == [1.0] * 3


def test_one_part_of_a_flat_buffer_does_not_stale_another():
    flat = np.zeros(6)
    a, b = mt.asarray(flat[:3]).requires_grad_(), mt.asarray(flat[3:]).requires_grad_()
    y = (a * a).sum()
    b.assign(1.0)
    y.backward()
    y = (b * b).sum()
    a.assign(1.0)
    b.assign(2.0)
    with pytest.raises(RuntimeError, match="overwritten"):
        y.backward()


def test_values_are_not_written_to():
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 5.0
    with pytest.raises(TypeError, match="tensors are values"):
        x[0] = 5.0
    y = x
    y += 1.0
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [2.0, 3.0]
    with pytest.raises(RuntimeError, match="assign on the result of an op"):
        (x * 2).assign(0.0)
    with pytest.raises(ValueError, match=r"has shape \(2,\), the value \(3,\)"):
        x.assign(np.zeros(3))


# --- users' own ops -------------------------------------------------------------------------------


@mt.op
def scaled_tanh(xp, x, y, *, scale=1.0):
    """``scale * tanh(x * y)``."""
    return scale * xp.tanh(x * y)


scaled_tanh.vjp(
    lambda g, y, out, scale: g * y * (scale - out * out / scale),
    lambda g, x, out, scale: g * x * (scale - out * out / scale),
)


@mt.fused
def scaled_square(x, w, *, power=2.0):
    """``w * x ** power``."""
    return w * x**power


@scaled_square.kernel
def _(xp, x, w, *, power=2.0):
    def backward(g):
        return g * w * power * x ** (power - 1.0), g * x**power

    return w * x**power, backward


def test_a_users_op_is_checked_by_one_call():
    x, y = draw(2, 3), draw(3, seed=1)
    check_op(scaled_tanh, [x, y], keywords={"scale": 1.5}, reference=lambda x, y, scale: scale * np.tanh(x * y))
    assert scaled_tanh(x, y, scale=2.0).requires_grad


def test_a_users_fused_op_is_checked_by_one_call():
    check_op(scaled_square, [draw(2, 3), draw(2, 3, seed=1)], keywords={"power": 3.0})


def test_rules_are_checked_when_they_are_given():
    with pytest.raises(TypeError, match="vjp needs 2 rule"):
        scaled_tanh.vjp(lambda g: g)

    @mt.op
    def odd(xp, x):
        return x

    odd.vjp(lambda g, z: g * z)
    with pytest.raises(TypeError, match="a rule of odd asks for 'z'"):
        odd(leaf([1.0]))


def test_a_gradient_of_a_wrong_shape_is_refused():
    @mt.op
    def odd(xp, x):
        return x * 2.0

    odd.vjp(lambda g: g[..., :1].sum() * g[:1, :1].repeat(3, axis=1))
    with pytest.raises(
        RuntimeError, match=r"a rule returned a gradient of shape \(1, 3\) for an input of shape \(2, 3\)"
    ):
        odd(draw(2, 3)).sum().backward()


def test_arguments_by_keyword_and_by_position():
    x = leaf([[3.0, 1.0], [2.0, 5.0]])
    assert mt.sum(x, 1).tolist() == mt.sum(x, axis=1).tolist() == x.sum(1).tolist()
    assert mt.multiply(x=x, y=2.0).tolist() == (x * 2.0).tolist()
    with pytest.raises(TypeError, match="multiply: the argument 'y' is missing"):
        mt.multiply(x)
    with pytest.raises(TypeError, match="multiply takes 2 arguments, got 3"):
        mt.multiply(x, x, x)
