"""Profiles of inputs: what ordinary numbers do not show.

A profile changes an array and keeps its signs and its range where it can, so that a logarithm still
gets positive numbers: what is drawn for an op is varied, whatever the op is. ``strategies.tensors``
takes one by name, ``check_op(profiles=...)`` several, each for further examples.

    ordinary    as drawn
    huge        times 1e4 to 1e12
    tiny        times 1e-12 to 1e-4
    zeros       a third of the elements 0.0 or -0.0, one of each at least, where both signs occur
    ties        few different elements, each several times
    kinks       within 1e-9 to 1e-3 of each other, of whole numbers, and of 0 where both signs occur
    strided     with gaps in memory, column order, the gaps full of NaN
    reversed    views with negative strides
    fortran     column order
    readonly    an array that may not be written to
    repeats     whole numbers with few different ones (of an array of integers)
    empty, 0-d  a shape without elements, or without axes (strategies alone)
"""

from __future__ import annotations

import numpy as np

from minitensor.backend import is_floating, is_narrow
from minitensor.engine.tensor import Tensor
from minitensor.testing.arguments import array_of

__all__ = ["PROFILES", "SHAPES", "of_case", "profiled"]


def _huge(x, rng):
    return x * 10.0 ** rng.integers(4, 13)


def _tiny(x, rng):
    return x * 10.0 ** -rng.integers(4, 13)


def _both_signs(x):
    return x.size > 0 and bool((x < 0).any() and (x > 0).any())


def _zeros(x, rng):
    if not _both_signs(x):
        return x
    few = np.where(rng.random(x.shape) < 0.34, rng.choice([0.0, -0.0], x.shape), x)
    few.reshape(-1)[rng.choice(x.size, 2, replace=False)] = 0.0, -0.0  # both for sure
    return few


def _ties(x, rng):
    few = rng.choice(x.reshape(-1), max(1, x.size // 3)) if x.size else x
    return rng.choice(few, x.shape) if x.size else x


def _kinks(x, rng):
    if not x.size:
        return x
    near = _ties(x, rng)
    whole = np.round(near)
    allowed = (whole >= x.min()) & (whole <= x.max())
    base = np.where(allowed & (rng.random(x.shape) < 0.5), whole, near)
    moved = base + rng.choice([-1.0, 1.0], x.shape) * 10.0 ** rng.uniform(-9, -3, x.shape)
    return np.clip(moved, x.min(), x.max())


def _strided(x, rng):
    if x.ndim == 0:
        return x
    wide = np.full([2 * n for n in x.shape], np.nan if x.dtype.kind == "f" else 0, dtype=x.dtype, order="F")
    view = wide[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


def _reversed(x, rng):
    back = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[back])[back]


def _fortran(x, rng):
    return np.asfortranarray(x)


def _readonly(x, rng):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _repeats(x, rng):
    return rng.choice(rng.choice(x.reshape(-1), 2), x.shape) if x.size else x


VALUES = {"huge": _huge, "tiny": _tiny, "zeros": _zeros, "ties": _ties, "kinks": _kinks}
LAYOUTS = {"strided": _strided, "reversed": _reversed, "fortran": _fortran, "readonly": _readonly}
SHAPES = {"empty": {"min_dims": 1, "min_side": 0, "max_side": 0}, "0-d": {"min_dims": 0, "max_dims": 0}}
PROFILES = ("ordinary", *VALUES, *LAYOUTS, "repeats")


def profiled(array, profile, rng):
    """``array`` changed as ``profile`` says; values are changed if floating, ids if integers."""
    if profile in VALUES:
        if not is_floating(array.dtype):
            return array
        wide = array.astype(np.float32) if is_narrow(array.dtype) else array  # float16 has no room for huge and tiny
        return np.asarray(VALUES[profile](wide, rng))
    if profile in LAYOUTS:
        return LAYOUTS[profile](array, rng)
    if profile == "repeats":
        return _repeats(array, rng) if array.dtype.kind in "iu" else array
    if profile in SHAPES:
        raise ValueError(f"the profile {profile!r} draws shapes: it is one for st.tensors(profile={profile!r})")
    if profile != "ordinary":
        raise ValueError(f"there is no profile {profile!r}; those that there are: {', '.join(PROFILES)}")
    return array


def like(value, items):
    """``items`` as a list, a tuple or a named tuple, as ``value`` is."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def of_case(value, profile, rng):
    """``profiled`` for each array in ``value``, in lists, tuples and dicts too. One of another
    library becomes one of NumPy, which can lie in memory in any way.
    """
    if isinstance(value, Tensor):
        return Tensor(profiled(value._array, profile, rng))
    if isinstance(value, dict):
        return {key: of_case(item, profile, rng) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return like(value, [of_case(item, profile, rng) for item in value])
    array = np.asarray(value) if isinstance(value, np.generic) else array_of(value)
    return profiled(array, profile, rng) if isinstance(array, np.ndarray) else value
