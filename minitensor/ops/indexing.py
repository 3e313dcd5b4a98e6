"""Reading and writing by index. A gradient of reading is a ``Scatter``, which the engine adds in place into one buffer."""

from __future__ import annotations

import operator

from minitensor.autograd import Scatter, raw
from minitensor.axes import axis_of
from minitensor.backend import device_of, is_array, is_floating, namespace, np
from minitensor.op import moves, op
from minitensor.tensor import Tensor, asarray

__all__ = ["argsort", "getitem", "put", "put_along_axis", "sort", "take", "take_along_axis", "topk"]


@moves
@op
def _getitem(xp, x, *, index):
    return x[index]


_getitem.name = "getitem"
_getitem.vjp(lambda g, index, x_shape: Scatter(g, index, x_shape))


@op
def put(xp, x, *, index, shape):
    """Zeros of ``shape`` with ``x`` added at ``index``; repeated indices add up. The adjoint of reading ``y[index]``."""
    out = xp.zeros(shape, dtype=x.dtype)
    xp.add_at(out, index, x)
    return out


put.vjp(lambda g, index: g[index])


def getitem(x, index):
    """``x[index]``: ints, slices, None, ``...``, integer arrays (repeats allowed) and boolean masks, as in NumPy."""
    parts = index if isinstance(index, tuple) else (index,)
    if all(isinstance(part, (int, slice)) or part is None or part is Ellipsis for part in parts):
        return _getitem(x, index=index)
    parts = tuple(_index_part(part, x.device) for part in parts)
    _check_bounds(parts, x.shape)
    return _getitem(x, index=parts if isinstance(index, tuple) else parts[0])


def _index_part(part, device):
    """One part of an index with tensors and lists as raw arrays on the tensor's device."""
    if isinstance(part, (slice, int)) or part is None or part is Ellipsis:
        return part
    if isinstance(part, (list, Tensor)) or is_array(part):
        array = raw(asarray(part, dtype=np.int64 if isinstance(part, list) and not part else None))
        if array.dtype.kind not in "iub":
            raise TypeError(f"an index must be integers or truth values, got {array.dtype}")
        return array if device_of(array) == device else raw(Tensor(array).to(device))
    try:
        return operator.index(part)
    except TypeError:
        raise TypeError(
            f"an index is an int, slice, None, ..., or an array of integers or truth values, got {part!r}"
        ) from None


def _check_bounds(parts, shape):
    """Raise IndexError for an id out of range (CuPy would wrap it silently), on a GPU when a value is next read from it."""
    if Ellipsis in [p for p in parts if not is_array(p)] or any(is_array(p) and p.dtype.kind == "b" for p in parts):
        return
    axis = 0
    for part in parts:
        if part is None:
            continue
        if is_array(part) and part.size and axis < len(shape):
            message = f"index {{id}} is out of range for axis {axis} of shape {shape}"
            namespace(device_of(part)).check_ids(message, part, -shape[axis], shape[axis])
        axis += 1


def take(x, indices, axis=None):
    """Slices of ``x`` at ``indices`` along ``axis`` (of the flat array where None); indices may repeat."""
    x = asarray(x)
    if axis is None:
        return getitem(x.reshape((-1,)), indices)
    return getitem(x, (slice(None),) * axis_of("take", axis, x.ndim) + (indices,))


def _along(indices, shape, axis):
    """The full index of ``take_along_axis``: ``indices`` at ``axis``, its own position at every other axis."""
    xp = namespace(device_of(indices))
    parts = []
    for i, length in enumerate(shape):
        steps = xp.arange(length).reshape((-1,) + (1,) * (len(shape) - i - 1))
        parts.append(indices if i == axis else steps)
    return tuple(parts)


def take_along_axis(x, indices, axis):
    """``x[i, indices[i, j]]`` for every i: one element per place of ``indices``, which has x's shape but along ``axis``."""
    x, indices = asarray(x), asarray(indices)
    if x.ndim != indices.ndim:
        raise ValueError(f"take_along_axis: x has {x.ndim} axes but indices has {indices.ndim}: they must be equal")
    axis = axis_of("take_along_axis", axis, x.ndim)
    wide = np.broadcast_shapes(
        x.shape[:axis] + (1,) + x.shape[axis + 1 :], indices.shape[:axis] + (1,) + indices.shape[axis + 1 :]
    )
    shape = wide[:axis] + (indices.shape[axis],) + wide[axis + 1 :]
    if x.shape[:axis] + x.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :]:
        x = x.broadcast_to(shape[:axis] + (x.shape[axis],) + shape[axis + 1 :])
    return getitem(x, _along(indices._data, shape, axis))


@moves
@op
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
_put_along.name = "put_along_axis"


def put_along_axis(x, indices, values, axis):
    """A new array: ``x`` with ``values`` at ``x[i, indices[i, j]]``; indices that repeat within a row raise ValueError."""
    x, indices, values = asarray(x), asarray(indices), asarray(values)
    axis = axis_of("put_along_axis", axis, x.ndim)
    if x.dtype.kind in "iub" and is_floating(values.dtype):
        raise TypeError(
            f"put_along_axis: values are {values.dtype}, they do not fit a tensor of {x.dtype}: write x.astype(...)"
        )
    shape = x.shape[:axis] + (indices.shape[axis],) + x.shape[axis + 1 :]
    index = _along(indices.broadcast_to(shape)._data, shape, axis)
    xp = namespace(x.device)
    hits = xp.zeros(x.shape, dtype=np.int32)
    xp.add_at(hits, index, np.int32(1))
    if hits.size and int(hits.max()) > 1:
        raise ValueError(
            "put_along_axis: an index repeats along the axis, so that the result would depend on the order of writing"
        )
    return _put_along(x, values.broadcast_to(shape) if values.shape != shape else values, index=index)


# --- order --------------------------------------------------------------------------------------------------------------------


@moves
@op
def argsort(xp, x, *, axis=-1, descending=False):
    """Indices that put ``x`` in order along ``axis``; stable, equal elements keep theirs."""
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    turned = xp.flip(x, axis=axis)  # reversed twice, so that a descending sort is stable too
    return x.shape[axis] - 1 - xp.flip(xp.argsort(turned, axis=axis, kind="stable"), axis=axis)


def sort(x, axis=-1, descending=False):
    """``x`` in order along ``axis``."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis)


def topk(x, k, axis=-1):
    """``(values, indices)`` of the ``k`` greatest along ``axis``, greatest first; of equal ones the first comes first."""
    x = asarray(x)
    place = axis_of("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[place]:
        raise ValueError(f"topk: k = {k} does not fit axis {axis} of shape {x.shape}")
    order = argsort(x, axis=axis, descending=True)
    indices = order[(slice(None),) * place + (slice(0, k),)]
    return take_along_axis(x, indices, axis), indices
