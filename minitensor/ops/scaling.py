"""Units in which sums of squares neither overflow nor vanish.

The square of 1e200 is no float64, and that of 1e-25 is 0 in float32. So a vector whose greatest
magnitude is far from 1 is first divided by a power of two near it, which is exact: in the new unit
every bit of the result is what it would have been.
"""

from __future__ import annotations

from minitensor.backend import device_of, namespace, np
from minitensor.engine.autograd import raw

__all__ = ["unit_of"]


def unit_of(x, axis=None):
    """A power of two near ``max |x|`` along ``axis`` (reduced axes have length 1), a raw array; or
    None if none is needed.

    It is 1 for a vector of zeros, and the greatest there is for one that holds NaN or infinity, so
    that nothing else overflows. A GPU always gets one, since looking would mean waiting.
    """
    x = raw(x)
    xp = namespace(device_of(x))
    if x.size == 0:
        return None
    top = xp.maximum(xp.abs(x.max(axis=axis, keepdims=True)), xp.abs(x.min(axis=axis, keepdims=True)))
    limits = np.finfo(x.dtype)
    far = 2.0 ** (limits.maxexp // 4)  # 2^32 in float32: squares within 2^64, and of them all sums
    if xp.name == "cpu" and (((top <= far) & (top >= 1.0 / far)) | (top == 0)).all():
        return None
    top = xp.where(xp.isfinite(top), top, limits.max)
    _, exponent = xp.frexp(xp.where(top > 0, top, xp.ones_like(top)))
    return xp.ldexp(xp.ones_like(top), exponent - 1)  # top / unit is in [1, 2)
