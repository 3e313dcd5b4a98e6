"""Numbers at the ends of the range, infinities, and reductions of nothing: the result is right
wherever it is a number.
"""

import math

import hypothesis
import numpy as np
import pytest
from table import TABLE

import minitensor as mt
from minitensor import nn, optim

INF = math.inf
FAR = [("float32", 1e20), ("float32", 1e-25), ("float32", 3e38), ("float32", 1e-40), ("float64", 1e200), ("float64", 1e-200),
       ("float64", 1.7e308), ("float64", 1e-310), ("float32", 1.0)]  # fmt: skip
ROWS = np.array([[0.6, -0.8, 0.0], [-0.3, 0.2, 0.1]])


def in_unit(function, dtype, far):
    """Value and gradient of ``function`` along the last axis of two rows in the unit ``far``,
    beside two ordinary ones.
    """
    x = mt.tensor(np.concatenate([ROWS * far, ROWS]), dtype=dtype, requires_grad=True)
    y = function(x)
    return y.data.astype(float), mt.grad(y, x, mt.tensor([1.0, 2.0, 1.0, 2.0], dtype=dtype)).data


@pytest.mark.parametrize(("dtype", "far"), FAR)
@pytest.mark.parametrize(
    "function", [lambda x: mt.norm(x, axis=-1), lambda x: mt.std(x, axis=-1, ddof=1)], ids=["norm", "std"]
)
def test_norm_and_std_do_not_depend_on_the_unit(function, dtype, far):
    unit = float(np.dtype(dtype).type(far))
    coarse = unit < np.finfo(dtype).tiny / np.finfo(dtype).eps  # few bits are left of such numbers
    rtol = 1e-3 if coarse else 3e-6 if dtype == "float32" else 1e-13
    (near, slopes), (value, gradient) = in_unit(function, dtype, 1.0), in_unit(function, dtype, far)
    np.testing.assert_allclose(value[:2] / unit, near[:2], rtol=rtol)
    np.testing.assert_allclose(value[2:], near[2:], rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=10 * rtol, atol=rtol)


@pytest.mark.parametrize("far", [1e200, 1e-200, 1.0])
def test_the_second_derivative_of_a_far_norm(far):
    x = mt.tensor(np.array([3.0, 4.0]) * far, requires_grad=True)
    first = mt.grad(mt.norm(x), x, create_graph=True)
    second = mt.grad(first[0], x)  # (1 - u u^T) / |x|
    np.testing.assert_allclose(second.data * far, [0.128, -0.096], rtol=1e-12)


def test_variance_where_it_is_a_number():
    x = mt.tensor(np.array([1e154, -1e154, 1e154, -1e154]), requires_grad=True)
    y = mt.var(x)
    y.backward()
    assert y.item() == pytest.approx(1e308) and x.grad.tolist() == pytest.approx([5e153, -5e153] * 2)
    assert mt.var(mt.tensor([3e38, 3e38])).item() == 0.0 == mt.var(mt.tensor([1e-30, -1e-30])).item()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e30, 3e38, 1e-42, 0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_numbers_do_not_spread(value, dtype):
    x = mt.full((7,), value, dtype=dtype).requires_grad_()
    y = mt.std(x)
    y.backward()
    assert y.item() == 0.0 == mt.var(x).item() and x.grad.tolist() == [0.0] * 7


def test_infinity_and_nan_stay_what_they_are():
    assert mt.norm(mt.tensor([INF, 1e30])).item() == INF and math.isnan(mt.norm(mt.tensor([math.nan, 1e30])).item())
    assert mt.norm(mt.tensor([[INF, 0.0], [3e20, 4e20]]), axis=1).tolist() == pytest.approx([INF, 5e20])


@pytest.mark.parametrize(("dtype", "gradient", "norm", "clipped"), [
    ("float32", [1e20, 1.0], 1e20, [1.0, 1e-20]), ("float32", [3e-25, 4e-25], 5e-25, [3e-25, 4e-25]),
    ("float32", [3e38, 3e38], INF, [0.5**0.5] * 2), ("float64", [3e200, 4e200], 5e200, [0.6, 0.8]),
    ("float64", [1.7e308, 1.7e308], INF, [0.5**0.5] * 2), ("float64", [3e-200, 4e-200], 5e-200, [3e-200, 4e-200]),
    ("float32", [0.0, 0.0], 0.0, [0.0, 0.0]), ("float32", [3.0, 4.0], 5.0, [0.6, 0.8]),
])  # fmt: skip
# The norm itself may be infinite.
@pytest.mark.filterwarnings("ignore:overflow encountered in (cast|scalar multiply)")
def test_clipping_of_far_gradients(dtype, gradient, norm, clipped):
    together = nn.Parameter(np.zeros(2, dtype))
    apart = [nn.Parameter(np.zeros(1, dtype)) for _ in gradient]
    for parameters, parts in (([together], [gradient]), (apart, [gradient[:1], gradient[1:]])):
        for parameter, part in zip(parameters, parts):
            parameter.grad = mt.tensor(part, dtype=dtype)
        found = optim.clip_grad_norm_(parameters, 1.0)
        assert float(found) == pytest.approx(norm, rel=1e-6)
        np.testing.assert_allclose(np.concatenate([p.grad.data for p in parameters]), clipped, rtol=5e-6)


