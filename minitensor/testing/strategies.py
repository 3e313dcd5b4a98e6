"""Hypothesis strategies for the inputs of ops: shapes with 0 and 1 elements, broadcasting, axes,
indices, masks.

Arrays are float64 and hold values between ``low`` and ``high``; if neither is given, between -2 and
2, or between -8 and 8, beyond where functions change (a clip at 6, say). If one is, the other is 2
or -2, or 4 away where that is on the wrong side. Five in twelve are rounded to halves, so that
ties, zeros and equal elements are common. Sizes shrink towards few axes and few elements.

Within ``check_op`` the kinds of inputs come in turns (``minitensor.testing.strata``): of 25
examples, whatever the seed, ``tensors`` gives each number of axes, each length, one or two arrays
of 70 to 100 elements and two or three without; ``broadcastable`` an axis of length 1 at each place
of either operand, missing axes, both operands cut at different axes; ``reductions`` each axis,
counted from either end, pairs of axes, all of them, kept or not; ``matmul_operands`` vectors,
matrices and stacks that broadcast; ``index`` repeated, negative and last places. What else there is
to an example is drawn. That holds for the strategy that an example begins with and for what
``.map`` and ``.filter`` make of it; what is drawn after it comes in turns of its own. By default
nothing has more than 100 elements, and nothing infinite, NaN or of another type is drawn.
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

    from minitensor.testing.sides import any_shape, matmul_shapes, mutual_shapes, reduced
    from minitensor.testing.strata import kind, pick
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
MANY = 6  # elements: of more, a part is made ties
# Whether values are drawn far from 0, and what is made of them.
KINDS = (
    (False, "any"), (True, "any"), (False, "any"), (True, "any"), (False, "any"), (True, "any"), (False, "any"),
    (False, "halves"), (True, "halves"), (False, "few"), (False, "equal"), (False, "zeros"),
)  # fmt: skip


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> st.SearchStrategy[tuple[int, ...]]:
    """Tuples of lengths: each number of axes with lengths of 2 or more, different if possible, with
    one of 1 among them, or one of ``max_side``; about two of 25 with a length of 0.
    """
    return any_shape(min_dims, max_dims, min_side, max_side)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]] | None = None,
    low: float | None = None,
    high: float | None = None,
    min_dims: int = 0,
    max_dims: int = 3,
    min_side: int = 0,
    max_side: int | None = None,
    ties: bool = True,
    distinct: bool = False,
    profile: str = "ordinary",
) -> Tensor:
    """Float64 Tensors of ``shape`` (a tuple or a strategy; default: any small shape) with values
    from ``low`` to ``high``.

    max_side: the largest length (default: 4, and where an example of ``check_op`` begins with this
    strategy, one or two of 25 have 70 to 100 elements along one axis). ties: allow the five in
    twelve that are rounded to halves (of more than 6 elements, a fifth of these), one each of which
    has one value everywhere, nothing but 0.0, -0.0, 1 and -1, or nothing but zeros.
    distinct: all elements differ by at least 1/16 of the mean distance (for sorting, for maxima
    without ties). profile: one of ``PROFILES`` or of ``SHAPES``, which changes what is drawn:
    ``"ties"``, ``"huge"``, ``"strided"``, ``"0-d"``...
    """
    if profile in SHAPES:
        if shape is not None:
            raise ValueError(f"the profile {profile!r} draws shapes: leave out shape=, or the profile")
        bounds = {"min_dims": min_dims, "max_dims": max_dims, "min_side": min_side, **SHAPES[profile]}
        shape = shapes(**{"max_side": 4 if max_side is None else max_side, **bounds})
    if shape is None:
        shape = any_shape(min_dims, max_dims, min_side, max_side)
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    far, word = KINDS[kind(draw, 2 if distinct or not ties else len(KINDS))]
    if low is None and high is None:
        high = FAR if far else NEAR
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
    if word != "any":
        values = _partly(values, _tied(values, word, low, high, rng), rng)
    profile = "ordinary" if profile in SHAPES else profile
    return Tensor(profiled(values.reshape(shape), profile, rng))


def _partly(values, tied, rng):
    """``tied`` in place of ``values``, of many a fifth: a dozen kinks show no more than a few do,
    and cost a dozen times as much.
    """
    return np.where(values.size <= MANY or rng.random(values.shape) < 1 / 5, tied, values)


def _tied(values, word, low, high, rng):
    """``values`` rounded to halves between the bounds, all the same, few different ones, zeros."""
    least, most = np.ceil(2 * low) / 2, np.floor(2 * high) / 2
    if least <= most:  # there is a half between them
        values = np.clip(np.round(2 * values) / 2, least, most)
    if word == "equal":
        return np.full(values.shape, values[0]) if values.size else values
    return values if word == "halves" else _few(values, low, high, rng, zeros=word == "zeros")


def _few(values, low, high, rng, zeros=False):
    """Zeros of both signs, or these and 1 and -1 in place of ``values``, as far as they lie between
    the bounds.
    """
    few = [v for v in (0.0, 1.0, -1.0)[: 1 if zeros else 3] if low <= v <= high]
    few += [-0.0] if low < 0 <= high else []
    return rng.permutation(np.resize(rng.permutation(few), values.size)).reshape(values.shape) if few else values


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
    drawn = mutual_shapes(draw, count, max_dims)
    made = [draw(tensors(shape, a, b, ties=ties, profile=profile)) for shape, a, b in zip(drawn, lows, highs)]
    if ties and profile == "ordinary" and kind(draw, 8) == 7:  # 0, 1 and -1: the special pairs
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        for k, (x, low, high) in enumerate(zip(made, lows, highs)):
            few = _few(x._array, -NEAR if low is None else low, NEAR if high is None else high, rng)
            made[k] = Tensor(_partly(x._array, few, rng))
    return made


def axes(ndim: int, allow_none: bool = True, allow_tuple: bool = True) -> st.SearchStrategy[Any]:
    """None, an axis (also counted from the end), or a tuple of different axes, of an array of
    ``ndim`` axes.
    """
    single = [*range(ndim), *range(-1, -ndim - 1, -1)]
    several = [(), tuple(range(ndim)), "tuple", "tuple"] if ndim > 1 else [(), "tuple"] if ndim else [()]
    return _axes(ndim, [*([None] if allow_none else []), *single, *(several if allow_tuple else [])])


@st.composite
def _axes(draw, ndim, kinds):
    """One of ``kinds``; for "tuple", any different axes."""
    if not kinds:
        return draw(st.nothing())  # an array without axes has none
    axis = kinds[kind(draw, len(kinds))]
    return draw(hnp.valid_tuple_axes(ndim, min_size=1)) if axis == "tuple" else axis


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
    """Arguments of a reduction: ``[x, {"axis": ..., "keepdims": ...}]``: each axis by itself,
    counted from either end, pairs, all, none named. allow_empty: x may have no elements. options:
    those of ``tensors``.
    """
    options = {"min_dims": 0 if allow_none else 1, "min_side": 0 if allow_empty else 1, **options}
    if options.get("shape") is not None or options.get("profile") in SHAPES:
        x = draw(tensors(**options))
        axis, kept = "any", keepdims and draw(st.booleans())
    else:
        default = {"max_dims": 3, "max_side": None, **options}
        bounds = {name: default.pop(name) for name in ("min_dims", "max_dims", "min_side", "max_side")}
        shape, axis, kept = draw(reduced(**bounds, none=allow_none, several=allow_tuple, keepdims=keepdims))
        x = draw(tensors(shape, **{name: value for name, value in default.items() if name != "shape"}))
    named = {"axis": draw(axes(x.ndim, allow_none, allow_tuple)) if axis == "any" else axis}
    return [x, {**named, "keepdims": kept} if keepdims else named]


@st.composite
def matmul_operands(draw: st.DrawFn, max_side: int = 3) -> list[Tensor]:
    """Two operands of a matrix product: vectors, matrices, stacks with axes of length 1 or missing
    on either side, lengths of 0 and 1.
    """
    return [draw(tensors(shape)) for shape in matmul_shapes(draw, max_side)]


def index(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Indices of an array of ``shape``: ints, slices, None, ``...``, integer arrays with repeats,
    boolean masks.
    """
    return _index(shape)


