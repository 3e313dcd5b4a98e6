"""Rows of ``minitensor/ops/reductions.py``."""

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor as mt
from minitensor.testing import strategies as mst

EMPTY_KEPT = [np.zeros((0, 3)), {"axis": 1}]  # no elements, but none is asked for the mean of nothing
BAD_AXIS = ([np.zeros((2, 3))], {"axis": 2}, (ValueError, np.exceptions.AxisError), r"axis 2 is out of bounds.*2")


def reduction(name, reference=None, analytic=True, order=2, cases=None, **options):
    """A row for a reduction over any axes."""
    return Row(
        name, getattr(mt, name), mst.reductions(**options) if cases is None else cases, reference or getattr(np, name),
        analytic=analytic, order=order, also=(EMPTY_KEPT,), errors=(BAD_AXIS,), ops=(name,),
    )  # fmt: skip


def scan(name):
    """A row for a running sum or product."""
    cases = mst.reductions(allow_none=False, allow_tuple=False, keepdims=False)
    return Row(name, getattr(mt, name), cases, getattr(np, name), analytic=True, errors=(BAD_AXIS,), ops=(name,))


@st.composite
def spread_cases(draw):
    """Arguments of var and std: two elements at least along every axis, so that n - 1 is not 0; one
    in four all equal, or of a deviation of 1 along axes of two.
    """
    kind = draw(st.integers(0, 7))
    small = {"max_dims": 2, "max_side": 3} if kind < 2 else {}
    x, named = draw(mst.reductions(min_side=2, min_dims=1, distinct=True, **small))
    if kind < 2:
        x = x * 0.0 + (1.5 if kind else np.where(np.indices(x.shape).sum(axis=0) % 2, 1.0, -1.0))
    if named["axis"] == ():
        named["axis"] = None
    return [x, {**named, "ddof": draw(st.sampled_from([0, 1]))}]


def numpy_logsumexp(x, axis=None, keepdims=False):
    """The plain formula."""
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


FULL = {"allow_empty": False}
ONE_AXIS = {"allow_empty": False, "allow_tuple": False}
ROWS = [
    reduction("sum"),
    reduction("prod"),
    reduction("mean", **FULL),
    reduction("var", cases=spread_cases()),
    reduction("std", cases=spread_cases()),
    reduction("max", analytic=False, **FULL),
    reduction("min", analytic=False, **FULL),
    reduction("logsumexp", numpy_logsumexp, analytic=False, **FULL),
    reduction("all", analytic=False, order=0),
    reduction("any", analytic=False, order=0),
    reduction("argmax", analytic=False, order=0, **ONE_AXIS),
    reduction("argmin", analytic=False, order=0, **ONE_AXIS),
    scan("cumsum"),
    scan("cumprod"),
]
