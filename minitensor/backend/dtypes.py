"""Types of elements: which are floating, in which one an op computes, and bfloat16, which NumPy has
through ``ml_dtypes`` alone.

A number of 16 bits (float16, bfloat16) has 11 or 8 significant bits: a running sum in it stops
growing at 2048 or 256, and the square of 300 is no float16 any more. So every op and every gradient
rule computes in float32 and rounds once, at its end:

    result = f(widen(x), widen(y)).astype(x.dtype)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = ["as_dtype", "compute_dtype", "holds_numbers", "is_floating", "is_narrow", "precision", "widen"]

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T", bound=Any)

_FLOAT32 = np.dtype(np.float32)
_KNOWN = "float16, bfloat16, float32, float64, int8 to int64, uint8 to uint64, bool"
_BYTES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}  # of the types of each kind, bfloat16 aside


def is_floating(dtype):
    """Whether ``dtype`` is a floating type. NumPy counts bfloat16 among the types
    without a kind.
    """
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name == "bfloat16")


def is_narrow(dtype):
    """Whether ``dtype`` is a floating type of 16 bits, float16 or bfloat16."""
    return dtype.itemsize == 2 and is_floating(dtype)


def holds_numbers(dtype):
    """Whether ``dtype`` is one of floats, integers or truth values, and not of complex numbers,
    text, dates or objects.
    """
    return dtype.kind in "fiub" or is_floating(dtype)


def precision(dtype):
    """How many significant bits a number of a floating ``dtype`` has: 53 in float64, 24, 11 in
    float16, 8 in bfloat16.
    """
    return np.finfo(dtype).nmant + 1 if dtype.kind == "f" else 8


def compute_dtype(*dtypes):
    """The type to compute in, given the types of the operands: float64 if one of them is, else
    float32 (for integers too).
    """
    wide = [dtype for dtype in dtypes if dtype.kind == "f" and dtype.itemsize > 4]
    return np.result_type(*wide) if wide else _FLOAT32


def widen(x: T) -> T:
    """``x`` (an array, or a Tensor: recorded) in float32 if its elements have 16 bits; what else it
    may be, as it is.
    """
    dtype = getattr(x, "dtype", None)
    return x if dtype is None or not is_narrow(dtype) else x.astype(_FLOAT32)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """``dtype`` (a NumPy dtype, a type, a name) as a dtype that a tensor can have, in this
    machine's byte order; None is float32, the type of new tensors (NumPy would take float64).

    Raises TypeError for any other, with a list of those that there are, and for bfloat16 if
    ``ml_dtypes`` is missing.
    """
    if dtype is None:
        return _FLOAT32
    if isinstance(dtype, str) and dtype == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError(
                f"bfloat16 needs the package ml_dtypes: pip install ml_dtypes; the types of tensors are {_KNOWN}"
            ) from None
        return np.dtype(ml_dtypes.bfloat16)
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"there is no dtype {dtype!r}: the types of tensors are {_KNOWN}") from None
    if not holds_numbers(found):
        raise TypeError(f"a tensor holds numbers or truth values, not {found}: the types of tensors are {_KNOWN}")
    # What a machine or ml_dtypes has besides: no op is made for it, and no file holds it.
    if found.itemsize not in _BYTES.get(found.kind, ()) and not (found.kind == "V" and found.name == "bfloat16"):
        raise TypeError(f"a tensor cannot be of {found}: the types of tensors are {_KNOWN}")
    return found if found.isnative else found.newbyteorder("=")
