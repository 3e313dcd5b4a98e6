"""Rows of ``minitensor/ops/shape.py``."""

import numpy as np
from hypothesis import strategies as st
from table.linalg import plane_cases
from table.row import Row, on_list

import minitensor as mt
from minitensor.engine.op import alias
from minitensor.ops import shape as shape_ops
from minitensor.testing import strategies as mst

A, B = np.zeros((2, 3)), np.zeros((2, 4))


@st.composite
def with_axis(draw, axis_name="axis", **options):
    """A tensor and one of its axes."""
    x = draw(mst.tensors(min_dims=1, **options))
    return [x, {axis_name: draw(st.integers(-x.ndim, x.ndim - 1))}]


@st.composite
def reshape_cases(draw):
    """The lengths in another order, flat, or with a -1."""
    x = draw(mst.tensors())
    shapes = [x.shape[::-1], (x.size,), (1, *x.shape)] + ([(-1,), (*x.shape[:1], -1)] if x.size and x.ndim else [])
    return [x, {"shape": draw(st.sampled_from(shapes))}]


@st.composite
def permute_cases(draw):
    """Every order of the axes, or none given."""
    x = draw(mst.tensors(max_dims=4, max_side=3))
    return [x, {"axes": draw(mst.permutations(x.ndim)) if draw(st.integers(0, 4)) else None}]


@st.composite
def two_axes(draw, first, second):
    """A tensor with two of its axes, equal or not."""
    x = draw(mst.tensors(min_dims=1))
    axis = st.integers(-x.ndim, x.ndim - 1)
    return [x, {first: draw(axis), second: draw(axis)}]


@st.composite
def expand_cases(draw):
    """New axes at any places."""
    x = draw(mst.tensors(max_dims=2))
    return [x, {"axis": draw(st.one_of(st.integers(-x.ndim - 1, x.ndim), st.just((0, -1))))}]


@st.composite
def squeeze_cases(draw):
    """Axes of length 1 to remove, by name or all."""
    x = draw(mst.tensors(max_side=2))
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    choices = [st.none()] + ([st.sampled_from(ones), st.just(tuple(ones))] if ones else [])
    return [x, {"axis": draw(st.one_of(choices))}]


@st.composite
def broadcast_cases(draw):
    """A shape to repeat to."""
    x, y = draw(mst.broadcastable(2))
    return [x, {"shape": np.broadcast_shapes(x.shape, y.shape)}]


@st.composite
def joined(draw, same):
    """Tensors of one shape (except along ``axis`` if not ``same``)."""
    shape = draw(mst.shapes(0 if same else 1, 3, 0, 3))
    axis = (
        draw(st.integers(-len(shape), len(shape) - 1)) if not same else draw(st.integers(-len(shape) - 1, len(shape)))
    )
    shapes = []
    for _ in range(draw(st.integers(1, 3))):
        lengths = list(shape)
        if not same:
            lengths[axis] = draw(st.integers(0, 3))
        shapes.append(tuple(lengths))
    return [*(draw(mst.tensors(s)) for s in shapes), {"axis": axis}]


@st.composite
def split_cases(draw):
    """Equal parts, or cuts."""
    axis = draw(st.integers(-2, 1))
    shape = [3, 3]
    shape[axis] = draw(st.sampled_from([0, 2, 4, 6]))
    sections = draw(st.sampled_from([1, 2, [1], [1, 1], [0, 3], [2, 1]]))
    return [draw(mst.tensors(tuple(shape))), {"indices_or_sections": sections, "axis": axis}]


@st.composite
def flip_cases(draw):
    """Any axes."""
    x = draw(mst.tensors())
    return [x, {"axis": draw(mst.axes(x.ndim))}]


def spelled(draw, numbers):
    """Ints as a tuple, a list, an array or NumPy's ints."""
    kinds = [tuple, list, np.array, lambda ints: tuple(map(np.int64, ints))]
    return draw(st.sampled_from(kinds))(list(numbers))


