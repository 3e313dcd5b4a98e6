"""The table of ops: one row for every exported differentiable function. Adding an op means adding a
row.
"""

from table import (
    elementwise,
    functional,
    indexing,
    linalg,
    linear_algebra,
    losses,
    recurrent,
    reductions,
    shape,
    standard,
)
from table.row import Row

TABLE = [
    *elementwise.ROWS, *standard.ROWS, *reductions.ROWS, *linalg.ROWS, *linear_algebra.ROWS, *shape.ROWS, *indexing.ROWS,
    *functional.ROWS, *losses.ROWS, *recurrent.ROWS,
]  # fmt: skip

__all__ = ["TABLE", "Row"]
