"""Reading and writing by index. A gradient of reading is a ``Scatter``, which the engine adds in
place into one buffer.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from minitensor.backend import device_of, is_array, is_floating, namespace, np
from minitensor.engine.autograd import Scatter, raw
from minitensor.engine.axes import axis_of, one_int
from minitensor.engine.mode import reads_values
from minitensor.engine.op import moves, op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.elementwise import clip, remainder
from minitensor.ops.ids import wide_ids

__all__ = ["argsort", "getitem", "index_part", "put", "put_along_axis", "sort", "take", "take_along_axis", "topk"]

if TYPE_CHECKING:
    from typing import Any, Literal, SupportsIndex

    from minitensor.engine.attached import TensorLike


@moves
@op(name="getitem")
def _getitem(xp, x, *, index):
    return x[index]


_getitem.vjp(lambda g, index, x_shape: Scatter(g, index, x_shape))


@op
def put(xp, x, /, index, shape):
    """Zeros of ``shape`` with ``x`` added at ``index``; repeated indices add up. The adjoint of
    reading ``y[index]``.
    """
    out = xp.zeros(shape, dtype=x.dtype)
    xp.add_at(out, index, x)
    return out


put.vjp(lambda g, index: g[index])


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``: ints, slices, None, ``...``, integer arrays (repeats allowed) and boolean
    masks, as in NumPy.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if all(isinstance(part, (int, slice)) or part is None or part is Ellipsis for part in parts):
        return _getitem(x, index=index)
    return _read_at(x, index)


@reads_values("index")
def _read_at(x, index):
    """``x[index]`` with arrays, lists or tensors in the index."""
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(index_part(part, x.device) for part in parts)
    _check_bounds(parts, x.shape)
    return _getitem(x, index=parts if isinstance(index, tuple) else parts[0])


def index_part(part, device):
    """One part of an index with tensors and lists as raw arrays on the tensor's device."""
    if isinstance(part, (slice, int)) or part is None or part is Ellipsis:
        return part
    if isinstance(part, (list, Tensor)) or is_array(part):
        part = asarray(part, dtype=np.int64 if isinstance(part, list) and not part else None)
        array = raw(part) if is_array(raw(part)) else part  # one that stands for many has no array
        if array.dtype.kind not in "iub":
            raise TypeError(f"an index must be integers or truth values, got {array.dtype}")
        if array is part:
            return part if part.dtype.kind == "b" else part.astype(np.int64).to(device)
        array = array if array.dtype.kind == "b" else wide_ids(array)
        return array if device_of(array) == device else raw(Tensor(array).to(device))
    try:
        return operator.index(part)
    except TypeError:
        raise TypeError(
            f"an index is an int, slice, None, ..., or an array of integers or truth values, got {part!r}"
        ) from None


def _check_bounds(parts, shape):
    """Raise IndexError for an id out of range (CuPy would wrap it silently), on a GPU when a value
    is next read from it.
    """
    axis, spared = 0, len(shape) - sum(map(_axes_taken, parts))
    for part in parts:
        if is_array(part) and part.dtype.kind != "b" and part.size and axis < len(shape):
            message = f"index {{id}} is out of range for axis {axis} of shape {shape}"
            namespace(device_of(part)).check_ids(message, part, -shape[axis], shape[axis])
        axis += spared if part is Ellipsis else _axes_taken(part)


def _axes_taken(part):
    """How many axes of the tensor a part of an index stands for; ``...`` takes what the others
    leave.
    """
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.ndim if is_array(part) and part.dtype.kind == "b" else 1


def take(
    x: TensorLike,
    indices: TensorLike,
    axis: SupportsIndex | None = None,
    *,
    mode: Literal["raise", "wrap", "clip"] = "raise",
) -> Tensor:
    """Slices of ``x`` at ``indices`` along ``axis`` (default: of the flat array); indices may
    repeat.

    mode: an index out of range raises IndexError ("raise"), comes round again ("wrap"), or stands
    for the nearest ("clip", if negative ones are 0).
    """
    x = asarray(x)
    if axis is None:
        x, axis = x.reshape((-1,)), 0
    axis = axis_of("take", axis, x.ndim)
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f'take: mode must be "raise", "wrap" or "clip", got {mode!r}')
    if type(indices) is not int or mode != "raise":
        indices = _integers("take", indices, truth_values=True)
        if mode != "raise":
            length = max(x.shape[axis], 1)
            indices = remainder(indices, length) if mode == "wrap" else clip(indices, 0, length - 1)
    return getitem(x, (slice(None),) * axis + (indices,))


def _integers(op_name, indices, truth_values=False) -> Tensor:
    """``indices`` as a Tensor of integers; truth values among them are the numbers 0 and 1, or an
    error.
    """
    indices = asarray(indices, dtype=np.int64 if isinstance(indices, list) and not indices else None)
    if indices.dtype.kind == "b" and truth_values:
        return indices.astype(np.int64)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op_name}: indices must be integers, got {indices.dtype}")
    return Tensor(wide_ids(indices._array)) if is_array(indices._array) else indices.astype(np.int64)


def _along(indices, shape, axis):
    """The full index of ``take_along_axis``: ``indices``, a Tensor, at ``axis``, its own position
    at every other axis.
    """
    xp, indices = namespace(indices.device), indices._array if is_array(indices._array) else indices
    parts = []
    for i, length in enumerate(shape):
        steps = xp.arange(length).reshape((-1,) + (1,) * (len(shape) - i - 1))
        parts.append(indices if i == axis else steps)
    return tuple(parts)


