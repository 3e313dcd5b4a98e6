"""One row of the table of ops."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
EVERY_KIND = 25  # examples in which strategies draw each kind of input with any seed


@dataclass(frozen=True)
class Row:
    """An exported function and everything that its generated tests need.

    name: as exported. function: takes Tensors. cases: a strategy for ``check_op``, lists of inputs
    with keywords at the end. reference: the same in NumPy. also: examples beside the drawn ones.
    errors: ``(args, keywords, exception, pattern)``. order: of derivatives that exist. analytic:
    complex arguments work, so that gradients hold to 1e-10. wanted: inputs with a gradient,
    default: all floating ones. ops: the registered ops that this row tests. unique: a function of
    the outputs whose result is the same with every solver, though the outputs themselves are not:
    two devices are compared by it.
    """

    name: str
    function: Callable
    cases: Any
    reference: Callable | None = None
    also: tuple = ()
    errors: tuple = ()
    order: int = 2
    analytic: bool = False
    wanted: tuple | None = None
    examples: int = 20 if THOROUGH else 9  # 8 found all that test_mutations.py plants
    where: str = "mt"
    ops: tuple = ()
    unique: Callable | None = None

    def __str__(self):
        return f"{self.where}.{self.name}"

    @property
    def drawn(self):
        """How many inputs are drawn: the row's examples, in the ordinary suite no more than have
        every kind.
        """
        return self.examples if THOROUGH else min(self.examples, EVERY_KIND)

    @property
    def compiled(self):
        """Whether a compiled CPU kernel may compute it or its gradient."""
        from minitensor.engine.fused import FUSED

        return self.name in PARTLY or any("cpu" in FUSED[op].kernels for op in self.ops if op in FUSED)


# Rows that are no op with a kernel, and come upon one, if only in their second derivative.
PARTLY = {"embedding", "pad", "take", "cross_entropy of soft labels", "scaled_dot_product_attention with dropout"}


def on_list(function, **defaults):
    """``function(list_of_arrays, ...)`` as a function of the arrays."""
    return lambda *xs, **keywords: function(list(xs), **{**defaults, **keywords})
