"""What all losses share: which targets count, and what the sum over them is divided by."""

from __future__ import annotations

import numpy as np

import minitensor as mt
from minitensor.engine.settings import number

__all__ = ["IGNORED", "per_target"]

IGNORED = -100  # a target that does not count


def per_target(total, targets, divide_by=None, ignored=None):
    """``total``, a sum over ``targets``, divided by ``divide_by``.

    Default: the number of targets that are not ``ignored`` (of all if it is None), or 1 if there
    are none. Losses of the parts of a batch, each divided by the number of the whole, add up to the
    loss of the whole. Raises ValueError for a ``divide_by`` that is not positive. On a GPU the
    targets are counted there, and a ``divide_by`` that is a tensor there is not looked at: nothing
    waits.
    """
    if divide_by is None and ignored is None:
        return total / max(targets.size, 1)
    if divide_by is None:
        counted = (targets != ignored).sum()
        if counted.device == "cpu":
            return total / max(int(counted), 1)
        divide_by = mt.maximum(counted, 1)
    if isinstance(divide_by, mt.Tensor) and divide_by.device != "cpu":
        return (total / divide_by.astype(np.float64)).astype(total.dtype)
    return total / number("loss", "divide_by", divide_by, above=0)
