"""What a user writes after the forward pass, into any array that a graph may keep, never spoils a gradient."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from table import TABLE

import minitensor as mt

DIFFERENTIABLE = [pytest.param(row, id=str(row)) for row in TABLE if row.order]


def arrays_in(value):
    """All raw arrays within tuples, lists and dicts."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)


def copied(value):
    """``value`` with arrays of its own, raw ones in place of Tensors."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(copied(item) for item in value)
    return np.array(value) if isinstance(value, (np.ndarray, mt.Tensor)) else value


def gradients(row, inputs, keywords, place, overwrite, recorded):
    """The gradient of the input at ``place``; all others are raw arrays, which are overwritten after the forward pass."""
    inputs, keywords = copied(inputs), copied(keywords)
    given = inputs[place]
    x = inputs[place] = mt.asarray(given).requires_grad_()
    mt.random.seed(0)  # for dropout
    out = row.function(*inputs, **keywords)
    results = [y for y in (out if isinstance(out, (tuple, list)) else [out]) if y.requires_grad]
    seeds = [np.random.default_rng(i).normal(size=y.shape).astype(y.dtype) for i, y in enumerate(results)]
    kept = [y.numpy().copy() for y in results]
    if overwrite:
        for array in (given, *arrays_in(inputs), *arrays_in(keywords)):
            array[...] = ~array if array.dtype == bool else 0
    assert all(np.array_equal(y.numpy(), value, equal_nan=True) for y, value in zip(results, kept))
    if not results:
        return None
    gradient = mt.grad(results, x, seeds, create_graph=recorded, allow_unused=True)
    return None if gradient is None else gradient.numpy()


@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("row", DIFFERENTIABLE)
def test_arrays_given_to_an_op_may_be_overwritten(row, recorded):
    @given(row.cases)
    @settings(
        max_examples=10, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case):
        inputs = [value for value in case if not isinstance(value, dict)]
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        for place, value in enumerate(inputs):
            if isinstance(value, mt.Tensor) and value.dtype.kind == "f" and place in (row.wanted or range(9)):
                wrong, right = (gradients(row, inputs, keywords, place, flag, recorded) for flag in (True, False))
                assert np.array_equal(wrong, right, equal_nan=True) if right is not None else wrong is None

    check()
