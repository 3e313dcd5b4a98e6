"""Axes and lengths as plain ints: NumPy integers and Tensors of one integer are taken, what is out of range is refused."""

from __future__ import annotations

from operator import index
from typing import Any

__all__ = ["axes_of", "axis_of", "ints", "one_int"]


def ints(value: Any, name: str | None = None) -> tuple[int, ...]:
    """An int, or a sequence of them, as a tuple of plain ints; ``name`` is what an error calls it."""
    try:
        if not isinstance(value, (tuple, list)):
            try:
                return (index(value),)
            except (TypeError, ValueError):
                pass  # an array, a tensor or a range of several
        return tuple(index(v) for v in value)
    except TypeError:
        owner = f"{name}: " if name else ""
        raise TypeError(f"{owner}an integer or a sequence of them is wanted, got {value!r}") from None


def axes_of(op_name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` (an int, a sequence, or None for all) as a tuple of ints from 0 to ndim - 1; ValueError if that cannot be."""
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


def one_int(op_name: str, axis: Any) -> int:
    """One axis as an int, in range or not; TypeError for several, and for what is none."""
    try:
        return index(axis)
    except TypeError:
        raise TypeError(f"{op_name}: one axis is wanted, got {axis!r}") from None