def take_along_axis(x: TensorLike, indices: TensorLike, axis: SupportsIndex | None = -1) -> Tensor:
    """``x[i, indices[i, j]]`` for every i: one element per place of ``indices``, which has x's
    shape but along ``axis``.

    Where ``axis`` is None, x is flattened first.
    """
    x, indices = asarray(x), _integers("take_along_axis", indices)
    if axis is None:
        x, axis = x.reshape((-1,)), 0
    if x.ndim != indices.ndim:
        raise ValueError(f"take_along_axis: x has {x.ndim} axes but indices has {indices.ndim}: they must be equal")
    axis = axis_of("take_along_axis", axis, x.ndim)
    wide = np.broadcast_shapes(
        x.shape[:axis] + (1,) + x.shape[axis + 1 :], indices.shape[:axis] + (1,) + indices.shape[axis + 1 :]
    )
    shape = wide[:axis] + (indices.shape[axis],) + wide[axis + 1 :]
    if x.shape[:axis] + x.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :]:
        x = x.broadcast_to(shape[:axis] + (x.shape[axis],) + shape[axis + 1 :])
    return getitem(x, _along(indices, shape, axis))


@moves
@op(name="put_along_axis")
def _put_along(xp, x, values, *, index):
    out = x.copy()
    out[index] = values
    return out


def _put_along_dx(xp, g, index, x_shape):
    kept = xp.ones(x_shape, dtype="bool")
    kept = raw(kept)
    kept[index] = False
    return xp.where(kept, g, 0.0)


_put_along.vjp(_put_along_dx, lambda g, index: g[index])


@reads_values("x", "indices", "values")
def put_along_axis(x: TensorLike, indices: TensorLike, values: TensorLike, axis: SupportsIndex | None) -> Tensor:
    """A new array: ``x`` with ``values`` at ``x[i, indices[i, j]]``; indices that repeat within a
    row raise ValueError.

    Where ``axis`` is None, the indices are into the flat array.
    """
    x, indices, values = asarray(x), _integers("put_along_axis", indices), asarray(values)
    if axis is None:
        return put_along_axis(x.reshape((-1,)), indices, values, 0).reshape(x.shape)
    axis = axis_of("put_along_axis", axis, x.ndim)
    if x.dtype.kind in "iub" and is_floating(values.dtype):
        raise TypeError(
            f"put_along_axis: values are {values.dtype}, they do not fit a tensor of {x.dtype}: write x.astype(...)"
        )
    shape = x.shape[:axis] + (indices.shape[axis],) + x.shape[axis + 1 :]
    index = _along(indices.broadcast_to(shape), shape, axis)
    _check_bounds((slice(None),) * axis + (index[axis],), x.shape)
    xp = namespace(x.device)
    hits = xp.zeros(x.shape, dtype=np.int32)
    xp.add_at(hits, index, np.int32(1))
    if hits.size and int(xp.max(hits)) > 1:
        raise ValueError(
            "put_along_axis: an index repeats along the axis, so that the result would depend on the order of writing"
        )
    return _put_along(x, values.broadcast_to(shape) if values.shape != shape else values, index=index)


# --- order ----------------------------------------------------------------------------------------


@moves
@op(name="argsort")
def _argsort(xp, x, *, axis, descending):
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    turned = xp.flip(x, axis=axis)  # reversed twice, so that a descending sort is stable too
    return x.shape[axis] - 1 - xp.flip(xp.argsort(turned, axis=axis, kind="stable"), axis=axis)


def argsort(
    x: TensorLike,
    axis: SupportsIndex | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool = True,
) -> Tensor:
    """Indices that put ``x`` in order along ``axis`` (default: of the flat array); stable, equal
    elements keep theirs.

    kind, stable: NumPy's; every one of its kinds is answered by the stable one.
    """
    return _ordered("argsort", x, axis, kind, descending)[1]


def sort(
    x: TensorLike,
    axis: SupportsIndex | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool = True,
) -> Tensor:
    """``x`` in order along ``axis`` (default: of the flat array); the other arguments are those of
    ``argsort``.
    """
    x, order, axis = _ordered("sort", x, axis, kind, descending)
    return take_along_axis(x, order, axis)


def _ordered(op_name, x, axis, kind, descending):
    """``(x, indices, axis)``: the tensor, flat if ``axis`` is None, and what puts it in order."""
    if kind not in (None, "stable", "quicksort", "mergesort", "heapsort"):
        raise ValueError(
            f'{op_name}: kind must be None or "stable", got {kind!r}; a direction is descending=True, by its name'
        )
    x = asarray(x)
    if axis is None:
        x, axis = x.reshape((-1,)), 0
    axis = axis_of(op_name, axis, x.ndim)
    return x, _argsort(x, axis=axis, descending=bool(descending)), axis


def topk(x: TensorLike, k: SupportsIndex, axis: SupportsIndex = -1) -> tuple[Tensor, Tensor]:
    """``(values, indices)`` of the ``k`` greatest along ``axis``, greatest first; of equal ones the
    first comes first.
    """
    x, k = asarray(x), one_int("topk", k, "an integer for k")
    place = axis_of("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[place]:
        raise ValueError(f"topk: k = {k} does not fit axis {axis} of shape {x.shape}")
    order = argsort(x, axis=axis, descending=True)
    indices = order[(slice(None),) * place + (slice(0, k),)]
    return take_along_axis(x, indices, axis), indices
