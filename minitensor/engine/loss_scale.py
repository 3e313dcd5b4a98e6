"""By what a gradient is multiplied: the scale of the loss that it is of.

A loss that ``GradScaler.scale`` has made says so in its node's ``Watch.loss_scale``, and a pass
that begins there writes it down beside each gradient that it deposits, in ``Watch.scale``:

    None        nobody knows: of a loss that was not scaled, of one computed from a scaled one, set
                by hand
    a number    the scale, which the gradient is still multiplied by
    UNSCALED    it has been divided by its scale
    MIXED       gradients were added up that belong to different scales: good for nothing

So it is known in the end which gradients are to be divided and by what, and who reads one as it
must not be read can be told.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MIXED", "UNSCALED", "added", "refuse_scaled", "scale_of"]

UNSCALED, MIXED = "unscaled", "mixed"


def scale_of(roots: Any) -> Any:
    """The scale of the gradients of a pass from the nodes ``roots``."""
    found = None
    for root in roots:
        if root.watch is not None and root.watch.loss_scale is not None:
            found = root.watch.loss_scale if found in (None, root.watch.loss_scale) else MIXED
    return found


def added(before: Any, scale: Any) -> Any:
    """The scale of a sum of two gradients, of those of ``before`` and ``scale``. What nobody knows
    of takes that of the other: a part of a batch, or a term without a scale behind ``unscale_``.
    """
    if scale is None or scale == before:
        return before
    return scale if before is None else MIXED


def refuse_scaled(owner: str, parameters: Any, cure: str = "") -> None:
    """Raise RuntimeError if the gradient of one of the tensors is good for nothing, or, where there
    is a ``cure``, that of a multiple of the loss.
    """
    for i, parameter in enumerate(parameters):
        watch = None if parameter.node is None else parameter.node.watch
        if watch is None or watch.grad is None or watch.scale in (None, UNSCALED, 1.0):
            continue
        name = parameter.name or f"parameter {i}"
        if watch.scale == MIXED:
            raise RuntimeError(
                f"{owner}: the gradient of {name} is a sum of gradients at different loss scales, or of scaled ones and one "
                "that was unscaled before: write zero_grad() before the first backward behind update() or unscale_"
            )
        if cure:
            raise RuntimeError(
                f"{owner}: the gradient of {name} is still multiplied by the loss scale {watch.scale:g}: {cure}"
            )
