"""The NumPy namespace: NumPy's functions and the handful that NumPy lacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from minitensor.backend.compiled import kernels, ready
from minitensor.backend.special import erf

__all__ = ["cpu"]


def add_at(out, index, values):
    """``out[index] += values`` in place, adding up if an index repeats.

    Slices and masks address every place at most once, so plain ``+=`` is right for them and far
    quicker than ``np.add.at``. One integer array into the first axis (an embedding's gradient) is
    sorted, and each run of equal ids is summed by ``reduceat``: several times quicker than
    ``np.add.at``, and the order of the additions is fixed.
    """
    parts = index if isinstance(index, tuple) else (index,)
    integer_arrays = [part for part in parts if isinstance(part, np.ndarray) and part.dtype.kind in "iu" and part.ndim]
    if not integer_arrays:
        out[index] += values
    elif len(parts) == 1 and out.ndim > 1:
        _add_rows(out, parts[0], values)
    else:
        np.add.at(out, index, values)


def _add_rows(out, ids, values):
    """``out[ids] += values``; rows of equal ids are added up in their order."""
    ids = ids.astype(np.int64, copy=False)  # one of few bits may not hold the length
    ids = np.where(ids < 0, ids + len(out), ids).reshape(-1)  # (N,)
    if ids.size == 0:
        return
    values = np.broadcast_to(values, (*np.shape(values)[: np.ndim(values) - out.ndim + 1], *out.shape[1:]))
    rows = values.reshape(ids.size, *out.shape[1:])  # (N, ...)
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if kernels.has(out.dtype) and out.ndim == 2 and out.flags.carray and rows.dtype == out.dtype:
        kernels.run("add_rows", out, ids, order, np.append(starts, len(ids)), ready(rows))
    else:
        out[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


def random_bits(key, counter, count):
    """``count`` 64-bit words of Philox4x64-10 with the 128-bit ``key``, from block ``counter`` on
    (four words a block).

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. NumPy's
    generator steps its counter before it makes a block, hence the ``- 1``.
    """
    if count >= MANY and int(counter) < 1 << 64 and kernels.has(np.dtype(np.float32)):  # which takes words of 64 bits
        out = np.empty(count, dtype=np.uint64)
        kernels.run("random_words", *map(np.uint64, (*key, counter)), out)
        return out
    start = (int(counter) - 1) % (1 << 256)
    words = np.array([(start >> shift) & 0xFFFFFFFFFFFFFFFF for shift in (0, 64, 128, 192)], dtype=np.uint64)
    return np.random.Philox(key=np.array(key, dtype=np.uint64), counter=words).random_raw(count)


MANY = 1 << 12  # elements from which a compiled kernel is called for them
MODERATE = 1e15  # sums of products of two such numbers are finite in float32


def surely_moderate(*arrays):
    """Whether all elements are known to be numbers of moderate size, none NaN or infinite, whose
    products are finite too.

    A GPU answers no, since knowing would mean waiting for the device.
    """
    return all(_is_moderate(array) for array in arrays if array.size)


def _is_moderate(array):
    if array.size >= MANY and kernels.has(array.dtype):
        line = _in_memory_order(array)
        if line is not None:
            found = np.zeros(1, dtype=np.int64)
            kernels.run("count_immoderate", line, array.dtype.type(MODERATE), found)
            return not found[0]
    return -MODERATE < float(array.min()) and float(array.max()) < MODERATE


def _in_memory_order(array):
    """The elements of ``array`` as a line, in the order in which they lie; None if they
    have gaps.
    """
    turned = array.transpose(np.argsort([-stride for stride in array.strides], kind="stable"))
    return turned.reshape(-1) if turned.flags.carray else None


def add(x, y, out=None):
    """``np.add``; on all cores if compiled kernels are at work and both are arrays of one kind."""
    plain = type(x) is type(y) is np.ndarray and x.dtype == y.dtype and x.shape == y.shape and kernels.has(x.dtype)
    if plain and (out is None or out is x) and x.flags.carray and y.flags.carray:
        made = np.empty(x.shape, dtype=x.dtype) if out is None else out
        kernels.run("add", x.reshape(-1), y.reshape(-1), made.reshape(-1))
        return made
    return np.add(x, y, out=out)


def matmul(a, b, out=None):
    """``np.matmul``, on the threads of the compiled kernels if they are at work."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype and kernels.has(a.dtype):
        return kernels.products.matmul(a, b, out=out)
    return np.matmul(a, b, out=out)


def check_ids(message, ids, low, high):
    """Raise IndexError(message), its ``{id}`` filled in, for an id outside ``[low, high)``, with
    the place of the first such id as its attribute ``place``; a GPU does so when it is next read,
    without the place.
    """
    if ids.size:
        least, greatest = int(ids.min()), int(ids.max())
        if least < low or greatest >= high:
            bad = least if least < low else greatest
            error: Any = IndexError(message.format(id=bad))
            error.place = tuple(map(int, np.argwhere(ids == bad)[0]))
            raise error


def synchronize():
    """Wait for the device; NumPy is always done."""


cpu = SimpleNamespace(
    **{name: value for name, value in vars(np).items() if not name.startswith("_")}
)  # dir() would load f2py
cpu.name = "cpu"
cpu.module = np
cpu.add_at = add_at
cpu.check_ids = check_ids
cpu.random_bits = random_bits
cpu.erf = erf
cpu.surely_moderate = surely_moderate
cpu.synchronize = synchronize
cpu.kernels = kernels
cpu.add = add
cpu.matmul = matmul
cpu.ready = ready
