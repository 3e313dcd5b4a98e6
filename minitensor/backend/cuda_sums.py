"""Sums on the GPU that CuPy does with a few threads, or with temporaries as large as what they
add up: over leading axes, over runs of equal ids, of squares.

Each is cut into pieces that fill the GPU, by sizes alone, and the pieces are added in a second
pass: the order of the additions is fixed, so that a run is repeated bit for bit.
"""

from __future__ import annotations

import math

__all__ = ["add_runs", "leading", "norm_and_scale", "over_leading"]

BLOCKS = 1024  # blocks that fill a GPU
THREADS = 256
LANE_ROWS = 8  # rows that a thread of column_sums adds up at least
FEW_ROWS = 64  # rows of a thread up to which a second pass does not pay
RUN_PIECE = 32  # ids of one piece of segment_pieces
SQUARES = 16 * THREADS  # elements of one block of squares


def _power_of_two(width, most):
    """The least power of two that is at least ``width``, or ``most``."""
    columns = 1
    while columns < min(width, most):
        columns *= 2
    return columns


# --- over leading axes ----------------------------------------------------------------------------


def leading(x, axis):
    """How many leading axes of ``x`` make up ``axis``, if its sum over them is a kernel's: else
    0.
    """
    axes = (axis,) if isinstance(axis, int) else axis
    if not isinstance(axes, tuple) or not 0 < len(axes) < x.ndim:
        return 0
    if {a % x.ndim if isinstance(a, int) else -1 for a in axes} != set(range(len(axes))):
        return 0
    across = x.flags.f_contiguous and not x.flags.c_contiguous  # then these axes are the near ones
    return 0 if across or x.size == 0 else len(axes)


def over_leading(xp, x, count, keepdims, out=None):
    """``x.sum(axis=tuple(range(count)))``, written to the contiguous ``out`` if there is one."""
    rows, rest = math.prod(x.shape[:count]), x.shape[count:]
    place = None if out is None else out.reshape(-1)
    made = column_sums(xp, xp.ascontiguousarray(x).reshape(rows, x.size // rows), place)
    return made.reshape((*(1,) * count, *rest) if keepdims else rest) if out is None else out


def column_sums(xp, x, out=None):
    """``x.sum(axis=0)`` of a contiguous matrix."""
    rows, width = x.shape
    columns = _power_of_two(width, 32)
    strips, lanes = -(-width // columns), THREADS // columns
    out = xp.empty(width, dtype=x.dtype) if out is None else out

    def add(x, out, rows, chunk, threads):
        grid = strips, -(-rows // chunk)
        xp.kernels.launch("column_sums", x.dtype, grid, threads, (x, out, rows, width, chunk, columns))

    if rows <= FEW_ROWS * 4 * lanes:
        add(x, out, rows, rows, 4 * THREADS if rows > LANE_ROWS * lanes else THREADS)
        return out
    chunk = -(-rows // max(1, min(BLOCKS // strips, rows // (LANE_ROWS * lanes))))
    parts = xp.empty((-(-rows // chunk), width), dtype=x.dtype)
    add(x, parts, rows, chunk, THREADS)
    add(parts, out, len(parts), len(parts), 4 * THREADS)
    return out


# --- over runs of equal ids -----------------------------------------------------------------------


def add_runs(xp, out, ids, order, values):
    """``out[ids[k]] += values[order[k]]`` for sorted ids; arrays are contiguous, ids out of range
    are passed over.
    """
    count, rows = ids.size, len(out)
    width, pieces = values.size // count, -(-count // RUN_PIECE)
    columns = _power_of_two(width, 128)
    groups = -(-pieces // max(1, 128 // columns))
    parts = xp.empty((pieces if pieces > 1 else 0, 2, width), dtype=out.dtype)
    numbers = count, rows, width, RUN_PIECE
    grid = (groups * -(-width // columns),)
    xp.kernels.launch("segment_pieces", out.dtype, grid, 128, (out, parts, values, ids, order, *numbers, columns))
    if pieces > 1:
        columns = min(columns, 32)
        grid = ((pieces - 1) * -(-width // columns),)
        xp.kernels.launch("segment_joins", out.dtype, grid, THREADS, (out, parts, ids, *numbers, columns))


# --- of squares -----------------------------------------------------------------------------------


def norm_and_scale(xp, arrays, most):
    """``(unit, root, norm, scale)`` as one array: the 2-norm of contiguous arrays of one type taken
    together is ``unit * root``, and ``scale = min(1, most / (norm + 1e-6))``.

    Neither overflows on the way: the unit is a power of two near the greatest magnitude.
    """
    dtype, counts = arrays[0].dtype, [-(-array.size // SQUARES) for array in arrays]
    units, totals = (xp.empty(sum(counts), dtype=dtype) for _ in range(2))
    place = 0
    for array, blocks in zip(arrays, counts):
        xp.kernels.launch("squares", dtype, (blocks,), THREADS, (array, units, totals, array.size, place))
        place += blocks
    out = xp.empty(4, dtype=dtype)
    xp.kernels.launch("norm_and_scale", dtype, (1,), 4 * THREADS, (units, totals, place, out, most))
    return out
