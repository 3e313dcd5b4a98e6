"""Ops that turn a tensor round, repeat its elements, or put others about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.backend import np
from minitensor.engine.axes import axes_of, axis_of, ints, read_ints
from minitensor.engine.op import alias, moves, op
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.shape import broadcast_to, reshape, swapaxes

__all__ = ["flip", "pad", "repeat", "roll", "rot90", "tile"]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, SupportsIndex

    from minitensor.engine.attached import Shape, TensorLike


@moves
@op
def flip(xp, x, /, axis=None):
    """``x`` with the order along ``axis`` reversed."""
    return xp.flip(x, axis=axes_of("flip", axis, x.ndim))


flip.vjp(lambda xp, g, axis: xp.flip(g, axis=axes_of("flip", axis, g.ndim)))


def rot90(m: TensorLike, k: SupportsIndex = 1, axes: Sequence[SupportsIndex] = (0, 1)) -> Tensor:
    """``m`` turned ``k`` times by 90 degrees in the plane of two axes, from the first of them
    towards the second.
    """
    m = asarray(m)
    places, (turns,) = axes_of("rot90", axes, m.ndim), ints(k, "rot90")
    if len(places) != 2:
        raise ValueError(f"rot90: axes must be two, got {axes!r}")
    first, second = places
    if turns % 4 == 0:
        return alias(m)
    if turns % 4 == 2:
        return flip(m, axis=places)
    if turns % 4 == 1:
        return swapaxes(flip(m, axis=second), axis1=first, axis2=second)
    return flip(swapaxes(m, axis1=first, axis2=second), axis=second)


@moves
@op
def roll(xp, x, /, shift, axis=None):
    """``x`` shifted by ``shift`` places along ``axis`` (default: of the flat array), the end coming
    round to the start.

    Several shifts along one axis add up; one shift serves several axes.
    """
    return xp.roll(x, *_rolled(shift, axis))


def _rolled(shift, axis, sign=1):
    """Shifts and axes in the one form that every backend takes."""
    shifts = tuple(sign * s for s in ints(shift, "roll"))
    return (sum(shifts), None) if axis is None else (shifts, ints(axis, "roll"))


roll.vjp(lambda xp, g, shift, axis: xp.roll(g, *_rolled(shift, axis, -1)))


def repeat(x: TensorLike, repeats: Shape, axis: SupportsIndex | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along ``axis`` (default: of the flat array); or one
    count per element.
    """
    x = asarray(x)
    if axis is None:
        x, axis = reshape(x, shape=(-1,)), 0
    axis = axis_of("repeat", axis, x.ndim)
    length, counts = x.shape[axis], ints(repeats, "repeat")
    if len(counts) not in (1, length) or any(count < 0 for count in counts):
        raise ValueError(
            f"repeat: {len(counts)} counts for axis {axis} of length {length}: one, or {length}, none below 0"
        )
    places = asarray(np.repeat(np.arange(length), counts), device=x.device)
    return x[(slice(None),) * axis + (places,)]


def tile(x: TensorLike, reps: Shape) -> Tensor:
    """``x`` laid ``reps`` times along each axis."""
    x = asarray(x)
    repetitions = ints(reps, "tile")
    if any(n < 0 for n in repetitions):
        raise ValueError(f"tile: reps must not be negative, got {reps!r}")
    ndim = max(x.ndim, len(repetitions))
    shape = (1,) * (ndim - x.ndim) + x.shape
    repetitions = (1,) * (ndim - len(repetitions)) + repetitions
    split_shape = tuple(n for length in shape for n in (1, length))
    wide = broadcast_to(reshape(x, shape=split_shape), shape=tuple(n for pair in zip(repetitions, shape) for n in pair))
    return reshape(wide, shape=tuple(r * n for r, n in zip(repetitions, shape)))


@moves
@op(name="pad")
def _pad(xp, x, *, pad_width, value):
    return xp.pad(x, pad_width, constant_values=value)


_pad.vjp(lambda g, x_shape, pad_width: g[tuple(slice(a, a + n) for (a, _), n in zip(pad_width, x_shape))])


def pad(
    x: TensorLike,
    pad_width: TensorLike | Mapping[int, Shape],
    mode: Literal["constant", "edge", "reflect", "symmetric", "wrap"] = "constant",
    *,
    constant_values: TensorLike = 0.0,
) -> Tensor:
    """``x`` with more elements around it, as NumPy's.

    pad_width: how many; a number, ``(before, after)`` for every axis, one such pair per axis, or a
    dict from axes to them. mode: "constant" (``constant_values``: a number, a pair, or a pair per
    axis), or where the elements are taken from: "edge", "reflect", "symmetric", "wrap". The
    gradient goes back to where an element came from.
    """
    x = asarray(x)
    widths = _widths(pad_width, x.ndim)
    constants = _constants(constant_values)
    if not any(map(any, widths)):
        return alias(x)
    if mode == "constant":
        return _pad(x, pad_width=widths, value=constants)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f'pad: mode must be "constant", "edge", "reflect", "symmetric" or "wrap", got {mode!r}')
    for axis, (pair, length) in enumerate(zip(widths, x.shape)):
        if any(pair):
            if not length:
                raise ValueError(f"pad: mode {mode!r} takes elements from axis {axis}, which has none")
            places = asarray(np.pad(np.arange(length), pair, mode=mode), device=x.device)
            x = x[(slice(None),) * axis + (places,)]
    return x


def _constants(values):
    """``values`` of the elements around a tensor as plain numbers, if they were given as Tensors or
    arrays.
    """
    if isinstance(values, (tuple, list)):
        return [_constants(value) for value in values]
    if isinstance(values, Tensor) and values.requires_grad:
        raise TypeError("pad: constant_values is a constant; write .detach(), or mt.concatenate for a gradient")
    return values.tolist() if hasattr(values, "tolist") else values


def _widths(pad_width, ndim):
    """``pad_width``, in any form, as one pair of ints per axis."""
    if isinstance(pad_width, dict):
        pairs: list[tuple[int, ...]] = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            width = read_ints(width)
            pairs[axis_of("pad", axis, ndim)] = ints(width, "pad") * 2 if np.ndim(width) == 0 else ints(width, "pad")
        pad_width = pairs
    widths = read_ints(pad_width)
    widths = np.asarray(widths.tolist() if hasattr(widths, "tolist") else widths)
    if widths.dtype.kind not in "iu" and widths.size:
        raise TypeError(f"pad: pad_width must be integers, got {pad_width!r}")
    if widths.size and widths.min() < 0:
        raise ValueError(f"pad: pad_width must not be negative, got {pad_width!r}; write a slice to cut")
    try:
        return tuple((int(a), int(b)) for a, b in np.broadcast_to(widths, (ndim, 2)))
    except ValueError:
        raise ValueError(f"pad: pad_width {pad_width!r} does not fit a tensor of {ndim} axes") from None
