"""Gradients by the rules, which are given arrays that nobody may write to."""

from __future__ import annotations

from contextlib import contextmanager, suppress

import numpy as np

from minitensor.engine.autograd import reachable, watch
from minitensor.engine.gradient import grad
from minitensor.engine.tensor import Tensor
from minitensor.testing.packing import freeze

__all__ = ["frozen_graph", "pull"]


def pull(outputs, leaves, cotangents, create_graph=False, keep=False):
    """Gradients of ``leaves`` as Tensors, zeros if there is none."""
    pairs = [(o, c) for o, c in zip(outputs, cotangents) if c is not None and o.node is not None]
    found = [None] * len(leaves)
    if pairs and leaves:
        ends, seeds = [o for o, _ in pairs], [c for _, c in pairs]
        how = {"create_graph": create_graph, "retain_graph": keep or create_graph, "allow_unused": True}
        found = grad(ends, leaves, seeds, **how)
    return [Tensor(np.zeros(x.shape, dtype=x.dtype)) if g is None else g for x, g in zip(leaves, found)]


@contextmanager
def frozen_graph(roots):
    """Within, every array that a rule of this graph is given is read-only: saved values at once,
    gradients as they arrive, copies of what rules return, so that these stay as they are. Gives the
    list of ``(returned, copy)``.
    """
    returned: list = []

    def hook(gradient):
        if not isinstance(gradient, np.ndarray) or not gradient.flags.writeable:
            return gradient
        returned.append((gradient, freeze(gradient.copy(order="K"))))
        return returned[-1][1]

    frozen = []
    for node in reachable(roots):
        for value in node.saved or ():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray) and array.flags.writeable:
                    frozen.append(freeze(array))
        watch(node).hooks[hook] = hook
    try:
        yield returned
    finally:
        for array in sorted(frozen, key=lambda array: array.base is not None):  # some may be a user's own constants
            with suppress(ValueError):  # a view of what stays read-only
                array.flags.writeable = True
