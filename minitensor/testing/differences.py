"""Derivatives of a function of one number by differences, aware of kinks and of rounding.

With ``D(h)`` the central difference and ``F(h)``, ``B(h)`` the second-order differences ahead and
behind,

    D(h) = (f(h) - f(-h)) / 2h                     error O(h^2)
    R(h) = (4 D(h/2) - D(h)) / 3                   error O(h^4): Richardson's extrapolation
    F(h) = (4 f(h/2) - f(h) - 3 f(0)) / h          error O(h^2), from the right alone
    B(h) = (3 f(0) - 4 f(-h/2) + f(-h)) / h        error O(h^2), from the left alone

How far F and B, and D(h) and D(h/2), are apart bounds the error of R, and so does the rounding of
f. A claim is wrong if it is farther from R than the bound; it is right only if the bound is small
enough to tell. The step with the smallest bound decides: a small one steps around a kink near by, a
large one rises above rounding.

At a kink F and B differ by the same jump at every step. No derivative exists there, and every slope
between the two will do.

f is a sum over outputs, each times its cotangent. They are subtracted before they are summed, so
that an output that does not move brings no rounding error.
"""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from typing import NamedTuple

import numpy as np

__all__ = [
    "EPSILON", "SIDES", "STEP", "SURE", "VISIBLE", "Verdict", "complex_slope", "confirms", "differ", "judge",
    "settled_at_once", "share",
]  # fmt: skip

STEP = 1e-3  # nearly always enough
STEPS = (STEP, 1e-4, 1e-5, 1e-6, 3e-2, 0.37, 1e-9)
COARSE_FIRST = (STEP, 3e-2, 0.37, 1e-4, 1e-5, 1e-6, 1e-9)
FINE = (1e-5, 1e-6, 1e-9)
FINEST = (1e-9, 1e-10, 1e-11, 1e-12, 1e-13)  # for what oscillates within the others
NEAREST = 1e-12  # a kink that shows at this step is in place
SIDES = (1e-4, 1e-5, 1e-6)  # those at which a kink in place shows
EPSILON = float(np.finfo(np.float64).eps)
SURE = 10.0  # the bound is this many times what differences and rounding make likely
VISIBLE = 0.05  # the bound must be below this part of the smallest slope, so that one that is wrong stands out

VANISHED = 1e-3  # of the slope of the first step: what is left of it at the finest is 0
JUMP = 1e-9  # of the size of the outputs: less may be rounding
ROUGH = 1e-3
AGREE = 0.01  # two of the finest steps show a slope if they agree to this part of it
CLOSE = 1e-6  # of the smallest slope: so near a claim is right without a look at finer steps


class Verdict(NamedTuple):
    """What differences say of a slope, their own number, and the error of the claim as a share of
    what is allowed.

    word: "right"; "wrong"; "kink", if f has no derivative here and the claim lies between the
    slopes of both sides (or these are infinite, or outside the domain of f); "blurred", if the
    slope is smaller than what rounding hides. coarse: it is right within a bound that is much wider
    than what is allowed. beyond: how many times the bound is what it may be to see the smallest
    part, if it is blurred.
    """

    word: str
    numeric: float
    share: float = 0.0
    coarse: bool = False
    beyond: float = 0.0


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


def judge(line, claimed, smallest, tolerance, wobble=0.0, scale=0.0, cancelling=0.0, floor=0.0, made_of=0.0):
    """Whether ``claimed`` is the derivative of ``line`` at 0.

    line: a function from a float to a list of pairs (cotangent, output). smallest: magnitude of the
    smallest part of the claim that must be seen to be right; None if the claim is 0 in every part.
    tolerance: a function from the slope by differences to the error that is allowed. wobble: error
    of a slope that comes from rounding of the moved input, times the step. scale: size of what the
    outputs are made of, if larger than theirs. cancelling: size of numbers that may cancel in a
    claim, if larger still. floor: the part of the tolerance that nobody asked for, rounding of the
    claim: where it would hide the smallest part, the claim is blurred. made_of: size of the numbers
    that a gradient is made of, if the outputs are one.
    """
    differences = _Differences(line, wobble, scale, made_of)
    # Where rounding hides the slope from the first step, finer ones see less.
    coarse = smallest is not None and SURE * differences.of(STEP).rounding > VISIBLE * smallest
    steps = sorted(STEPS, reverse=True) if smallest is None else COARSE_FIRST if coarse else STEPS
    hidden = _hidden(differences, claimed, smallest, tolerance) if coarse else None
    verdict = hidden or _judge(differences, steps, claimed, smallest, tolerance, cancelling)
    # Right, but only since a step says so little: finer ones may tell, if f moves in them.
    by_grace = verdict.coarse and not abs(claimed - verdict.numeric) <= tolerance(verdict.numeric)
    by_grace = by_grace and not differences.is_still(STEPS[-1])
    if (verdict.word != "right" or by_grace) and not differences.in_place and not hidden:
        smooth = differences.is_smooth()
        finer = _resolved(differences, claimed, smallest, tolerance, cancelling, verdict)
        if finer is None and verdict.word == "wrong" and not smooth:
            return verdict._replace(word="blurred")
        verdict = finer or verdict
    if verdict.word == "right" and smallest is not None and floor > VISIBLE * smallest:
        return verdict._replace(word="blurred")
    return verdict


