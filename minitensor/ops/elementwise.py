"""Elementwise ops. Shapes broadcast as in NumPy; the engine sums a gradient back to its operand's
shape.

Kinks have one rule, the same on every backend: at a tie ``maximum``, ``minimum`` and ``clip`` share
the gradient evenly; ``abs`` and ``sign`` have derivative 0 at 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.engine.op import Op, op
from minitensor.engine.tensor import Tensor, asarray

__all__ = [
    "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "bitwise_and", "bitwise_invert",
    "bitwise_or", "bitwise_xor", "ceil", "clip", "cos", "cosh", "divide", "equal", "erf", "exp", "expm1", "floor",
    "floor_divide", "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log10", "log1p",
    "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply",
    "negative", "not_equal", "positive", "power", "reciprocal", "remainder", "round", "sign", "signbit", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "trunc", "where",
]  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Concatenate, ParamSpec

    from minitensor.engine.attached import TensorLike

    P = ParamSpec("P")

# --- two operands ---------------------------------------------------------------------------------


@op
def add(xp, x, y):
    """``x + y``."""
    return x + y


add.vjp(lambda g: g, lambda g: g)


@op
def subtract(xp, x, y):
    """``x - y``."""
    return x - y


subtract.vjp(lambda g: g, lambda g: -g)


@op
def multiply(xp, x, y):
    """``x * y``."""
    return x * y


multiply.vjp(
    lambda g, y: g * y,  # dL/dx
    lambda g, x: g * x,  # dL/dy
)


@op
def divide(xp, x, y):
    """``x / y``; integers divide to floats."""
    return x / y


divide.vjp(
    lambda g, y: g / y,  # dL/dx
    lambda g, out, y: -g * out / y,  # dL/dy = -g x / y^2
)


@op
def power(xp, x, y):
    """``x ** y``."""
    return x**y


power.vjp(
    lambda xp, g, x, y: g * y * xp.where(xp.equal(x, 0) & (y == 0), 1.0, x) ** (y - 1.0),  # y x^(y-1); 0 for 0^0
    lambda xp, g, x, out: g * out * xp.log(xp.where(xp.equal(x, 0), 1.0, x)),  # x^y log x; 0 at x = 0
)


@op
def floor_divide(xp, x, y):
    """The greatest whole number not above ``x / y``, of the operands' dtype; derivative 0."""
    return xp.floor_divide(x, y)


floor_divide.vjp(lambda xp, g: xp.zeros_like(g), lambda xp, g: xp.zeros_like(g))


@op
def remainder(xp, x, y):
    """``x - y * floor(x / y)``, exact, with the sign of ``y``."""
    return xp.remainder(x, y)


remainder.vjp(lambda g: g, lambda xp, g, x, y: -g * xp.floor_divide(x, y))


@op
def maximum(xp, x, y):
    """The greater of ``x`` and ``y``; a tie shares the gradient evenly."""
    return xp.maximum(x, y)


maximum.vjp(
    lambda xp, g, x, y: g * xp.greater(x, y) + 0.5 * g * xp.equal(x, y),
    lambda xp, g, x, y: g * xp.greater(y, x) + 0.5 * g * xp.equal(x, y),
)


@op
def minimum(xp, x, y):
    """The lesser of ``x`` and ``y``; a tie shares the gradient evenly."""
    return xp.minimum(x, y)


minimum.vjp(
    lambda xp, g, x, y: g * xp.less(x, y) + 0.5 * g * xp.equal(x, y),
    lambda xp, g, x, y: g * xp.less(y, x) + 0.5 * g * xp.equal(x, y),
)


@op
def logaddexp(xp, x, y):
    """``log(exp(x) + exp(y))``, without overflow."""
    return xp.logaddexp(x, y)


def _share(xp, g, x, y):
    """``g * sigmoid(x - y)``, a half if both are the same infinity; the sigmoid is ``exp(-log(1 +
    exp(y - x)))``.
    """
    same = xp.equal(x, y) & xp.logical_not(xp.isfinite(x))
    return g * xp.exp(-xp.logaddexp(xp.where(same, 0.0, y) - xp.where(same, 0.0, x), 0.0))


logaddexp.vjp(_share, lambda xp, g, x, y: _share(xp, g, y, x))


@op
def where(xp, condition, x, y):
    """``x`` where ``condition`` is true, else ``y``."""
    return xp.where(condition, x, y)


where.vjp(
    None,
    lambda xp, g, condition: xp.where(condition, g, 0.0),
    lambda xp, g, condition: xp.where(condition, 0.0, g),
)


def clip(
    x: TensorLike,
    min: TensorLike | None = None,
    max: TensorLike | None = None,
    *,
    a_min: TensorLike | None = None,
    a_max: TensorLike | None = None,
) -> Tensor:
    """``x`` kept within ``[min, max]``: ``minimum(maximum(x, min), max)``. Bounds may be tensors
    and are differentiable.

    At a bound the gradient is shared evenly between ``x`` and the bound. None means no bound.
    ``a_min`` and ``a_max`` are NumPy's older names.
    """
    if (min is not None and a_min is not None) or (max is not None and a_max is not None):
        raise TypeError("clip: a bound is given twice, as min or max and as a_min or a_max")
    min, max = a_min if min is None else min, a_max if max is None else max
    x = asarray(x)
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


# --- one operand: name, gradient rule, words ------------------------------------------------------


def _by_name(function: Callable[Concatenate[Any, P], Any], name: str, doc: str) -> Op[P]:
    """An op whose value is the array namespace's function of that name, with the parameters of
    ``function``.
    """
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return op(function)


