"""Rows of ``minitensor/ops/elementwise.py``."""

import math

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor as mt
from minitensor.testing import strategies as mst

A, B = np.zeros((2, 3)), np.zeros((2,))


def unary(name, low=-2.0, high=2.0, reference=None, analytic=True, **more):
    """A row for an op of one operand on ``[low, high]``."""
    cases = mst.case(mst.tensors(low=low, high=high))
    errors = ((["text"], {}, TypeError, "numbers or truth values"),)
    reference = reference or getattr(np, name)
    return Row(name, getattr(mt, name), cases, reference, analytic=analytic, errors=errors, ops=(name,), **more)


def binary(name, analytic=True, order=2, **domain):
    """A row for an op of two operands that broadcast."""
    errors = (([A, B], {}, ValueError, rf"^{name}\(x: \(2, 3\) float64, y: \(2,\) float64\).*broadcast"),)
    cases = mst.broadcastable(2, **domain)
    return Row(
        name, getattr(mt, name), cases, getattr(np, name), analytic=analytic, order=order, errors=errors, ops=(name,)
    )


def comparison(name):
    """A row for an op that gives truth values."""
    return binary(name, analytic=False, order=0)


@st.composite
def where_cases(draw):
    """A condition and two branches, all of shapes that broadcast."""
    condition, x, y = draw(mst.broadcastable(3))
    return [condition.data > 0, x, y]


@st.composite
def power_cases(draw):
    """A positive base, a base of 0 with an exponent of 0 or at least 2, or any base with a small
    whole exponent.
    """
    kind = draw(st.sampled_from(["positive", "zeros", "whole", "zero base", "positive", "positive"]))
    if kind.startswith("zero"):
        x, y = draw(mst.broadcastable(2, low=[0.3, 2.0], high=[3.0, 3.0], max_dims=2))  # kinks by the dozen are dear
        return [x * (np.indices(x.shape).sum(axis=0) % 2), y * 0.0 if kind == "zeros" else y]
    if kind == "positive":
        return draw(mst.broadcastable(2, low=[0.3, -2.0], high=[3.0, 2.0]))
    return [draw(mst.tensors()), draw(st.sampled_from([0, 1, 2, 3, 2.0]))]


@st.composite
def clip_cases(draw):
    """Bounds that are absent, numbers or tensors."""
    x, low, high = draw(mst.broadcastable(3, low=[-2.0, -1.5, 0.5], high=[2.0, -0.5, 1.5]))
    return [x, draw(st.sampled_from([low, -1.0, None])), draw(st.sampled_from([high, 1.0, None]))]


def numpy_clip(x, low, high):
    """``np.clip``, which refuses two absent bounds in some versions."""
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


odd = [np.array([[1.0, np.nan], [np.inf, -np.inf]])]

ROWS = [
    *(binary(name) for name in ("add", "subtract", "multiply")),
    binary("divide", low=[-2.0, 0.5], high=[2.0, 2.0]),
    *(binary(name, analytic=False) for name in ("maximum", "minimum", "logaddexp")),
    *(binary(name, analytic=False, low=[-2.0, 0.6], high=[2.0, 2.0]) for name in ("floor_divide", "remainder")),
    *(comparison(name) for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")),
    *(comparison(f"logical_{name}") for name in ("and", "or", "xor")),
    Row("power", mt.power, power_cases(), np.power, ops=("power",), errors=(([A, B], {}, ValueError, r"^power\(x"),)),
    Row(
        "where",
        mt.where,
        where_cases(),
        np.where,
        ops=("where",),
        errors=(([A > 0, A, B], {}, ValueError, r"^where\("),),
    ),
    Row("clip", mt.clip, clip_cases(), numpy_clip, errors=(([A, B], {}, ValueError, r"^maximum\(x"),)),
    *(unary(name) for name in ("negative", "square", "exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "arctan")),
    unary("tan", -1.2, 1.2),
    *(unary(name, 0.2, 3.0) for name in ("sqrt", "log", "log2")),
    unary("log1p", -0.6, 3.0),
    *(unary(name, -0.9, 0.9) for name in ("arcsin", "arccos")),
    unary("erf", reference=np.vectorize(math.erf, otypes=[float]), analytic=False, also=([np.linspace(-7, 7, 31)],)),
    *(unary(name, analytic=False) for name in ("abs", "sign", "floor", "ceil", "round")),
    unary("logical_not", analytic=False, order=0),
    *(unary(name, analytic=False, order=0, also=(odd,)) for name in ("isnan", "isfinite")),
]
