"""Private copies of arrays, on the host."""

from __future__ import annotations

from minitensor.backend import holds_numbers, is_array, move, np
from minitensor.engine.arraylike import holds_tensors
from minitensor.engine.autograd import raw
from minitensor.tracing.record import Value

__all__ = ["as_value", "copied", "given", "on_host"]


def copied(array, dtype=None):
    """``(bytes, shape, dtype)`` of an array: a private copy that nobody can write to. For a small
    array this takes a fourth of the time of ``array.copy()``.
    """
    if array.__class__ is not np.ndarray or dtype is not None:
        array = np.asarray(move(array, "cpu"), dtype=dtype)
    return array.tobytes(), array.shape, array.dtype


def as_value(copy):
    """The Value of a copy."""
    content, shape, dtype = copy
    return Value(np.ndarray(shape, dtype, content))


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
        array = as_value(copied(value)).array if is_array(value) else np.array(value)
    except (TypeError, ValueError):
        return None
    array.flags.writeable = False
    return Value(array) if array.dtype.kind in "biuf" or holds_numbers(array.dtype) else None