@pytest.mark.parametrize(("x", "y", "value", "slope", "bend"), [
    (-INF, 2.0, 2.0, 0.0, 0.0), (2.0, -INF, 2.0, 1.0, 0.0), (INF, 2.0, INF, 1.0, 0.0), (2.0, INF, INF, 0.0, 0.0),
    (INF, -INF, INF, 1.0, 0.0), (-INF, -INF, -INF, 0.5, 0.0), (INF, INF, INF, 0.5, 0.0), (1e4, 1e4, 1e4 + math.log(2), 0.5, 0.25),
    (1e300, -1e300, 1e300, 1.0, 0.0), (-800.0, 800.0, 800.0, 0.0, 0.0),
])  # fmt: skip
def test_logaddexp_at_its_limits(x, y, value, slope, bend):
    a, b = (mt.tensor(v, dtype="float64", requires_grad=True) for v in (x, y))
    out = mt.logaddexp(a, b)
    first = mt.grad(out, [a, b], create_graph=True)
    assert out.item() == pytest.approx(value) and [g.item() for g in first] == pytest.approx([slope, 1 - slope])
    assert mt.grad(first[0], a).item() == pytest.approx(bend, abs=1e-300)


@pytest.mark.parametrize(("x", "value", "slopes"), [
    ([INF, 1.0], INF, [1.0, 0.0]), ([INF, INF, 0.0], INF, [0.5, 0.5, 0.0]), ([-INF, -INF], -INF, [0.0, 0.0]),
    ([-INF, 3.0], 3.0, [0.0, 1.0]), ([INF, -INF], INF, [1.0, 0.0]), ([1e30, 0.0], 1e30, [1.0, 0.0]),
])  # fmt: skip
def test_logsumexp_at_its_limits(x, value, slopes):
    x = mt.tensor(x, dtype="float64", requires_grad=True)
    out = mt.logsumexp(x)
    first = mt.grad(out, x, create_graph=True)
    assert out.item() == value and first.tolist() == slopes
    assert not mt.grad(first[0], x).data.any()


# --- nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [
    ("sum", 0.0), ("prod", 1.0), ("logsumexp", -INF), ("norm", 0.0), ("all", True), ("any", False),
])  # fmt: skip
def test_reductions_of_nothing_that_have_a_value(name, value):
    function, x = getattr(mt, name), mt.zeros((0, 2), requires_grad=True)
    assert (
        function(x, axis=0).tolist() == [value] * 2
        and function(x).item() == value
        and function(x, axis=1).shape == (0,)
    )
    assert function(x, axis=0, keepdims=True).shape == (1, 2)
    if name not in ("all", "any"):
        out = function(x * 1.0, axis=0)
        first = mt.grad(mt.where(True, out, 0.0).sum(), x, create_graph=True)
        assert first.shape == (0, 2) and mt.grad((first + x).sum(), x).shape == (0, 2)


@pytest.mark.parametrize("ord", [1, 2, INF])
def test_the_norm_of_nothing_is_0(ord):
    assert mt.norm(mt.zeros((0,)), ord=ord).item() == 0.0


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_the_extreme_of_nothing_is_refused(name):
    function = getattr(mt, name)
    with pytest.raises(
        ValueError, match=rf"{name}\(x: \(0, 2\) float32\): there is no (max|min)imum of no elements: axis 0"
    ):
        function(mt.zeros((0, 2)), axis=0)
    with pytest.raises(ValueError, match="of no elements"):
        function(mt.zeros((0,)))
    assert function(mt.zeros((0, 2)), axis=1).shape == (0,)


# --- recorded passes ------------------------------------------------------------------------------


def test_a_number_to_the_power_of_a_tensor_is_recorded_in_its_precision():
    x = mt.tensor(np.array([1.25]), requires_grad=True)
    for base in (10.0, 3, 0.7):
        first = mt.grad((base**x).sum(), x, create_graph=True)
        assert first.item() == pytest.approx(base**1.25 * math.log(base), rel=1e-15)
        assert mt.grad(first, x).item() == pytest.approx(base**1.25 * math.log(base) ** 2, rel=1e-15)


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE if row.order])
def test_recorded_gradients_have_the_precision_of_plain_ones(row):
    @hypothesis.settings(
        max_examples=2, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate]
    )
    @hypothesis.given(row.cases)
    def check(case):
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        values = [np.asarray(v.data) if isinstance(v, mt.Tensor) else v for v in case if not isinstance(v, dict)]
        floating = [isinstance(v, np.ndarray) and v.dtype == float for v in values]
        wanted = [i for i in (range(len(values)) if row.wanted is None else row.wanted) if floating[i]]
        found = []
        for recorded in (False, True):
            mt.random.seed(0)
            rng = np.random.default_rng(0)
            inputs = [mt.tensor(v, requires_grad=i in wanted) if floating[i] else v for i, v in enumerate(values)]
            outs = row.function(*inputs, **keywords)
            outs = [o for o in (outs if isinstance(outs, (tuple, list)) else [outs]) if o.requires_grad]
            seeds = [mt.tensor(np.asarray(rng.normal(size=o.shape))) for o in outs]
            leaves = [inputs[i] for i in wanted]
            found.append(mt.grad(outs, leaves, seeds, create_graph=recorded, allow_unused=True) if outs else [])
        for plain, recorded in zip(*found):
            if plain is not None and recorded is not None:
                scale = np.abs(plain.data).max(initial=1e-3)
                np.testing.assert_allclose(recorded.data, plain.data, rtol=0, atol=1e-10 * scale)

    check()


@pytest.mark.parametrize("function", [mt.expm1, mt.nn.functional.elu])
def test_slopes_of_exponentials_near_minus_1_keep_their_digits(function):
    x = mt.tensor(np.array([-20.0, -100.0]), requires_grad=True)
    slope = mt.grad(function(x).sum(), x, create_graph=True)
    for found in (slope, mt.grad(slope.sum(), x), mt.grad(function(x).sum(), x)):
        np.testing.assert_allclose(found.data, np.exp([-20.0, -100.0]), rtol=1e-12)
