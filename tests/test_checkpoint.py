"""mt.checkpoint: the same numbers in less memory."""

import gc
import itertools
import random
import weakref

import numpy as np
import pytest

import minitensor as mt


def make(seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [mt.tensor(rng.normal(size=(4, 4)), dtype=dtype, requires_grad=True) for _ in range(3)]


def block(x, w):
    return mt.tanh(x @ w) * x + mt.sin(w)


def test_gradients_equal_those_without():
    x, w, v = make()
    plain = mt.grad((block(block(x, w), v) ** 2).sum(), [x, w, v])
    kept = mt.grad((mt.checkpoint(block, mt.checkpoint(block, x, w), v) ** 2).sum(), [x, w, v])
    for a, b in zip(plain, kept):
        np.testing.assert_array_equal(a.data, b.data)


def test_weights_of_the_enclosing_function_get_gradients():
    x, w, v = make()
    h = mt.cos(v)  # an outer intermediate, itself used inside and beside

    def fn(x):
        return block(x, w) * h

    for first in (fn, lambda x: mt.checkpoint(fn, x)):
        x.grad = w.grad = v.grad = None
        h = mt.cos(v)
        (first(x) + h * w).sum().backward()
        grads = [p.grad.data.copy() for p in (x, w, v)]
        if first is fn:
            expected = grads
    for a, b in zip(expected, grads):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_an_argument_computed_from_another():
    x, w, _ = make()

    def loss(run):
        y = mt.exp(w * 0.1)
        return run(lambda y, w: block(y, w) + y, y, w).sum()

    plain = mt.grad(loss(lambda fn, *args: fn(*args)), [w])[0]
    kept = mt.grad(loss(mt.checkpoint), [w])[0]
    np.testing.assert_allclose(plain.data, kept.data, rtol=1e-14)


def test_second_derivative():
    x, w, _ = make()

    def twice(run):
        (g,) = mt.grad((run(block, x, w) ** 2).sum(), [x], create_graph=True)
        return mt.grad((g * g).sum(), [x, w])

    for a, b in zip(twice(lambda fn, *args: fn(*args)), twice(mt.checkpoint)):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


def test_random_bits_are_drawn_again_and_the_generator_goes_on_from_where_it_was():
    x = mt.ones((64, 64), requires_grad=True)

    def noisy(x):
        return x * mt.random.uniform((64, 64))

    mt.random.seed(7)
    out = mt.checkpoint(noisy, x)
    after = mt.random.default.state
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.data, out.data)
    assert mt.random.default.state == after


def test_nothing_inside_is_kept():
    x = mt.ones((100, 100), requires_grad=True)
    references = []

    def fn(x):
        inner = mt.exp(x)
        references.append(weakref.ref(inner.data))
        return mt.exp(inner * 0.1)

    gc.disable()
    try:
        out = mt.checkpoint(fn, x)
        assert references[0]() is None
        out.sum().backward()
        assert all(reference() is None for reference in references) and len(references) == 2
    finally:
        gc.enable()


def test_two_parents_that_share_one_gradient():
    x, w, _ = make()
    y, z = mt.exp(x), mt.exp(w)
    (mt.checkpoint(lambda a, b: (a + b) * 1.0, y, z) * 3 + y * 5 + z * 7).sum().backward()
    np.testing.assert_allclose(x.grad.data, 8 * np.exp(x.data))
    np.testing.assert_allclose(w.grad.data, 10 * np.exp(w.data))


def test_hooks_run_once():
    x, w, _ = make()
    calls = []
    w.register_hook(lambda g: calls.append(1))
    mt.checkpoint(lambda x: block(x, w), x).sum().backward()
    assert calls == [1]


def test_an_overwritten_argument_raises():
    x, w, _ = make()
    w.name = "layer.weight"
    out = mt.checkpoint(block, x, w).sum()
    w.assign(0.0)
    with pytest.raises(RuntimeError, match="layer.weight that this op saved has been overwritten"):
        out.backward()


