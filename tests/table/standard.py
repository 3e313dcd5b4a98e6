"""Rows of ``minitensor/ops/standard.py`` and ``minitensor/ops/sets.py``."""

import numpy as np
from hypothesis import strategies as st
from table.elementwise import binary, unary
from table.row import Row
from table.shape import with_axis

import minitensor as mt
from minitensor.testing import strategies as mst

A, B = np.zeros((2, 3)), np.zeros((3, 2))


@st.composite
def integers(draw, count=2, low=-9, high=9):
    """Integer arrays that broadcast."""
    shapes = [x.shape for x in draw(mst.broadcastable(2))][:count]
    return [np.random.default_rng(draw(st.integers(0, 99))).integers(low, high, shape) for shape in shapes]


@st.composite
def counted(draw):
    """Integers, many of them 0, and an axis."""
    x, named = draw(mst.reductions())
    return [np.random.default_rng(0).integers(0, 3, x.shape), named]


@st.composite
def diff_cases(draw):
    """A number of steps, an axis, and something before or behind."""
    x, named = draw(with_axis())
    shape = list(x.shape)
    shape[named["axis"]] = 2
    ends = [draw(st.sampled_from([None, 1.5, np.ones(shape, np.float32)])) for _ in range(2)]
    named |= {key: end for key, end in zip(("prepend", "append"), ends) if end is not None}
    return [x, {**named, "n": draw(st.integers(0, 3))}]


@st.composite
def grids(draw):
    """Vectors and an order of axes."""
    vectors = [draw(mst.tensors((draw(st.integers(0, 3)),))) for _ in range(draw(st.integers(1, 3)))]
    return [*vectors, {"indexing": draw(st.sampled_from(["xy", "ij"]))}]


@st.composite
def sorted_cases(draw):
    """A vector in order, or not, and what to look for."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, wanted = rng.integers(0, 5, draw(st.integers(0, 5))), rng.integers(0, 5, draw(mst.shapes(max_dims=2)))
    side = draw(st.sampled_from(["left", "right"]))
    if draw(st.booleans()):
        return [np.sort(x), wanted, {"side": side}]
    return [x, wanted, {"side": side, "sorter": np.argsort(x)}]


def cumulative(name):
    """A row of a running sum or product."""
    cases = with_axis().flatmap(
        lambda case: st.booleans().map(lambda initial: [case[0], {**case[1], "include_initial": initial}])
    )
    error = ([A], {}, ValueError, rf"{name}: axis must be said for a tensor of shape \(2, 3\)")
    return Row(name, getattr(mt, name), cases, getattr(np, name), analytic=True, errors=(error,))


def of_bits(name, reference=None, **options):
    """A row of an op on the bits of integers."""
    error = (
        [A, *([A] if options.get("count") != 1 else [])],
        {},
        TypeError,
        f"^{name}.*not supported for the input types",
    )
    return Row(
        name,
        getattr(mt, name),
        integers(**options),
        reference or getattr(np, name),
        order=0,
        ops=(name,),
        errors=(error,),
    )


odd = [np.array([np.nan, np.inf, -np.inf, -0.0, 1.0])]
VALUES = mst.case(mst.tensors(distinct=True))
ROWS = [
    unary("arcsinh"), unary("arccosh", 1.2, 5.0), unary("arctanh", -0.9, 0.9), unary("log10", 0.3, 3.0), unary("positive"),
    unary("reciprocal", 0.3, 3.0), unary("trunc", analytic=False),
    *(unary(name, analytic=False, order=0, also=(odd,)) for name in ("isinf", "signbit")),
    binary("hypot", analytic=False), binary("arctan2", analytic=False, low=[-2.0, 0.3], high=[2.0, 2.0]),
    binary("copysign", analytic=False), binary("nextafter", analytic=False),
    *(of_bits(name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")), of_bits("bitwise_invert", count=1),
    of_bits("bitwise_left_shift", low=0), of_bits("bitwise_right_shift", low=0),
    cumulative("cumulative_sum"), cumulative("cumulative_prod"),
    Row(
        "diff", mt.diff, diff_cases(), np.diff, analytic=True, wanted=(0,),
        errors=(([A], {"n": -1}, ValueError, "diff: n must be an integer from 0 on"), ([1.0], {}, ValueError, "diff: axis -1")),
    ),
    Row("count_nonzero", mt.count_nonzero, counted(), np.count_nonzero, order=0),
    Row(
        "broadcast_arrays", mt.broadcast_arrays, mst.broadcastable(3), lambda *xs: list(np.broadcast_arrays(*xs)),
        analytic=True, errors=(([A, B], {}, ValueError, r"broadcast_arrays: the shapes \(2, 3\), \(3, 2\) do not agree"),),
    ),
    Row(
        "meshgrid", mt.meshgrid, grids(), lambda *xs, indexing: list(np.meshgrid(*xs, indexing=indexing)), analytic=True,
        errors=(([A], {}, ValueError, "meshgrid: needs vectors"), ([A[0]], {"indexing": "x"}, ValueError, "meshgrid: indexing")),
    ),
    Row(
        "matrix_transpose", mt.matrix_transpose, mst.case(mst.tensors(min_dims=2)), np.matrix_transpose, analytic=True,
        errors=(([A[0]], {}, ValueError, r"matrix_transpose: needs matrices \(\.\.\., M, N\), got shape \(3,\)"),),
    ),
    Row(
        "nonzero", mt.nonzero, mst.case(mst.tensors(min_dims=1)), np.nonzero, order=0,
        errors=(([1.0], {}, ValueError, "nonzero: a tensor without axes"),),
    ),
    Row(
        "searchsorted", mt.searchsorted, sorted_cases(), np.searchsorted, order=0,
        errors=(
            ([A, A], {}, ValueError, "searchsorted: x1 must be a vector"),
            ([A[0], A, "mid"], {}, ValueError, "searchsorted: side"),
        ),
    ),
    *(
        Row(name, getattr(mt, name), VALUES, lambda x, name=name: tuple(getattr(np, name)(x)))
        for name in ("unique_all", "unique_counts", "unique_inverse")
    ),
    Row("unique_values", mt.unique_values, VALUES, lambda x: np.sort(np.unique_values(x))),
]  # fmt: skip
