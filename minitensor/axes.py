"""Axes and lengths as plain ints: NumPy integers and Tensors of one integer are taken, what is out of range is refused."""

from __future__ import annotations

from operator import index

__all__ = ["axes_of", "axis_of", "ints"]


def ints(value):
    """An int, or a sequence of them, as a tuple of plain ints."""
    if isinstance(value, (tuple, list)):
        return tuple(index(v) for v in value)
    try:
        return (index(value),)
    except TypeError:
        return tuple(index(v) for v in value)  # an array or a range


def axes_of(op_name, axis, ndim):
    """``axis`` (an int, a sequence, or None for all) as a tuple of ints from 0 to ndim - 1; ValueError if that cannot be."""
    if axis is None:
        return tuple(range(ndim))
    axes = ints(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{op_name}: axis {a} is out of range for a tensor of {ndim} axes")
    axes = tuple(a % ndim for a in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{op_name}: axis {axis} names an axis twice")
    return axes


def axis_of(op_name, axis, ndim):
    """One axis as an int from 0 to ndim - 1."""
    return axes_of(op_name, index(axis), ndim)[0]
