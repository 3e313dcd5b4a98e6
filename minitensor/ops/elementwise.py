"""Elementwise ops. Shapes broadcast as in NumPy; the engine sums a gradient back to its operand's shape.

Kinks have one rule, the same on every backend: at a tie ``maximum``, ``minimum`` and ``clip`` share the gradient
evenly; ``abs`` and ``sign`` have derivative 0 at 0.
"""

from __future__ import annotations

import math

from minitensor.engine.op import op
from minitensor.engine.tensor import asarray

__all__ = [
    "abs", "add", "arccos", "arcsin", "arctan", "ceil", "clip", "cos", "cosh", "divide", "equal", "erf", "exp",
    "expm1", "floor", "floor_divide", "greater", "greater_equal", "isfinite", "isnan", "less", "less_equal", "log",
    "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "multiply", "negative", "not_equal", "power", "remainder", "round", "sign", "sin", "sinh", "sqrt", "square",
    "subtract", "tan", "tanh", "where",
]  # fmt: skip

# --- two operands -------------------------------------------------------------------------------------------------------------


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
    """``g * sigmoid(x - y)``, a half where both are the same infinity; the sigmoid is ``exp(-log(1 + exp(y - x)))``."""
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


def clip(x, min=None, max=None, *, a_min=None, a_max=None):
    """``x`` kept within ``[min, max]``: ``minimum(maximum(x, min), max)``. Bounds may be tensors and are differentiable.

    At a bound the gradient is shared evenly between ``x`` and the bound. None means no bound. ``a_min`` and ``a_max`` are NumPy's
    older names.
    """
    if (min is not None and a_min is not None) or (max is not None and a_max is not None):
        raise TypeError("clip: a bound is given twice, as min or max and as a_min or a_max")
    min, max = a_min if min is None else min, a_max if max is None else max
    x = asarray(x)
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


# --- one operand: name, value, gradient rule ----------------------------------------------------------------------------------


def _unary(name, value, rule, doc):
    """An op of one operand from its value and its rule (None: not differentiable)."""

    def function(xp, x):
        return value(xp, x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = value.__module__  # where the op is bound to its name
    made = op(function)
    if rule is not None:
        made.vjp(rule)
    return made


def _flat(xp, g):
    return xp.zeros_like(g)


@op
def round(xp, x, *, decimals=0):
    """The nearest number of so many ``decimals`` (tens, hundreds, ... where negative), halves to even; derivative 0."""
    return xp.round(x, decimals)


round.takes("decimals", "out")
round.vjp(_flat)
negative = _unary("negative", lambda xp, x: -x, lambda g: -g, "``-x``.")
abs = _unary("abs", lambda xp, x: xp.abs(x), lambda xp, g, x: g * xp.sign(x), "``|x|``; derivative 0 at 0.")
sign = _unary("sign", lambda xp, x: xp.sign(x), _flat, "-1, 0 or 1; derivative 0 everywhere.")
floor = _unary("floor", lambda xp, x: xp.floor(x), _flat, "The greatest whole number not above x; derivative 0.")
ceil = _unary("ceil", lambda xp, x: xp.ceil(x), _flat, "The least whole number not below x; derivative 0.")
square = _unary("square", lambda xp, x: x * x, lambda g, x: g * (2.0 * x), "``x ** 2``.")
sqrt = _unary("sqrt", lambda xp, x: xp.sqrt(x), lambda g, out: g / (2.0 * out), "``x ** 0.5``.")
exp = _unary("exp", lambda xp, x: xp.exp(x), lambda g, out: g * out, "``e ** x``.")
expm1 = _unary("expm1", lambda xp, x: xp.expm1(x), lambda xp, g, x: g * xp.exp(x), "``e ** x - 1``, exact near 0.")
log = _unary("log", lambda xp, x: xp.log(x), lambda g, x: g / x, "Natural logarithm.")
log1p = _unary("log1p", lambda xp, x: xp.log1p(x), lambda g, x: g / (x + 1.0), "``log(1 + x)``, exact near 0.")
log2 = _unary("log2", lambda xp, x: xp.log2(x), lambda g, x: g / (x * math.log(2.0)), "Logarithm to base 2.")
sin = _unary("sin", lambda xp, x: xp.sin(x), lambda xp, g, x: g * xp.cos(x), "Sine of x in radians.")
cos = _unary("cos", lambda xp, x: xp.cos(x), lambda xp, g, x: -g * xp.sin(x), "Cosine of x in radians.")
tan = _unary("tan", lambda xp, x: xp.tan(x), lambda g, out: g * (1.0 + out * out), "Tangent of x in radians.")
sinh = _unary("sinh", lambda xp, x: xp.sinh(x), lambda xp, g, x: g * xp.cosh(x), "Hyperbolic sine.")
cosh = _unary("cosh", lambda xp, x: xp.cosh(x), lambda xp, g, x: g * xp.sinh(x), "Hyperbolic cosine.")
tanh = _unary("tanh", lambda xp, x: xp.tanh(x), lambda g, out: g * (1.0 - out * out), "Hyperbolic tangent.")
arcsin = _unary(
    "arcsin", lambda xp, x: xp.arcsin(x), lambda xp, g, x: g / xp.sqrt(1.0 - x * x), "Inverse sine, radians."
)
arccos = _unary(
    "arccos", lambda xp, x: xp.arccos(x), lambda xp, g, x: -g / xp.sqrt(1.0 - x * x), "Inverse cosine, radians."
)
arctan = _unary("arctan", lambda xp, x: xp.arctan(x), lambda g, x: g / (1.0 + x * x), "Inverse tangent, radians.")
erf = _unary(
    "erf",
    lambda xp, x: xp.erf(x),
    lambda xp, g, x: g * (xp.exp(-x * x) * (2.0 / math.sqrt(math.pi))),
    "The error function, ``2 / sqrt(pi) * integral of exp(-t^2) from 0 to x``.",
)

# --- truth values: no gradient ------------------------------------------------------------------------------------------------


def _comparison(name, doc, module=__name__):
    """An op of two operands without a gradient, bound to its name in ``module``."""

    def function(xp, x, y):
        return getattr(xp, name)(x, y)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = module
    return op(function)


equal = _comparison("equal", "Whether ``x == y``.")
not_equal = _comparison("not_equal", "Whether ``x != y``.")
less = _comparison("less", "Whether ``x < y``.")
less_equal = _comparison("less_equal", "Whether ``x <= y``.")
greater = _comparison("greater", "Whether ``x > y``.")
greater_equal = _comparison("greater_equal", "Whether ``x >= y``.")
logical_and = _comparison("logical_and", "Whether both are true.")
logical_or = _comparison("logical_or", "Whether at least one is true.")
logical_xor = _comparison("logical_xor", "Whether exactly one is true.")
logical_not = _unary("logical_not", lambda xp, x: xp.logical_not(x), None, "Whether x is false.")
isnan = _unary("isnan", lambda xp, x: xp.isnan(x), None, "Whether x is not a number.")
isfinite = _unary("isfinite", lambda xp, x: xp.isfinite(x), None, "Whether x is neither NaN nor infinite.")
