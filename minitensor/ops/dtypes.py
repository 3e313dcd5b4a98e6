"""Types of elements under the names of the Python array API standard, and what a library of that
standard tells of itself.

``minitensor`` follows the standard's version 2024.12 as far as it serves gradients of real numbers:
complex numbers (``complex64``, ``complex128``, ``real``, ``imag``, ``conj``) and the extension
``fft`` are left out. Three answers differ from NumPy's, here as everywhere in the library: new
tensors are float32, integers of any width meet float32 in float32, and so do bytes and truth values
in functions of floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import as_device, as_dtype, is_array, is_floating, np
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.shape import astype as _astype

__all__ = ["ArrayNamespaceInfo", "astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"]

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import TensorLike

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": (),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


def _dtype_of(value):
    """The dtype of a tensor or an array; ``value`` itself as a dtype."""
    return value.dtype if isinstance(value, Tensor) or is_array(value) else as_dtype(value)


def astype(x: TensorLike, dtype: DTypeLike, *, copy: bool = True, device: str | None = None) -> Tensor:
    """``x`` with elements of type ``dtype``; the gradient comes back in x's own. ``copy`` is the
    standard's: tensors are values.
    """
    x = asarray(x)
    x = x if device is None else x.to(device)
    return x if x.dtype == as_dtype(dtype) else _astype(x, dtype=as_dtype(dtype))


def can_cast(
    from_: DTypeLike | Tensor | np.ndarray,
    to: DTypeLike,
    casting: Literal["no", "equiv", "safe", "same_kind", "unsafe"] = "safe",
) -> bool:
    """Whether every number of the type ``from_`` (a dtype, or a tensor of it) is one of the type
    ``to``.
    """
    return bool(np.can_cast(_dtype_of(from_), as_dtype(to), casting))


def finfo(type: DTypeLike | Tensor | np.ndarray) -> np.finfo[Any]:
    """Precision and range of a floating type, given as a dtype or a tensor: ``bits``, ``eps``,
    ``max``, ``min``, ...
    """
    dtype = _dtype_of(type)
    if not is_floating(dtype):
        raise TypeError(f"finfo: needs a floating type, got {dtype}: write mt.iinfo")
    if dtype.kind == "f":
        return np.finfo(dtype)
    import ml_dtypes

    return ml_dtypes.finfo(dtype)


def iinfo(type: DTypeLike | Tensor | np.ndarray) -> np.iinfo[Any]:
    """Range of an integer type, given as a dtype or a tensor: ``bits``, ``max``, ``min``."""
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise TypeError(f"iinfo: needs an integer type, got {dtype}: write mt.finfo")
    return np.iinfo(dtype)


def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[DTypeLike, ...]) -> bool:
    """Whether ``dtype`` is of a ``kind``: a dtype, the standard's words ("real floating",
    "integral", ...), or several.
    """
    dtype = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str) and kind in _KINDS:
        floating = kind in ("real floating", "numeric") and is_floating(dtype)
        return floating or dtype.name in _KINDS[kind]
    return dtype == as_dtype(kind)


def result_type(*arrays_and_dtypes: TensorLike | DTypeLike) -> np.dtype[Any]:
    """The type of what ops make of these tensors, arrays, dtypes and numbers together.

    NumPy's, but that float64 comes only from float64: numbers widen nothing, and integers meet
    float32 in float32.
    """
    if not arrays_and_dtypes:
        raise ValueError("result_type: at least one tensor, dtype or number is needed")
    numbers: list[Any] = [value for value in arrays_and_dtypes if isinstance(value, (bool, int, float))]
    dtypes = [_dtype_of(value) for value in arrays_and_dtypes if not isinstance(value, (bool, int, float))]
    if not dtypes:
        return asarray(sum(numbers)).dtype
    found = np.result_type(*dtypes, *numbers)
    wide = any(dtype == np.float64 for dtype in dtypes)
    return np.dtype(np.float32) if found == np.float64 and not wide else found


class ArrayNamespaceInfo:
    """What ``minitensor.__array_namespace_info__()`` gives: the standard's inspection
    of a library.
    """

    def capabilities(self) -> dict[str, bool | int]:
        """What the library can do: masks as indices, shapes that depend on data, any number of axes
        that NumPy has.
        """
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where new tensors lie."""
        return "cpu"

    def devices(self) -> list[str]:
        """The devices that can be used on this machine."""
        try:
            return ["cpu", as_device("cuda")]
        except (ImportError, RuntimeError):
            return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype[Any] | None]:
        """The types of numbers and lists; complex numbers there are none."""
        as_device(device)
        integer = np.dtype(np.int64)
        return {
            "real floating": np.dtype(np.float32),
            "complex floating": None,
            "integral": integer,
            "indexing": integer,
        }

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, np.dtype[Any]]:
        """The types of elements by name, of a ``kind`` or of several if given."""
        as_device(device)
        kinds = kind if isinstance(kind, tuple) else ("bool", "numeric") if kind is None else (kind,)
        if not set(kinds) <= set(_KINDS):
            raise ValueError(f"dtypes: kind must be one of {sorted(_KINDS)}, or a tuple of them, got {kind!r}")
        return {name: np.dtype(name) for one in kinds for name in _KINDS[one]}
