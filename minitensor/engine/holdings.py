"""Who holds memory: tensors, gradients, what the graph keeps for ``backward``, and what optimisers
hold. Every stretch of memory is counted once, however many arrays are views of it.

This looks at all objects of the process, which takes a moment: it is for ``mt.memory_report`` and
for the error of an op that found no memory, never for a step.
"""

from __future__ import annotations

import functools
import gc
import types
from typing import Any, NamedTuple

from minitensor.backend import device_of, is_array, memory
from minitensor.engine.autograd import Node
from minitensor.engine.tensor import Tensor
from minitensor.engine.units import in_units

__all__ = ["Holding", "holder", "holdings", "largest"]

_holders: dict[type, Any] = {}  # class -> function of one of its objects that gives {what: arrays}
DEEPEST = 6  # containers within containers, in what a node saved


class Holding(NamedTuple):
    """What one kind of holder has on one device.

    what: "parameters", "softmax, kept for backward", ...; arrays: their number; bytes: together;
    shape, dtype: of the largest.
    """

    what: str
    device: str
    arrays: int
    bytes: int
    shape: tuple
    dtype: str

    def __str__(self) -> str:
        many = f"{self.arrays} arrays, the largest" if self.arrays > 1 else "one array,"
        return f"{self.what}: {in_units(self.bytes)} ({many} {self.shape} {self.dtype})"


def holder(kind):
    """A decorator: the function says what an object of class ``kind`` holds: ``{what: arrays}``."""

    def enter(function):
        _holders[kind] = function
        return function

    return enter


def holdings(device=None):
    """A list of ``Holding``, the largest first; of all devices, or of the one named."""
    found: dict = {}  # (what, device) -> [arrays, bytes, bytes of the largest, shape, dtype]
    seen = set()
    covered: list = []  # stretches of memory that belongs to no array (a memory map's, say) and was counted
    for what, array in _all_arrays():
        owner = memory.owner_of(array)
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        there = device_of(array)
        if device is not None and there != device:
            continue
        size = owner.nbytes
        if owner.base is not None:
            low, high = memory.span(owner)
            size = _uncovered(low, high, covered)
            if not size:
                continue
        entry = found.setdefault((what, there), [0, 0, -1, (), ""])
        entry[0] += 1
        entry[1] += size
        if size > entry[2]:
            entry[2:] = [size, owner.shape, str(owner.dtype)]
    made = [Holding(what, there, *entry[:2], *entry[3:]) for (what, there), entry in found.items()]
    return sorted(made, key=lambda holding: -holding.bytes)


def largest(error, count=3):
    """Who held most when ``error`` was raised for want of memory, in words; "" if nobody held
    anything.
    """
    on_gpu = type(error).__module__.partition(".")[0] == "cupy"
    held = [holding for holding in holdings() if (holding.device != "cpu") == on_gpu and holding.bytes]
    if not held:
        return ""
    return f"; most memory is held by {'; '.join(map(str, held[:count]))}"


def _all_arrays():
    """``(what, array)`` for all arrays that are reached, those of a sharper name first."""
    nodes, tensors, others = [], [], []
    for one in gc.get_objects():
        kind = type(one)  # isinstance would ask proxies, which may run code
        if issubclass(kind, Node):
            nodes.append(one)
        elif issubclass(kind, Tensor):
            tensors.append(one)
        elif kind in _holders:
            others.append(one)
    # While this runs another thread may be making one of them, whose slots are empty yet.
    arrays = [(one, getattr(one, "_array", None), getattr(one, "node", None)) for one in tensors]
    for _, array, node in arrays:
        if array is not None and getattr(node, "pullback", True) is None:
            yield "parameters", array
    for node in nodes:
        watch = getattr(node, "watch", None)
        for gradient in (getattr(watch, "grad", None), getattr(watch, "grad_buffer", None)):
            for array in _within(gradient):
                yield "gradients", array
    for one in others:
        for what, more in _holders[type(one)](one).items():
            for array in more:
                yield what, array
    for node in nodes:
        name = getattr(getattr(node, "pullback", None), "op_name", "")
        for array in _within(getattr(node, "saved", None)):
            yield f"{name}, kept for backward", array
    for _, array, _ in arrays:
        if array is not None:
            yield "other tensors", array


def _within(value: Any, depth=0):
    """The arrays in ``value``: itself, or in containers, Tensors and the functions that a kernel
    left behind.
    """
    if is_array(value):
        yield value
    elif isinstance(value, Tensor):
        yield value._array
    elif depth < DEEPEST:
        for part in _parts(value):
            yield from _within(part, depth + 1)


def _parts(value):
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, types.MethodType):
        return getattr(value.__self__, "__dict__", {}), value.__func__
    if isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        return [_content(cell) for cell in cells] + list(value.__defaults__ or ())
    if type(value).__module__.startswith("minitensor."):  # the pass of a kernel, such as a recurrent layer's
        return list(getattr(value, "__dict__", {}).values())
    return ()


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _uncovered(low, high, covered):
    """How many bytes from ``low`` to ``high`` lie in none of the stretches ``covered``, which that
    one joins.
    """
    met = [(start, stop) for start, stop in covered if start <= high and low <= stop]
    covered[:] = [stretch for stretch in covered if stretch not in met]
    covered.append((min([low, *(start for start, _ in met)]), max([high, *(stop for _, stop in met)])))
    return high - low - sum(max(0, min(high, stop) - max(low, start)) for start, stop in met)
