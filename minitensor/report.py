"""Words about arrays, for error messages."""

from __future__ import annotations

import os
import sys

from minitensor.backend import device_of, is_array, is_floating, namespace, np

__all__ = ["call_site", "describe", "finite", "nonfinite_error"]

_HERE = os.path.dirname(os.path.abspath(__file__))


def describe(value):
    """Shape, dtype and device of an array in a few words; the value itself of anything else."""
    value = value._array if hasattr(value, "node") else value
    if not is_array(value) and not isinstance(value, np.generic):
        return repr(value)
    device = device_of(value)
    return f"{value.shape} {value.dtype}" + ("" if device == "cpu" else f" on {device}")


def call_site():
    """``file:line`` of the newest frame outside this library."""
    frame = sys._getframe(1)
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_HERE):
        frame = frame.f_back
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def finite(value):
    """Whether no element of a floating array (or of the array of a Tensor or Scatter) is NaN or infinite."""
    value = getattr(value, "values", value)
    value = value._array if hasattr(value, "node") else value
    if not is_array(value) or not (is_floating(value.dtype) or value.dtype.kind == "c"):
        return True
    return bool(namespace(device_of(value)).isfinite(value).all())


def nonfinite_error(op_name, phase, out, operands, where):
    """The FloatingPointError of detect_anomaly: op, phase, place, and the statistics of result and operands."""
    lines = [f"{op_name}: non-finite value in {phase}" + (f", called at {where}" if where else "")]
    lines += [f"  {name}: {_statistics(value)}" for name, value in (("result", out), *operands)]
    return FloatingPointError("\n".join(lines))


def _statistics(value):
    value = getattr(value, "values", value) if not hasattr(value, "node") else value._array
    if not is_array(value):
        return repr(value)
    if value.size == 0 or not (is_floating(value.dtype) or value.dtype.kind in "iu"):
        return describe(value)
    xp = namespace(device_of(value))
    good = value[xp.isfinite(value)]
    span = f"finite values from {float(good.min()):.6g} to {float(good.max()):.6g}" if good.size else "no finite value"
    return f"{describe(value)}, {span}, {int(xp.isnan(value).sum())} NaN, {int(xp.isinf(value).sum())} infinite"
