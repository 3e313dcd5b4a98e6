"""What all losses share: which targets count, and what the sum over them is divided by."""

from __future__ import annotations

from minitensor.engine.settings import number

__all__ = ["IGNORED", "per_target"]

IGNORED = -100  # a target that does not count


def per_target(total, targets, divide_by=None, ignored=None):
    """``total``, a sum over ``targets``, divided by ``divide_by``.

    Default: the number of targets that are not ``ignored`` (of all if it is None), or 1 if there
    are none. Losses of the parts of a batch, each divided by the number of the whole, add up to the
    loss of the whole. Raises ValueError for a ``divide_by`` that is not positive.
    """
    if divide_by is None:
        counted = targets.size if ignored is None else int((targets != ignored).sum())
        return total / max(counted, 1)
    return total / number("loss", "divide_by", divide_by, above=0)
