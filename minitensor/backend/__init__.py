"""Everything that differs between NumPy and CuPy, behind one small interface.

An array namespace ``xp`` is NumPy's (or CuPy's) functions plus the few things that the two spell
differently or do badly:

    xp.name                    "cpu" or "cuda"
    xp.matmul(a, b)            batched products that do not copy (CuPy's own do)
    xp.add_at(out, index, g)   out[index] += g in place, repeated indices added up
    xp.random_bits(...)        counter-based random words, equal bit for bit on both
    xp.erf(x)                  the error function
    xp.check_ids(...)          IndexError for an id out of range, without waiting for a GPU

Rules and kernels are written against ``xp`` and never name ``numpy``; ``minitensor`` itself offers
the same names for Tensors, so that the text of a rule also runs on Tensors and is differentiated
again.
"""

from __future__ import annotations

import numpy as np

from minitensor.backend import memory
from minitensor.backend.at_work import describe, use_compiled
from minitensor.backend.cpu import cpu
from minitensor.backend.devices import (
    as_device,
    cast,
    copied,
    device_of,
    following,
    is_array,
    move,
    namespace,
    namespace_of,
    on,
    wait,
)  # fmt: skip
from minitensor.backend.dtypes import as_dtype, compute_dtype, holds_numbers, is_floating, is_narrow, precision, widen
from minitensor.backend.heap import keep_freed_memory
from minitensor.backend.in_use import memory_in_use
from minitensor.backend.products import matmul_precision

__all__ = [
    "as_device", "as_dtype", "cast", "compute_dtype", "copied", "cpu", "describe", "device_of", "following", "holds_numbers",
    "is_array", "is_floating", "is_narrow", "matmul_precision", "memory", "memory_in_use", "move", "namespace", "namespace_of",
    "np", "on", "precision", "use_compiled", "wait", "widen",
]  # fmt: skip

keep_freed_memory()
