"""Who overwrote which memory, and when: how a stale saved value is recognised.

Tensors are values, and almost nothing writes into memory that an op may have saved. The exception is a parameter's update. Every
write is entered here with the engine's clock (the counter that numbers nodes), and ``backward`` asks whether a value that a node
saved has been written since the node was made. Views count: the question is about bytes, not about objects.
"""

from __future__ import annotations

import itertools
import weakref

__all__ = ["clock", "overwritten", "record_write", "reference", "span", "written_since"]

clock = itertools.count(1)
last_write = [0]  # time of the newest write; a node younger than it needs no further look
_writes = {}  # id of the owner of the memory -> (reference to the owner, {span: (time, name)})


def _owner(array):
    while array.base is not None and hasattr(array.base, "dtype"):
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


def reference(array):
    """A weak reference to the array that owns ``array``'s memory: whether it was overwritten can be asked, it is not kept alive."""
    return weakref.ref(_owner(array))


def record_write(array, name=None):
    """Enter that ``array``'s memory, known to the user as ``name``, has just been overwritten."""
    owner = _owner(array)
    key = id(owner)
    entry = _writes.get(key)
    if entry is None:
        entry = _writes[key] = (weakref.ref(owner, lambda _: _writes.pop(key, None)), {})
    last_write[0] = next(clock)
    entry[1][span(array)] = (last_write[0], name)


def overwritten(array, since):
    """The name under which ``array``'s memory was written after time ``since``, or None where it was not."""
    if not hasattr(array, "base"):
        return None
    entry = _writes.get(id(_owner(array)))
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
