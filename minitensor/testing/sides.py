"""The kinds of shapes that strategies draw: of one array, of arrays that broadcast, of a matrix
product, of a reduction with its axes.

Where there are enough lengths, the axes of a shape have different ones, so that a wrong axis shows.
"""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st

from minitensor.testing.strata import is_first, kind, pick

__all__ = ["any_shape", "lengths", "matmul_shapes", "mutual_shapes", "reduced"]

LONG = 70, 100  # elements of a long array: more than blocks of 64 take at once
SHORT = 4  # the largest length of others
TURNS = 20  # kinds of shapes at least, so that few of 25 examples have no elements


def lengths(draw, ndim, usual):
    """``ndim`` of the ``usual`` lengths, different as far as there are enough."""
    left, made = list(usual), []
    for _ in range(ndim):
        made.append(pick(draw, left))
        if len(left) > 1:
            left.remove(made[-1])
    return made


def usual_sides(least, most):
    """The lengths of 2 or more between two bounds; if there are none, those that there are."""
    return range(max(least, 2), most + 1) or range(least, most + 1)


@functools.cache
def shape_kinds(min_dims, max_dims, least, most):
    """Pairs of a number of axes and a length that one of them has (None: any usual one): of up to 3
    axes each twice in 23, with two that have no elements and one that is long.
    """
    special = [n for n in (1, most) if least <= n <= most and most > 1]
    every = [(ndim, side) for ndim in range(min_dims, max_dims + 1) for side in ([None, *special] if ndim else [None])]
    rest = [("any", 0)] * 2 * (least == 0 < most) + [("any", "long")] if max_dims else []
    return (*every * -(-(TURNS - len(rest)) // len(every)), *rest)


def bounds_of(min_dims, max_dims, min_side, max_side):
    """``max_side``, or what it is if it was not given; ValueError if no shape is like that."""
    most = max(SHORT, min_side) if max_side is None else max_side
    if not (0 <= min_dims <= max_dims and 0 <= min_side <= most):
        raise ValueError(f"no shape has {min_dims} to {max_dims} axes of lengths {min_side} to {most}")
    return most


def with_side(draw, ndim, side, least, most):
    """A shape of ``ndim`` axes, one of which has length ``side``; if that is "long", the others are
    short, and all together have 70 to 100 elements. None: any usual ones.
    """
    if side == "long":
        made = [max(least, 1)] * ndim
        side = max(least, draw(st.integers(*LONG)) // max(least, 1) ** (ndim - 1))
    else:
        made = lengths(draw, ndim, usual_sides(least, most))
    if side is not None:
        made[draw(st.integers(0, ndim - 1))] = side
    return tuple(made)


def some_dims(draw, side, min_dims, max_dims):
    """A number of axes: for a long array as few as may be."""
    return max(min_dims, 1) if side == "long" else draw(st.integers(max(min_dims, 1), max_dims))


@st.composite
def any_shape(draw, min_dims, max_dims, min_side, max_side):
    """A shape: each number of axes, an axis of length 1 or ``max_side`` among others, no elements.
    If ``max_side`` is None, it is 4, and as the first of an example of a check one axis is much
    longer at times.
    """
    most = bounds_of(min_dims, max_dims, min_side, max_side)
    long = max_side is None and is_first()
    kinds = shape_kinds(min_dims, max_dims, min_side, most)
    ndim, side = kinds[kind(draw, len(kinds))]
    side = None if side == "long" and not long else side
    ndim = some_dims(draw, side, min_dims, max_dims) if ndim == "any" else ndim
    return with_side(draw, ndim, side, min_side, most)


@functools.cache
def broadcast_kinds(count, max_dims):
    """What becomes of which operand, of how many axes, and which of these: 24 of two operands of up
    to 3 axes.
    """
    dims = range(1, max_dims + 1) if count * max_dims <= 6 else range(max_dims, max_dims + 1)
    return (
        *(("same", 0, ndim, 0) for ndim in range(max(0, max_dims - 1), max_dims + 1)),
        *(("kept", i, ndim, axis) for ndim in dims for i in range(count) for axis in range(ndim)),
        *(("fewer", i, ndim, 0) for ndim in dims for i in range(count)),
        *(("crossed", 0, ndim, 0) for ndim in dims if ndim > 1 and count > 1),
        *([("any", 0, max_dims, 0), ("empty", 0, max_dims, 0)] if max_dims else []),
    )


def mutual_shapes(draw, count, max_dims):
    """``count`` shapes that broadcast: all the same; one with an axis of length 1, or with fewer
    axes; two with different axes of length 1; all of them cut at random; no elements.
    """
    kinds = broadcast_kinds(count, max_dims)
    what, i, ndim, axis = kinds[kind(draw, len(kinds))]
    full = lengths(draw, ndim, (2, 3))
    each = [list(full) for _ in range(count)]
    if what == "kept":
        each[i][axis] = 1
    elif what == "fewer":
        each[i] = full[ndim - draw(st.integers(0, ndim - 1)) :]
    elif what == "crossed":
        first, second = lengths(draw, 2, range(ndim))
        i, k = lengths(draw, 2, range(count))
        each[i][first] = each[k][second] = 1
    elif what in ("any", "empty"):
        if what == "empty":
            full[draw(st.integers(0, ndim - 1))] = 0
        each = [[pick(draw, (1, n)) for n in full[draw(st.integers(0, ndim)) :]] for _ in range(count)]
        if what == "empty":
            each[draw(st.integers(0, count - 1))] = full
    return [tuple(shape) for shape in each]


# Of each operand: "v" a vector, "m" a matrix; before it the lengths of the stack, "s", "t" or "1".
# "thin" and "empty": two matrices, one length of which is 1 or 0.
PRODUCTS = ("m m", "m v", "v m", "v v", "m m", "sm sm", "sm m", "m sm", "1m sm", "sm 1m", "tsm sm", "t1m sm", "sm v", "v sm",
            "thin", "empty")  # fmt: skip


def matmul_shapes(draw, max_side):
    """The shapes of two operands of a matrix product."""
    usual = usual_sides(0, max_side)
    what = PRODUCTS[kind(draw, len(PRODUCTS))]
    rows, inner = lengths(draw, 2, usual)
    sizes = [rows, inner, pick(draw, [n for n in usual if n != inner] or list(usual))]
    if what in ("thin", "empty"):
        sizes[draw(st.integers(0, 2))] = min(max_side, 1 if what == "thin" else 0)
        what = "m m"
    rows, inner, columns = sizes
    stack = {"s": 2, "t": 3, "1": 1}
    left, right = what.split()
    shapes = []
    for operand, matrix in ((left, (rows, inner)), (right, (inner, columns))):
        before = tuple(stack[letter] for letter in operand[:-1])
        shapes.append((*before, *matrix) if operand[-1] == "m" else (inner,))
    return shapes


@functools.cache
def reduction_kinds(min_dims, max_dims, none, several, empty, keepdims):
    """Triples of a number of axes, what is asked for, and whether axes are kept: 24 of up to 3
    axes.
    """
    every: list[tuple[Any, Any, bool]] = [(0, "none", False), (0, "()", False)]
    for ndim in range(1, max_dims):
        every += [(ndim, "axis", kept) for kept in (False, True)[: min(ndim, 2)]]
        every += [(ndim, "all", False), (ndim, "none", False)] if ndim > 1 else []
    if max_dims:
        every += [(max_dims, axis, kept) for axis in range(-max_dims, max_dims) for kept in (False, True)]
        every += [(max_dims, "none", True), ("any", "long", True)]
        every += [("any", "empty", False)] if empty else []
    if max_dims > 1:
        every += [(max_dims, "pair", False), (max_dims, "negative pair", True)]
    left_out = (set() if none else {"none"}) | (set() if several else {"()", "all", "pair", "negative pair"})
    every = [one for one in every if one[1] not in left_out and (one[0] == "any" or one[0] >= min_dims)]
    return tuple(dict.fromkeys((ndim, axis, kept and keepdims) for ndim, axis, kept in every))


@st.composite
def reduced(draw, min_dims, max_dims, min_side, max_side, none, several, keepdims):
    """``(shape, axis, kept)`` of a reduction; the axis is "any" where any will do."""
    most = bounds_of(min_dims, max_dims, min_side, max_side)
    long = max_side is None and is_first()
    kinds = reduction_kinds(min_dims, max_dims, none, several, min_side == 0, keepdims)
    ndim, axis, kept = kinds[kind(draw, len(kinds))]
    if ndim == "any":
        side = {"empty": 0, "long": "long" if long else None}[axis]
        return with_side(draw, some_dims(draw, side, min_dims, max_dims), side, min_side, most), "any", kept
    shape = with_side(draw, ndim, None, min_side, most)
    if axis == "axis":
        axis = draw(st.integers(-ndim, ndim - 1))
    elif axis in ("none", "()"):
        axis = None if axis == "none" else ()
    elif axis == "all":
        axis = tuple(lengths(draw, ndim, range(ndim)))
    elif axis in ("pair", "negative pair"):
        axis = tuple(a - ndim * (axis != "pair") for a in lengths(draw, 2, range(ndim)))
    return shape, axis, kept