def settled_at_once(line, claimed, smallest, allowed, wobble, scale, floor):
    """The error of ``claimed`` as a share of what is allowed, if one step shows that it is right;
    else None, which says nothing.

    allowed: the error that is allowed. The others: as for ``judge``.
    """
    if smallest is not None and floor > VISIBLE * smallest:
        return None
    found = _Differences(line, wobble, scale).of(STEP if smallest is not None else max(STEPS))
    if not _settled(claimed, smallest, found, lambda slope: allowed):
        return None
    return share(
        claimed, found.slope, SURE * found.rounding if smallest is None else allowed + SURE * found.uncertainty
    )


def _hidden(differences, claimed, smallest, tolerance):
    """The verdict "blurred", if already two or three steps show that rounding hides the slope from
    every one; else None.

    So it is where the largest ones agree with the claim and with each other, and within a small one
    f does not move.
    """
    best = differences.of(max(STEPS))
    if best.uncertainty > 2 * best.rounding:  # else no other step is surer
        best = min((differences.of(h) for h in COARSE_FIRST[:3]), key=lambda e: e.uncertainty)
    bound, allowed = SURE * best.uncertainty, tolerance(best.slope)
    beyond = bound / max(VISIBLE * smallest, allowed)
    agrees = beyond > 1.0 and abs(claimed - best.slope) <= allowed + bound
    if agrees and differences.is_smooth() and (differences.is_still(STEP) or differences.is_still(STEPS[-1])):
        return Verdict("blurred", best.slope, beyond=beyond)
    return None


def _judge(differences, steps, claimed, smallest, tolerance, cancelling):
    """The verdict by ``steps``, all of them if none suffices."""
    seen: dict[float, Estimate] = {}
    for h in steps:
        found = differences.of(h)
        surest = not any(e.uncertainty < found.uncertainty for e in seen.values())
        if surest and _settled(claimed, smallest, found, tolerance):
            bound = SURE * found.rounding if smallest is None else tolerance(found.slope) + SURE * found.uncertainty
            return Verdict("right", found.slope, share(claimed, found.slope, bound))
        seen[h] = found
        if h == STEP and differences.jumps(h):
            return Verdict("kink", found.slope)
        if h == STEPS[3] and differences.kink_in_place([seen.get(side) for side in SIDES]):
            break  # no other step shows another slope
    finite = [e for e in seen.values() if math.isfinite(e.uncertainty)]
    if not finite:
        return Verdict("kink", math.nan)
    bounds = _bounds({h: e for h, e in seen.items() if e in finite})
    surest = min(bounds, key=bounds.get)
    best, bound = seen[surest], bounds[surest]
    sides = [seen[h] for h in SIDES]
    if not all(math.isfinite(e.ahead) and math.isfinite(e.behind) for e in sides):
        return Verdict("kink", best.slope)  # a border of the domain
    if _is_kink(sides):
        low, high = sorted((sides[1].ahead, sides[1].behind))
        margin = tolerance(max(abs(low), abs(high))) + 0.01 * (high - low)
        between = low - margin <= claimed <= high + margin
        return Verdict("kink" if between or _grows(sides) else "wrong", best.slope)
    if not abs(claimed - best.slope) <= tolerance(best.slope) + bound:
        hidden = _cancelled(differences, claimed, best, bound, cancelling)
        return Verdict("blurred" if hidden else "wrong", best.slope)
    # A claim of 0 that no step has found flat is right at the most by chance, unless f becomes so.
    if smallest is None and differences.vanishes():
        return Verdict("right", best.slope)
    visible = smallest is not None and bound <= max(VISIBLE * smallest, tolerance(best.slope))
    part = share(claimed, best.slope, tolerance(best.slope) + bound)
    coarse = bound > max(2 * tolerance(best.slope), CLOSE * (smallest or 0.0))
    return Verdict("right" if visible else "blurred", best.slope, part, coarse)


