"""Looking at arrays that are not finite: on the host, and without a word of NumPy's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minitensor.backend import is_array, is_floating, move, np, widen
from minitensor.engine.tensor import Tensor

__all__ = ["Bad", "at", "bad_in", "element", "first", "host", "number", "place"]


@dataclass(frozen=True)
class Bad:
    """What is not finite in an operand. tensor: the Tensor, if it is a leaf; rows: the places on
    the first axis.
    """

    name: str
    nan: bool
    up: bool  # +inf is there
    down: bool  # -inf is there
    index: tuple[int, ...]
    value: float
    rows: tuple[int, ...]
    leaf: Any = None  # the node of a leaf
    label: str = ""


def host(value: Any) -> Any:
    """A Tensor, Scatter or array as an array of the host, 16 bits widened; other values as they
    are.
    """
    value = getattr(value, "values", value) if not isinstance(value, (Tensor, dict)) else value
    value = value._array if isinstance(value, Tensor) else value
    value = np.asarray(value) if isinstance(value, np.generic) else value  # of a rule, for shape ()
    return widen(move(value, "cpu")) if is_array(value) else value


def bad_in(value: Any, name: str) -> Bad | None:
    """What is not finite in a value that no op made; None if nothing is."""
    tensor = value if isinstance(value, Tensor) else None
    array = host(value)
    if isinstance(array, float):
        array = np.asarray(array)
    if not is_array(array) or not is_floating(array.dtype):
        return None
    wrong = ~np.isfinite(array)
    if not wrong.any():
        return None
    nan = np.isnan(array)
    up, down = bool((array == math.inf).any()), bool((array == -math.inf).any())
    index = first(nan if nan.any() else (array == math.inf) if up else wrong)
    serious = nan | (array == math.inf)
    serious = serious if serious.any() else wrong
    rows = tuple(np.flatnonzero(serious.reshape((len(array), -1)).any(axis=1)).tolist()) if array.ndim > 1 else ()
    if array.ndim == 1:
        rows = tuple(np.flatnonzero(serious).tolist())
    leaf = tensor.node if tensor is not None and tensor.node is not None and tensor.is_leaf else None
    label = (tensor.name or "") if tensor is not None else ""
    return Bad(name, bool(nan.any()), up, down, index, float(array[index]), rows, leaf, label)


def first(mask: Any) -> tuple[int, ...]:
    """The index of the first True of an array on the host."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def place(index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index in an operand of ``shape`` that was broadcast, of one in the result."""
    tail = index[len(index) - len(shape) :] if shape else ()
    return tuple(0 if length == 1 else i for i, length in zip(tail, shape))


def at(value: Any, index: tuple[int, ...]) -> float:
    """The number that an operand, broadcast, has at an index of the result; NaN if that is not
    known.
    """
    if value is None:
        return math.nan
    if not is_array(value):
        return float(value)
    try:
        return float(value[place(index, value.shape)])
    except (IndexError, TypeError, ValueError):
        return math.nan


def number(value: float) -> str:
    """A number in few digits."""
    return f"{value:.6g}"


def element(name: str, value: Any, index: tuple[int, ...]) -> str:
    """``x[0, 3] = 0``."""
    inner = place(index, value.shape) if is_array(value) else ()
    shown = f"[{', '.join(map(str, inner))}]" if inner else ""
    return f"{name}{shown} = {number(at(value, index))}"
