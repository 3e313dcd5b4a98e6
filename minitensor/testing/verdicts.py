"""What differences say of a claimed slope: right, wrong, at a kink, or hidden by rounding.

A claim is wrong if it is farther from the slope by differences (``testing.differences``: R) than
the bound; it is right only if the bound is small enough to tell. The step with the smallest bound
decides: a small one steps around a kink near by, a large one rises above rounding. Two points
settle most claims at once; where rounding is what is uncertain, large steps are looked at first,
and small ones only if these do not agree with the claim.
"""

from __future__ import annotations

import itertools
import math
import statistics
from typing import NamedTuple

from minitensor.testing.differences import (
    COARSE,
    COARSE_FIRST,
    EPSILON,
    FINE,
    FINEST,
    QUICK,
    SIDES,
    STEP,
    STEPS,
    SURE,
    Differences,
    Estimate,
    grows,
    is_kink,
)

__all__ = ["VISIBLE", "Verdict", "judge", "settled_at_once", "share"]

VISIBLE = 0.05  # the bound must be below this part of the smallest slope, so that one that is wrong stands out
AGREE = 0.01  # two of the finest steps show a slope if they agree to this part of it
ROUGHER = 0.01  # what bends is not off a line by less than this part at larger steps, two by chance left out
CLOSE = 1e-6  # of the smallest slope: so near a claim is right without a look at finer steps


class Verdict(NamedTuple):
    """What differences say of a slope, their own number, and the error of the claim as a share of
    what is allowed.

    word: "right"; "wrong"; "kink", if f has no derivative here and the claim lies between the
    slopes of both sides (or these are infinite, or outside the domain of f); "blurred", if the
    slope is smaller than what rounding hides. coarse: it is right within a bound that is much wider
    than what is allowed. beyond: how many times the bound is what it may be to see the smallest
    part, if it is blurred. quick: a first look has seen a kink, or a slope where 0 is claimed, and
    says no more of it. jump: f jumps here, and its slope from the other side is ``numeric``.
    """

    word: str
    numeric: float
    share: float = 0.0
    coarse: bool = False
    beyond: float = 0.0
    quick: bool = False
    jump: bool = False


def judge(
    line, claimed, smallest, tolerance, wobble=0.0, scale=0.0, cancelling=0.0, floor=0.0, made_of=0.0, quick=False
):
    """Whether ``claimed`` is the derivative of ``line`` at 0.

    line: a function from a float to a list of pairs (cotangent, output). smallest: magnitude of the
    smallest part of the claim that must be seen to be right; None if the claim is 0 in every part.
    tolerance: a function from the slope by differences to the error that is allowed. wobble: error
    of a slope that comes from rounding of the moved input, times the step. scale: size of what the
    outputs are made of, if larger than theirs. cancelling: size of numbers that may cancel in a
    claim, if larger still. floor: the part of the tolerance that nobody asked for, rounding of the
    claim: where it would hide the smallest part, the claim is blurred. made_of: size of the numbers
    that a gradient is made of, if the outputs are one. quick: whether it is enough to know that not
    all is right: the word is "kink" then as soon as one is seen, or a slope where the claim is 0.
    """
    differences = Differences(line, wobble, scale, made_of)
    verdict, steps, rounded = _first_look(differences, claimed, smallest, tolerance, quick)
    seen_at_once = verdict is not None
    verdict = verdict or _judge(differences, steps, rounded, claimed, smallest, tolerance, cancelling)
    # Right, but only since a step says so little: finer ones may tell, if f moves in them.
    by_grace = verdict.coarse and not abs(claimed - verdict.numeric) <= tolerance(verdict.numeric)
    by_grace = by_grace and not differences.is_still(STEPS[-1])
    if (verdict.word != "right" or by_grace) and not differences.in_place and not seen_at_once:
        smooth = differences.is_smooth()
        finer = _resolved(differences, claimed, smallest, tolerance, cancelling, verdict)
        if finer is None and verdict.word == "wrong" and not smooth:
            return verdict._replace(word="blurred")
        verdict = finer or verdict
    if verdict.word == "right" and smallest is not None and floor > VISIBLE * smallest:
        return verdict._replace(word="blurred")
    return verdict


