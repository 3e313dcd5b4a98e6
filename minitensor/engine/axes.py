"""Axes and lengths as plain ints: NumPy integers and Tensors of one integer are taken, what is out
of range is refused.

To Python a Tensor of one integer is one wherever it lies, and NumPy's array is too. CuPy's is not,
and CuPy takes neither array for an axis. ``read_ints`` reads them, which waits for the GPU; it is
asked only if there is no integer otherwise.
"""

from __future__ import annotations

from operator import index
from typing import Any

from minitensor.backend import is_array, move
from minitensor.engine.sums import raw

__all__ = ["axes_of", "axis_of", "ints", "one_int", "read_ints"]


def ints(value: Any, name: str | None = None) -> tuple[int, ...]:
    """An int, or a sequence of them, as a tuple of plain ints; ``name`` is what an
    error calls it.
    """
    try:
        return _as_ints(value)
    except TypeError:
        pass
    try:
        return _as_ints(read_ints(value))
    except TypeError:
        owner = f"{name}: " if name else ""
        raise TypeError(f"{owner}an integer or a sequence of them is wanted, got {value!r}") from None


def _as_ints(value):
    if not isinstance(value, (tuple, list)):
        try:
            return (index(value),)
        except (TypeError, ValueError):
            pass  # an array, a tensor or a range of several
    return tuple(index(v) for v in value)


def axes_of(op_name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` (an int, a sequence, or None for all) as a tuple of ints from 0 to ndim - 1;
    ValueError if that cannot be.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = ints(axis, op_name)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{op_name}: axis {a} is out of range for a tensor of {ndim} axes")
    axes = tuple(a % ndim for a in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{op_name}: axis {axis} names an axis twice")
    return axes


def axis_of(op_name: str, axis: Any, ndim: int) -> int:
    """One axis as an int from 0 to ndim - 1."""
    return axes_of(op_name, one_int(op_name, axis), ndim)[0]


def one_int(op_name: str, value: Any, wish: str = "one axis") -> int:
    """One integer as an int, in range or not; TypeError, in which it is called ``wish``, for
    several, and for anything else.
    """
    try:
        return index(value)
    except TypeError:
        pass
    try:
        return index(read_ints(value))
    except TypeError:
        raise TypeError(f"{op_name}: {wish} is wanted, got {value!r}") from None


def read_ints(value: Any) -> Any:
    """``value`` with the integer arrays and Tensors in it, also within tuples and lists, as ints or
    tuples of ints.

    What holds none is given back itself.
    """
    if isinstance(value, (tuple, list)):
        parts = [read_ints(part) for part in value]
        made = parts if isinstance(value, list) else tuple(parts)
        return value if all(new is old for new, old in zip(parts, value)) else made
    array = raw(value)
    if not is_array(array) or array.dtype.kind not in "iu":
        return value
    found = move(array, "cpu").tolist()
    return tuple(found) if isinstance(found, list) else found