@st.composite
def roll_cases(draw):
    """Shifts and axes in every form: one shift, several that add up, one for each axis, an axis
    named twice.
    """
    x = draw(mst.tensors(min_dims=1))
    shifts = draw(st.lists(st.integers(-5, 5), min_size=1, max_size=3))
    axes = [draw(st.integers(-x.ndim, x.ndim - 1)) for _ in shifts]
    form = draw(st.integers(0, 4))
    if form == 0:
        return [x, {"shift": spelled(draw, shifts), "axis": spelled(draw, axes)}]
    if form == 1:
        return [x, {"shift": spelled(draw, shifts), "axis": draw(st.sampled_from([axes[0], np.int64(axes[0])]))}]
    if form == 2:
        return [x, {"shift": shifts[0], "axis": spelled(draw, axes)}]
    return [x, {"shift": shifts[0] if form == 3 else spelled(draw, shifts), "axis": None}]


@st.composite
def rot90_cases(draw):
    """Any number of turns in any plane."""
    x = draw(mst.tensors(min_dims=2))
    axes = draw(mst.permutations(x.ndim))[:2]
    return [
        x,
        {"k": draw(st.sampled_from([-1, 0, 1, 2, 3, np.int64(5)])), "axes": spelled(draw, axes)},
    ]


@st.composite
def repeat_cases(draw):
    """One count, or one for each element along the axis."""
    x = draw(mst.tensors(min_dims=1))
    axis = draw(mst.axes(x.ndim, allow_tuple=False))
    length = x.size if axis is None else x.shape[axis]
    counts = st.lists(st.integers(0, 2), min_size=length, max_size=length)
    return [x, {"repeats": draw(st.one_of(st.integers(0, 3), counts)), "axis": axis}]


@st.composite
def pad_cases(draw):
    """Widths in every form, constants, and the modes that repeat elements."""
    x = draw(mst.tensors(min_dims=1))
    width = st.integers(0, 2)
    pair = st.tuples(width, width)
    some = st.dictionaries(st.integers(0, x.ndim - 1), st.one_of(width, pair))
    forms = [width, pair, st.lists(pair, min_size=x.ndim, max_size=x.ndim).map(tuple), pair.map(np.array), some]
    named = {"pad_width": draw(st.one_of(forms))}
    modes = ["constant"] * 4 + (["edge", "reflect", "symmetric", "wrap"] if x.size else [])
    named["mode"] = draw(st.sampled_from(modes))
    if named["mode"] == "constant":
        named["constant_values"] = draw(st.sampled_from([0.0, 1.5, (1.0, 2.0)]))
    return [x, named]


def numpy_unstack(x, axis):
    """The slices along an axis."""
    return [np.take(x, i, axis) for i in range(x.shape[axis])]


def row(name, cases, reference=None, **more):
    """A row whose NumPy function has the same name; moving elements is analytic."""
    return Row(name, getattr(mt, name), cases, reference or getattr(np, name), analytic=True, **more)