def test_an_overwritten_parameter_inside_raises():
    x, w, _ = make()
    w.name = "layer.bias"
    out = mt.checkpoint(lambda x: mt.exp(x + w), x).sum()
    w.assign(0.0)
    with pytest.raises(RuntimeError, match=r"checkpoint\(.*second run differs.*layer.bias"):
        out.backward()


def test_a_write_elsewhere_does_not_disturb():
    x, w, v = make()
    out = mt.checkpoint(block, x, w).sum()
    v.assign(0.0)
    out.backward()
    assert w.grad is not None


def test_retain_graph_and_freed_graph():
    x, w, _ = make()
    out = mt.checkpoint(block, x, w).sum()
    out.backward(retain_graph=True)
    once = w.grad.data.copy()
    out.backward()
    np.testing.assert_allclose(w.grad.data, 2 * once)
    with pytest.raises(RuntimeError, match="freed"):
        out.backward()


def test_without_gradients_it_is_a_plain_call():
    x, w, _ = make()
    with mt.no_grad():
        assert mt.checkpoint(block, x, w).node is None
    assert mt.checkpoint(lambda x: x, x) is x
    assert mt.checkpoint(lambda a: a + 1, mt.ones(2)).node is None


def test_several_outputs_are_refused():
    x, *_ = make()
    with pytest.raises(TypeError, match="one tensor, not tuple"):
        mt.checkpoint(lambda x: (x, x), x)


def test_chain_of_checkpoints_is_linear():
    x = mt.ones(2, requires_grad=True)
    h = x
    for _ in range(2000):
        h = mt.checkpoint(lambda h: mt.sin(h) + h * 0.1, h)
    h.sum().backward()
    assert np.isfinite(x.grad.data).all()


def test_generators_of_ones_own_draw_the_same_again_and_go_on():
    own, other = mt.random.Generator(3), mt.random.Generator(4)
    x = mt.tensor(np.zeros(64), requires_grad=True)  # 0 times any mask is 0: the result would not tell

    def noisy(t):
        return mt.nn.functional.dropout(t, 0.5, generator=own) + 0.1 * mt.nn.functional.dropout(t, 0.5, generator=other)

    masks = noisy(mt.ones((64,), dtype="float64")).data
    own.state, other.state = (3, 0, 0), (4, 0, 0)
    y = mt.checkpoint(lambda t: mt.checkpoint(noisy, t) * 1.0, x)
    own.words(8)
    state = own.state
    y.sum().backward()
    assert np.array_equal(x.grad.data, masks) and own.state == state


DRAWS = {
    "random": lambda: random.random(),
    "np.random": lambda: np.random.random(),  # noqa: NPY002
    "a NumPy generator": np.random.default_rng(0).random,
    "a counter": itertools.count().__next__,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_second_run_that_differs_is_refused(draw, create_graph):
    x = mt.tensor([1.0, 2.0], requires_grad=True)
    y = mt.checkpoint(lambda t: t * (2.0 + draw()), x)
    with pytest.raises(
        RuntimeError, match=r"checkpoint\(.*second run differs from the first: fn must compute the same"
    ):
        mt.grad(y.sum(), x, create_graph=create_graph)


def test_a_second_run_of_another_shape_kind_or_graph_is_refused():
    x, w, v = make()
    v = mt.tensor(w.numpy(), requires_grad=True)
    for results in ([x * 2.0, x], [x * 2.0, (x * 2.0)[None]], [x * 2.0, 3], [x * 2.0, x.detach() * 2.0], [w, v]):
        left = iter(results)
        y = mt.checkpoint(lambda t, left=left: x * next(left), x)
        with pytest.raises(RuntimeError, match="second run differs from the first"):
            y.sum().backward()


def test_arrays_given_to_a_checkpoint_are_copied():
    x, given, nested = mt.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0]), [np.array([5.0, 6.0])]
    y = mt.checkpoint(lambda t, a, more: t * a * more[0], x, given, nested)
    given[:] = nested[0][:] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [15.0, 24.0]
