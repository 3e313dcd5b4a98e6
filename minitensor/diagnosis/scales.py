"""The loss scale that would do where numbers of 16 bits overflow."""

from __future__ import annotations

import math

from minitensor.backend import is_array, np
from minitensor.diagnosis.arrays import host
from minitensor.engine.autograd import backward_pass, reachable
from minitensor.engine.mode import switched
from minitensor.engine.tensor import Tensor

__all__ = ["greatest_gradient", "greatest_of", "power_below", "relative_scale"]


def greatest_of(dtype) -> float:
    """The greatest number of a floating type."""
    return 65504.0 if dtype == np.float16 else float(np.float32(3.3895314e38))


def power_below(value: float) -> float:
    """The greatest power of two that is not above a positive number."""
    return 2.0 ** math.floor(math.log2(value))


def relative_scale(factor: float) -> str:
    """What a loss scale that was found for a loss as it is means if that loss has one already."""
    return f"loss_scale is relative to this loss: multiply the scale that it has by {factor:g}"


def greatest_gradient(loss: Tensor) -> float:
    """The greatest finite size among the elements of a loss and of its gradients in the leaves,
    with nothing deposited.
    """
    node = loss.node
    most = float(np.abs(host(loss)).max()) if loss.size else 0.0
    if node is None or loss.size != 1 or any(one.pullback and one.saved is None for one in reachable([node])):
        return most
    leaves = {one for one in reachable([node]) if one.pullback is None}
    seed = np.ones(loss.shape, dtype=node.dtype)
    with switched(anomaly=False, watched=False, observer=None, autocast=None), np.errstate(all="ignore"):
        found = backward_pass([node], [seed], wanted=leaves, retain_graph=True)
    for gradient in found.values():
        array = host(gradient)
        if is_array(array) and array.size:
            sizes = np.abs(array[np.isfinite(array)])
            most = max(most, float(sizes.max()) if sizes.size else 0.0)
    return most
