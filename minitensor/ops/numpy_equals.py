"""What minitensor has in place of NumPy's functions that have another name or another form of
arguments here.
"""

from __future__ import annotations

from collections.abc import Callable

from minitensor.engine.op import alias
from minitensor.engine.tensor import asarray
from minitensor.ops import elementwise, linalg, reductions, shape

__all__ = ["ADAPTED", "OPERATORS", "RENAMED", "same_function"]

_NAMES = {
    "absolute": "abs", "amax": "max", "amin": "min", "around": "round", "array": "tensor", "fabs": "abs",
    "rint": "round", "transpose": "permute_dims",
}  # fmt: skip


def same_function(name):
    """Our name for NumPy's function ``name``."""
    return _NAMES.get(name, name)


# Optional arguments: NumPy's name and ours.
RENAMED = {"a_max": "max", "a_min": "min", "correction": "ddof"}

# Ufuncs that are operators of Tensor, and no functions of their own.
OPERATORS = {
    "bitwise_and": "__and__", "bitwise_or": "__or__", "bitwise_xor": "__xor__", "conjugate": "__pos__", "invert": "__invert__",
    "positive": "__pos__",
}  # fmt: skip


# --- NumPy's arguments, our ops -------------------------------------------------------------------


def _dot(a, b):
    """``np.dot``: the last axis of ``a`` with the last but one of ``b`` (its only one, if it has
    one).
    """
    a, b = asarray(a), asarray(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return linalg.tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def _inner(a, b):
    """``np.inner``: the last axis of ``a`` with the last of ``b``."""
    a, b = asarray(a), asarray(b)
    return a * b if a.ndim == 0 or b.ndim == 0 else linalg.tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


def _ravel(a):
    return asarray(a).reshape((-1,))


def _columns(arrays):
    """Vectors as matrices of one column, for ``np.column_stack``."""
    return [x.reshape((-1, 1)) if x.ndim < 2 else x for x in map(asarray, arrays)]


def _rows(arrays):
    """Vectors as matrices of one row, for ``np.vstack``."""
    return [x.reshape((1, -1)) if x.ndim < 2 else x for x in map(asarray, arrays)]


def _side_by_side(tup):
    """``np.hstack``: along the second axis, vectors along their only one."""
    arrays = [x.reshape((1,)) if x.ndim == 0 else x for x in map(asarray, tup)]
    return shape.concat(arrays, axis=0 if arrays[0].ndim == 1 else 1)


def _mean_of(a, axis=None, weights=None):
    """``np.average``."""
    if weights is None:
        return reductions.mean(a, axis=axis)
    a, weights = asarray(a), asarray(weights)
    if weights.shape != a.shape:
        return NotImplemented
    return reductions.sum(a * weights, axis=axis) / reductions.sum(weights, axis=axis)


# By NumPy's module and name. A call whose arguments do not fit the signature, or that gives
# NotImplemented, has no equal.
ADAPTED: dict[str, Callable] = {
    "numpy.average": _mean_of,
    "numpy.column_stack": lambda tup: shape.concat(_columns(tup), axis=1),
    "numpy.copy": alias,
    "numpy.dot": _dot,
    "numpy.hstack": _side_by_side,
    "numpy.inner": _inner,
    "numpy.ravel": _ravel,
    "numpy.vdot": lambda a, b, /: linalg.vecdot(_ravel(a), _ravel(b)),
    "numpy.vstack": lambda tup: shape.concat(_rows(tup), axis=0),
    "numpy.where": lambda condition, x, y, /: elementwise.where(condition, x, y),
}
