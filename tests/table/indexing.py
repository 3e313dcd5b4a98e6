"""Rows of ``minitensor/ops/indexing.py``."""

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor as mt
from minitensor.ops import indexing
from minitensor.testing import strategies as mst

A = np.zeros((2, 3))


@st.composite
def getitem_cases(draw):
    """Any index of any array."""
    x = draw(mst.tensors())
    return [x, {"index": draw(mst.index(x.shape))}]


@st.composite
def put_cases(draw):
    """Values for the places of an index, repeats among them."""
    shape = draw(mst.shapes(min_dims=1))
    index = draw(mst.index(shape))
    return [draw(mst.tensors(np.zeros(shape)[index].shape)), {"index": index, "shape": shape}]


def numpy_put(x, index, shape):
    """Zeros with x added at the index."""
    out = np.zeros(shape)
    np.add.at(out, index, x)
    return out


@st.composite
def take_cases(draw):
    """Places along an axis, or of the flat array."""
    x = draw(mst.tensors(min_dims=1, min_side=1))
    axis = draw(mst.axes(x.ndim, allow_tuple=False))
    length = x.size if axis is None else x.shape[axis]
    return [x, {"indices": draw(mst.ids(mst.shapes(0, 2), length)), "axis": axis}]


@st.composite
def along_cases(draw):
    """One place along the axis for every place of the indices; axes of length 1 broadcast."""
    x = draw(mst.tensors(min_dims=1, min_side=1))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    shape = [1 if draw(st.integers(0, 3)) == 0 else n for n in x.shape]
    shape[axis] = draw(st.integers(0, 4))
    return [x, {"indices": draw(mst.ids(tuple(shape), x.shape[axis])), "axis": axis}]


@st.composite
def put_along_cases(draw):
    """Different places along the axis, and values for them."""
    x = draw(mst.tensors(min_dims=1, min_side=1))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    count = draw(st.integers(0, x.shape[axis]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    order = np.argsort(rng.random(x.shape), axis=axis)
    indices = np.take(order, np.arange(count), axis=axis)
    return [x, indices, draw(mst.tensors(indices.shape)), {"axis": axis}]


def numpy_put_along(x, indices, values, axis):
    """NumPy's, on a copy."""
    out = x.copy()
    np.put_along_axis(out, indices, values, axis)
    return out


@st.composite
def sort_cases(draw, distinct=True):
    """An axis and a direction."""
    x = draw(mst.tensors(min_dims=1, distinct=distinct))
    return [x, {"axis": draw(st.integers(-x.ndim, x.ndim - 1)), "descending": draw(st.booleans())}]


def numpy_argsort(x, axis, descending):
    """Stable in both directions."""
    return np.argsort(-x if descending else x, axis=axis, kind="stable")


def numpy_sort(x, axis, descending):
    """In order along an axis."""
    return np.take_along_axis(x, numpy_argsort(x, axis, descending), axis)


@st.composite
def topk_cases(draw):
    """A number of elements to keep."""
    x = draw(mst.tensors(min_dims=1, distinct=True))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    return [x, {"k": draw(st.integers(0, x.shape[axis])), "axis": axis}]


def numpy_topk(x, k, axis):
    """The first k of the order from the top."""
    order = np.take(numpy_argsort(x, axis, True), np.arange(k), axis=axis)
    return np.take_along_axis(x, order, axis), order


def getitem(x, index):
    """``x[index]``."""
    return x[index]


ROWS = [
    Row(
        "getitem", getitem, getitem_cases(), getitem, analytic=True, examples=80, where="ops", ops=("getitem",),
        errors=(
            ([mt.zeros((2, 3)), np.array([2])], {}, IndexError, r"index 2 is out of range for axis 0 of shape \(2, 3\)"),
            ([mt.zeros((2, 3)), np.array([0.5])], {}, TypeError, "integers or truth values"),
            ([mt.zeros((2, 3)), (0, 0, 0)], {}, IndexError, r"getitem\(x: \(2, 3\)"),
        ),
    ),
    Row("put", indexing.put, put_cases(), numpy_put, analytic=True, examples=60, where="ops", ops=("put",)),
    Row(
        "take", mt.take, take_cases(), np.take, analytic=True,
        errors=(([A, np.array([3])], {"axis": 1}, IndexError, r"index 3 is out of range for axis 1 of shape \(2, 3\)"),),
    ),
    Row(
        "take_along_axis", mt.take_along_axis, along_cases(), np.take_along_axis, analytic=True,
        errors=(([A, np.zeros(2, dtype=int)], {"axis": 1}, ValueError, "take_along_axis: x has 2 axes but indices has 1"),),
    ),
    Row(
        "put_along_axis", mt.put_along_axis, put_along_cases(), numpy_put_along, ops=("put_along_axis",),
        errors=(([A, np.array([[1, 1], [0, 1]]), np.zeros((2, 2)), 1], {}, ValueError, "put_along_axis: an index repeats"),),
    ),
    Row("sort", mt.sort, sort_cases(), numpy_sort),
    Row("argsort", mt.argsort, sort_cases(distinct=False), numpy_argsort, order=0, ops=("argsort",)),
    Row(
        "topk", mt.topk, topk_cases(), numpy_topk,
        errors=(([A, 4], {}, ValueError, r"topk: k = 4 does not fit axis -1 of shape \(2, 3\)"),),
    ),
]  # fmt: skip
