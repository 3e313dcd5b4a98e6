"""Which ``gemmStridedBatchedEx`` calls make a stack of matrix products, without copying transposed
or strided operands.

cuBLAS counts matrices by columns and we count by rows. A row-major (R, C) matrix is, read by
columns, its own transpose; so the product ``c = a @ b`` is asked for as ``c^T = b^T a^T``, in which
a row-major operand is taken as it lies and one whose *columns* are contiguous (a view with swapped
axes) by the flag "transpose". This file is arithmetic on shapes and strides and knows no array.

Letters: a is (..., M, K), b is (..., K, N), c is (..., M, N); strides count elements.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

__all__ = ["Call", "Operand", "cheapest", "calls", "layout", "operand", "stacks"]

# Elements whose copying takes a GPU about as long as a launch takes.
A_LAUNCH = 1 << 20


class Operand(NamedTuple):
    """Shape and strides of an array, leading axes broadcast to those of the result."""

    shape: tuple
    strides: tuple

    def transposed(self):
        """The same with its last two axes exchanged."""
        return Operand(
            (*self.shape[:-2], self.shape[-1], self.shape[-2]), (*self.strides[:-2], self.strides[-1], self.strides[-2])
        )


def operand(shape, strides, lead):
    """The Operand of an array of this shape and these strides, broadcast to the leading axes
    ``lead``.
    """
    missing = 2 + len(lead) - len(shape)
    strides = tuple(0 if n == 1 else stride for n, stride in zip(shape, strides))
    return Operand((*lead, *shape[-2:]), ((0,) * missing + strides))


def cheapest(choices):
    """``(which, calls)``: for each of a, b and c an Operand as it lies or one of a copy, so that
    copies and calls together take the least time.

    choices: for each of the three ``(as it lies, as a copy, elements to be copied)``; ``which`` has
    False or True.
    """
    found = []
    for which in itertools.product((False, True), repeat=3):
        made = calls(*(choice[copied] for choice, copied in zip(choices, which)))
        if made is not None:
            cost = len(made) + sum(1 + choice[2] / A_LAUNCH for choice, copied in zip(choices, which) if copied)
            found.append((cost, which, made))
    return min(found, key=lambda one: one[0])[1:]


class Call(NamedTuple):
    """One call: ``count`` products, in which ``first`` is b and ``second`` is a (see the head of
    this file), or the other way round if ``swapped``: the result is written by columns.

    Offsets are from the start of each array, steps from one matrix of a stack to the next.
    """

    m: int
    n: int
    k: int
    transpose_first: bool
    first_offset: int
    first_leading: int
    first_step: int
    transpose_second: bool
    second_offset: int
    second_leading: int
    second_step: int
    out_offset: int
    out_leading: int
    out_step: int
    count: int  # type: ignore[assignment]  # it hides the method of tuples
    swapped: bool = False


def layout(operand):
    """``(columns contiguous, leading dimension)`` of the matrices of ``operand``; None if it must
    be copied first.
    """
    rows, columns = operand.shape[-2:]
    by_row, by_column = operand.strides[-2:]
    if (by_column == 1 or columns == 1) and (by_row >= columns or rows == 1):
        return False, max(by_row if rows > 1 else columns, 1)
    if (by_row == 1 or rows == 1) and (by_column >= rows or columns == 1):
        return True, max(by_column if columns > 1 else rows, 1)
    return None


def stacks(*operands):
    """The leading axes, neighbours merged if every operand steps through both evenly: ``[(length,
    steps of each), ...]``.
    """
    merged: list = []
    for axis, length in enumerate(operands[0].shape[:-2]):
        if length == 1:
            continue
        steps = tuple(operand.strides[axis] for operand in operands)
        if merged and all(outer == length * inner for outer, inner in zip(merged[-1][1], steps)):
            merged[-1] = merged[-1][0] * length, steps
        else:
            merged.append((length, steps))
    return merged


def calls(a, b, c):
    """The calls that write ``a @ b`` to c; None if an operand's matrices must be copied first.

    One call covers the longest of the merged leading axes; the others are looped over.
    """
    layouts = [layout(operand) for operand in (a, b, c)]
    if None in layouts:
        return None
    (a_by_column, a_leading), (b_by_column, b_leading), (c_by_column, c_leading) = layouts
    if c_by_column:  # c^T = b^T a^T has contiguous rows
        return [
            call._replace(swapped=True) for call in calls(b.transposed(), a.transposed(), c.transposed()) or ()
        ] or None
    axes = stacks(a, b, c)
    longest = max(range(len(axes)), key=lambda i: axes[i][0], default=None)
    count, steps = (1, (0, 0, 0)) if longest is None else axes[longest]
    loops = [axis for i, axis in enumerate(axes) if i != longest]
    (rows, inner), columns = a.shape[-2:], b.shape[-1]
    made = []
    for number in range(math.prod(length for length, _ in loops)):
        offsets = [0, 0, 0]
        for length, strides in reversed(loops):
            number, place = divmod(number, length)
            offsets = [offset + place * stride for offset, stride in zip(offsets, strides)]
        made.append(
            Call(
                columns, rows, inner,
                b_by_column, offsets[1], b_leading, steps[1],
                a_by_column, offsets[0], a_leading, steps[0],
                offsets[2], c_leading, steps[2], count,
            )
        )  # fmt: skip
    return made
