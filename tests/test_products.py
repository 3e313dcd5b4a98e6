"""Products and running products with zeros among the factors: every order of derivative, in time
and memory of the input's size.
"""

import time
import tracemalloc

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import gradcheck, gradgradcheck


@pytest.mark.parametrize("op", [mt.prod, mt.cumprod])
@pytest.mark.parametrize(
    ("shape", "axis"), [((1,), 0), ((7,), 0), ((3, 6), -1), ((5, 2), 0), ((2, 5, 2), 1), ((2, 3), None)]
)
@pytest.mark.parametrize("zeros", [0, 1, 2, 4])
def test_derivatives_at_zeros(op, shape, axis, zeros):
    rng = np.random.default_rng(zeros)
    x = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    x.reshape(-1)[rng.permutation(x.size)[:zeros]] = 0.0
    gradcheck(lambda x: op(x, axis=axis), [x])
    gradgradcheck(lambda x: op(x, axis=axis), [x])


def test_the_third_derivative_of_a_product_with_two_zeros():
    x = mt.tensor(np.array([2.0, 0.0, 3.0, 0.0, 5.0]), requires_grad=True)
    for op in (mt.prod, lambda x: mt.cumprod(x)[-1]):
        first = mt.grad(op(x), x, create_graph=True)
        second = mt.grad(first[1], x, create_graph=True)  # all but the second and one more
        third = mt.grad(second[3], x)  # of x0 x2 x4
        assert first.tolist() == [0.0] * 5 and second.tolist() == [0.0, 0.0, 0.0, 30.0, 0.0]
        assert third.tolist() == [15.0, 0.0, 10.0, 0.0, 6.0]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("op", [mt.prod, mt.cumprod])
def test_a_zero_among_many_factors(op, create_graph):
    values = np.ones(20_000)
    values[3] = 0.0
    x = mt.tensor(values, requires_grad=True)
    tracemalloc.start()
    start = time.process_time()
    gradient = mt.grad(op(x).sum(), x, create_graph=create_graph)
    mt.grad((gradient * gradient).sum(), x) if create_graph else None
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = [0.0, 0.0, 0.0, 1.0, 0.0] if op is mt.prod else [3.0, 2.0, 1.0, 19_997.0, 0.0]
    assert gradient[:5].tolist() == expected
    assert peak < 100 * values.nbytes and seconds < 5.0
