"""Slopes of outputs from both sides, and which outputs have a kink where their inputs are, or no
bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minitensor.testing.differences import EPSILON, SIDES, SURE

__all__ = ["Slopes", "free_of", "kinks_of", "outside", "slopes"]

BESIDE = (1e-9, 1e-12)  # a kink in place shows at these too, one beside does not


class Slopes(NamedTuple):
    """Slopes of both sides of each output."""

    ahead: list
    behind: list


def slopes(outputs_at, middle):
    """The ``Slopes`` of a function of a step, a list of arrays; ``middle``: its value at 0."""
    h = SIDES[1]
    with np.errstate(all="ignore"):
        right, left, near_right, near_left = (outputs_at(t) for t in (h, -h, h / 2, -h / 2))
        ahead = [(4 * n - f - 3 * m) / h for n, f, m in zip(near_right, right, middle)]
        behind = [(3 * m - 4 * n + f) / h for n, f, m in zip(near_left, left, middle)]
    return Slopes(ahead, behind)


def kinks_of(outputs_at, middle):
    """``(kinks, free)``: masks of where each output has a kink, its slopes from both sides being
    apart by the same at all steps, and those of ``free_of``.
    """
    kinks, free, n = [], [], len(SIDES)
    with np.errstate(all="ignore"):
        for each, steep, bound in _by_steps(outputs_at, middle, (*SIDES, *BESIDE)):
            beside, finest = each[n:], bound[n:]
            free.append(_free(each[:n], steep[:n], bound[:n]))
            each, bound = each[:n], bound[:n]
            straight, seen = _straight(each), _seen(each, bound)
            low, high = np.abs(straight).min(axis=0), np.abs(straight).max(axis=0)
            alike = (np.sign(straight) == np.sign(straight[0])).all(axis=0) & (high <= 1.3 * low)
            in_place = ~(np.abs(beside - straight[-1]) > 0.3 * np.abs(straight[-1]) + finest).any(axis=0)
            kinks.append(seen & alike & in_place & ~free[-1])  # two equal jumps on both sides leave what looks like one
    return kinks, free


def free_of(outputs_at, middle):
    """Masks of where each output has a slope without bound, as at a jump, or none."""
    with np.errstate(all="ignore"):
        return [_free(*found) for found in _by_steps(outputs_at, middle, SIDES)]


def _by_steps(outputs_at, middle, steps):
    """For each output, by step: how far apart the slopes of both sides are, the steeper of them,
    and below what that may be rounding.
    """
    jumps, steeps, coarse = [], [], []
    for h in steps:
        right, left = outputs_at(h), outputs_at(-h)
        jumps.append([((f - m) - (m - b)) / h for f, b, m in zip(right, left, middle)])
        steeps.append([np.maximum(np.abs(f - m), np.abs(m - b)) / h for f, b, m in zip(right, left, middle)])
        coarse.append([SURE * 8 * EPSILON * _size(*outputs) / h for outputs in zip(middle, right, left)])
    for jump, steep, bound in zip(zip(*jumps), zip(*steeps), zip(*coarse)):
        each = np.stack(jump)
        yield each, np.stack(steep), np.array(bound).reshape(-1, *[1] * (each.ndim - 1))


def _free(each, steep, bound):
    """Where slopes, by step as from ``_by_steps``, have no bound, or there are none."""
    growing, finite = np.abs(each[1]) > 2 * np.abs(each[0]), np.isfinite(each).all(axis=0)
    leaps = (steep[1:] > 2 * steep[:-1]).all(axis=0) & (steep[-1] > bound[-1])
    return (_seen(each, bound) & growing & finite) | leaps | ~finite


def _straight(each):
    """How far apart slopes are without what curvature adds, which shrinks with the step."""
    return (10 * each[1:] - each[:-1]) / 9


def _seen(each, bound):
    """Where slopes of both sides are apart at each step by more than rounding."""
    return (np.abs(each) > bound).all(axis=0) & (np.abs(_straight(each)) > bound[1:]).all(axis=0)


def _size(*outputs):
    """The greatest finite magnitude in some values of one output, of which rounding is a part."""
    return max(float(np.abs(o[np.isfinite(o)]).max(initial=0.0)) for o in outputs)


def outside(claimed, ahead, behind, size=0.0):
    """None if ``claimed`` is between the slopes of both sides, else the slope that is nearer.

    size: of numbers that may cancel in it.
    """
    low, high = sorted((float(ahead), float(behind)))
    margin = 0.01 * (high - low) + 1e-5 * max(abs(low), abs(high), size)
    if low - margin <= claimed <= high + margin:
        return None
    return low if abs(claimed - low) < abs(claimed - high) else high
