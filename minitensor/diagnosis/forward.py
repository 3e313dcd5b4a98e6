"""The cause of a bad value in forward, from the op, what it was given and what it made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from minitensor.backend import is_array, is_floating, np
from minitensor.diagnosis.arrays import at, element, first, number, place

__all__ = ["Case", "Cause", "cause_of_result", "elementwise"]

NORMS = frozenset("euclidean_norm std sqrt hypot".split())
_NORM = "division by a zero norm", "a norm"
ZERO_NORMS = {**dict.fromkeys(NORMS, _NORM), "std": ("division by a zero deviation", "a deviation")}  # and what it is
LOGS = {"log": 0.0, "log2": 0.0, "log10": 0.0, "log1p": -1.0}
EXPONENTIALS = frozenset("exp expm1 sinh cosh".split())
DOMAINS = {  # op: whether a number is inside, and the domain in words
    "arcsin": (lambda x: abs(x) <= 1, "from -1 to 1"),
    "arccos": (lambda x: abs(x) <= 1, "from -1 to 1"),
    "arctanh": (lambda x: abs(x) < 1, "between -1 and 1"),
    "arccosh": (lambda x: x >= 1, "from 1 on"),
}
SOFTMAXES = frozenset("softmax log_softmax cross_entropy scaled_dot_product_attention packed_attention".split())


@dataclass
class Case:
    """An op with what it was given, on the host. given: values by the name of the input, None for
    what is not known. out: what it made, of type ``dtype``; exact: the same before it was rounded
    to 16 bits, None if it was not. maker: the name of the op that made an input, past ops that only
    move it.
    """

    name: str
    given: dict[str, Any]
    keywords: dict[str, Any]
    out: Any
    exact: Any = None
    dtype: Any = None  # of what it made; ``out`` is widened
    maker: Any = lambda name: ""
    masked: Any = lambda name: False  # whether an input was made by exp of a row with infinities


@dataclass
class Cause:
    """A named cause. given: the input that brought NaN or infinity along, whose origin is to be
    told.
    """

    name: str
    what: str
    index: tuple[int, ...] | None = None
    of: str = "result"
    given: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def cause_of_result(case: Case) -> Cause:
    """The Cause of NaN in ``case.out``, or of an infinity that the op made."""
    name, out = case.name, case.out
    arrays = {key: value for key, value in case.given.items() if is_array(value) or isinstance(value, (int, float))}
    floats = {key: np.asarray(value) for key, value in arrays.items()}
    floats = {key: value for key, value in floats.items() if is_floating(value.dtype)}
    for key, value in floats.items():
        if np.isnan(value).any():
            return Cause("NaN or infinity in the data", f"{key} holds NaN", first(np.isnan(value)), key, given=key)
    row = _masked_row(case)
    if row is not None:
        return row
    index = _first_made(case, floats)
    if case.exact is not None and np.isfinite(case.exact).any() and bool(np.isfinite(case.exact[index])):
        exact = float(case.exact[index])
        return Cause(
            "16-bit overflow",
            f"{name} made {number(exact)}, more than {case.dtype} holds",
            index, details={"exact": float(np.abs(case.exact[np.isfinite(case.exact)]).max())},
        )  # fmt: skip
    found = _counting(case) or elementwise(case, index)
    if found is not None:
        return found
    if name == "slogdet" and is_array(out) and (out == -math.inf).any():
        return Cause("log of 0 or less", "the determinant is 0, of a singular matrix, and its logarithm -inf", index)
    for key, value in floats.items():
        if not np.isfinite(value).all():
            both = [sign for sign in (math.inf, -math.inf) if (value == sign).any()]
            if name in ("sum", "mean", "cumsum") and len(both) == 2:
                return Cause(
                    "inf - inf", f"{key} holds infinities of both signs, which {name} adds up", index, given=key
                )
            where = first(~np.isfinite(value))
            return Cause("NaN or infinity in the data", f"{key} holds an infinity", where, key, given=key)
    far = math.sqrt(float(np.finfo(out.dtype).max)) if is_array(out) and is_floating(out.dtype) else math.inf
    great = bool(np.isinf(out).any()) or any(float(np.abs(v).max()) > far for v in floats.values() if v.size)
    if is_array(out) and np.isnan(out[index]) and not great:
        seen = ", ".join(element(key, value, index) for key, value in arrays.items() if np.ndim(value) <= len(index))
        return Cause("undefined value", f"{name} made NaN of finite numbers" + (f": {seen}" if seen else ""), index)
    sizes = ", ".join(f"{key} up to {number(float(np.abs(v).max()))}" for key, v in floats.items() if v.size)
    return Cause("overflow", f"{name} of finite numbers is too great for {case.dtype} ({sizes})", index)


def _first_made(case, floats):
    """The index of the first element that is NaN, or infinite without that a number there was."""
    out = case.out
    bad = ~np.isfinite(out)
    made = np.isnan(out)
    if not made.any():
        made = bad.copy()
        for value in floats.values():
            try:
                made &= np.broadcast_to(np.isfinite(value), out.shape)
            except ValueError:
                return first(bad)
    return first(made if made.any() else bad)


def _counting(case):
    """A mean or a variance of too few elements."""
    x: Any = next(iter(case.given.values()), None)
    if case.name not in ("mean", "var", "std") or not is_array(x):
        return None
    axis = case.keywords.get("axis")
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = math.prod(x.shape[int(i)] for i in axes)
    ddof = case.keywords.get("ddof", 0)
    if case.name == "mean" and count == 0:
        return Cause("mean over nothing", f"x of shape {x.shape} has no element along that axis", ())
    if case.name != "mean" and count - ddof <= 0:
        return Cause("variance of one element", f"{case.name} of {count} element(s) with ddof={ddof} divides by 0", ())
    return None


def _masked_row(case):
    """A row of minus infinities before a softmax, written as one op or by hand."""
    if case.name in SOFTMAXES:
        scores: Any = case.given.get("bias") if "bias" in case.given else next(iter(case.given.values()), None)
        mask: Any = case.given.get("mask") if "bias" in case.given else None
        name = "bias" if "bias" in case.given else next(iter(case.given), "x")
        axis = case.keywords.get("axis", -1)
        if not is_array(scores) or not is_floating(scores.dtype) or not scores.ndim or not scores.size:
            return None
        hidden: Any = scores == -math.inf
        if is_array(mask):
            hidden = hidden | ~mask.astype(bool)
        rows = hidden.all(axis=axis)
        if (scores == -math.inf).any() and rows.any():
            row = first(rows)
            return Cause("masked row", f"row {list(row)} of {name} is -inf throughout: 0 / 0 in {case.name}", row, name)
        return None
    if case.name == "subtract":
        pair: Any = [np.asarray(math.nan if value is None else value) for value in list(case.given.values())[:2]]
        x, y = pair
        if x.ndim != y.ndim or x.shape == y.shape or not is_floating(x.dtype):
            return None
        axes = tuple(i for i in range(x.ndim) if y.shape[i] == 1 and x.shape[i] > 1)
        rows = (x == -math.inf).all(axis=axes, keepdims=True) & (y == -math.inf)
        if axes and rows.any():
            row = first(rows)
            return Cause(
                "masked row", f"the row at {list(row)} of x is -inf throughout: -inf minus its maximum, -inf, is NaN",
                row, "x",
            )  # fmt: skip
    return None


# --- elementwise ops ------------------------------------------------------------------------------


def elementwise(case: Case, index: tuple[int, ...]) -> Cause | None:
    """The Cause at an element of an elementwise op; None if the op is another, or all is in order
    there.
    """
    rule = _RULES.get(case.name)
    values = list(case.given.values())
    if rule is None or any(value is None for value in values[:2]):
        return None
    numbers = [at(value, index) for value in values]
    shown = [element(key, value, index) for key, value in case.given.items()]
    found = rule(case, *numbers[:2])
    if found is None:
        return None
    name, words = found
    infinite = next((key for key, x in zip(case.given, numbers) if math.isinf(x)), None)
    key = infinite or _culprit(case, name)
    shape = np.shape(case.given[key])
    return Cause(name, f"{words}: {', '.join(shown)}", place(index, shape), key, given=infinite)


def _culprit(case, name):
    names = list(case.given)
    divisor = name in ("0 / 0", "x / 0", "division by a zero norm", "division by a zero deviation", "mean over nothing")
    return names[1] if divisor and len(names) > 1 and case.name != "power" else names[0]


def _logarithm(case, x, *_):
    least = LOGS[case.name]
    return ("log of 0 or less", f"{case.name} of {number(least)} or less") if x <= least else None


def _quotient(case, x, y):
    if y == 0:
        names = list(case.given)
        maker = case.maker(names[1])
        if maker in NORMS:
            cause, what = ZERO_NORMS[maker]
            return cause, f"the divisor, {what}, is 0"
        if x == 0 and maker == "sum" and case.masked(names[1]):
            return "masked row", "each place of this row is masked: the sum of its exponentials is 0"
        counted = maker in ("sum", "count_nonzero") or isinstance(case.given[names[1]], (int, float))
        if x == 0 and counted and case.maker(names[0]) in ("sum", "vecdot"):
            return "mean over nothing", "a sum over nothing is divided by a count of 0"
        return ("0 / 0", "0 / 0") if x == 0 else ("x / 0", "division by 0")
    if math.isinf(x) and math.isinf(y):
        return "inf / inf", "an infinity divided by another"
    return ("overflow", "the quotient is too great for its type") if math.isfinite(x) else None


def _reciprocal(case, x, *_):
    if x != 0:
        return None
    maker = case.maker(next(iter(case.given)))
    if maker in NORMS:
        cause, what = ZERO_NORMS[maker]
        return cause, f"the divisor, {what}, is 0"
    return "x / 0", "1 / 0"


def _rest(case, x, y):
    return ("x / 0", f"{case.name} by 0") if y == 0 else None


def _power(case, x, y):
    if x < 0 and y != math.floor(y):
        return "negative base", "a negative number to a power that is not whole"
    if x == 0 and y < 0:
        return "x / 0", "0 to a negative power"
    return ("overflow", "the power is too great for its type") if math.isfinite(x) and math.isfinite(y) else None


def _exponential(case, x, *_):
    return ("exp overflow", f"{case.name} of so great a number is too great for its type") if math.isfinite(x) else None


def _domain(case, x, *_):
    inside, words = DOMAINS[case.name]
    return None if inside(x) else ("outside the domain", f"{case.name} is defined {words}")


def _product(case, x, y):
    if (x == 0 and math.isinf(y)) or (y == 0 and math.isinf(x)):
        return "0 * inf", "0 times infinity is NaN"
    return ("overflow", "the product is too great for its type") if math.isfinite(x) and math.isfinite(y) else None


def _sum(case, x, y):
    if math.isinf(x) and math.isinf(y):
        return "inf - inf", "infinities that cancel" if case.name == "add" else "an infinity minus itself"
    return ("overflow", f"{case.name}: the result is too great for its type") if math.isfinite(x + 0 * y) else None


_RULES: dict[str, Any] = {
    **dict.fromkeys(LOGS, _logarithm),
    **dict.fromkeys(EXPONENTIALS, _exponential),
    **dict.fromkeys(DOMAINS, _domain),
    "divide": _quotient,
    "reciprocal": _reciprocal,
    "remainder": _rest,
    "floor_divide": _rest,
    "power": _power,
    "multiply": _product,
    "add": _sum,
    "subtract": _sum,
    "sqrt": lambda case, x, *_: ("root of a negative number", "the root of a negative number") if x < 0 else None,
    "square": lambda case, x, *_: ("overflow", "the square is too great for its type") if math.isfinite(x) else None,
}
