"""Numbers and switches that people give as settings: checked when they are given, and plain Python
values from then on.

A number may come as Python's, as NumPy's, or as a tensor or array of one element. A tensor that
wants a gradient is refused, since nothing would carry that gradient; so are truth values, text, and
NaN. Each function returns the value; its errors begin with ``owner``, a class or function, and name
the setting: TypeError for what is of another kind, ValueError for what is out of range.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from minitensor.backend import is_array, move, np
from minitensor.engine.axes import read_ints
from minitensor.engine.messages import a_kind
from minitensor.engine.tensor import Tensor

__all__ = ["choice", "flag", "integer", "number", "plain", "probability", "sizes"]

if TYPE_CHECKING:
    from collections.abc import Collection


def number(
    owner: str,
    name: str,
    value: Any,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """A number within the bounds given; a finite one unless ``infinite``."""
    plain = value if value.__class__ is float else _plain(owner, name, value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        wish = _bounds("a number", least, most, above, below)
        raise TypeError(f"{owner}: {name} must be {wish}, got {_described(value)}")
    inside = (least is None or plain >= least) and (most is None or plain <= most)
    inside = inside and (above is None or plain > above) and (below is None or plain < below)
    if not inside or not (math.isfinite(plain) or (infinite and not math.isnan(plain))):
        raise ValueError(f"{owner}: {name} must be {_bounds('a number', least, most, above, below)}, got {plain}")
    return plain


def probability(owner: str, name: str, value: Any) -> float:
    """A number from 0 to 1, both included."""
    return number(owner, name, value, least=0, most=1)


def integer(owner: str, name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number within the bounds given."""
    plain = _plain(owner, name, value)
    whole = isinstance(plain, int) and not isinstance(plain, bool)
    if not whole or (least is not None and plain < least) or (most is not None and plain > most):
        kind = ValueError if whole or isinstance(plain, float) else TypeError
        raise kind(f"{owner}: {name} must be {_bounds('an integer', least, most)}, got {_described(value)}")
    return plain


def sizes(owner: str, name: str, value: Any, least: int = 1, count: int | None = None) -> tuple[int, ...]:
    """A tuple of whole numbers, from one number or several; ``count`` of them, if one number stands
    for all.
    """
    read = read_ints(value)
    several = isinstance(read, (tuple, list, range)) or (is_array(read) and read.ndim == 1)
    if not several:
        return (integer(owner, name, value, least),) * (count or 1)
    found = tuple(integer(owner, name, item, least) for item in read)
    if count is not None and len(found) != count:
        raise ValueError(f"{owner}: {name} must be a number or {count} of them, got {value!r}")
    return found


def flag(owner: str, name: str, value: Any) -> bool:
    """True or False."""
    plain = _plain(owner, name, value)
    if not isinstance(plain, bool) and not (isinstance(plain, int) and plain in (0, 1)):
        raise TypeError(f"{owner}: {name} must be True or False, got {_described(value)}")
    return bool(plain)


def choice(owner: str, name: str, value: Any, allowed: Collection[str]) -> str:
    """One of the words ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def plain(owner: str, name: str, value: Any) -> Any:
    """The Tensor ``value``, given as a setting, as a Python number, or as a tuple of numbers if it
    holds several.
    """
    value = _plain(owner, name, value)
    return tuple(value.tolist()) if isinstance(value, Tensor) else value


def _plain(owner, name, value):
    """``value`` as a Python number or truth value if it stands for one; else as it is."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise TypeError(
                f"{owner}: {name} is a plain number here, which carries no gradient, got a tensor that requires one: "
                "write .item() if its present value is meant"
            )
        value = value.item() if value.size == 1 else value
    if is_array(value) and value.size == 1:
        value = move(value, "cpu").item()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _bounds(kind, least, most, above=None, below=None):
    """What is wanted, in words: "a positive number", "an integer from 0 to 3"."""
    noun = kind.split()[-1]
    if (above, most, below) == (0, None, None) or (noun, least, most) == ("integer", 1, None):
        return f"a positive {noun}"
    if (least, most, below) == (0, None, None):
        return f"{kind}, not negative"
    if least is not None and most is not None:
        return f"{kind} from {least} to {most}"
    words = [("at least", least), ("at most", most), ("above", above), ("below", below)]
    said = " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)
    return f"{kind} {said}" if said else kind


def _described(value):
    if isinstance(value, Tensor) or is_array(value):
        return f"{type(value).__name__} of shape {value.shape}"
    plain = value is None or type(value) in (int, float, bool)
    return repr(value) if plain else f"{value!r}, {a_kind(value)}"
