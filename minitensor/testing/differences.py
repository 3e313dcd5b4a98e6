"""Derivatives of a function of one number by differences, aware of kinks and of rounding.

With ``D(h)`` the central difference and ``F(h)``, ``B(h)`` the second-order differences ahead and behind,

    D(h) = (f(h) - f(-h)) / 2h                     error O(h^2)
    R(h) = (4 D(h/2) - D(h)) / 3                   error O(h^4): Richardson's extrapolation
    F(h) = (4 f(h/2) - f(h) - 3 f(0)) / h          error O(h^2), from the right alone
    B(h) = (3 f(0) - 4 f(-h/2) + f(-h)) / h        error O(h^2), from the left alone

How far F and B, and D(h) and D(h/2), are apart bounds the error of R, and so does the rounding of f. A claim is wrong if it is
farther from R than the bound; it is right only if the bound is small enough to tell. The step with the smallest bound decides: a
small one steps around a kink near by, a large one rises above rounding.

At a kink F and B differ by the same jump at every step. No derivative exists there, and every slope between the two will do.

f is a sum over outputs, each times its cotangent. They are subtracted before they are summed, so that an output that does not move
brings no rounding error.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["EPSILON", "Verdict", "complex_slope", "confirms", "judge"]

STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 3e-2, 0.37, 1e-9)  # the first is nearly always enough
SIDES = (1e-4, 1e-5, 1e-6)  # those at which a kink in place shows
EPSILON = float(np.finfo(np.float64).eps)
SURE = 10.0  # the bound is this many times what differences and rounding make likely
VISIBLE = 0.05  # the bound must be below this part of the smallest slope, so that one that is wrong stands out


class Verdict(NamedTuple):
    """What differences say of a slope, and their own number.

    word: "right"; "wrong"; "kink", if f has no derivative here and the claim lies between the slopes of both sides (or these are
    infinite, or outside the domain of f); "blurred", if the slope is smaller than what rounding hides.
    """

    word: str
    numeric: float


class Estimate(NamedTuple):
    """The slope by differences of one step: R, F, B, how uncertain R is, the part of that which is rounding, and |f|."""

    slope: float
    ahead: float
    behind: float
    uncertainty: float
    rounding: float
    size: float


def judge(line, claimed, smallest, tolerance, wobble=0.0):
    """Whether ``claimed`` is the derivative of ``line`` at 0.

    line: a function from a float to a list of pairs (cotangent, output). smallest: magnitude of the smallest part of the claim that
    must be seen to be right; None if the claim is 0 in every part. tolerance: a function from the slope by differences to the error
    that is allowed. wobble: error of a slope that comes from rounding of the moved input, times the step.
    """
    middle, seen = line(0.0), {}
    for h in sorted(STEPS, reverse=True) if smallest is None else STEPS:
        found = _estimate(line, middle, h, wobble)
        surest = not any(e.uncertainty < found.uncertainty for e in seen.values())
        if surest and _settled(claimed, smallest, found, tolerance):
            return Verdict("right", found.slope)
        seen[h] = found
    finite = sorted((e for e in seen.values() if math.isfinite(e.uncertainty)), key=lambda e: e.uncertainty)
    if not finite:
        return Verdict("kink", math.nan)
    best = finite[0]
    sides = [seen[h] for h in SIDES]
    if not all(math.isfinite(e.ahead) and math.isfinite(e.behind) for e in sides):
        return Verdict("kink", best.slope)  # a border of the domain
    if _is_kink(sides):
        low, high = sorted((sides[1].ahead, sides[1].behind))
        margin = tolerance(max(abs(low), abs(high))) + 0.01 * (high - low)
        between = low - margin <= claimed <= high + margin
        return Verdict("kink" if between or _grows(sides) else "wrong", best.slope)
    # Two differences may agree by chance: another step must confirm the best one.
    doubt = min((abs(e.slope - best.slope) - SURE * e.uncertainty for e in finite[1:]), default=0.0)
    bound = max(SURE * best.uncertainty, doubt)
    if not abs(claimed - best.slope) <= tolerance(best.slope) + bound:
        return Verdict("wrong", best.slope)
    visible = smallest is None or bound <= max(VISIBLE * smallest, tolerance(best.slope))
    return Verdict("right" if visible else "blurred", best.slope)


def _settled(claimed, smallest, estimate, tolerance):
    """Whether one step suffices to see that the claim is right."""
    slope, ahead, behind, uncertainty, rounding, _ = estimate
    if smallest is None:  # flat on both sides: a kink that is just within the step would show
        return max(abs(slope), abs(ahead), abs(behind)) <= SURE * rounding
    bound = SURE * uncertainty
    return bound <= VISIBLE * smallest and abs(claimed - slope) <= tolerance(slope) + bound


def _estimate(line, middle, h, wobble):
    """The slope by the differences of step ``h``."""
    right, left, near_right, near_left = line(h), line(-h), line(h / 2), line(-h / 2)
    wide, narrow = _difference(right, left) / (2 * h), _difference(near_right, near_left) / h
    ahead = (4 * _difference(near_right, middle) - _difference(right, middle)) / h
    behind = (_difference(left, middle) - 4 * _difference(near_left, middle)) / h
    size, rest = _sizes(right, middle)
    rounding = (EPSILON * (8 * size + rest) + wobble) / h
    uncertainty = max(abs(ahead - behind), abs(wide - narrow)) + rounding
    return Estimate((4 * narrow - wide) / 3, ahead, behind, uncertainty, rounding, size)


def confirms(line, exact):
    """Whether differences agree with the slope ``exact`` to four digits, as they do where ``line`` is analytic."""
    estimate = _estimate(line, line(0.0), STEPS[0], 0.0)
    return abs(exact - estimate.slope) <= 1e-4 * abs(estimate.slope) + SURE * estimate.uncertainty


def _moved(outputs, others):
    """``(cotangent, output, where it differs from the other)``; two NaN or two equal infinities do not differ."""
    return [
        (c, np.asarray(a), ~((a == b) | ((a != a) & (b != b)))) for (c, a), (_, b) in zip(outputs, others)
    ]


def _difference(outputs, others):
    """Sum of the cotangents times what the outputs have moved by."""
    pairs = zip(_moved(outputs, others), others)
    return sum(float((c[moved] * (a[moved] - b[moved])).sum()) for (c, a, moved), (_, b) in pairs)


def _is_kink(estimates):
    """Whether the slopes of both sides differ by the same jump at each of these steps, or by one that grows as steps shrink."""
    jumps = [e.ahead - e.behind for e in estimates]
    if any(abs(j) <= SURE * e.rounding for j, e in zip(jumps, estimates)):
        return False
    alike = max(jumps) <= 1.3 * min(jumps) if jumps[0] > 0 else min(jumps) >= 1.3 * max(jumps)
    return alike or _grows(estimates)


def _sizes(outputs, others):
    """Sum of the magnitudes of the terms of f: of the outputs that move, and of those that stand still (to the last bit)."""
    size = rest = 0.0
    for c, a, moved in _moved(outputs, others):
        terms = np.abs(c * np.where(np.isfinite(a), a, 0.0))
        size, rest = size + float(terms[moved].sum()), rest + float(terms[~moved].sum())
    return size, rest


def _grows(estimates):
    """Whether a slope grows without bound as the steps shrink: a jump or a cusp, and not just rounding errors."""
    steep = [max(abs(e.ahead), abs(e.behind)) for e in estimates]
    last = estimates[-1]
    return steep[0] * 2 < steep[1] and steep[1] * 2 < steep[2] and steep[-1] * SIDES[-1] > 1e-9 * last.size


def complex_slope(line):
    """``Im f(ih) / h`` with h = 1e-30: the derivative of an analytic function to the last bit, without cancellation.

    None if the function does not take complex numbers. Squire and Trapp, SIAM Review 40 (1), 1998.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            outputs = line(1e-30j)
    except (TypeError, ValueError, KeyError, NotImplementedError, np.exceptions.ComplexWarning):
        return None
    if not any(np.iscomplexobj(o) for _, o in outputs):
        return None
    slope = sum(float((c * np.imag(o)).sum()) for c, o in outputs) / 1e-30
    return slope if math.isfinite(slope) else None
