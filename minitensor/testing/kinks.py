"""At a kink a function has no derivative, and a rule may give any slope between those of both
sides: here it is held to that, output by output, and for elements that kink together.

With ``F`` and ``B`` the slopes from the right and from the left of one output along one input
element, its claim ``g`` must satisfy ``min(F, B) <= g <= max(F, B)``. That alone lets a maximum
hand its whole gradient to each of three equal elements: moved together they move the maximum by
one, not by three. So the elements at kinks are moved together as well, and where an output answers
otherwise than to each alone, the sum of their claims must lie between the slopes of that.

An output may move with no element alone and have no derivative all the same, as what is sorted has
none at ties: there a rule is held to the slopes at points near by.

A rule may be documented to choose another value (the parameter ``at_kinks`` of the checks): at a
kink it is right as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minitensor.engine.mode import enable_grad
from minitensor.testing.nearby import near_by, outputs_beside, slopes_near
from minitensor.testing.packing import freeze
from minitensor.testing.slopes import free_of, kinks_of, outside, slopes
from minitensor.testing.verdicts import Verdict

__all__ = ["Kink", "at_kink", "check_together", "chosen"]

LOOKED_AT = 64  # elements at kinks of an input that are looked at output by output
ALONE = 6  # outputs whose own gradient is taken; the rest are held to the sum of their intervals


class Kink(NamedTuple):
    """An input element at a kink: its input and place, how far a step of 1 moves it, and for each
    output the slopes of both sides.
    """

    i: int
    place: int
    reach: float
    ahead: list
    behind: list


def at_kink(lines, place, judged):
    """``(verdict, Kink or None)`` of one element, of which ``judged`` is what differences of the
    sum over outputs say.
    """
    problem, i = lines.problem, lines.i
    reach = float(lines.reach[place])
    direction = np.zeros(lines.value.size)
    direction[place] = reach
    middle = [np.asarray(o, dtype=np.float64) for _, o in lines.outputs_at(direction, 0.0)]
    if not all(np.isfinite(m).all() for m in middle):
        if judged.quick:
            return judged, None
        if judged.word == "wrong" and lines.without_infinite(place, middle).word != "wrong":
            return Verdict("kink", judged.numeric), None

    def outputs_at(t):
        return [np.asarray(o, dtype=np.float64) for _, o in lines.outputs_at(direction, t)]

    kinks, free = kinks_of(outputs_at, middle)
    kinky = _places(kinks)
    live = [k for k, c in enumerate(lines.cotangents) if c is not None]

    def claim(cotangents):
        (gradient,) = problem.gradients(cotangents, wanted=[i])
        return float(gradient.reshape(-1)[place]) * reach

    def kinks_near_by(cotangents):
        """Whether the claim lies between the slopes near by where those of an output differ, and is
        right for the other outputs.
        """
        low, high, mask = near_by(lines, place)
        rough = _places(mask)
        weights = [(float(cotangents[live[k]][at]), low[k][at], high[k][at]) for k, at in rough]
        ends = [sorted((w * a, w * b)) for w, a, b in weights if w]
        claimed = claim(_masked(cotangents, live, rough, keep=True)) if ends else 0.0
        if not ends or outside(claimed, sum(a for a, _ in ends), sum(b for _, b in ends)) is not None:
            return False
        rest = _masked(cotangents, live, rough, keep=False)
        return lines.element(place, claim(rest) / reach, rest).word != "wrong"

    def rest_of(rough):
        """The cotangents of the outputs but at the ``rough`` places, and the claim by these."""
        smooth = _masked(lines.cotangents, live, rough, keep=False)
        return smooth, claim(smooth)

    if not kinky:
        if judged.jump and chosen(problem, i, place, lines.claims[place]):
            return Verdict("kink", judged.numeric), None
        if judged.word == "wrong" and kinks_near_by(lines.cotangents):
            return Verdict("kink", judged.numeric), None
        rough = _places(free)
        if judged.word == "kink" and not judged.quick and rough:
            smooth, claimed = rest_of(rough)
            if any(c is not None and c.any() for c in smooth) and np.isfinite(claimed):
                verdict = lines.element(place, claimed / reach, smooth)
                if verdict.word == "wrong" and not kinks_near_by(smooth):
                    lines.said[place], lines.said_claim[place] = "of what has no jump there ", claimed / reach
                    return verdict, None
        return judged, None
    found = slopes(outputs_at, middle)
    kink = Kink(i, int(place), reach, found.ahead, found.behind)
    for k, at in kinky[:ALONE]:
        claimed = claim(_only(lines.cotangents, live[k], at))
        off = outside(claimed, found.ahead[k][at], found.behind[k][at])
        allowed = off is None or chosen(problem, i, place, lines.claims[place])
        if not allowed and not kinks_near_by(_only(lines.cotangents, live[k], at)):
            lines.said[place] = f"of output {live[k]} at index {tuple(int(n) for n in at)}, which has a kink there, "
            lines.said_claim[place] = claimed / reach
            return Verdict("wrong", off), kink
    rest = kinky[ALONE:]
    if rest:
        weights = [(k, at, float(lines.cotangents[live[k]][at])) for k, at in rest]
        claimed = claim(_masked(lines.cotangents, live, rest, keep=True))
        ends = [(w * found.ahead[k][at], w * found.behind[k][at]) for k, at, w in weights]
        off = outside(claimed, sum(map(max, ends)), sum(map(min, ends)))
        if off is not None and not chosen(problem, i, place, lines.claims[place]):
            return Verdict("wrong", off), kink
    smooth, claimed = rest_of([*kinky, *_places(free)])
    verdict = lines.element(place, claimed / reach, smooth)
    if verdict.word == "wrong" and not chosen(problem, i, place, lines.claims[place]) and not kinks_near_by(smooth):
        lines.said[place], lines.said_claim[place] = "of what has no kink there ", claimed / reach
        return verdict, kink
    return Verdict("kink", judged.numeric), kink


def _places(masks):
    """The places that are true, each with the number of its output."""
    return [(k, tuple(at)) for k, mask in enumerate(masks) for at in np.argwhere(mask)]


def chosen(problem, i, place, claimed, cotangents=None):
    """Whether ``claimed`` is the documented choice for a kink."""
    if problem.at_kinks is None:
        return False
    given = problem.cotangents_given if cotangents is None else cotangents
    seeds = tuple(c for c in given if c is not None)
    floats = [k for k, v in enumerate(problem.values) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    with enable_grad():  # it may take gradients itself
        found = problem.at_kinks(seeds[0] if len(seeds) == 1 else seeds, *problem.packed(problem.values))
    found = found if isinstance(found, (tuple, list)) else (found,)
    choice = found[i] if len(found) == len(problem.values) else found[floats.index(i)]
    right = float(np.broadcast_to(choice, problem.values[i].shape).reshape(-1)[place])
    return bool(np.isclose(claimed, right, rtol=1e-5, atol=1e-12, equal_nan=True))


def check_together(problem, kinks, cotangents):
    """Hold the claims of elements at kinks to the slopes along which all of them move.

    Raises AssertionError. Only outputs that answer to the common step otherwise than to the sum of
    the single ones are looked at: for the others each element speaks for itself.
    """
    kinks = kinks[:LOOKED_AT]
    if len(kinks) < 2:
        return
    live = [k for k, c in enumerate(cotangents) if c is not None]

    moves = [(kink.i, kink.place, kink.reach) for kink in kinks]

    def outputs_at(t):
        return outputs_beside(problem, problem.values, moves, live, t)

    with np.errstate(all="ignore"):
        middle = outputs_at(0.0)
        found, free = slopes(outputs_at, middle), free_of(outputs_at, middle)
        coupled = []
        for k in range(len(live)):
            apart = [sum(getattr(kink, side)[k] for kink in kinks) for side in ("ahead", "behind")]
            ends = np.stack([found.ahead[k], found.behind[k], *apart])
            size = np.abs(ends).max(axis=0)
            off = (np.abs(ends[0] - ends[2]) > 0.01 * size) | (np.abs(ends[1] - ends[3]) > 0.01 * size)
            coupled += [(k, tuple(at)) for at in np.argwhere(off & np.isfinite(size) & (size > 1e-9) & ~free[k])]
    wanted = sorted({kink.i for kink in kinks})
    near: list = []  # the least and the greatest slopes at points near by, if they are asked for

    def off_from(total, places, weights, slopes, size):
        """``outside`` of the sum over ``places`` of slopes between two, each times its weight."""
        each = [(float(weights[live[k]][at]), slopes[0][k][at], slopes[1][k][at]) for k, at in places]
        ends = [sorted((weight * one, weight * other)) for weight, one, other in each]
        return outside(total, sum(low for low, _ in ends), sum(high for _, high in ends), size)

    def check(places, weights, where):
        """Hold what is claimed of the outputs at ``places``, with the ``weights`` as cotangents, to
        the sum of their slopes.

        What is no maximum itself, as the gradient of one, may have a slope along each line beside
        one that it has not along the line itself: any slope near by will do.
        """
        gradients = dict(zip(wanted, problem.gradients(weights, wanted=wanted)))
        parts = [float(gradients[kink.i].reshape(-1)[kink.place]) * kink.reach for kink in kinks]
        size = sum(abs(part) for part in parts)
        for k, at in places:
            weight = float(weights[live[k]][at])
            size += sum(abs(weight * getattr(kink, side)[k][at]) for kink in kinks for side in ("ahead", "behind"))
        off = off_from(sum(parts), places, weights, found, size)
        if off is None or problem.at_kinks is not None:
            return
        near[:] = near or slopes_near(problem, moves, live)
        if off_from(sum(parts), places, weights, near, size) is None:
            return
        names = [f"{problem.label(kink.i)} at index {problem.index(kink.i, kink.place)}" for kink in kinks[:ALONE]]
        names += [f"{len(kinks) - ALONE} more"] if len(kinks) > ALONE else []
        raise AssertionError(
            f"{problem.name}: the gradient of {' and of '.join(names)}, which kink together, is {sum(parts)!r} in "
            f"sum by its rule but {off!r} by differences that move all of them, for {where}, with\n"
            f"{problem.given_text()}"
        )

    for k, at in coupled[:ALONE]:
        where = f"output {live[k]} at index {tuple(int(n) for n in at)}"
        check([(k, at)], _only(cotangents, live[k], at), where)
    rest = coupled[ALONE:]
    if rest:
        check(rest, _masked(cotangents, live, rest, keep=True), f"{len(rest)} elements of the outputs")


def _only(cotangents, k, at):
    """Cotangents of 1 for one element of output ``k`` and of 0 elsewhere."""
    made = [None if c is None else np.zeros_like(c) for c in cotangents]
    made[k][at] = 1.0
    return [None if c is None else freeze(c) for c in made]


def _masked(cotangents, live, places, keep):
    """The cotangents with 0 at ``places``, or (``keep``) everywhere else."""
    made = [None if c is None else (np.zeros_like(c) if keep else np.array(c)) for c in cotangents]
    for k, at in places:
        made[live[k]][at] = cotangents[live[k]][at] if keep else 0.0
    return [None if c is None else freeze(c) for c in made]
