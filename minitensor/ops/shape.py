"""Ops that move elements without changing them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.backend import as_device, as_dtype, device_of, is_array, is_floating, move, np
from minitensor.engine.arraylike import leaves_of
from minitensor.engine.axes import axes_of, axis_of, ints, one_int, read_ints
from minitensor.engine.messages import describe
from minitensor.engine.op import moves, op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.creation import arange

__all__ = [
    "astype", "broadcast_to", "concat", "concatenate", "diagonal", "expand_dims", "moveaxis", "permute_dims", "reshape",
    "split", "squeeze", "stack", "swapaxes", "to_device", "tril", "triu", "unstack",
]  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, SupportsIndex

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import Axes, Shape, TensorLike


@moves
@moves
@op
def astype(xp, x, /, dtype):
    """``x`` with elements of type ``dtype``; the gradient comes back in x's own. Integers and truth
    values are constants.
    """
    return x.astype(as_dtype(dtype))


astype.vjp(lambda g: g)  # the engine brings every gradient to its node's dtype


@moves
@op
def to_device(xp, x, /, device):
    """``x`` on ``device``; the gradient travels back."""
    return move(x, device)


@to_device.vjp
def _(g, x):
    return g.to(x.device) if isinstance(g, Tensor) else move(g, device_of(x))


@moves
@op
def reshape(xp, x, /, shape):
    """``x`` in another shape of as many elements; one length may be -1."""
    return x.reshape(shape)


reshape.vjp(lambda g, x_shape: g.reshape(x_shape))


@moves
@op
def permute_dims(xp, x, /, axes=None):
    """``x`` with its axes in the order ``axes`` (default: reversed)."""
    return x.transpose(axes)


@permute_dims.vjp
def _(xp, g, axes):
    if axes is None:
        return xp.permute_dims(g)
    places = axes_of("permute_dims", axes, g.ndim)
    return xp.permute_dims(g, tuple(sorted(range(g.ndim), key=places.__getitem__)))


@moves
@op
def swapaxes(xp, x, /, axis1, axis2):
    """``x`` with two axes exchanged."""
    return x.swapaxes(axis1, axis2)


swapaxes.vjp(lambda g, axis1, axis2: g.swapaxes(axis1, axis2))


def moveaxis(x: TensorLike, source: Shape, destination: Shape) -> Tensor:
    """``x`` with the axes ``source`` moved to ``destination``; the others keep their order."""
    x = asarray(x)
    source, destination = (axes_of("moveaxis", axes, x.ndim) for axes in (source, destination))
    if len(source) != len(destination):
        raise ValueError(f"moveaxis: {len(source)} axes to move but {len(destination)} places")
    order = [a for a in range(x.ndim) if a not in source]
    for place, axis in sorted(zip(destination, source)):
        order.insert(place, axis)
    return permute_dims(x, axes=tuple(order))


def expand_dims(x: TensorLike, axis: Shape = 0) -> Tensor:
    """``x`` with a new axis of length 1 at ``axis`` (an int or a tuple)."""
    x = asarray(x)
    axes = ints(axis, "expand_dims")
    ndim = x.ndim + len(axes)
    places = axes_of("expand_dims", axes, ndim)
    lengths = iter(x.shape)
    return reshape(x, shape=tuple(1 if i in places else next(lengths) for i in range(ndim)))


def squeeze(x: TensorLike, axis: Axes = None) -> Tensor:
    """``x`` without the axes ``axis``, which must have length 1 (default: every axis of
    length 1).
    """
    x = asarray(x)
    if axis is None:
        axes = tuple(i for i, n in enumerate(x.shape) if n == 1)
    else:
        axes = axes_of("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"squeeze: axis {axis} of shape {x.shape} does not have length 1")
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


@moves
@op
def broadcast_to(xp, x, /, shape):
    """``x`` repeated along new axes and axes of length 1 to ``shape``, without a copy."""
    return xp.broadcast_to(x, shape)


broadcast_to.vjp(lambda g: g)  # the engine sums it back


# --- joining and cutting --------------------------------------------------------------------------


@op(name="concatenate")
def _concatenate(xp, *xs, axis):
    return xp.concatenate(xs, axis=axis)


@_concatenate.vjp
def _(g, shapes, axis):
    axis, stop, parts = axis % g.ndim, 0, []
    for shape in shapes:
        start, stop = stop, stop + shape[axis]
        parts.append(g[(slice(None),) * axis + (slice(start, stop),)])
    return parts


def _parts_of(op_name, xs):
    """What is to be joined, as a list."""
    try:
        return list(xs)
    except TypeError:
        raise TypeError(f"{op_name}: a list of tensors is wanted, got {describe(xs)}") from None


def concatenate(xs: Iterable[TensorLike], axis: SupportsIndex | None = 0, *, dtype: DTypeLike | None = None) -> Tensor:
    """Join the tensors ``xs`` along an existing axis (flattened first if ``axis`` is None), as
    NumPy does.

    dtype: of the result; default: the one that all of them promote to.
    """
    xs = _parts_of("concatenate", xs)
    if not xs:
        raise ValueError("concatenate: at least one tensor is needed")
    if axis is None:
        xs, axis = [reshape(x, shape=(-1,)) for x in xs], 0
    joined = _concatenate(*xs, axis=one_int("concatenate", axis))
    return joined if dtype is None else astype(joined, dtype=dtype)


concat = concatenate


def stack(xs: Iterable[TensorLike], axis: SupportsIndex = 0, *, dtype: DTypeLike | None = None) -> Tensor:
    """Join tensors of one shape along a new axis; numbers among them take the type of
    the others.
    """
    axis = one_int("stack", axis)
    xs = _parts_of("stack", xs)
    common = _common_dtype(xs)
    return concatenate([expand_dims(_part(x, *common), axis) for x in xs], axis=axis, dtype=dtype)


def of_parts(data: Sequence[Any]) -> Tensor:
    """A nested list or tuple of tensors, arrays and numbers as one Tensor, with the gradient of its
    parts.
    """
    return _part(data, *_common_dtype(data))


def _part(x, dtype, device):
    """An item of a list that is to be stacked: a tensor or an array as it is, a number in
    ``dtype``, a list of such stacked.
    """
    if isinstance(x, Tensor):
        return x
    if is_array(x):
        return asarray(x)
    if not isinstance(x, (list, tuple)):
        return asarray(x, dtype=dtype, device=device)
    if not x:
        return asarray([], dtype=dtype, device=device)
    parts = [_part(item, dtype, device) for item in x]
    if any(part.shape != parts[0].shape for part in parts):
        raise ValueError(f"a tensor needs rows of equal length, got parts of shapes {[part.shape for part in parts]}")
    return _concatenate(*[expand_dims(part, 0) for part in parts], axis=0)


def _common_dtype(data):
    """The type that numbers take beside the tensors and arrays of a nested list, and the device of
    those; None, None without.
    """
    arrays, whole = [], True
    for x in leaves_of(data):
        if isinstance(x, Tensor) or is_array(x):
            arrays.append(x)
        elif not isinstance(x, (int, np.integer)):
            whole = False
    if not arrays:
        return None, None
    dtype: Any = np.result_type(*{x.dtype for x in arrays})
    if not is_floating(dtype):
        dtype = None if not whole or dtype.kind == "b" else dtype
    return dtype, next((x.device for x in arrays if isinstance(x, Tensor)), None)


def split(x: TensorLike, indices_or_sections: Shape, axis: SupportsIndex = 0) -> list[Tensor]:
    """A list of parts: so many equal ones, or cut before each of the given indices."""
    x, sections_or_cuts = asarray(x), read_ints(indices_or_sections)
    axis = axis_of("split", axis, x.ndim)
    length = x.shape[axis]
    if np.ndim(sections_or_cuts):
        edges = [0, *ints(sections_or_cuts, "split"), length]
    else:
        (sections,) = ints(sections_or_cuts, "split")
        if sections < 1 or length % sections:
            raise ValueError(f"split: axis {axis} of length {length} does not divide into {sections} equal parts")
        edges = [length // sections * i for i in range(sections + 1)]
    before = (slice(None),) * axis
    return [x[(*before, slice(start, stop))] for start, stop in zip(edges, edges[1:])]


def unstack(x: TensorLike, axis: SupportsIndex = 0) -> tuple[Tensor, ...]:
    """A tuple of the slices along ``axis``, without that axis."""
    x = asarray(x)
    axis = axis_of("unstack", axis, x.ndim)
    return tuple(x[(*(slice(None),) * axis, i)] for i in range(x.shape[axis]))


# --- diagonals ------------------------------------------------------------------------------------


@moves
@op
def tril(xp, x, /, k=0):
    """The last two axes with zeros above the k-th diagonal."""
    return xp.tril(x, one_int("tril", k, "an integer for k"))


tril.vjp(lambda xp, g, k: xp.tril(g, one_int("tril", k)))


@moves
@op
def triu(xp, x, /, k=0):
    """The last two axes with zeros below the k-th diagonal."""
    return xp.triu(x, one_int("triu", k, "an integer for k"))


triu.vjp(lambda xp, g, k: xp.triu(g, one_int("triu", k)))


def diagonal(x: TensorLike, offset: SupportsIndex = 0, axis1: SupportsIndex = 0, axis2: SupportsIndex = 1) -> Tensor:
    """The elements ``x[i, i + offset]`` of two axes, as a last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    offset = one_int("diagonal", offset, "an integer for offset")
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = arange(length, device=x.device)
    return x[(..., i + max(0, -offset), i + max(0, offset))]


def to(x: Tensor, device: str) -> Tensor:
    device = as_device(device)
    return x if x.device == device else to_device(x, device=device)


def reshape_method(x: Tensor, *lengths: Shape, shape: Shape | None = None) -> Tensor:
    """``x`` in another shape of as many elements, given as one argument or length by length; one
    length may be -1.
    """
    given = lengths if shape is None and len(lengths) != 1 else lengths[0] if shape is None else shape
    return reshape(x, shape=ints(given, "reshape"))


reshape_method.__name__ = "reshape"


def flatten(x: TensorLike) -> Tensor:
    """``x`` as one axis."""
    x = asarray(x)
    return reshape(x, shape=(math.prod(x.shape),))