MATRICES = mst.tensors(min_dims=2)
ROWS = [
    row("reshape", reshape_cases(), ops=("reshape",), errors=(([A], {"shape": (4,)}, ValueError, r"^reshape\(x: \(2, 3\)"),)),
    row(
        "permute_dims", permute_cases(), np.transpose, examples=40, ops=("permute_dims",),
        errors=(([A], {"axes": (0,)}, ValueError, r"^permute_dims\("),),
    ),
    row("swapaxes", two_axes("axis1", "axis2"), ops=("swapaxes",)),
    row("moveaxis", two_axes("source", "destination"), errors=(([A, [0, 1], [0]], {}, ValueError, "moveaxis: 2 axes"),)),
    row("expand_dims", expand_cases(), errors=(([A, 3], {}, ValueError, "expand_dims: axis 3"),)),
    row("squeeze", squeeze_cases(), errors=(([A, 0], {}, ValueError, r"squeeze: axis 0 of shape \(2, 3\)"),)),
    row(
        "broadcast_to", broadcast_cases(), ops=("broadcast_to",),
        errors=(([A], {"shape": (3, 2)}, ValueError, r"^broadcast_to\(x: \(2, 3\)"),),
    ),
    Row(
        "concatenate", on_list(mt.concatenate), joined(same=False), on_list(np.concatenate), analytic=True,
        ops=("concatenate",), also=([A, B, {"axis": None}], [A, B, {"axis": np.int64(-1)}], [np.ones((2, 2, 3)), {}]),
        errors=(
            ([A, B], {}, ValueError, r"^concatenate\(.*\(2, 3\).*\(2, 4\)"), ([], {}, ValueError, "at least one"),
            ([A], {"axis": 1.5}, TypeError, "concatenate: one axis is wanted, got 1.5"),
        ),
    ),
    Row("concat", on_list(mt.concat), joined(same=False), on_list(np.concatenate), analytic=True),
    Row(
        "stack", on_list(mt.stack), joined(same=True), on_list(np.stack), analytic=True,
        errors=(([A, B], {}, ValueError, r"\(.*3\).*4"),),
    ),
    row("split", split_cases(), errors=(([A, 2, 1], {}, ValueError, "split: axis 1 of length 3"),)),
    row("unstack", with_axis(), numpy_unstack),
    row("flip", flip_cases(), ops=("flip",)),
    row("roll", roll_cases(), ops=("roll",), examples=60),
    row("rot90", rot90_cases(), errors=(([A], {"axes": (0,)}, ValueError, "rot90: axes must be two"),)),
    row("repeat", repeat_cases(), errors=(([A, [1, 2, 3], 0], {}, ValueError, "repeat: 3 counts"),)),
    Row(
        "tile", mt.tile, mst.case(mst.tensors(), reps=st.one_of(st.integers(0, 2), mst.shapes(max_side=2))),
        np.tile, analytic=True, errors=(([A, -1], {}, ValueError, "tile: reps must not be negative, got -1"),),
    ),
    row(
        "pad", pad_cases(), examples=60, ops=("pad",), also=([np.array(1.5), {"pad_width": (1, 2)}],),
        errors=(
            ([A], {"pad_width": -1}, ValueError, "pad: pad_width must not be negative, got -1; write a slice"),
            ([A], {"pad_width": (1, 2, 3)}, ValueError, r"pad: pad_width \(1, 2, 3\) does not fit a tensor of 2 axes"),
            ([A], {"pad_width": 1.5}, TypeError, "pad: pad_width must be integers, got 1.5"),
            ([A], {"pad_width": 1, "mode": "mean"}, ValueError, "pad: mode must be"),
            ([A[:0]], {"pad_width": 1, "mode": "edge"}, ValueError, "pad: mode 'edge' takes elements from axis 0, which has none"),
        ),
    ),
    row("tril", mst.case(MATRICES, k=st.integers(-2, 2)), ops=("tril",)),
    row("triu", mst.case(MATRICES, k=st.integers(-2, 2)), ops=("triu",)),
    row("diagonal", plane_cases()),
    Row("alias", alias, mst.case(mst.tensors()), np.asarray, analytic=True, where="ops", ops=("alias",)),
    Row("flatten", shape_ops.flatten, mst.case(mst.tensors()), np.ravel, analytic=True, where="ops"),
    Row(
        "astype", shape_ops.astype, mst.case(mst.tensors(), dtype="float64"), lambda x, dtype: x.astype(dtype),
        where="ops", ops=("astype",),
    ),
    Row(
        "to_device", shape_ops.to_device, mst.case(mst.tensors(), device="cpu"), lambda x, device: x,
        where="ops", ops=("to_device",),
    ),
]  # fmt: skip
