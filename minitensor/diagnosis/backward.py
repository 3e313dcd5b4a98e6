"""The cause of a bad gradient, from the op, the gradient that came to it and what it had saved."""

from __future__ import annotations

import math
from typing import Any

from minitensor.backend import is_array, np
from minitensor.diagnosis.arrays import at, element, first, number, place
from minitensor.diagnosis.forward import LOGS, ZERO_NORMS, Case, Cause

__all__ = ["cause_of_gradient"]


def cause_of_gradient(case: Case, wanted: str, gradient: Any, pulled: Any) -> Cause:
    """The Cause of a bad element in ``pulled``, the gradient of the input ``wanted``.

    case: the op with its inputs and result as far as they are known; gradient: what came to it.
    """
    if is_array(gradient) and np.isnan(gradient).any():
        for key, value in case.given.items():
            if is_array(value) and value.dtype.kind == "f" and not np.isfinite(value).all():
                where = first(~np.isfinite(value))
                held = number(float(value[where]))
                return Cause("NaN or infinity in the data", f"{key} holds {held}", where, key, given=key)
        index = first(np.isnan(gradient))
        return Cause(
            "gradient that was given",
            f"the gradient that came to {case.name} holds NaN already: a hook, the gradient given to backward(), or a sum "
            "of gradients that are infinite made it",
            index, "the gradient of the result",
        )  # fmt: skip
    index = first(np.isnan(pulled) if np.isnan(pulled).any() else ~np.isfinite(pulled))
    names = list(case.given)
    x = at(case.given[names[0]], index) if names else math.nan
    y = at(case.given[names[1]], index) if len(names) > 1 else math.nan
    out, g = at(case.out, index), at(gradient, index)
    found = _by_op(case, wanted, names, x, y, out, g)
    if found is not None:
        name, words, culprit, value = found
        where = place(index, np.shape(value)) if is_array(value) else index
        return Cause(name, f"{words}: {element(culprit, value, index)}", where, culprit, details={"idle": g == 0})
    bad = {key: value for key, value in {**case.given, "g": gradient}.items() if is_array(value)}
    for key, value in bad.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            where = first(~np.isfinite(value))
            if np.isnan(value).any():
                return Cause("NaN or infinity in the data", f"{key} holds NaN", first(np.isnan(value)), key, given=key)
            kind = "0 * inf" if case.name == "multiply" else "NaN or infinity in the data"
            return Cause(kind, f"{key} holds an infinity, {number(float(value[where]))}", where, key, given=key)
    if np.isnan(pulled[index]):
        return Cause("undefined value", f"the rule of {case.name} made NaN of finite numbers", index, f"d {wanted}")
    sizes = ", ".join(
        f"{key} up to {number(float(np.abs(value).max()))}"
        for key, value in bad.items()
        if value.size and value.dtype.kind == "f"
    )
    return Cause("overflow", f"the gradient of {case.name} is too great for its type ({sizes})", index, f"d {wanted}")


def _by_op(case, wanted, names, x, y, out, g):
    """``(cause, words, name of the culprit, its array)`` at one element; None if the op tells
    nothing.
    """
    name, given = case.name, case.given
    first_name = names[0] if names else "x"
    value = given.get(first_name)
    if name in LOGS and x == LOGS[name]:
        return "log of 0 or less", f"the slope of {name} at {number(x)} is infinite", first_name, value
    if name == "sqrt" and (out == 0 or x == 0):
        return (
            "slope of a root at 0",
            "the slope of sqrt at 0 is infinite",
            first_name,
            case.out if value is None else value,
        )
    if name == "power":
        if x == 0 and y < 1 and wanted == names[0]:
            return "slope of a root at 0", f"the slope of x ** {number(y)} at 0 is infinite", first_name, value
        if x < 0:
            return "negative base", "the slope of a power in its exponent is a logarithm of the base", first_name, value
    if name == "divide" and y == 0:
        maker = case.maker(names[1])
        zero = ZERO_NORMS[maker][0] if maker in ZERO_NORMS else "0 / 0" if x == 0 or out != out else "x / 0"
        return zero, "a gradient is divided by 0", names[1], given[names[1]]
    if name in ("reciprocal", "divide") and math.isinf(out):
        return "x / 0", "a gradient is divided by 0", first_name, case.out if value is None else value
    if name in ("arcsin", "arccos", "arctanh") and abs(x) >= 1:
        return "outside the domain", f"the slope of {name} at {number(x)} is infinite", first_name, value
    if name == "arccosh" and x <= 1:
        return "outside the domain", f"the slope of arccosh at {number(x)} is infinite", first_name, value
    if name in ("exp", "sinh", "cosh", "expm1") and (out > 1e30 or x > 80):
        return "exp overflow", f"the slope of {name} is too great", first_name, case.out if value is None else value
    if name in ("multiply", "matmul", "linear"):
        for key, one in zip(names, (x, y)):
            if math.isinf(one) and g == 0:
                return "0 * inf", "a gradient of 0 times infinity is NaN", key, given[key]
    return None
