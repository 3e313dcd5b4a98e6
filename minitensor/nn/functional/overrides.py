"""Kernels of fused ops for one kind of device: overrides of the contract of ``Fused.kernel``, held
to the same definitions.

An override serves arrays of one type, float32 or float64, that have elements; the rest runs the
kernel for all devices.
"""

from __future__ import annotations

__all__ = ["override"]


def _served(xp, inputs):
    """Whether there are kernels for the floats among the inputs, and all have elements."""
    dtype = getattr(inputs[0], "dtype", None)
    if dtype is None or not xp.kernels.has(dtype):
        return False
    for x in inputs:
        if x is not None and hasattr(x, "dtype"):
            if (x.dtype is not dtype and x.dtype.kind == "f" and x.dtype != dtype) or not x.size:
                return False
    return True


def override(op, device):
    """Register a kernel of ``op`` for one device: ``kernel(xp, *inputs, needs, **keywords)``.

    It may return None where it does not apply: then the general kernel runs.
    """
    general, general_needs = op.kernels["any"]

    def decorate(function):
        def kernel(xp, *inputs, needs, **keywords):
            if _served(xp, inputs):
                made = function(xp, *inputs, needs=needs, **keywords)
                if made is not None:
                    return made
            return general(xp, *inputs, **keywords, **({"needs": needs} if general_needs else {}))

        return op.kernel(kernel, device=device)

    return decorate
