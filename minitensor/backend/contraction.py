"""Which product of matrices computes an ``einsum`` of two operands. This file is arithmetic on
letters and lengths and knows no array.

Letters fall into four kinds: of a stack (in both operands and in the result), rows (in the first
and the result), columns (in the second and the result), and summed (in both operands alone):

    result[stack, rows, columns] = sum over s of first[stack, rows, s] second[stack, s, columns]
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

__all__ = ["Plan", "planned"]


class Plan(NamedTuple):
    """How operands are brought to stacks of matrices, and the product back: transposed by
    ``..._axes``, then reshaped; of the product the other way round.
    """

    first_axes: tuple[int, ...]
    first_shape: tuple[int, ...]
    second_axes: tuple[int, ...]
    second_shape: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]


@functools.lru_cache(maxsize=4096)
def planned(subscripts: str, first_shape: tuple[int, ...], second_shape: tuple[int, ...]) -> Plan | None:
    """The Plan of an explicit equation, such as "bij,bjk->bik"; None if it takes a diagonal, sums
    over a letter of one operand alone, repeats an axis of length 1, or sums nothing, and if the
    product would have one row and one column.
    """
    terms, _, output = subscripts.partition("->")
    first, second = terms.split(",")
    lengths = dict(zip(first + second, first_shape + second_shape))
    if any(len(set(term)) < len(term) for term in (first, second, output)):
        return None
    if any(lengths[c] != n for c, n in zip(first + second, first_shape + second_shape)):
        return None
    stack, rows = [c for c in output if c in first and c in second], [c for c in output if c not in second]
    columns, summed = [c for c in output if c not in first], [c for c in first if c in second and c not in output]
    if not summed or not (rows or columns) or {*stack, *rows, *columns, *summed} != {*first, *second}:
        return None

    def length(letters):
        return math.prod(lengths[c] for c in letters)

    lead, made = tuple(lengths[c] for c in stack), [*stack, *rows, *columns]
    return Plan(
        tuple(first.index(c) for c in (*stack, *rows, *summed)), (*lead, length(rows), length(summed)),
        tuple(second.index(c) for c in (*stack, *summed, *columns)), (*lead, length(summed), length(columns)),
        tuple(lengths[c] for c in made), tuple(made.index(c) for c in output),
    )  # fmt: skip
