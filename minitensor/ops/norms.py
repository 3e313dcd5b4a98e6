"""Norms of vectors and of matrices, as ``minitensor.linalg`` has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.backend import np
from minitensor.engine.axes import axes_of
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.decompositions import singular_values
from minitensor.ops.elementwise import equal, where
from minitensor.ops.linalg import floats
from minitensor.ops.linalg import norm as _norm
from minitensor.ops.reductions import max as _max
from minitensor.ops.reductions import min as _min
from minitensor.ops.reductions import sum as _sum
from minitensor.ops.shape import moveaxis

__all__ = ["matrix_norm", "norm", "vector_norm"]

if TYPE_CHECKING:
    from minitensor.engine.attached import Axes, TensorLike


def vector_norm(x: TensorLike, *, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """``sum(|x|^ord)^(1 / ord)`` over ``axis`` (default: all elements): any number, infinity, or 0
    for how many are not 0.

    At the zero vector the derivative is 0.
    """
    x = floats(x)
    if ord in (1, 2, math.inf):
        return _norm(x, ord, axis, keepdims)
    if isinstance(ord, (str, bool)) or not isinstance(ord, (int, float, np.number)) or math.isnan(ord):
        raise ValueError(f"vector_norm: ord must be a number, got {ord!r}")
    size = abs(x)
    if ord == -math.inf:
        return _min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return _sum((x != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    most = _max(size, axis=axis, keepdims=True) if size.size else asarray(0.0)
    most = where(equal(most, 0), 1.0, most).detach()  # a unit in which no power overflows
    total = _sum((size / most) ** float(ord), axis=axis, keepdims=True)
    zero = equal(total, 0)
    made = where(zero, 0.0, where(zero, 1.0, total) ** (1.0 / float(ord))) * most
    return made if keepdims else made.squeeze(axes_of("vector_norm", axis, x.ndim))


def matrix_norm(x: TensorLike, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:
    """A norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (greatest, least), 1, -1,
    inf, -inf (of sums of |x|).
    """
    x = floats(x)
    if x.ndim < 2:
        raise ValueError(f"matrix_norm: needs matrices (..., M, N), got shape {x.shape}")
    if ord in ("fro", None):
        made = _norm(x, 2, (-2, -1), True)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = _sum(abs(x), axis=-2 if abs(ord) == 1 else -1, keepdims=True)
        over = {"axis": (-2, -1), "keepdims": True}
        made = _max(sums, **over) if ord > 0 else _min(sums, **over)
    elif ord in ("nuc", 2, -2):
        reduce: Any = {"nuc": _sum, 2: _max, -2: _min}[ord]
        made = reduce(singular_values(x), axis=-1, keepdims=True)[..., None]
    else:
        raise ValueError(f'matrix_norm: ord must be "fro", "nuc", 1, -1, 2, -2, inf or -inf, got {ord!r}')
    return made if keepdims else made[..., 0, 0]


def norm(x: TensorLike, ord: float | str | None = None, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """NumPy's norm: of vectors along an int ``axis``, of matrices over a pair; default: of all
    elements.

    With ``ord`` and no axis, x must be a vector or a matrix. See ``vector_norm`` and
    ``matrix_norm`` for the orders.
    """
    x = asarray(x)
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    if axis is None:
        if x.ndim not in (1, 2):
            raise ValueError(f"norm: with ord={ord!r} and no axis x must have 1 or 2 axes, got shape {x.shape}")
        axis = tuple(range(x.ndim))
    axes = axes_of("norm", axis, x.ndim)
    if len(axes) == 1:
        order: Any = 2 if ord is None else ord  # a word is refused
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=order)
    if len(axes) != 2:
        raise ValueError(f"norm: axis must be one axis, or two for matrices, got {axis!r}")
    made = matrix_norm(moveaxis(x, axes, (-2, -1)), keepdims=keepdims, ord="fro" if ord is None else ord)
    return moveaxis(made, (-2, -1), axes) if keepdims else made
