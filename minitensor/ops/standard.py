"""Functions of the Python array API standard beyond those of the neighbouring files: elementwise,
differences, running sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.backend import np
from minitensor.engine.axes import axis_of
from minitensor.engine.op import op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.elementwise import arccos, arccosh, arcsin, arcsinh, arctan, arctanh, not_equal, power, subtract
from minitensor.ops.reductions import sum as sum_of
from minitensor.ops.scans import cumprod, cumsum
from minitensor.ops.shape import broadcast_to, concatenate, moveaxis, reshape, swapaxes

__all__ = [
    "acos", "acosh", "arctan2", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_left_shift", "bitwise_right_shift",
    "broadcast_arrays", "copysign", "count_nonzero", "cumulative_prod", "cumulative_sum",
    "diff", "hypot", "matrix_transpose", "meshgrid", "nextafter", "pow",
]  # fmt: skip

if TYPE_CHECKING:
    from typing import Literal, SupportsIndex

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import Axes, TensorLike

acos, asin, atan, acosh, asinh, atanh, pow = arccos, arcsin, arctan, arccosh, arcsinh, arctanh, power

# --- two operands ---------------------------------------------------------------------------------


def _over_length(xp, x, length):
    """``x / length``, 0 if the length is 0."""
    return xp.where(xp.equal(length, 0), 0.0, x / xp.where(xp.equal(length, 0), 1.0, length))


@op
def hypot(xp, x, y):
    """``sqrt(x^2 + y^2)`` without overflow; derivative 0 at the origin."""
    return xp.hypot(x, y)


hypot.vjp(
    lambda xp, g, x, out: g * _over_length(xp, x, out),
    lambda xp, g, y, out: g * _over_length(xp, y, out),
)


@op
def arctan2(xp, x, y):
    """The angle of the point with height ``x`` and width ``y``, from -pi to pi; derivative 0 at the
    origin.
    """
    return xp.arctan2(x, y)


def _turned(xp, g, across, x, y):
    # d angle / dx = y / r^2 and d angle / dy = -x / r^2, divided by r twice, since r^2 may
    # overflow.
    length = xp.hypot(x, y)
    return g * _over_length(xp, _over_length(xp, across, length), length)


arctan2.vjp(
    lambda xp, g, x, y: _turned(xp, g, y, x, y),
    lambda xp, g, x, y: -_turned(xp, g, x, x, y),
)
atan2 = arctan2


@op
def copysign(xp, x, y):
    """``|x|`` with the sign of ``y``; derivative 0 at x = 0."""
    return xp.copysign(x, y)


copysign.vjp(lambda xp, g, x, y: g * xp.sign(x) * xp.copysign(1.0, y), lambda xp, g: xp.zeros_like(g))


@op
def nextafter(xp, x, y):
    """The number of x's type that follows ``x`` on the way to ``y``."""
    return xp.nextafter(x, y)


nextafter.computes = False  # the neighbour of a float16 is a float16
nextafter.vjp(lambda g: g, lambda xp, g: xp.zeros_like(g))


@op
def bitwise_left_shift(xp, x, y):
    """The bits of the integer ``x`` moved up by ``y`` places."""
    return xp.left_shift(x, y)


@op
def bitwise_right_shift(xp, x, y):
    """The bits of the integer ``x`` moved down by ``y`` places; the sign stays."""
    return xp.right_shift(x, y)


# --- along an axis --------------------------------------------------------------------------------


def _running(name, scan, first, x, axis, dtype, include_initial):
    x = asarray(x)
    if axis is None and x.ndim != 1:
        raise ValueError(f"{name}: axis must be said for a tensor of shape {x.shape}")
    axis = 0 if axis is None else axis_of(name, axis, x.ndim)
    out = scan(x, axis=axis, dtype=dtype)
    if not include_initial:
        return out
    head = Tensor(np.full((*out.shape[:axis], 1, *out.shape[axis + 1 :]), first, dtype=out.dtype)).to(out.device)
    return concatenate([head, out], axis=axis)


def cumulative_sum(
    x: TensorLike, *, axis: SupportsIndex | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """Running sum along ``axis`` (which a vector need not say), with a 0 in front if
    ``include_initial``.
    """
    return _running("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: TensorLike, *, axis: SupportsIndex | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """Running product along ``axis`` (which a vector need not say), with a 1 in front if
    ``include_initial``.
    """
    return _running("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


def diff(
    x: TensorLike,
    n: int = 1,
    axis: SupportsIndex = -1,
    prepend: TensorLike | None = None,
    append: TensorLike | None = None,
) -> Tensor:
    """The ``n``-th differences ``x[i + 1] - x[i]`` along ``axis``, of x with ``prepend`` before and
    ``append`` behind it.

    Both may be numbers. Of truth values it is whether neighbours differ.
    """
    x = asarray(x)
    axis = axis_of("diff", axis, x.ndim)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ValueError(f"diff: n must be an integer from 0 on, got {n!r}")
    if n == 0:
        return x
    ends = [_end(end, x, axis) for end in (prepend, append)]
    parts = [part for part in (ends[0], x, ends[1]) if part is not None]
    x = concatenate(parts, axis=axis) if len(parts) > 1 else x
    before = (slice(None),) * axis
    for _ in range(n):
        step = not_equal if x.dtype.kind == "b" else subtract
        x = step(x[(*before, slice(1, None))], x[(*before, slice(None, -1))])
    return x


def _end(end, x, axis):
    if end is None:
        return None
    if not hasattr(end, "dtype"):
        end = asarray(end, dtype=x.dtype, device=x.device)
    end = asarray(end)
    return broadcast_to(end, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :])) if end.ndim == 0 else end


def count_nonzero(x: TensorLike, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """How many elements along ``axis`` are not 0, int64."""
    return sum_of(not_equal(x, 0), axis=axis, keepdims=keepdims)


# --- shapes ---------------------------------------------------------------------------------------


def broadcast_arrays(*arrays: TensorLike) -> list[Tensor]:
    """All the tensors in their common shape."""
    tensors = [asarray(x) for x in arrays]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in tensors))
    except ValueError:
        given = ", ".join(str(x.shape) for x in tensors)
        raise ValueError(f"broadcast_arrays: the shapes {given} do not agree from the right") from None
    return [broadcast_to(x, shape=shape) for x in tensors]


def meshgrid(*arrays: TensorLike, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """Coordinates of a grid: of each vector a tensor with its elements along its own axis, repeated
    along those of the others.

    indexing: "xy" has the axes of the first two exchanged, as in a picture; "ij" has them in order.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f'meshgrid: indexing must be "xy" or "ij", got {indexing!r}')
    tensors = [asarray(x) for x in arrays]
    if any(x.ndim > 1 for x in tensors):
        raise ValueError(f"meshgrid: needs vectors, got shapes {', '.join(str(x.shape) for x in tensors)}")
    ndim = len(tensors)
    grid = [reshape(x, shape=(1,) * i + (-1,) + (1,) * (ndim - i - 1)) for i, x in enumerate(tensors)]
    grid = broadcast_arrays(*grid) if grid else []
    return [moveaxis(x, 0, 1) for x in grid] if indexing == "xy" and ndim > 1 else grid


def matrix_transpose(x: TensorLike) -> Tensor:
    """``x`` with its last two axes exchanged."""
    x = asarray(x)
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: needs matrices (..., M, N), got shape {x.shape}")
    return swapaxes(x, axis1=-1, axis2=-2)
