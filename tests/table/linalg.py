"""Rows of ``minitensor/ops/linalg.py``."""

import math

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor as mt
from minitensor.testing import strategies as mst

A, B = np.zeros((2, 3)), np.zeros((2, 4))
SUBSCRIPTS = [
    "ij,jk->ik", "ij,jk", "bij,bjk->bik", "i,i->", "i,j->ij", "ij->ji", "ij->", "ij->j", "ii->i", "ii", "iij->j", "bii->bi",
    "...ij,...jk->...ik", "i...,i...->...", "ij,ij->i", "a,ab,bc->c", "ij,k->i", "bhtk,bhsk->bhts",
]  # fmt: skip


@st.composite
def einsum_cases(draw):
    """A text of subscripts and operands whose letters have lengths from 0 to 3."""
    subscripts = draw(st.sampled_from(SUBSCRIPTS))
    lengths = {letter: draw(st.integers(0, 3)) for letter in sorted(set(subscripts) - set(",.->"))}
    dots = draw(st.lists(st.integers(1, 2), max_size=1))
    shapes = [
        [*dots, *t[3:]] if t.startswith("...") else [*t[:1], *dots] if "..." in t else t for t in terms(subscripts)
    ]
    shapes = [tuple(lengths.get(length, length) for length in shape) for shape in shapes]
    return [*(draw(mst.tensors(shape)) for shape in shapes), {"subscripts": subscripts}]


def terms(subscripts):
    """The operands' letters."""
    return subscripts.partition("->")[0].split(",")


def einsum_of(einsum):
    """``einsum`` with the subscripts as a keyword."""
    return lambda *xs, subscripts: einsum(subscripts, *xs)


@st.composite
def tensordot_cases(draw):
    """A number of axes, or two lists of them."""
    if draw(st.booleans()):
        k = draw(st.integers(0, 2))
        shared = draw(mst.shapes(k, k, 0, 3))
        left, right = draw(mst.shapes(0, 2, 0, 3)) + shared, shared + draw(mst.shapes(0, 2, 0, 3))
        return [draw(mst.tensors(left)), draw(mst.tensors(right)), {"axes": k}]
    axes = draw(st.sampled_from([([0, 2], [1, 0]), (1, -1)]))
    return [draw(mst.tensors((2, 3, 4))), draw(mst.tensors((4, 2, 3))), {"axes": axes}]


@st.composite
def vecdot_cases(draw):
    """Two operands that broadcast, with one axis at least."""
    x, y = draw(mst.broadcastable(2))
    ndim = min(x.ndim, y.ndim)
    if ndim == 0:
        return [mt.ones((3,), dtype="float64"), mt.zeros((3,), dtype="float64"), {"axis": -1}]
    return [x, y, {"axis": draw(st.integers(-ndim, -1))}]


@st.composite
def norm_cases(draw):
    """Vector norms over any axes, of vectors that are zero too."""
    x, named = draw(mst.reductions(allow_empty=False))
    return [x, {**named, "ord": draw(st.sampled_from([1, 2, math.inf]))}]


def numpy_norm(x, ord, axis, keepdims):
    """The plain formulas."""
    if ord == 1:
        return np.abs(x).sum(axis=axis, keepdims=keepdims)
    return (
        np.sqrt((x * x).sum(axis=axis, keepdims=keepdims)) if ord == 2 else np.abs(x).max(axis=axis, keepdims=keepdims)
    )


@st.composite
def plane_cases(draw, names=("offset",)):
    """An array and two different axes of it."""
    x = draw(mst.tensors(min_dims=2))
    axis1, axis2 = draw(mst.permutations(x.ndim))[:2]
    return [x, {"axis1": axis1, "axis2": axis2, "offset": draw(st.integers(-2, 2))}]


ROWS = [
    Row(
        "matmul", mt.matmul, mst.matmul_operands(), np.matmul, analytic=True, examples=40, ops=("matmul",),
        errors=(([A, B], {}, ValueError, r"^matmul\(x: \(2, 3\) float64, y: \(2, 4\) float64\).*\.mT"),),
    ),
    Row(
        "einsum", einsum_of(mt.einsum), einsum_cases(), einsum_of(np.einsum), analytic=True, examples=60, ops=("einsum",),
        errors=(
            ([A, B], {"subscripts": "ij,jk->ik"}, ValueError, r"^einsum\(.*\(2, 3\).*\(2, 4\)"),
            ([A], {"subscripts": "ij,jk->ik"}, ValueError, "2 operands, 1 were given"),
            ([A], {"subscripts": "ijk->ik"}, ValueError, "einsum"),
        ),
    ),
    Row(
        "tensordot", mt.tensordot, tensordot_cases(), np.tensordot, analytic=True,
        errors=(([A, B], {"axes": 1}, ValueError, r"tensordot: axes .*\(2, 3\).*\(2, 4\)"),),
    ),
    Row("outer", mt.outer, mst.case(mst.tensors(max_dims=2), mst.tensors(max_dims=2)), np.outer, analytic=True),
    Row(
        "vecdot", mt.vecdot, vecdot_cases(), lambda x, y, axis: (x * y).sum(axis=axis), analytic=True, ops=("vecdot",),
        errors=(([A, B], {}, ValueError, r"\(2, 3\).*\(2, 4\)"),),
    ),
    Row(
        "norm", mt.norm, norm_cases(), numpy_norm, ops=("euclidean_norm",),
        errors=(([A], {"ord": 3}, ValueError, "norm: ord must be"),),
    ),
    Row("trace", mt.trace, plane_cases(), np.trace, analytic=True, errors=(([A[0]], {}, ValueError, "axis|axes"),)),
]  # fmt: skip
