"""Hypothesis strategies for the inputs of ops: shapes with 0 and 1 elements, broadcasting, axes,
indices, masks.

Arrays are float64 and hold values between ``low`` and ``high``; if neither is given, between -2 and
2, or between -8 and 8, beyond where functions change (a clip at 6, say). If one is, the other is 2
or -2, or 4 away where that is on the wrong side. Half of those drawn are rounded to halves, so that
ties, zeros and equal elements are common. Sizes shrink towards few axes and few elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.backend.installing import line
from minitensor.engine.tensor import Tensor
from minitensor.testing.profiles import PROFILES, SHAPES, profiled

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(f"minitensor.testing.strategies needs hypothesis: {line('test')}") from error

__all__ = [
    "PROFILES", "SHAPES", "attention_masks", "axes", "broadcastable", "case", "ids", "index", "integer_tensors",
    "matmul_operands", "permutations",
    "reductions", "shapes", "tensors",
]  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR, FAR = 2.0, 8.0  # how far from 0 values are drawn, in turns


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> st.SearchStrategy[tuple[int, ...]]:
    """Tuples of lengths; every number of axes is as likely, and one length in eight or so is 0 or 1
    each.
    """
    usual = [n for n in (2, 3, 2, 3, *range(4, max_side + 1)) if min_side <= n <= max_side]
    sides = [1] * (min_side <= 1 <= max_side) + usual + [0] * (min_side == 0)
    return st.integers(min_dims, max_dims).flatmap(lambda ndim: st.tuples(*[st.sampled_from(sides)] * ndim))


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]] | None = None,
    low: float | None = None,
    high: float | None = None,
    min_dims: int = 0,
    max_dims: int = 3,
    min_side: int = 0,
    max_side: int = 4,
    ties: bool = True,
    distinct: bool = False,
    profile: str = "ordinary",
) -> Tensor:
    """Float64 Tensors of ``shape`` (a tuple or a strategy; default: any small shape) with values
    from ``low`` to ``high``.

    ties: allow the half of all draws that is rounded to halves; a sixth of these each has one value
    everywhere, nothing but 0, 1 and -1, or nothing but zeros. distinct: all elements differ by at
    least 1/16 of the mean distance (for sorting, for maxima without ties). profile: one of
    ``PROFILES`` or of ``SHAPES``, which changes what is drawn: ``"ties"``, ``"huge"``,
    ``"strided"``, ``"0-d"``...
    """
    if profile in SHAPES:
        if shape is not None:
            raise ValueError(f"the profile {profile!r} draws shapes: leave out shape=, or the profile")
        bounds = {"min_dims": min_dims, "max_dims": max_dims, "min_side": min_side, "max_side": max_side}
        shape = shapes(**{**bounds, **SHAPES[profile]})
    shape = shapes(min_dims, max_dims, min_side, max_side) if shape is None else shape
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    if low is None and high is None:
        high = draw(st.sampled_from([NEAR, FAR]))
        low = -high
    if low is None:
        low = -NEAR if high is None or high > -NEAR else high - 2 * NEAR
    if high is None:
        high = NEAR if low < NEAR else low + 2 * NEAR
    if not low <= high:
        raise ValueError(f"low is {low} and high {high}: no number lies between them")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = int(np.prod(shape, dtype=int))
    if distinct:
        values = low + (high - low) * (rng.permutation(count) + rng.uniform(0.03, 0.97, count)) / max(count, 1)
    else:
        values = rng.uniform(low, high, count)
    if ties and not distinct and draw(st.booleans()):
        least, most = np.ceil(2 * low) / 2, np.floor(2 * high) / 2
        if least <= most:  # there is a half between them
            values = np.clip(np.round(2 * values) / 2, least, most)
        kind = draw(st.sampled_from(["halves", "halves", "halves", "few", "equal", "zeros"]))
        if kind == "equal":
            values[:] = values[:1]
        elif kind != "halves":
            values = _few(values, low, high, rng, zeros=kind == "zeros")
    profile = "ordinary" if profile in SHAPES else profile
    return Tensor(profiled(values.reshape(shape), profile, rng))


def _few(values, low, high, rng, zeros=False):
    """Zeros, or 0, 1 and -1 in place of ``values``, as far as they lie between the bounds."""
    few = [v for v in ((0.0,) if zeros else (0.0, 1.0, -1.0)) if low <= v <= high]
    return rng.choice(few, values.shape) if few else values


@st.composite
def integer_tensors(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]] | None = None,
    low: int = -3,
    high: int = 3,
) -> Tensor:
    """Int64 Tensors with values from ``low`` to ``high``, both included."""
    shape = (
        draw(shapes() if shape is None else shape) if shape is None or isinstance(shape, st.SearchStrategy) else shape
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Tensor(rng.integers(low, high + 1, shape))


@st.composite
def broadcastable(
    draw: st.DrawFn,
    count: int = 2,
    low: float | Sequence[float | None] | None = None,
    high: float | Sequence[float | None] | None = None,
    ties: bool = True,
    max_dims: int = 3,
    profile: str = "ordinary",
) -> list[Tensor]:
    """Lists of ``count`` Tensors whose shapes broadcast: missing axes, axes of length 1, no
    elements.

    ``low`` and ``high`` are those of ``tensors``, or lists, one bound for each tensor. profile:
    ``"left"`` or ``"right"``, the first or the last is the smaller one and is broadcast; else as in
    ``tensors``.
    """
    lows, highs = (v if isinstance(v, (list, tuple)) else [v] * count for v in (low, high))
    if profile in ("left", "right"):
        shape = draw(shapes(1, max_dims, 1, 3))
        kept = draw(st.integers(0, len(shape) - 1))
        small = tuple(1 if draw(st.booleans()) else n for n in shape[len(shape) - kept :])
        each = [small, *[shape] * (count - 1)]
        each = each if profile == "left" else each[::-1]
        return [draw(tensors(s, a, b, ties=ties)) for s, a, b in zip(each, lows, highs)]
    drawn = draw(_mutual_shapes(count, max_dims))
    made = [draw(tensors(shape, a, b, ties=ties, profile=profile)) for shape, a, b in zip(drawn, lows, highs)]
    if ties and profile == "ordinary" and draw(st.sampled_from([False] * 4 + [True])):  # 0, 1 and -1: the special pairs
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        bounds = zip(lows, highs)
        made = [
            Tensor(_few(t._array, -NEAR if a is None else a, NEAR if b is None else b, rng))
            for t, (a, b) in zip(made, bounds)
        ]
    return made


@st.composite
def _mutual_shapes(draw, count, max_dims):
    """``count`` shapes that broadcast: all the same, or one or all of them with fewer axes and axes
    of length 1.
    """
    full = draw(shapes(0, max_dims, 0, 3))
    small = draw(st.sampled_from([None, *range(count), *range(count), "all"]))

    def cut():
        kept = full[draw(st.integers(0, len(full))) :]
        return tuple(draw(st.sampled_from([1, n])) for n in kept)

    return [cut() if small in (i, "all") else full for i in range(count)]


def axes(ndim: int, allow_none: bool = True, allow_tuple: bool = True) -> st.SearchStrategy[Any]:
    """None, an axis (also counted from the end), or a tuple of different axes, of an array of
    ``ndim`` axes.
    """
    choices: list[st.SearchStrategy[Any]] = [st.none()] if allow_none else []
    if ndim:
        choices.append(st.integers(-ndim, ndim - 1))
    if allow_tuple:
        choices.append(hnp.valid_tuple_axes(ndim))
    return st.one_of(choices)


def permutations(ndim: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Orders of ``ndim`` axes, some counted from the end."""
    return st.tuples(st.permutations(range(ndim)), st.lists(st.booleans(), min_size=ndim, max_size=ndim)).map(
        lambda pair: tuple(axis - ndim if turned else axis for axis, turned in zip(*pair))
    )


