"""Who overwrote which memory, and when: how a stale saved value is recognised.

Tensors are values, and almost nothing writes into memory that an op may have saved. The exception
is a parameter's update. Every write is entered here with the engine's clock (the counter that
numbers nodes), and ``backward`` asks whether a value that a node saved has been written since the
node was made. Views count: the question is about bytes, not about objects.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np

from minitensor.backend.devices import copied

__all__ = [
    "apart", "clock", "overwritten", "owner_of", "private", "read_only", "record_write", "reference", "span", "written_since"
]  # fmt: skip

clock = itertools.count(1)
last_write = 0  # time of the newest write; a node younger than it needs no further look
_writes: dict[
    int, tuple[Any, dict]
] = {}  # id of the owner of the memory -> (reference to the owner, {span: (time, name)})


def owner_of(array):
    """The array that owns the memory of ``array``: itself, or that of which it is a view. Where the
    memory is no array's (bytes, a memory map, another library's tensor), that which lies directly
    over it.
    """
    while hasattr(array.base, "base"):  # what is no array has none
        array = array.base
    return array


def span(array):
    """First byte and the byte behind the last one that ``array`` can touch."""
    start = array.__array_interface__["data"][0] if hasattr(array, "__array_interface__") else array.data.ptr
    low = high = 0
    for length, stride in zip(array.shape, array.strides):
        reach = (length - 1) * stride
        low, high = (low + reach, high) if reach < 0 else (low, high + reach)
    return start + low, start + high + (array.itemsize if array.size else 0)


def read_only(array):
    """A view of ``array`` that cannot be written through; the array itself on a GPU, where CuPy
    knows no such flag.
    """
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def private(value):
    """``value``, with every array in it (itself, or within tuples, lists and dicts) copied, so that
    nobody else can write to it.

    An array over memory that cannot be written at all, such as bytes or a memory map opened for
    reading, is shared.
    """
    if isinstance(value, np.ndarray):
        return value if _is_constant(value) else value.copy()
    if type(value) in (tuple, list):
        return type(value)(private(item) for item in value)
    if type(value) is dict:
        return {key: private(item) for key, item in value.items()}
    return copied(value) if hasattr(value, "dtype") and hasattr(value, "base") else value  # CuPy's


def _is_constant(array):
    """Whether the memory belongs to something other than NumPy that says it is read-only: an
    array's own flag can be set again.
    """
    owner = owner_of(array)
    if array.flags.writeable or owner.flags.writeable or owner.base is None:
        return False
    try:
        return memoryview(owner.base).readonly
    except TypeError:
        return False


def apart(out, given):
    """``out``, or a copy if it lies in memory that one of the arrays ``given`` by a caller can
    touch.
    """
    low, high = span(out)
    for start, stop in (span(array) for array in given):
        if start < high and low < stop:
            return copied(out)
    return out


def reference(array):
    """A weak reference to the array that owns ``array``'s memory: whether it was overwritten can be
    asked, it is not kept alive.
    """
    return weakref.ref(owner_of(array))


def record_write(array, name=None):
    """Enter that ``array``'s memory, known to the user as ``name``, has just been overwritten."""
    global last_write
    owner = owner_of(array)
    key = id(owner)
    entry = _writes.get(key)
    if entry is None:
        entry = _writes[key] = (weakref.ref(owner, lambda _: _writes.pop(key, None)), {})
    last_write = next(clock)
    entry[1][span(array)] = (last_write, name)


def overwritten(array, since):
    """The name under which ``array``'s memory was written after time ``since``, or None if it was
    not.
    """
    if not hasattr(array, "base"):
        return None
    entry = _writes.get(id(owner_of(array)))
    if entry is None or entry[0]() is None:
        return None
    low, high = span(array)
    for (start, stop), (time, name) in entry[1].items():
        if time > since and start < high and low < stop:
            return name or "a tensor"
    return None


def written_since(since):
    """The names of all memory that was written after time ``since``."""
    writes = [write for _, spans in list(_writes.values()) for write in spans.values()]
    return [name or "a tensor" for time, name in sorted(writes, key=lambda write: write[0]) if time > since]
