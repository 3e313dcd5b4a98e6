"""Kernels of fused ops for one kind of device: overrides of the contract of ``Fused.kernel``, held
to the same definitions.

An override serves arrays of one type, float32 or float64, that have elements; the rest runs the
kernel for all devices.
"""

from __future__ import annotations

__all__ = ["override"]


def override(op, device):
    """Register a kernel of ``op`` for one device: ``kernel(xp, *inputs, needs, **keywords)``.

    It may return None where it does not apply: then the general kernel runs.
    """
    general, general_needs = op.kernels["any"]

    def decorate(function):
        def kernel(xp, *inputs, needs, **keywords):
            floats = {x.dtype for x in inputs if hasattr(x, "dtype") and x.dtype.kind == "f"}
            full = all(getattr(x, "size", 1) for x in inputs)
            if full and len(floats) == 1 and inputs[0].dtype in floats and xp.kernels.has(inputs[0].dtype):
                made = function(xp, *inputs, needs=needs, **keywords)
                if made is not None:
                    return made
            return general(xp, *inputs, **keywords, **({"needs": needs} if general_needs else {}))

        return op.kernel(kernel, device=device)

    return decorate
