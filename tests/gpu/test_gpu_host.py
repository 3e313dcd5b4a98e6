"""On a real GPU: what spares the host work gives the CPU's results."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.backend import namespace
from minitensor.models.decoding_steps import fetched, top
from minitensor.models.sampling import _draw
from tests.backend.parity import check_parity
from tests.backend.test_fake_gradients import both
from tests.optim.test_deferred import KINDS, Run

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("p", [0.3, 1e-5])  # 1e-5 takes 64 random bits an element
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_is_that_of_the_cpu_bit_for_bit(p, dtype):
    x = np.random.default_rng(0).standard_normal((300, 333)).astype(dtype)
    check_parity(lambda x: F.dropout(x, p), [x], rtol=0, atol=0)


def test_relu():
    check_parity(F.relu, [np.random.default_rng(0).standard_normal((70, 33))], rtol=0, atol=0)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-4), (np.float64, 1e-11)])
def test_products_are_written_where_they_belong(dtype, tolerance):
    xp, rng = namespace("cuda"), np.random.default_rng(0)
    a, b = (rng.uniform(-1, 1, (300, n)).astype(dtype) for n in (40, 56))
    flat = xp.zeros(40 * 56 + 32, dtype=dtype)
    for home in (flat[16 : 16 + 40 * 56].reshape(40, 56), xp.zeros((56, 40), dtype=dtype).T):
        assert xp.matmul(xp.asarray(a).T, xp.asarray(b), out=home) is home
        np.testing.assert_allclose(home.get(), a.T @ b, rtol=tolerance, atol=tolerance)
    assert not flat[:16].get().any() and not flat[-16:].get().any()


def test_gradients_in_the_flat_buffer_are_those_of_the_cpu():
    both(lambda model: [model.loss().backward() for _ in range(2)])


@pytest.mark.parametrize("width", [7, 8000, 50257])
def test_the_most_probable_tokens_are_numpys(width):
    values = np.random.default_rng(0).integers(0, 5, (9, width)).astype(np.float32)  # many equals
    values[3], values[4, -1] = -np.inf, np.nan
    there = mt.tensor(values, device="cuda")
    ids, best = fetched(there.argmax(axis=-1), there.max(axis=-1))
    assert np.array_equal(best, values.max(axis=-1), equal_nan=True)
    assert np.array_equal(ids[:4], values.argmax(axis=-1)[:4]) and np.array_equal(ids[5:], values.argmax(axis=-1)[5:])


@pytest.mark.parametrize("width, count", [(7, 3), (8000, 6), (50257, 11)])
def test_the_best_of_each_row_are_numpys(width, count):
    values = np.random.default_rng(1).normal(size=(9, width))
    (best, places), (found, there) = top(values, count), top(mt.tensor(values, device="cuda"), count)
    there, found = fetched(there, found)
    assert np.array_equal(np.sort(found), np.sort(best)) and np.array_equal(np.sort(there), np.sort(places))
    uniform = np.random.default_rng(2).uniform(size=9)
    for kept in ((None, None), (count, None), (count, 0.9)):
        drawn = _draw(mt.tensor(values, device="cuda"), *kept, mt.tensor(uniform, device="cuda"))
        assert np.array_equal(drawn.to("cpu").numpy(), _draw(values, *kept, uniform))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_not_finite_is_left_out_on_the_gpu(kind):
    run, left = Run(KINDS[kind], "cuda", "float32"), Run(KINDS[kind], "cuda", "float32")
    for spoilt in (None, None, "inf", None):
        run.step(spoilt)
    for _ in range(2):
        left.step()
    assert run.check.read()[1] == 2 and run.state() == left.state()