def _unary(name, rule, doc):
    """The op ``xp.name(x)`` with its rule (None: not differentiable)."""

    def function(xp, x):
        return getattr(xp, name)(x)

    made = _by_name(function, name, doc)
    if rule is not None:
        made.vjp(rule)
    return made


def _flat(xp, g):
    return xp.zeros_like(g)


@op
def round(xp, x, /, decimals=0):
    """The nearest number of so many ``decimals`` (tens, hundreds, ... if negative), halves to even;
    derivative 0.
    """
    return xp.round(x, decimals)


round.takes("decimals", "out")
round.vjp(_flat)


@op
def reciprocal(xp, x):
    """``1 / x``, of integers too a floating number."""
    return 1.0 / x


reciprocal.vjp(lambda g, out: -g * out * out)
positive = _unary("positive", lambda g: g, "``+x``.")
negative = _unary("negative", lambda g: -g, "``-x``.")
abs = _unary("abs", lambda xp, g, x: g * xp.sign(x), "``|x|``; derivative 0 at 0.")
sign = _unary("sign", _flat, "-1, 0 or 1; derivative 0 everywhere.")
floor = _unary("floor", _flat, "The greatest whole number not above x; derivative 0.")
ceil = _unary("ceil", _flat, "The least whole number not below x; derivative 0.")
trunc = _unary("trunc", _flat, "The whole number next to x towards 0; derivative 0.")
square = _unary("square", lambda g, x: g * (2.0 * x), "``x ** 2``.")
sqrt = _unary("sqrt", lambda g, out: g / (2.0 * out), "``x ** 0.5``.")
exp = _unary("exp", lambda g, out: g * out, "``e ** x``.")
expm1 = _unary("expm1", lambda xp, g, x: g * xp.exp(x), "``e ** x - 1``, exact near 0.")
log = _unary("log", lambda g, x: g / x, "Natural logarithm.")
log1p = _unary("log1p", lambda g, x: g / (x + 1.0), "``log(1 + x)``, exact near 0.")
log10 = _unary("log10", lambda g, x: g / (x * math.log(10.0)), "Logarithm to base 10.")
log2 = _unary("log2", lambda g, x: g / (x * math.log(2.0)), "Logarithm to base 2.")
sin = _unary("sin", lambda xp, g, x: g * xp.cos(x), "Sine of x in radians.")
cos = _unary("cos", lambda xp, g, x: -g * xp.sin(x), "Cosine of x in radians.")
tan = _unary("tan", lambda g, out: g * (1.0 + out * out), "Tangent of x in radians.")
sinh = _unary("sinh", lambda xp, g, x: g * xp.cosh(x), "Hyperbolic sine.")
cosh = _unary("cosh", lambda xp, g, x: g * xp.sinh(x), "Hyperbolic cosine.")
tanh = _unary("tanh", lambda g, out: g * (1.0 - out * out), "Hyperbolic tangent.")
arcsin = _unary("arcsin", lambda xp, g, x: g / xp.sqrt(1.0 - x * x), "Inverse sine, radians.")
arccos = _unary("arccos", lambda xp, g, x: -g / xp.sqrt(1.0 - x * x), "Inverse cosine, radians.")
arctan = _unary("arctan", lambda g, x: g / (1.0 + x * x), "Inverse tangent, radians.")
arcsinh = _unary("arcsinh", lambda xp, g, x: g / xp.hypot(x, 1.0), "Inverse hyperbolic sine.")
arccosh = _unary(
    "arccosh", lambda xp, g, x: g / (xp.sqrt(x - 1.0) * xp.sqrt(x + 1.0)), "Inverse hyperbolic cosine of x from 1 on."
)
arctanh = _unary("arctanh", lambda g, x: g / ((1.0 - x) * (1.0 + x)), "Inverse hyperbolic tangent.")
erf = _unary(
    "erf",
    lambda xp, g, x: g * (xp.exp(-x * x) * (2.0 / math.sqrt(math.pi))),
    "The error function, ``2 / sqrt(pi) * integral of exp(-t^2) from 0 to x``.",
)

# --- truth values: no gradient --------------------------------------------------------------------


def _comparison(name, doc):
    """The op ``xp.name(x, y)``, without a gradient."""

    def function(xp, x, y):
        return getattr(xp, name)(x, y)

    return _by_name(function, name, doc)


equal = _comparison("equal", "Whether ``x == y``.")
not_equal = _comparison("not_equal", "Whether ``x != y``.")
less = _comparison("less", "Whether ``x < y``.")
less_equal = _comparison("less_equal", "Whether ``x <= y``.")
greater = _comparison("greater", "Whether ``x > y``.")
greater_equal = _comparison("greater_equal", "Whether ``x >= y``.")
logical_and = _comparison("logical_and", "Whether both are true.")
logical_or = _comparison("logical_or", "Whether at least one is true.")
logical_xor = _comparison("logical_xor", "Whether exactly one is true.")
logical_not = _unary("logical_not", None, "Whether x is false.")
isnan = _unary("isnan", None, "Whether x is not a number.")
isfinite = _unary("isfinite", None, "Whether x is neither NaN nor infinite.")
isinf = _unary("isinf", None, "Whether x is infinite.")
signbit = _unary("signbit", None, "Whether x is below 0 or -0.0.")

# --- bits of integers -----------------------------------------------------------------------------

bitwise_and = _comparison("bitwise_and", "The bits that are set in both integers.")
bitwise_or = _comparison("bitwise_or", "The bits that are set in at least one of two integers.")
bitwise_xor = _comparison("bitwise_xor", "The bits that are set in one of two integers.")


@op
def bitwise_invert(xp, x):
    """All bits of an integer turned."""
    return xp.invert(x)