@st.composite
def _index(draw, shape):
    kinds = ["basic", "basic"]
    if shape and 0 not in shape:
        kinds += ["ends", "repeated", "arrays", "mixed", "repeated"]
    kinds += ["mask"] if shape else []
    word = kinds[kind(draw, len(kinds))]
    if word == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if word == "arrays":
        return draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
    if word == "mask":
        return draw(hnp.arrays(bool, shape))
    if word == "ends":  # the first and the last place, named from either end
        return tuple(pick(draw, (-1, slice(None), n - 1, -n, slice(None, None, -1))) for n in shape)
    axis = draw(st.integers(0, len(shape) - 1))
    length = shape[axis]
    place = st.integers(-length, length - 1)
    if word == "repeated":  # one place by both its names
        one = draw(place)
        return (*([slice(None)] * axis), np.array([one, one % length, one % length - length, -1, draw(place)]))
    places = draw(hnp.arrays(np.int64, st.integers(0, 4), elements=place))
    return (*(draw(st.slices(n)) for n in shape[:axis]), places)


@st.composite
def ids(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    size: int,
    ignore: int | None = None,
    negative: bool = False,
) -> np.ndarray:
    """Int64 arrays of class numbers or token ids below ``size``; a third has one of them at half of
    its places, another third the last one for sure; some replaced by ``ignore`` if given, of every
    six arrays all in one and none in one. negative: some are counted from the end.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    word = ("any", "repeated", "last")[kind(draw, 3)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-size if negative else 0, size, shape)
    if values.size and word == "repeated":
        values = np.where(rng.random(shape) < 0.5, values.reshape(-1)[0], values)
    elif values.size and word == "last":
        values.reshape(-1)[rng.integers(values.size)] = rng.choice([size - 1, -1]) if negative else size - 1
    if ignore is None:
        return values
    return np.where(rng.random(shape) < (0.3, 0.3, 0.3, 0.3, 0.0, 1.0)[kind(draw, 6)], ignore, values)


@st.composite
def attention_masks(
    draw: st.DrawFn, batch: int, heads: int, queries: int, keys: int, fully_masked: bool = True
) -> np.ndarray | None:
    """None or boolean masks (True = may attend) that broadcast to ``(batch, heads, queries,
    keys)``.

    Causal, padding (each sentence a prefix of the keys) and arbitrary ones; rows that may attend to
    nothing if ``fully_masked``.
    """
    word = ("none", "causal", "padding", "any")[kind(draw, 4)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if word == "none":
        return None
    if word == "causal":
        return np.tril(np.ones((queries, keys), dtype=bool), keys - queries)
    if word == "padding":
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