def _first_look(differences, claimed, smallest, tolerance, quick):
    """``(verdict, steps, rounded)`` by a few pairs of points: the verdict if they suffice, else
    None and what ``_judge`` is to look at.
    """
    largest_first = sorted(STEPS, reverse=True)
    sides_first = [*SIDES, *(h for h in largest_first if h not in SIDES)]
    if smallest is None:
        flat = differences.by_two(max(STEPS))
        part = _settled(claimed, smallest, flat, tolerance(flat.slope))
        if part is not None:
            return Verdict("right", flat.slope, part), (), False
        if differences.jumps():
            return _at_jump(differences, claimed, flat.slope, tolerance), (), False
        if differences.stays():
            return Verdict("kink", flat.slope, quick=True) if quick else None, sides_first, False
        return None, largest_first, False
    first = differences.by_two(QUICK)
    part = _settled(claimed, smallest, first, tolerance(first.slope))
    if part is not None:
        return Verdict("right", first.slope, part), (), False
    if differences.kinks():
        return Verdict("kink", first.slope, quick=True) if quick else None, sides_first, False
    if STEP in differences.known_by_two and differences.is_elsewhere(QUICK, STEP) and differences.jumps():
        return _at_jump(differences, claimed, first.slope, tolerance), (), False
    if _rounded_away(differences, smallest):
        return _hidden(differences, first, claimed, smallest, tolerance), largest_first, True
    rounded = differences.of(STEP).is_rounding()
    return None, COARSE_FIRST if rounded else STEPS, rounded


def _at_jump(differences, claimed, slope, tolerance):
    """The verdict where f jumps: a claim must be finite, and no less than the slope of the side
    where f goes on from where it is, or no more, if the jump is downwards. It may be infinite if
    that slope is.
    """
    low, high, steep = differences.bounds_at_jump()
    nearer = low if claimed < low else high
    finite = math.isfinite(claimed) or (steep and math.isinf(claimed))
    if finite and (low <= claimed <= high or abs(claimed - nearer) <= tolerance(nearer) + 0.01 * abs(nearer)):
        return Verdict("kink", slope)
    known = next((end for end in (nearer, low, high) if math.isfinite(end)), slope)
    return Verdict("wrong", known, jump=True)


def settled_at_once(line, claimed, smallest, allowed, wobble, scale, floor):
    """The error of ``claimed`` as a share of what is allowed, if one or two steps show that it is
    right; else None, which says nothing.

    allowed: the error that is allowed. The others: as for ``judge``.
    """
    differences = Differences(line, wobble, scale)
    if smallest is None:
        return _settled(claimed, smallest, differences.by_two(max(STEPS)), allowed)
    if floor > VISIBLE * smallest:
        return None
    part = _settled(claimed, smallest, differences.by_two(QUICK), allowed)
    if part is None and not _rounded_away(differences, smallest):
        part = _settled(claimed, smallest, differences.of(STEP), allowed)
    return part


def _rounded_away(differences, smallest):
    """Whether rounding hides the smallest part from ``STEP``; finer steps see less."""
    return SURE * differences.rounding(STEP) > VISIBLE * smallest


def _hidden(differences, first, claimed, smallest, tolerance):
    """The verdict "blurred", if the ``first`` look and a few more steps show that rounding
    hides the slope from every one; else None.

    So it is where the largest ones agree with the claim and with each other, and within a small one
    f does not move.
    """
    best = differences.by_two(max(STEPS))
    if not best.uncertainty <= 2 * best.rounding:  # else no other step is surer
        best = min((differences.of(h) for h in COARSE_FIRST[:3]), key=lambda e: e.uncertainty)
    bound, allowed = SURE * best.uncertainty, tolerance(best.slope)
    beyond = bound / max(VISIBLE * smallest, allowed)
    agrees = beyond > 1.0 and abs(claimed - best.slope) <= allowed + bound
    if agrees and differences.is_smooth(differences.glimpses) and (first.is_still() or differences.is_still(STEPS[-1])):
        return Verdict("blurred", best.slope, beyond=beyond)
    return None


def _judge(differences, steps, rounded, claimed, smallest, tolerance, cancelling):
    """The verdict by ``steps``, all of them if none suffices. rounded: whether rounding is most of
    what is uncertain from ``STEP`` on.
    """
    seen: dict[float, Estimate] = {}
    for h in steps:
        found = differences.of(h)
        surest = not any(e.uncertainty < found.uncertainty for e in seen.values())
        part = _settled(claimed, smallest, found, tolerance(found.slope)) if surest else None
        if part is not None and not (smallest is None and _is_grain(h, seen)):
            return Verdict("right", found.slope, part)
        seen[h] = found
        if h == STEP and differences.jumps():
            return _at_jump(differences, claimed, found.slope, tolerance)
        if rounded and h in COARSE and seen.keys() >= set(COARSE):
            verdict = _by_coarse(seen, claimed, smallest, tolerance)
            if verdict is not None:
                return verdict
        if h == STEPS[3] and differences.kink_in_place([seen.get(side) for side in SIDES]):
            break  # no other step shows another slope
    finite = [e for e in seen.values() if math.isfinite(e.uncertainty)]
    if not finite:
        known = (side for e in seen.values() for side in (e.ahead, e.behind) if math.isfinite(side))
        return Verdict("kink", next(known, math.nan))  # NaN: no step says anything
    bounds = _bounds({h: e for h, e in seen.items() if e in finite})
    surest = min(bounds, key=bounds.get)
    best, bound = seen[surest], bounds[surest]
    sides = [seen[h] for h in SIDES]
    if not all(math.isfinite(e.ahead) and math.isfinite(e.behind) for e in sides):
        return Verdict("kink", best.slope)  # a border of the domain
    if is_kink(sides):
        low, high = sorted((sides[1].ahead, sides[1].behind))
        margin = tolerance(max(abs(low), abs(high))) + 0.01 * (high - low)
        between = low - margin <= claimed <= high + margin
        return Verdict("kink" if between or grows(sides) else "wrong", best.slope)
    if not abs(claimed - best.slope) <= tolerance(best.slope) + bound:
        hidden = _cancelled(differences, claimed, best, bound, cancelling)
        return Verdict("blurred" if hidden else "wrong", best.slope)
    # A claim of 0 that no step has found flat is right at the most by chance, unless f becomes so.
    if smallest is None and differences.vanishes():
        return Verdict("right", best.slope)
    return _agreeing(claimed, smallest, best, bound, tolerance(best.slope))