@st.composite
def reductions(
    draw: st.DrawFn,
    allow_none: bool = True,
    allow_tuple: bool = True,
    allow_empty: bool = True,
    keepdims: bool = True,
    **options: Any,
) -> list[Any]:
    """Arguments of a reduction: ``[x, {"axis": ..., "keepdims": ...}]``. allow_empty: x may have no
    elements.
    """
    smallest = {} if allow_none else {"min_dims": 1}
    x = draw(tensors(**{"min_side": 0 if allow_empty else 1, **smallest, **options}))
    named = {"axis": draw(axes(x.ndim, allow_none, allow_tuple))}
    if keepdims:
        named["keepdims"] = draw(st.booleans())
    return [x, named]


@st.composite
def matmul_operands(draw: st.DrawFn, max_side: int = 3) -> list[Tensor]:
    """Two operands of a matrix product: vectors, matrices, stacks that broadcast, lengths of 0 and
    1.
    """
    side = st.integers(0, max_side)
    rows, inner, columns = draw(side), draw(side), draw(side)
    stacks = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=2)).input_shapes
    left, right = (*stacks[0], rows, inner), (*stacks[1], inner, columns)
    left, right = draw(st.sampled_from([(left, right), ((inner,), right), (left, (inner,)), ((inner,), (inner,))]))
    return [draw(tensors(left)), draw(tensors(right))]