def _resolved(differences, claimed, smallest, tolerance, cancelling, verdict):
    """The verdict by two of the finest steps that agree in a slope that is not 0, or ``verdict`` if
    it says the same more precisely; None if no two do.

    Rounding errors do not agree: their slopes grow as the steps shrink.
    """
    found = None
    for h in FINEST:
        before, found = found, differences.of(h)
        if not (math.isfinite(found.uncertainty) and found.uncertainty <= AGREE * abs(found.slope)):
            found = None
        elif before is not None and abs(before.slope - found.slope) <= AGREE * abs(found.slope):
            best = min(before, found, key=lambda e: e.uncertainty)
            doubt = SURE * max(best.uncertainty, abs(before.slope - found.slope))
            bound = tolerance(best.slope) + doubt
            if verdict.word == "wrong" and abs(verdict.numeric - best.slope) <= doubt:
                return verdict
            if not abs(claimed - best.slope) <= bound:
                hidden = _cancelled(differences, claimed, best, bound, cancelling)
                return Verdict("blurred" if hidden else "wrong", best.slope)
            visible = smallest is not None and bound <= max(VISIBLE * smallest, tolerance(best.slope))
            part = share(claimed, best.slope, bound)
            return Verdict("right" if visible else "blurred", best.slope, part, coarse=True)
    return None


def _cancelled(differences, claimed, best, bound, cancelling):
    """Whether claim and slope are no more than what is left of a sum of numbers that cancel."""
    left = 16 * EPSILON * max(min(1.0, differences.top), cancelling)
    return max(abs(claimed), abs(best.slope) + bound) <= left or differences.sticks(claimed)


def share(claimed, slope, bound):
    """The error of a claim as a share of what is allowed."""
    return abs(claimed - slope) / bound if bound else 0.0


def _bounds(seen):
    """How far the slope of each step can be off, given what the other steps say.

    What rounding inside of f does shows at the finest steps, where u h is its size, though at one
    step it may hide by chance. Where f bends within a step, more than rounding does, no larger step
    is surer: it may lie beyond all that happens. And neighbours that contradict each other are both
    in doubt.
    """
    noise = statistics.median([seen[h].uncertainty * h for h in FINE if h in seen] or [0.0])
    bounds, bent = {}, 0.0
    for h in sorted(seen):
        found = seen[h]
        bend = found.uncertainty - found.rounding
        bent = max(bent, bend if bend * h > SURE * noise else 0.0)
        bounds[h] = SURE * max(found.uncertainty, noise / h, bent)
    doubts = dict(bounds)
    for a, b in itertools.pairwise(sorted(seen)):
        doubt = abs(seen[a].slope - seen[b].slope) - bounds[a] - bounds[b]
        doubts[a], doubts[b] = max(doubts[a], doubt), max(doubts[b], doubt)
    return doubts


def _settled(claimed, smallest, estimate, tolerance):
    """Whether one step suffices to see that the claim is right."""
    slope, ahead, behind, uncertainty, rounding, _ = estimate
    if smallest is None:  # flat on both sides: a kink that is just within the step would show
        return max(abs(slope), abs(ahead), abs(behind)) <= SURE * rounding
    bound = SURE * uncertainty
    near = min(bound, CLOSE * smallest)  # not the bound: a finer step may show an error that this one allows
    return bound <= VISIBLE * smallest and abs(claimed - slope) <= tolerance(slope) + near


