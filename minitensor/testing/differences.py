"""Differences of a function of one number, for the slope at 0, aware of kinks and of rounding.

With ``D(h)`` the central difference and ``F(h)``, ``B(h)`` the second-order differences ahead and
behind,

    D(h) = (f(h) - f(-h)) / 2h                     error O(h^2)
    R(h) = (4 D(h/2) - D(h)) / 3                   error O(h^4): Richardson's extrapolation
    F(h) = (4 f(h/2) - f(h) - 3 f(0)) / h          error O(h^2), from the right alone
    B(h) = (3 f(0) - 4 f(-h/2) + f(-h)) / h        error O(h^2), from the left alone

How far F and B, and D(h) and D(h/2), are apart bounds the error of R, and so does the rounding of
f. At a kink F and B differ by the same jump at every step. No derivative exists there, and every
slope between the two will do.

A first look takes f(h) and f(-h) alone: D, and (f(h) - f(0)) / h and (f(0) - f(-h)) / h in the
place of F and B. With a step at which these differ little (``QUICK``) that is enough for most
claims. Whether f is flat is seen by f(h) and f(-0.382 h) with the largest step: of a wave that is
back at one of them the other is in the midst.

f is a sum over outputs, each times its cotangent. They are subtracted before they are summed, so
that an output that does not move brings no rounding error.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

__all__ = [
    "COARSE", "COARSE_FIRST", "EPSILON", "FINE", "FINEST", "QUICK", "SIDES", "STEP", "STEPS", "SURE", "Differences", "Estimate",
    "differ", "grows", "is_kink",
]  # fmt: skip

STEP = 1e-3  # nearly always enough
QUICK = 3e-6  # of a first look by two points: what bends within it and what is rounded are about alike
STEPS = (STEP, 1e-4, 1e-5, 1e-6, 3e-2, 0.37, 1e-9)
UNEVEN = (3 - 5**0.5) / 2  # how far back two points of the largest step are, as a part of it: no wave is back at both
COARSE = tuple(sorted(h for h in STEPS if h > STEP))
COARSE_FIRST = (STEP, *COARSE, *sorted((h for h in STEPS if h < STEP), reverse=True))
FINE = (1e-5, 1e-6, 1e-9)
FINEST = (1e-9, 1e-10, 1e-11, 1e-12, 1e-13)  # for what oscillates within the others
NEAREST = 1e-12  # a kink that shows at this step is in place
SIDES = (1e-4, 1e-5, 1e-6)  # those at which a kink in place shows
EPSILON = float(np.finfo(np.float64).eps)
SURE = 10.0  # the bound is this many times what differences and rounding make likely
VANISHED = 1e-3  # of the slope of the first step: what is left of it at the finest is 0
JUMP = 1e-9  # of the size of the outputs: less may be rounding
ROUGH = 1e-3  # of the movement of f: where it bends by more within a step, that says nothing


class Estimate(NamedTuple):
    """The slope by differences of one step: R, F, B, how uncertain R is, the part of that which is
    rounding, and |f|.
    """

    slope: float
    ahead: float
    behind: float
    uncertainty: float
    rounding: float
    size: float

    def is_rounding(self):
        """Whether most of what is uncertain is rounding, so that no finer step is surer."""
        return self.uncertainty <= 2 * self.rounding

    def is_still(self):
        """Whether f moves by no more than rounding on both sides."""
        return all(abs(slope) <= SURE * self.rounding for slope in (self.slope, self.ahead, self.behind))


class Differences:
    """Differences of ``line`` at 0. Outputs that no step has moved bring hardly any rounding error;
    ``live`` are the others. Where these bend by a part of their size within every step, as the
    sine of 1e12 does, f is not ``smooth``, and differences say nothing.
    """

    def __init__(self, line, wobble, scale, made_of=0.0):
        self.line, self.wobble, self.made_of = line, wobble, made_of
        self.still_at: dict[float, list] = {}  # by step, which outputs do not move
        self.smooth: list[Estimate] = []  # of the steps that have seen f bend by little
        self.glimpses: list[Estimate] = []  # of these, what two points alone say
        self.in_place = False  # whether a kink is no farther than the finest steps can tell
        self.known: dict[float, Estimate] = {}
        self.far: dict[float, list] = {}  # by step, how far f moves on both sides
        self.known_by_two: dict[float, Estimate] = {}
        self.middle = line(0.0)
        self.live = [np.zeros(np.shape(o), dtype=bool) for _, o in self.middle]
        sizes = [np.abs(np.where(np.isfinite(o), o, 0.0)) for _, o in self.middle]
        top = max((float(size.max(initial=0.0)) for size in sizes), default=0.0)
        self.top = top = max(top, scale)
        self.still = [np.abs(c) * size for (c, _), size in zip(self.middle, sizes)]
        # A small output may be the difference of large numbers, so that it is as rough as the
        # largest output.
        self.rough = [np.abs(c) * top for c, _ in self.middle]

    def of(self, h):
        """The slope by the differences of step ``h``."""
        if h not in self.known:
            self.known[h] = self._of(h)
        return self.known[h]

    def _of(self, h):
        right, left, near_right, near_left = sides = [self.line(t) for t in (h, -h, h / 2, -h / 2)]
        self.still_at[h] = [~here for here in self._moved(right, left)]
        wide, narrow = _difference(right, left) / (2 * h), _difference(near_right, near_left) / h
        far = [_difference(side, self.middle) for side in sides]
        self.far[h] = far[:2]
        ahead, behind = (4 * far[2] - far[0]) / h, (far[1] - 4 * far[3]) / h
        bend = max(abs(ahead - behind), abs(wide - narrow))
        return self._estimate(h, (4 * narrow - wide) / 3, ahead, behind, bend, far, self.smooth)

    def by_two(self, h):
        """The slope by f(h) and f(-h) alone, with at most half the calls: D(h), whose error O(h^2)
        is far below the bend, which is that of differences of first order.

        Of the largest step the points are f(h) and f(-``UNEVEN`` h), and the error is O(h).
        """
        if h not in self.known_by_two:
            self.known_by_two[h] = self._by_two(h)
        return self.known_by_two[h]

    def _by_two(self, h):
        back = UNEVEN * h if h == max(STEPS) else h
        far = self.far.get(h) if back == h else None
        if far is None:
            sides = [self.line(t) for t in (h, -back)]
            self._moved(*sides)
            far = [_difference(side, self.middle) for side in sides]
        ahead, behind = far[0] / h, -far[1] / back
        return self._estimate(h, (ahead + behind) / 2, ahead, behind, abs(ahead - behind), far, self.glimpses)

    def _moved(self, right, left):
        """Which outputs differ from those at 0 on one of two sides; they are ``live`` from now
        on.
        """
        moved = [differ(a, o) | differ(b, o) for (_, a), (_, b), (_, o) in zip(right, left, self.middle)]
        for live, here in zip(self.live, moved):
            live |= here
        return moved

    def _estimate(self, h, slope, ahead, behind, bend, far, smooth):
        """What one step says; noted in ``smooth`` if it has seen f bend by little."""
        size = self._moving()
        noise = self._noise(size)
        rounding = (noise + self.wobble) / h
        found = Estimate(slope, ahead, behind, bend + rounding, rounding, size)
        if bend * h <= max(SURE * noise, ROUGH * self.movement(far)):
            smooth.append(found)
        return found

    def rounding(self, h):
        """The error of a slope by a step of ``h`` that comes from rounding, by the outputs that are
        known to move.
        """
        return (self._noise(self._moving()) + self.wobble) / h

    def _noise(self, moving):
        """Rounding of the outputs, of which those that move have the size ``moving``."""
        rest = sum(float(still[~live].sum()) for still, live in zip(self.still, self.live))
        return EPSILON * (8 * moving + rest)

    def _moving(self):
        """The size of the outputs that are known to move, as rough as the largest."""
        return sum(float(rough[live].sum()) for rough, live in zip(self.rough, self.live))

    def converges(self):
        """Whether the slope becomes surer with each finer step, as it does where only the curvature
        of f jumps; that of what oscillates does not.
        """
        found = [self.of(h) for h in (STEP, *FINE)]
        shrinks = [b.uncertainty <= max(0.2 * a.uncertainty, 2 * b.rounding) for a, b in itertools.pairwise(found)]
        return all(shrinks) and found[-1].uncertainty > 0

    def vanishes(self):
        """Whether the slope becomes 0 with the step, and is no more than what is uncertain."""
        last = self.of(STEPS[-1])
        return self.converges() and abs(last.slope) <= last.uncertainty <= VANISHED * self.of(STEP).uncertainty

    def stays(self):
        """Whether f moves by the same slopes on both sides within a step and within a thousandth of
        it, as at a kink and where a slope is not 0; those of a square become 0.
        """
        wide, close = self.by_two(STEP), self.by_two(SIDES[-1])
        apart = max(abs(wide.ahead - close.ahead), abs(wide.behind - close.behind))
        return not close.is_still() and apart <= 0.1 * max(abs(close.ahead), abs(close.behind))

    def kinks(self):
        """Whether the slopes of both sides differ by the same jump within a step and within a small
        one; where f bends, the difference shrinks with the step.
        """
        close = self.by_two(QUICK)
        jump = close.ahead - close.behind
        if not abs(jump) > SURE * close.rounding:
            return False
        wide = self.by_two(STEP)
        return abs(wide.ahead - wide.behind - jump) <= 0.1 * abs(jump)

    def is_smooth(self, glimpses=()):
        """Whether two steps, or one and one of ``glimpses``, that have seen f bend by little show
        one slope: one may by chance.
        """
        alike = (
            abs(a.slope - b.slope) <= a.uncertainty + b.uncertainty + 0.1 * max(abs(a.slope), abs(b.slope))
            for a, b in itertools.combinations([*self.smooth, *glimpses], 2)
        )
        return any(alike) or self.converges()

    def sticks(self, claimed):
        """Whether some outputs move in large steps alone, as what is left of numbers that cancel
        does, and no step but the largest, which may lie beyond all that happens, contradicts the
        claim by more than rounding of these.
        """
        fine = [self.still_at[h] for h in FINE if h in self.still_at]
        if not self.made_of or not any((live & still).any() for each in fine for live, still in zip(self.live, each)):
            return False
        left = 16 * EPSILON * self.made_of
        finite = {h: e for h, e in self.known.items() if h <= STEP and math.isfinite(e.uncertainty)}
        return all(abs(claimed - e.slope) <= SURE * e.uncertainty + left / h for h, e in finite.items())

    def is_still(self, h):
        """Whether f moves by no more than rounding within a step of ``h``."""
        return (self.known.get(h) or self.by_two(h)).is_still()

    def jumps(self):
        """Whether f is elsewhere beside 0, within the finest step as well. Then it has no
        derivative.
        """
        self.in_place = self.is_elsewhere(SIDES[-1], NEAREST)
        return self.in_place

    def bounds_at_jump(self):
        """``(low, high, steep)``: the least and the greatest slope that a rule may give where f
        ``jumps``, those of both sides, of which that towards the jump is infinite; and whether
        the other one is infinite too, as a root's. Beyond an end of the domain, or if f jumps on
        both sides, there is no bound.
        """
        wide, close, fine = self.of(SIDES[0]), self.by_two(SIDES[-1]), self.by_two(NEAREST)
        ends: list[float] = []
        for side in ("ahead", "behind"):
            slope, far, again = getattr(wide, side), SIDES[-1] * getattr(close, side), NEAREST * getattr(fine, side)
            if abs(far - again) <= 0.05 * abs(far) and abs(far) > JUMP * (close.size + self.movement()):
                ends.append(math.copysign(math.inf, far))
                continue
            doubt = 1e-3 * abs(slope) + SURE * (close.rounding + wide.rounding)
            if not abs(slope - far / SIDES[-1]) <= doubt:  # not seen well, or beyond the domain
                return -math.inf, math.inf, abs(far) / SIDES[-1] > 2 * abs(slope)
            ends.append(slope)
        if all(map(math.isinf, ends)):
            return -math.inf, math.inf, False
        return min(ends), max(ends), False

    def is_elsewhere(self, h, other):
        """Whether f moves as far within a step of ``h`` as within the ``other``, on both sides, or
        on the one where it is finite.
        """
        found = self.by_two(h)
        moved = [(side, h * getattr(found, side)) for side in ("ahead", "behind")]
        moved = [(side, far) for side, far in moved if math.isfinite(far)]
        farthest = max((abs(far) for _, far in moved), default=0.0)
        if not farthest > JUMP * (found.size + self.movement()):
            return False
        again = self.by_two(other)
        return all(abs(far - other * getattr(again, side)) <= 0.05 * farthest for side, far in moved)

    def kink_in_place(self, sides):
        """Whether the jump between the slopes of both sides, which all of ``sides`` have seen, is
        there at one of the finest steps as well, so that none goes around it.
        """
        if None in sides or not all(math.isfinite(e.ahead - e.behind) for e in sides) or not is_kink(sides):
            return False
        close = self.of(NEAREST)
        jump, nearer = sides[-1].ahead - sides[-1].behind, close.ahead - close.behind
        self.in_place = abs(nearer) > SURE * close.rounding and nearer / jump > 0.7
        return self.in_place

    def movement(self, far=()):
        """Size of the outputs that move, and how ``far`` they do. Others, however large, say
        nothing of whether these bend.
        """
        size = sum(float(still[live].sum()) for still, live in zip(self.still, self.live))
        return size + max(map(abs, far), default=0.0)


def differ(a, b):
    """Where two outputs differ; two NaN, or two equal infinities, do not."""
    return (a != b) & ((a == a) | (b == b))


def _difference(outputs, others):
    """Sum of the cotangents times what the outputs have moved by."""
    total = 0.0
    for (c, a), (_, b) in zip(outputs, others):
        part = float((c * (a - b)).sum())
        if not math.isfinite(part):  # NaN, and infinities that have not moved, are left out
            moved = differ(a, b)
            part = float((c[moved] * (a[moved] - b[moved])).sum())
        total += part
    return total


def is_kink(estimates):
    """Whether the slopes of both sides differ by the same jump at each of these steps, or by one
    that grows as steps shrink.
    """
    jumps = [e.ahead - e.behind for e in estimates]
    if any(abs(j) <= SURE * e.rounding for j, e in zip(jumps, estimates)):
        return False
    alike = max(jumps) <= 1.3 * min(jumps) if jumps[0] > 0 else min(jumps) >= 1.3 * max(jumps)
    return alike or grows(estimates)


def grows(estimates):
    """Whether a slope grows without bound as the steps shrink: a jump or a cusp, and not just
    rounding errors.
    """
    steep = [max(abs(e.ahead), abs(e.behind)) for e in estimates]
    last = estimates[-1]
    return steep[0] * 2 < steep[1] and steep[1] * 2 < steep[2] and steep[-1] * SIDES[-1] > JUMP * last.size
