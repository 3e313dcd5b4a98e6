"""Searching, and tensors as sets of values. Their sizes depend on the values, so that on a GPU each
of these waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minitensor.backend import cast, namespace, np
from minitensor.engine.autograd import raw
from minitensor.engine.mode import reads_values
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.indexing import getitem
from minitensor.ops.shape import reshape

__all__ = ["nonzero", "searchsorted", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

if TYPE_CHECKING:
    from typing import Literal

    from minitensor.engine.attached import TensorLike


class UniqueAll(NamedTuple):
    """What ``unique_all`` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What ``unique_counts`` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What ``unique_inverse`` gives."""

    values: Tensor
    inverse_indices: Tensor


@reads_values("x")
def nonzero(x: TensorLike) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0: a tuple of one int64 vector for each axis."""
    x = asarray(x)
    if x.ndim == 0:
        raise ValueError("nonzero: a tensor without axes has no indices: write x != 0")
    return tuple(map(Tensor, namespace(x.device).nonzero(raw(x))))


@reads_values("x1", "x2")
def searchsorted(
    x1: TensorLike, x2: TensorLike, side: Literal["left", "right"] = "left", sorter: TensorLike | None = None
) -> Tensor:
    """Where to insert the elements of ``x2`` into the ascending vector ``x1``, so that it stays in
    order; int64.

    side: "left" of equal elements, or "right". sorter: the indices that put x1 in order, if it is
    not.
    """
    x1, x2 = asarray(x1), asarray(x2)
    if side not in ("left", "right"):
        raise ValueError(f'searchsorted: side must be "left" or "right", got {side!r}')
    if x1.ndim != 1:
        raise ValueError(f"searchsorted: x1 must be a vector, got shape {x1.shape}")
    if sorter is not None:
        x1 = x1[asarray(sorter)]
    xp = namespace(x1.device)
    return Tensor(cast(xp.asarray(xp.searchsorted(raw(x1), raw(x2), side)), np.int64))


@reads_values("x")
def unique_all(x: TensorLike) -> UniqueAll:
    """``(values, indices, inverse_indices, counts)``: the values of the flat ``x`` in order, each
    once.

    Also where each is first found in the flat x, where in ``values`` each element of x is (in x's
    shape), and how often. The gradient of a value goes to the element where it is first found; each
    NaN is a value by itself.
    """
    flat = reshape(asarray(x), shape=(-1,))
    found = namespace(flat.device).unique(
        raw(flat), return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    indices, inverse, counts = (Tensor(cast(part, np.int64)) for part in found[1:])
    return UniqueAll(getitem(flat, indices), indices, inverse.reshape(asarray(x).shape), counts)


def unique_counts(x: TensorLike) -> UniqueCounts:
    """``(values, counts)`` of ``unique_all``."""
    everything = unique_all(x)
    return UniqueCounts(everything.values, everything.counts)


def unique_inverse(x: TensorLike) -> UniqueInverse:
    """``(values, inverse_indices)`` of ``unique_all``."""
    everything = unique_all(x)
    return UniqueInverse(everything.values, everything.inverse_indices)


def unique_values(x: TensorLike) -> Tensor:
    """The values of ``x`` in order, each once."""
    return unique_all(x).values
