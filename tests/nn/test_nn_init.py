"""Initial values: their spread, and that one seed gives them again."""

import math

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.nn import init


def made(function, *args, shape=(200, 300), **kwargs):
    """The values that ``function`` writes."""
    tensor = nn.Parameter(mt.zeros(shape))
    assert function(tensor, *args, **kwargs) is tensor
    return tensor.data.astype(np.float64)


@pytest.mark.parametrize(
    ("function", "kwargs", "std"),
    [
        (init.uniform_, {"low": -2.0, "high": 2.0}, 4 / math.sqrt(12)),
        (init.normal_, {"std": 0.5}, 0.5),
        (init.xavier_uniform_, {"gain": 2.0}, 2 * math.sqrt(2 / 500)),
        (init.xavier_normal_, {}, math.sqrt(2 / 500)),
        (init.kaiming_uniform_, {"nonlinearity": "relu"}, math.sqrt(2 / 300)),
        (init.kaiming_normal_, {"mode": "fan_out"}, math.sqrt(2 / 200)),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, math.sqrt(1 / 3 / 300)),
    ],
)
def test_spread(function, kwargs, std):
    values = made(function, **kwargs, generator=mt.random.Generator(3))
    assert abs(values.mean()) < 0.02 * std
    assert values.std() == pytest.approx(std, rel=0.02)
    if "uniform" in function.__name__:
        assert abs(values).max() <= std * math.sqrt(3) * 1.001


def test_fans_count_the_kernel():
    assert made(init.kaiming_normal_, shape=(200, 10, 5, 5)).std() == pytest.approx(math.sqrt(2 / 250), rel=0.02)


def test_truncated_normal_stays_inside_and_keeps_its_shape():
    values = made(init.trunc_normal_, std=1.0, low=-1.0, high=2.0)
    assert values.min() >= -1 and values.max() <= 2
    assert values.mean() == pytest.approx(0.2296, abs=0.02)  # (phi(-1) - phi(2)) / (Phi(2) - Phi(-1))
    with pytest.raises(ValueError, match="hardly any"):
        made(init.trunc_normal_, low=8.0, high=9.0)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (20, 5, 6)])
def test_orthogonal(shape):
    matrix = made(init.orthogonal_, gain=3.0, shape=shape).reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 9 * np.eye(len(small)), atol=1e-4)


def test_constants():
    assert (made(init.zeros_) == 0).all() and (made(init.ones_) == 1).all() and (made(init.constant_, 2.5) == 2.5).all()
    np.testing.assert_array_equal(made(init.eye_), np.eye(200, 300))


def test_one_seed_gives_one_model():
    models = []
    for _ in range(2):
        mt.random.seed(5)
        models.append(nn.Transformer(8, 2, 1, 1, 16).state_dict())
    for name, value in models[0].items():
        np.testing.assert_array_equal(value.data, models[1][name].data, err_msg=name)


def test_a_generator_of_its_own_leaves_the_default_alone():
    before = mt.random.default.state
    a = made(init.xavier_uniform_, generator=mt.random.Generator(1))
    b = made(init.xavier_uniform_, generator=mt.random.Generator(1))
    np.testing.assert_array_equal(a, b)
    assert mt.random.default.state == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: init.xavier_uniform_(p), "fan_in and fan_out need a weight"),
        (lambda p: init.kaiming_uniform_(p, mode="fan"), "mode must be"),
        (lambda p: init.orthogonal_(p), "at least two axes"),
        (lambda p: init.eye_(p), "needs a matrix"),
        (lambda p: init.calculate_gain("swish"), "calculate_gain knows linear"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.Parameter(mt.zeros(3)))
