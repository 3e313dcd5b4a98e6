"""Private copies of arrays, on the host."""

from __future__ import annotations

from minitensor.backend import holds_numbers, is_array, move, np
from minitensor.engine.arraylike import holds_tensors
from minitensor.engine.autograd import raw
from minitensor.tracing.record import Value

__all__ = ["copied", "given", "on_host"]


def copied(array, dtype=None):
    """A private copy on the host."""
    if array.__class__ is np.ndarray and dtype is None:
        return array.__copy__()
    return np.array(move(array, "cpu"), dtype=dtype, copy=True)


def on_host(index):
    """An index with its arrays on the host."""
    if isinstance(index, (tuple, list)):
        return type(index)(map(on_host, index))
    return move(raw(index), "cpu") if is_array(raw(index)) else index


def given(value):
    """The Value of something that is no Tensor; None if it is not made of numbers alone."""
    if not is_array(value) and holds_tensors(value):
        return None
    try:
        array = copied(value) if is_array(value) else np.array(value)
    except (TypeError, ValueError):
        return None
    array.flags.writeable = False
    return Value(array) if array.dtype.kind in "biuf" or holds_numbers(array.dtype) else None