def index(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Indices of an array of ``shape``: ints, slices, None, ``...``, integer arrays with repeats,
    boolean masks.
    """
    choices: list[st.SearchStrategy[Any]] = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        choices.append(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
        choices.append(_mixed_indices(shape))
    if shape:
        choices.append(hnp.arrays(bool, shape))
    return st.one_of(choices)


@st.composite
def _mixed_indices(draw, shape):
    """An integer array into one axis, slices into those before it."""
    axis = draw(st.integers(0, len(shape) - 1))
    places = draw(hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(-shape[axis], shape[axis] - 1)))
    return (*(draw(st.slices(n)) for n in shape[:axis]), places)


@st.composite
def ids(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    size: int,
    ignore: int | None = None,
    negative: bool = False,
) -> np.ndarray:
    """Int64 arrays of class numbers or token ids below ``size``, repeats likely; some replaced by
    ``ignore`` if given. negative: some are counted from the end.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-size if negative else 0, size, shape)
    return values if ignore is None else np.where(rng.random(shape) < 0.3, ignore, values)


@st.composite
def attention_masks(
    draw: st.DrawFn, batch: int, heads: int, queries: int, keys: int, fully_masked: bool = True
) -> np.ndarray | None:
    """None or boolean masks (True = may attend) that broadcast to ``(batch, heads, queries,
    keys)``.

    Causal, padding (each sentence a prefix of the keys) and arbitrary ones; rows that may attend to
    nothing if ``fully_masked``.
    """
    kind = draw(st.sampled_from(["none", "causal", "padding", "any"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "none":
        return None
    if kind == "causal":
        return np.tril(np.ones((queries, keys), dtype=bool), keys - queries)
    if kind == "padding":
        lengths = rng.integers(0 if fully_masked else min(1, keys), keys + 1, batch)
        return (np.arange(keys) < lengths[:, None])[:, None, None, :]
    shape = [n if draw(st.booleans()) else 1 for n in (batch, heads, queries)] + [keys]
    mask = rng.random(shape) < 0.6
    if not fully_masked and keys:
        mask[..., 0] |= ~mask.any(axis=-1)
    return mask


def case(*inputs: Any, **keywords: Any) -> st.SearchStrategy[list[Any]]:
    """A list of inputs with keywords at its end, as ``check_op`` takes it; each may be a strategy
    or a plain value.
    """

    def drawn(value):
        return value if isinstance(value, st.SearchStrategy) else st.just(value)

    named = st.fixed_dictionaries({name: drawn(value) for name, value in keywords.items()})
    return st.tuples(*(drawn(value) for value in inputs), named).map(list)
