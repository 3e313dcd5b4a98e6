"""Derivatives of a function of one number by differences, with an eye for kinks.

With ``D(h)`` the central difference and ``F(h)``, ``B(h)`` the second-order differences ahead and behind,

    D(h) = (f(h) - f(-h)) / 2h                     error O(h^2)
    R(h) = (4 D(h/2) - D(h)) / 3                   error O(h^4): Richardson's extrapolation
    F(h) = (4 f(h/2) - f(h) - 3 f(0)) / h          error O(h^2), from the right alone
    B(h) = (3 f(0) - 4 f(-h/2) + f(-h)) / h        error O(h^2), from the left alone

``F`` and ``B`` agree where f is smooth and differ by the jump of the slope where it has a kink. So a disagreement between R and a
rule counts as an error only where it is far greater than what F, B and D leave uncertain; otherwise a smaller step is tried,
which steps around a kink near by. A kink at the point itself remains one at every step, and is reported as such.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["Verdict", "complex_slope", "judge"]

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
EPSILON = float(np.finfo(np.float64).eps)


class Verdict(NamedTuple):
    """What differences say of a derivative: "right", "wrong" or "kink", and their own number."""

    word: str
    numeric: float


def judge(line, claimed, tolerance, exact=None):
    """Whether ``claimed`` is the derivative of ``line`` at 0, within ``tolerance(numeric)``.

    line: a function from a float to a float. exact: a derivative by a complex step, to be believed where differences confirm it
    to four digits.
    """
    middle = line(0.0)
    numeric = math.nan
    for h in STEPS:
        numeric, uncertainty = _richardson(line, middle, h)
        if exact is not None and abs(exact - numeric) <= 1e-4 * abs(numeric) + 1e-7:
            return Verdict("right" if abs(claimed - exact) <= tolerance(exact) else "wrong", exact)
        if abs(claimed - numeric) <= tolerance(numeric):  # never true for NaN
            return Verdict("right", numeric)
        if not math.isfinite(numeric):
            continue  # a step beyond the domain: a smaller one may stay within
        if not math.isfinite(claimed) or abs(claimed - numeric) > 10 * uncertainty:
            return Verdict("wrong", numeric)
    return Verdict("kink", numeric)


def _richardson(line, middle, h):
    """R(h), and how far it can be from the truth where the function is smooth, rounding included."""
    right, left, near_right, near_left = line(h), line(-h), line(h / 2), line(-h / 2)
    wide, narrow = (right - left) / (2 * h), (near_right - near_left) / h
    ahead = (4 * near_right - right - 3 * middle) / h
    behind = (3 * middle - 4 * near_left + left) / h
    size = max(abs(middle), abs(right), abs(left))
    uncertainty = max(abs(ahead - behind), abs(wide - narrow)) + 64 * EPSILON * size / h
    return (4 * narrow - wide) / 3, uncertainty


def complex_slope(line):
    """``Im f(ih) / h`` with h = 1e-30: the derivative of an analytic function to the last bit, without cancellation.

    None where the function does not take complex numbers. Squire and Trapp, SIAM Review 40 (1), 1998.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            slope = line(1e-30j)
    except (TypeError, ValueError, KeyError, NotImplementedError, np.exceptions.ComplexWarning):
        return None
    return slope.imag / 1e-30 if isinstance(slope, complex) and math.isfinite(slope.imag) else None