def _is_grain(h, seen):
    """Whether f, which does not move within ``h``, moves along a line at two larger steps, and off
    it by much less than it would within ``h``: then it moves in grains, as (1 - cos(x)) / x does
    near 0.
    """
    return sum(e.uncertainty * larger <= 0.1 * abs(e.slope) * h for larger, e in seen.items() if larger > h) >= 2


def _agreeing(claimed, smallest, best, bound, allowed):
    """The verdict on a claim that is near the ``best`` slope, within what is ``allowed`` and the
    ``bound`` of that slope: right, if these let the smallest part be seen.
    """
    visible = smallest is not None and bound <= max(VISIBLE * smallest, allowed)
    coarse = bound > max(2 * allowed, CLOSE * (smallest or 0.0))
    return Verdict("right" if visible else "blurred", best.slope, share(claimed, best.slope, allowed + bound), coarse)


def _by_coarse(seen, claimed, smallest, tolerance):
    """The verdict "right" by the steps that rounding disturbs least, if they suffice: at finer ones
    it only grows. None if they do not.
    """
    best = min(seen.values(), key=lambda e: e.uncertainty)
    bound, allowed = SURE * best.uncertainty, tolerance(best.slope)
    if not abs(claimed - best.slope) <= allowed + bound:
        return None
    verdict = _agreeing(claimed, smallest, best, bound, allowed)
    return verdict if verdict.word == "right" else None


def _resolved(differences, claimed, smallest, tolerance, cancelling, verdict):
    """The verdict by two of the finest steps that agree in a slope that is not 0, or ``verdict`` if
    it says the same more precisely; None if no two do.

    Rounding errors do not agree: their slopes grow as the steps shrink.
    """
    found = None
    for h in FINEST:
        before, found = found, differences.of(h)
        if not (found.slope and math.isfinite(found.uncertainty) and found.uncertainty <= AGREE * abs(found.slope)):
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
    is surer: it may lie beyond all that happens. But if f moves along a line at two larger steps
    and is off it by far less, that was no bend: what cancels beside 0, as in (exp(x) - 1) / x, is
    rougher the nearer. And neighbours that contradict each other are both in doubt.
    """
    noise = statistics.median([seen[h].uncertainty * h for h in FINE if h in seen] or [0.0])
    bounds, bent = {}, 0.0
    off = {h: (e.uncertainty - e.rounding) * h for h, e in seen.items()}  # how far f is off a line within each step
    for h in sorted(seen):
        found = seen[h]
        line = (off[larger] for larger, e in seen.items() if larger > h and abs(e.slope) * larger > off[h])
        straight = sum(far < ROUGHER * off[h] for far in line)
        bent = max(bent, off[h] / h if off[h] > SURE * noise and straight < 2 else 0.0)
        bounds[h] = SURE * max(found.uncertainty, noise / h, bent)
    doubts = dict(bounds)
    for a, b in itertools.pairwise(sorted(seen)):
        doubt = abs(seen[a].slope - seen[b].slope) - bounds[a] - bounds[b]
        doubts[a], doubts[b] = max(doubts[a], doubt), max(doubts[b], doubt)
    return doubts


def _settled(claimed, smallest, found, allowed):
    """The error of the claim as a share of what is allowed, if one step suffices to see that it is
    right; else None.
    """
    if smallest is None:  # flat on both sides: a kink that is just within the step would show
        return share(claimed, found.slope, SURE * found.rounding) if found.is_still() else None
    bound = SURE * found.uncertainty
    near = min(bound, CLOSE * smallest)  # not the bound: a finer step may show an error that this one allows
    right = bound <= VISIBLE * smallest and abs(claimed - found.slope) <= allowed + near
    return share(claimed, found.slope, allowed + bound) if right else None
