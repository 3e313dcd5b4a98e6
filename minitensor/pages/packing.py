"""Arrays made small for a page: a byte for an element, and the range that the bytes stand for."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = ["packed", "thumbnail"]

if TYPE_CHECKING:
    from numpy.typing import NDArray


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON: ``{"shape", "low", "high", "bytes"}``; ``unpack`` of ``base.js`` reads it.

    Byte b stands for ``low + (high - low) * b / 254``, b from 0 to 254: the error is at most 1/508
    of the range of the finite elements. 255 stands for NaN; infinities become the end of the range.
    """
    values = np.asarray(array, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    width = high / 2 - low / 2  # half of it, since all of it may be no finite number
    steps = np.zeros(values.shape) if width == 0 else (np.clip(values, low, high) / 2 - low / 2) / width * 254
    with np.errstate(invalid="ignore"):
        coded = np.where(np.isnan(values), 255, np.rint(steps)).astype(np.uint8)
    return {
        "shape": list(values.shape),
        "low": low,
        "high": high,
        "bytes": base64.b64encode(np.ascontiguousarray(coded).tobytes()).decode("ascii"),
    }


def thumbnail(array: NDArray[Any], most: int = 16) -> dict[str, Any]:
    """A picture of an array: packed, of at most ``most`` x ``most`` means of blocks.

    A vector is a line; of more than two axes all but the last become rows.
    """
    values = np.asarray(array, np.float64)
    rows = values.reshape(1, -1) if values.ndim < 2 else values.reshape(-1, values.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        for axis in (0, 1):
            if rows.shape[axis] > most:
                starts = np.linspace(0, rows.shape[axis], most, endpoint=False).astype(int)
                counts = np.diff([*starts, rows.shape[axis]])
                rows = np.add.reduceat(rows, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return packed(rows)
