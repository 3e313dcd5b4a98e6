"""Integers that number rows, classes or places: of any integer type on the way in, int64 inside."""

from __future__ import annotations

from minitensor.backend import cast, device_of, namespace, np

__all__ = ["wide_ids"]

_GREATEST = np.uint64(np.iinfo(np.int64).max)


def wide_ids(ids):
    """The raw integers ``ids`` as int64: ids of few bits cannot hold the length of an axis, nor say
    "so many from the end".

    What is too great for int64 becomes its greatest number, which is out of range everywhere.
    """
    if ids.dtype == np.uint64:
        ids = namespace(device_of(ids)).minimum(ids, _GREATEST)
    return cast(ids, np.int64)
