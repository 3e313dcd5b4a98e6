"""Row blocks that fit the cache: a kernel's several passes over a block cost little
more than one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.backend import compute_dtype, is_floating, np

__all__ = ["all_floats", "as_floats", "as_rows", "home_of", "row_blocks"]

if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T", bound=Any)

BLOCK_BYTES = 1 << 18


def as_floats(x: T) -> T:
    """``x``, an array or a Tensor, in float32 if it holds integers or truth values."""
    return x if is_floating(x.dtype) else x.astype(np.float32)


def all_floats(*operands):
    """The operands, arrays or Tensors, with integers and truth values in the floating type that the
    others have, or in float32.

    What subtracts, negates or multiplies integers of few bits first would wrap. Types of 16 bits
    count as float32.
    """
    if all(is_floating(x.dtype) for x in operands):
        return operands
    dtype = np.result_type(np.float32, *[compute_dtype(x.dtype) for x in operands if is_floating(x.dtype)])
    return tuple(x if is_floating(x.dtype) else x.astype(dtype) for x in operands)


def as_rows(x):
    """``x`` (..., D) as (N, D); a view if the memory allows."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def home_of(homes, i, shape, dtype):
    """The array that gradient number ``i``, of this shape and type, may be written to, or None: the
    ``homes`` of a kernel's backward.
    """
    home = None if homes is None else homes[i]
    return home if home is not None and home.shape == shape and home.dtype == dtype else None


def row_blocks(xp, rows, arrays=1):
    """Slices that cut the matrix ``rows`` into cache-sized blocks; on a GPU, where launches cost
    more than traffic, one for all.

    arrays: how many of this size share the cache. None if there are no elements: rows of length 0
    have no maximum.
    """
    count = len(rows) if rows.size else 0
    step = count if xp.name != "cpu" else max(1, BLOCK_BYTES // max(1, arrays * rows.itemsize * rows.shape[1]))
    return [slice(start, min(start + step, count)) for start in range(0, count, max(1, step))]
