"""The values of a function's inputs: lists and dicts of arrays spread out and packed again, arrays
copied and frozen as they lie in memory.
"""

from __future__ import annotations

import numpy as np

from minitensor.backend import is_narrow
from minitensor.engine.autograd import raw
from minitensor.testing.arguments import as_ours, holds_arrays
from minitensor.testing.profiles import like

__all__ = ["count_of", "freeze", "frozen", "mapped", "pack", "spread"]


def freeze(array):
    """``array`` made read-only, in place: whoever writes to it dies there."""
    array.flags.writeable = False
    return array


def spread(value, label, values, labels):
    """Append ``value``, or each item of a list that holds arrays, to ``values``; returns where to
    find it.
    """
    value = as_ours(value)
    if isinstance(value, (list, tuple, dict)) and holds_arrays(value):
        return mapped(lambda name, item: spread(item, f"{label}{name}", values, labels), value)
    values.append(value)
    labels.append(label)
    return len(values) - 1


def mapped(function, tree):
    """A list, tuple or dict, each item replaced by what ``function`` gives for its name and it."""
    if isinstance(tree, dict):
        return {key: function(f"[{key!r}]", item) for key, item in tree.items()}
    items = [function(f"[{i}]", item) for i, item in enumerate(tree)]
    return like(tree, items)


def count_of(place):
    """How many values a place, or a list of places, stands for."""
    if isinstance(place, (list, tuple, dict)):
        return sum(map(count_of, place.values() if isinstance(place, dict) else place))
    return 1


def pack(place, values):
    """The value at a place, or the list of those at a list of places."""
    if isinstance(place, (list, tuple, dict)):
        return mapped(lambda _, item: pack(item, values), place)
    return values[place]


def frozen(value, dtype):
    """A read-only copy of an array (floats in ``dtype``), anything else as it is."""
    value = raw(value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    return freeze(_same_layout(value, dtype if value.dtype.kind == "f" or is_narrow(value.dtype) else value.dtype))


def _same_layout(array, dtype):
    """A copy of ``dtype`` that lies in memory as ``array`` does: its order of axes, gaps (full of
    NaN) and directions.
    """
    steps = [abs(s) // array.itemsize for s in array.strides]
    span = sum((n - 1) * s for n, s in zip(array.shape, steps)) + 1
    dense = array.flags.c_contiguous or array.flags.f_contiguous or not array.size
    if dense or span > 64 * array.size or any(s % array.itemsize for s in array.strides):
        return np.array(array, dtype=dtype)
    turned = tuple(slice(None, None, -1 if s < 0 else 1) for s in array.strides)
    base = np.full(span, np.nan if np.dtype(dtype).kind == "f" else 0, dtype=dtype)
    view = np.lib.stride_tricks.as_strided(base, array.shape, [s * base.itemsize for s in steps])
    view[...] = array[turned]
    return view[turned]
