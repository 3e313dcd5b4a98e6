"""float16 and bfloat16 over the whole table: values and gradients are those of float64, rounded.

A function is given numbers of 16 bits, and the same numbers in float64. Its result may differ from that of float64 by a rounding or
two of its own type, and by what a rounding of the inputs would change, since functions written in several ops round in between::

    |narrow - exact| <= 2 eps |exact| + 2 max |f(x (1 + eps u)) - f(x)| + the smallest number,    u = +-1, drawn several times
"""

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from table import TABLE

import minitensor as mt
from minitensor.backend import is_floating

FIXED = {"ops.astype", "F.one_hot"}  # their results have a type of their own
FLOAT64, TYPES = np.dtype(np.float64), [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
DRAWS = hypothesis.settings(
    max_examples=4, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate]
)


def is_float(value):
    return isinstance(value, np.ndarray) and is_floating(value.dtype)


def plain(value):
    return np.asarray(value.data) if isinstance(value, mt.Tensor) else value


def shifted(values, eps, rng):
    """``values`` with every float moved by the relative step ``eps``, up or down."""
    return [np.asarray(v * (1 + eps * rng.choice([-1.0, 1.0], size=v.shape))) if is_float(v) else v for v in values]


def call(row, values, keywords, dtype, cotangents=None):
    """What the row's function gives for floats of ``dtype``, and the gradients where ``cotangents`` are given: Tensors, or None."""
    mt.random.seed(0)
    inputs = [mt.tensor(value, dtype=dtype) if is_float(value) else value for value in values]
    wanted = range(len(values)) if row.wanted is None else row.wanted
    leaves = [inputs[i].requires_grad_() for i in wanted if row.order and is_float(values[i])]
    outs = row.function(*inputs, **keywords)
    outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
    ends = [(out, mt.tensor(c, dtype=dtype)) for out, c in zip(outs, cotangents or ()) if out.requires_grad]
    return outs + (mt.grad([out for out, _ in ends], leaves, [c for _, c in ends], allow_unused=True) if ends else [])


def float64_of(found):
    return [None if one is None else np.asarray(one.data, dtype=float) for one in found]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE])
def test_sixteen_bits_are_float64_rounded(row, dtype):
    limits = ml_dtypes.finfo(dtype)
    eps, smallest = float(limits.eps), float(limits.smallest_subnormal)

    @DRAWS
    @hypothesis.given(row.cases, st.integers(0, 99))
    def check(case, seed):
        rng = np.random.default_rng(seed)
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        values = [plain(v) for v in case if not isinstance(v, dict)]
        values = [v.astype(dtype).astype(float) if is_float(v) else v for v in values]
        outs = call(row, values, keywords, FLOAT64)
        cotangents = [np.asarray(rng.normal(size=out.shape)).astype(dtype).astype(float) for out in outs]
        exact = float64_of(call(row, values, keywords, FLOAT64, cotangents))
        found = call(row, values, keywords, dtype, cotangents)
        for out, wide in zip(found, [] if str(row) in FIXED else outs):
            assert out.dtype == (dtype if is_floating(wide.dtype) else wide.dtype)
        near = [
            float64_of(call(row, shifted(values, eps, rng), keywords, FLOAT64, shifted(cotangents, eps, rng)))
            for _ in range(4)
        ]
        assert len(found) == len(exact)
        for k, (got, right) in enumerate(zip(float64_of(found), exact)):
            if right is None:
                assert got is None
                continue
            change = np.max([np.abs(one[k] - right) for one in near], axis=0)
            bound = 2 * eps * np.abs(right) + 2 * change + smallest
            assert (np.abs(got - right) <= bound).all(), (k, got, right, bound)

    check()