class _Differences:
    """Differences of ``line`` at 0. Outputs that no step has moved bring hardly any rounding error;
    ``live`` are the others. Where these bend by a part of their size within every step, as the
    sine of 1e12 does, f is not ``smooth``, and differences say nothing.
    """

    def __init__(self, line, wobble, scale, made_of=0.0):
        self.line, self.wobble, self.made_of = line, wobble, made_of
        self.still_at: dict[float, list] = {}  # by step, which outputs do not move
        self.smooth: list[Estimate] = []  # of the steps that have seen f bend by little
        self.in_place = False  # whether a kink is no farther than the finest steps can tell
        self.known: dict[float, Estimate] = {}
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
        right, left, near_right, near_left = (self.line(t) for t in (h, -h, h / 2, -h / 2))
        moved = [differ(a, o) | differ(b, o) for (_, a), (_, b), (_, o) in zip(right, left, self.middle)]
        for live, here in zip(self.live, moved):
            live |= here
        self.still_at[h] = [~here for here in moved]
        wide, narrow = _difference(right, left) / (2 * h), _difference(near_right, near_left) / h
        ahead = (4 * _difference(near_right, self.middle) - _difference(right, self.middle)) / h
        behind = (_difference(left, self.middle) - 4 * _difference(near_left, self.middle)) / h
        size = sum(float(rough[live].sum()) for rough, live in zip(self.rough, self.live))
        rest = sum(float(still[~live].sum()) for still, live in zip(self.still, self.live))
        rounding = (EPSILON * (8 * size + rest) + self.wobble) / h
        bend = max(abs(ahead - behind), abs(wide - narrow))
        found = Estimate((4 * narrow - wide) / 3, ahead, behind, bend + rounding, rounding, size)
        noise = SURE * EPSILON * (8 * size + rest)
        if bend * h <= max(noise, ROUGH * self.movement(right, left, near_right, near_left)):
            self.smooth.append(found)
        return found

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

    def is_smooth(self):
        """Whether two steps that have seen f bend by little show one slope: one may by chance."""
        alike = (
            abs(a.slope - b.slope) <= a.uncertainty + b.uncertainty + 0.1 * max(abs(a.slope), abs(b.slope))
            for a, b in itertools.combinations(self.smooth, 2)
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
        found = self.of(h)
        return max(abs(found.slope), abs(found.ahead), abs(found.behind)) <= SURE * found.rounding

    def jumps(self, h):
        """Whether f is elsewhere beside 0: as far within the finest step as within ``h``, on both
        sides. Then it has no derivative.
        """
        wide = self.of(h)
        far = h * max(abs(wide.ahead), abs(wide.behind))
        if not (math.isfinite(far) and far > JUMP * (wide.size + self.movement())):
            return False
        close = self.of(NEAREST)
        apart = max(abs(NEAREST * getattr(close, side) - h * getattr(wide, side)) for side in ("ahead", "behind"))
        self.in_place = math.isfinite(apart) and apart <= 0.05 * far
        return self.in_place

    def kink_in_place(self, sides):
        """Whether the jump between the slopes of both sides, which all of ``sides`` have seen, is
        there at one of the finest steps as well, so that none goes around it.
        """
        if None in sides or not all(math.isfinite(e.ahead - e.behind) for e in sides) or not _is_kink(sides):
            return False
        close = self.of(NEAREST)
        jump, nearer = sides[-1].ahead - sides[-1].behind, close.ahead - close.behind
        self.in_place = abs(nearer) > SURE * close.rounding and nearer / jump > 0.7
        return self.in_place

    def movement(self, *sides):
        """Size of the outputs that move, and how far they do. Others, however large, say nothing of
        whether these bend.
        """
        size = sum(float(still[live].sum()) for still, live in zip(self.still, self.live))
        return size + max((abs(_difference(side, self.middle)) for side in sides), default=0.0)


def confirms(line, exact, scale):
    """Whether differences agree with the slope ``exact`` to four digits, as they do if ``line`` is
    analytic.
    """
    estimate = _Differences(line, 0.0, scale).of(STEP)
    return abs(exact - estimate.slope) <= 1e-4 * abs(estimate.slope) + SURE * estimate.uncertainty


def differ(a, b):
    """Where two outputs differ; two NaN, or two equal infinities, do not."""
    return ~((a == b) | ((a != a) & (b != b)))


def _difference(outputs, others):
    """Sum of the cotangents times what the outputs have moved by."""
    total = 0.0
    for (c, a), (_, b) in zip(outputs, others):
        moved = differ(a, b)
        with np.errstate(invalid="ignore"):  # infinite outputs
            total += float((c[moved] * (a[moved] - b[moved])).sum())
    return total


def _is_kink(estimates):
    """Whether the slopes of both sides differ by the same jump at each of these steps, or by one
    that grows as steps shrink.
    """
    jumps = [e.ahead - e.behind for e in estimates]
    if any(abs(j) <= SURE * e.rounding for j, e in zip(jumps, estimates)):
        return False
    alike = max(jumps) <= 1.3 * min(jumps) if jumps[0] > 0 else min(jumps) >= 1.3 * max(jumps)
    return alike or _grows(estimates)


def _grows(estimates):
    """Whether a slope grows without bound as the steps shrink: a jump or a cusp, and not just
    rounding errors.
    """
    steep = [max(abs(e.ahead), abs(e.behind)) for e in estimates]
    last = estimates[-1]
    return steep[0] * 2 < steep[1] and steep[1] * 2 < steep[2] and steep[-1] * SIDES[-1] > JUMP * last.size


def complex_slope(line):
    """``Im f(ih) / h`` with h = 1e-30: the derivative of an analytic function to the last bit,
    without cancellation.

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
