"""Words about arrays, for error messages."""

from __future__ import annotations

import math
import sys
from types import FrameType

from minitensor.backend import device_of, is_array, is_floating, namespace, np
from minitensor.engine import library

__all__ = [
    "a_kind",
    "all_finite",
    "call_site",
    "describe",
    "finite",
    "holds_nan",
    "is_fault",
    "nonfinite_error",
    "out_of_memory",
]

_NDARRAY, _FLOAT32, _FLOAT64 = np.ndarray, np.dtype(np.float32), np.dtype(np.float64)
_FEW = 16  # elements that are added up in Python sooner than NumPy is called
_PLAIN = 0.7  # within the domain of every function there is, and nowhere near a pole


def describe(value):
    """Shape, dtype and device of an array in a few words; the value itself of anything else."""
    value = value._array if hasattr(value, "node") else value
    if not is_array(value) and not isinstance(value, np.generic):
        return repr(value)
    device = device_of(value)
    return f"{value.shape} {value.dtype}" + ("" if device == "cpu" else f" on {device}")


def a_kind(value):
    """The class of ``value`` with its article: ``a list``, ``an int``, ``an ndarray``."""
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeioAEIO" or name == "ndarray" else f"a {name}"


def call_site():
    """``file:line`` of the newest frame outside this library and its models."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith("minitensor."):
        frame = frame.f_back
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


_ADVICE = (
    "; smaller batches and shorter sequences need less memory, mt.no_grad() keeps nothing for backward, mt.checkpoint(fn, ...) "
    "little, and 16-bit floats take half"
)


def out_of_memory(what, error):
    """The MemoryError of an op, or of its gradient, that found no room: what asked, the allocator's
    own words, who holds most, what needs less.
    """
    text = str(error) or "no memory is left"
    if text.endswith(_ADVICE):  # of an op within this one
        return MemoryError(f"{what}: {text}")
    held = "" if library.largest is None else library.largest(error)
    return MemoryError(f"{what}: {text}{held}{_ADVICE}")


def finite(value):
    """Whether no element of a floating array (or of the array of a Tensor or Scatter) is NaN or
    infinite.
    """
    value = value if value.__class__ is _NDARRAY else _array_of(value)
    if value.__class__ is _NDARRAY and (value.dtype is _FLOAT64 or value.dtype is _FLOAT32):
        if value.size <= _FEW and math.isfinite(sum(value.ravel().tolist())):  # else one is not, or the sum overflowed
            return True
        return np.count_nonzero(np.isfinite(value)) == value.size
    if not is_array(value) or not (is_floating(value.dtype) or value.dtype.kind == "c"):
        return True
    return bool(namespace(device_of(value)).isfinite(value).all())


def all_finite(values):
    """The same of several, some of which may be None."""
    for value in values:
        if value is not None and not finite(value):
            return False
    return True


def holds_nan(value):
    """Whether an element of a floating array (or of the array of a Tensor or Scatter) is NaN."""
    array = _array_of(value)
    return bool(namespace(device_of(array)).isnan(array).any())


def is_fault(value, given, again):
    """Whether ``value``, which an op made of what it was ``given``, holds NaN, or an infinity that
    the op made of finite numbers.

    An infinity that was given may pass: a mask of minus infinities on its way to a softmax. To tell
    the two apart the op runs ``again(given)`` with a plain number in place of each infinity,
    wherever in nested tuples and dicts it stands; what is infinite then was made by the op.
    """
    if finite(value):
        return False
    if holds_nan(value):
        return True
    found: list = []
    with np.errstate(all="ignore"):
        given = _without_infinities(given, found)
        if not found:
            return True
        array = _array_of(again(given))
    return bool(is_array(array) and namespace(device_of(array)).isinf(array).any())


def _without_infinities(value, found):
    """``value`` with numbers of no meaning in place of infinities; each array or number that held
    one goes into ``found``.
    """
    if isinstance(value, (tuple, list)):
        return type(value)(_without_infinities(item, found) for item in value)
    if isinstance(value, dict):
        return {key: _without_infinities(item, found) for key, item in value.items()}
    if isinstance(value, (float, np.floating)) and math.isinf(value):
        found.append(value)
        return value.__class__(math.copysign(_PLAIN, value))
    if not is_array(value) or not is_floating(value.dtype):
        return value
    xp = namespace(device_of(value))
    infinite = xp.isinf(value)
    if not infinite.any():
        return value
    found.append(value)
    return xp.where(infinite, xp.sign(value) * xp.asarray(_PLAIN, dtype=value.dtype), value)


def _array_of(value):
    """The array of a Tensor or Scatter; also of the NumPy scalar that a rule gives for shape ()."""
    value = getattr(value, "values", value) if not hasattr(value, "node") else value
    value = value._array if hasattr(value, "node") else value
    return np.asarray(value) if isinstance(value, np.generic) else value


def nonfinite_error(op_name, phase, out, operands, where):
    """The FloatingPointError of detect_anomaly: op, phase, place, and the statistics of result and
    operands.
    """
    lines = [f"{op_name}: non-finite value in {phase}" + (f", called at {where}" if where else "")]
    lines += [f"  {name}: {_statistics(value)}" for name, value in (("result", out), *operands)]
    return FloatingPointError("\n".join(lines))


def _statistics(value):
    value = _array_of(value)
    if not is_array(value):
        return repr(value)
    if value.size == 0 or not (is_floating(value.dtype) or value.dtype.kind in "iu"):
        return describe(value)
    xp = namespace(device_of(value))
    good = value[xp.isfinite(value)]
    span = f"finite values from {float(good.min()):.6g} to {float(good.max()):.6g}" if good.size else "no finite value"
    return f"{describe(value)}, {span}, {int(xp.isnan(value).sum())} NaN, {int(xp.isinf(value).sum())} infinite"
