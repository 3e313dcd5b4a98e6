"""One gradient against differences: along random directions through groups of elements, and element
by element if these disagree.

A direction through all elements at once would let a large one hide a small one that is wrong. So
the elements are grouped by the size of their claims (a decade to a group, zeros in one of their
own), and a direction passes only if an error of the smallest part would show. A group that does not
pass is cut in four, down to the elements that are wrong, at a kink, or smaller than rounding.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from minitensor.engine.mode import no_grad
from minitensor.testing.complex_step import complex_slope, confirms
from minitensor.testing.differences import EPSILON, STEP, differ
from minitensor.testing.kinks import LOOKED_AT, at_kink
from minitensor.testing.packing import freeze
from minitensor.testing.verdicts import VISIBLE, Verdict, judge, settled_at_once, share

__all__ = ["check_gradients"]

FAR = 100.0  # inputs beyond this are moved in proportion to their size
SMALL = 0.1  # inputs below this may be moved in proportion to their size too
PATIENCE = 100  # groups of an input that rounding may blur before no more of these are cut


def check_gradients(problem, gradients, outputs, cotangents, report, **options):
    """Hold ``gradients``, one for each wanted input, to differences; count in ``report``;
    AssertionError at the first wrong element.

    outputs: those of ``problem``. A gradient that passes as a whole counts as one derivative;
    otherwise each element counts, those at kinks by themselves: returns a list of these.
    """
    pairs = [(i, gradient) for i, gradient in zip(problem.wanted, gradients) if gradient.size]
    every = [_Lines(problem, i, gradient, outputs, cotangents, **options) for i, gradient in pairs]
    settled = [np.zeros(lines.claims.size, dtype=bool) for lines in every]
    with no_grad(), np.errstate(all="ignore"):  # a step may leave the domain: the verdict sees the NaN
        if len(every) > 1 and not options["complex_step"]:
            settled = _Together(every).settle(report)
        for lines, right in zip(every, settled):
            _check_input(lines, right, report)
    return [kink for lines in every for kink in lines.kinks]


def _check_input(lines, settled, report):
    """Hold the gradient of one input to differences, but for the elements that are ``settled``."""
    groups = [(group, lines.verdict(group)) for group in lines.groups(~settled)]
    lines.compared = int(settled.sum())
    if all(verdict.word == "right" for _, verdict in groups):
        report.checked += 1
        report.elements += lines.claims.size
        report.error = max([report.error, *(verdict.share for _, verdict in groups)])
        report.count(lines.problem.label(lines.i), lines.claims.size)
        return
    report.checked += int(settled.sum())
    report.elements += int(settled.sum())
    for group, verdict in groups:
        lines.narrow(group, verdict, report)
    compared = lines.compared or (lines.claims.size if lines.is_rounding() else 0)
    report.count(lines.problem.label(lines.i), compared)


def _rounding(gradient):
    """Rounding of a gradient whose parts are as large as its largest element."""
    finite = np.abs(gradient[np.isfinite(gradient)])
    return 16 * EPSILON * float(finite.max(initial=0.0))


class _Lines:
    """The slope of <cotangents, outputs> along lines through one input; elements by their place in
    the flat array.
    """

    def __init__(self, problem, i, gradient, outputs, cotangents, *, rtol, atol, complex_step, rng):
        self.problem, self.i, self.cotangents = problem, i, cotangents
        self.rtol, self.complex_step = rtol, complex_step
        self.value = np.asarray(problem.values[i]).reshape(-1)
        self.claims = gradient.reshape(-1)
        # A step of 0 makes 0.0 of -0.0, where another branch may begin.
        signed = bool((np.signbit(self.value) & (self.value == 0)).any())
        self.unmoved = [None if signed else outputs]
        self.reach = np.where(np.abs(self.value) > FAR, np.abs(self.value), 1.0)
        self.atol = atol
        self.floor = _rounding(self.claims)
        self.blurred = 0
        self.compared = 0  # elements that were held to a slope
        self.kinks: list = []
        self.finite_claims: Any = None  # the gradient with outputs left out that are not finite
        self.said: dict = {}  # by place, which outputs a complaint is about, and what the rule gives for them
        self.said_claim: dict = {}
        self.weights = rng.uniform(0.5, 1.5, self.value.size) * rng.choice([-1.0, 1.0], self.value.size)

    def groups(self, among, width=1):
        """Places of ``among`` whose claims have one size each, within ``width`` decades: zeros
        together, each that is not finite alone.
        """
        sizes = np.abs(self.claims * self.reach)
        for place in np.flatnonzero(~np.isfinite(sizes) & among):
            yield np.array([place])
        decades = np.floor(np.log10(np.where(np.isfinite(sizes), sizes, 0.0)) / width)
        decades[~np.isfinite(sizes)] = np.nan
        for decade in np.unique(decades[~np.isnan(decades) & among]):
            yield np.flatnonzero((decades == decade) & among)

    def narrow(self, group, verdict, report):
        """Cut a group that is not right as a whole in four until it is clear which of its elements
        are not.
        """
        if verdict.word == "right":
            self.compared += len(group)
            report.checked += len(group)
            report.elements += len(group)
            report.error = max(report.error, verdict.share)
        elif len(group) == 1:
            if verdict.word == "blurred" and self.floor > VISIBLE * abs(self.claims[group[0]]):
                verdict = self.by_itself(group[0], verdict)
            verdict = self.by_outputs(group, verdict)
            if verdict.quick:  # no output has a kink that is seen, or too many elements have
                verdict = self.by_outputs(group, self.verdict(group, quick=False))
                if verdict.word == "right":
                    return self.narrow(group, verdict, report)
            report.hidden += verdict.word == "blurred"
            if verdict.word == "wrong":
                raise AssertionError(self.complaint(group[0], verdict.numeric))
            report.kinks += verdict.word == "kink"
            self.compared += verdict.word == "kink" and not math.isnan(verdict.numeric)
        elif verdict.word != "blurred" or (self.blurred < PATIENCE and self.may_show(group, verdict)):
            self.blurred += verdict.word == "blurred"
            for part in np.array_split(group, min(4, len(group))):
                self.narrow(part, self.verdict(part), report)
        else:
            report.hidden += len(group)

    def by_outputs(self, group, verdict):
        """The verdict on one element by each output, if it may be at a kink and not too many are
        known.
        """
        if verdict.word not in ("kink", "wrong") or len(self.kinks) >= LOOKED_AT:
            return verdict
        verdict, kink = at_kink(self, group[0], verdict)
        self.kinks += [kink] if kink is not None else []
        return verdict

    def may_show(self, group, verdict):
        """Whether a part of a blurred group may be seen by itself: the largest, if what hides all
        is shared out evenly.
        """
        sizes = np.abs(self.claims[group] * self.reach[group])
        return verdict.beyond * sizes.min() <= len(group) * sizes.max()

    def verdict(self, group, relative=False, quick=True):
        """What differences say of the slope along a line that moves the elements of ``group`` and
        no others. quick: whether a kink that a first look sees is told at once.
        """
        if not np.isfinite(self.reach[group]).all():  # an infinite input cannot be moved
            return Verdict("kink", math.nan)
        direction = np.zeros(self.value.size)
        direction[group] = (self.weights[group] if len(group) > 1 else 1.0) * self.reach[group]
        parts = self.claims[group] * direction[group]
        moved = np.abs(self.claims[group] * self.value[group])
        claimed, weight = float(parts.sum()), float(np.abs(parts).sum())
        smallest = float(np.abs(parts).min()) or None

        def line(t):
            return self.outputs_at(direction, t)

        def tolerance(slope, rtol=self.rtol):
            # Of many elements each may be off by rtol, but not so that the sum would hide one that
            # is wrong.
            part = rtol * abs(slope) if len(group) == 1 else max(1e-4 * rtol, 16 * EPSILON) * weight
            return (self.atol + self.floor) * float(np.abs(direction).sum()) + part

        exact = complex_slope(line) if self.complex_step and math.isfinite(claimed) else None
        if exact is not None and confirms(line, exact, self.problem.scale):
            bound = tolerance(exact)
            return Verdict("right" if abs(claimed - exact) <= bound else "wrong", exact, share(claimed, exact, bound))
        wobble = EPSILON * float(moved[np.isfinite(moved)].sum())  # an infinite claim makes differences no rougher
        loose = max(self.rtol, 1e-5) if self.complex_step else self.rtol
        problem = self.problem
        floor = self.floor * float(np.abs(direction).sum())
        # Numbers of about 1 that cancel leave their rounding; where elements move by more than 1,
        # as much more, but no more than the function is large.
        cancelling = min(problem.cancelling, float(np.abs(direction).max()))
        cancelling = min(1.0, problem.cancelling) if relative else max(1.0, cancelling)
        sizes_of = (wobble, problem.scale, cancelling, floor, problem.cancelling)
        found = judge(line, claimed, smallest, lambda slope: tolerance(slope, loose), *sizes_of, quick=quick)
        sizes = np.abs(self.value[group])
        settled = found.word == "right" and not found.coarse
        if settled or relative or not ((sizes > 0) & (sizes < SMALL)).all():
            return found
        # Small inputs: a logarithm or a power changes within steps in proportion to them.
        again = self.scaled(np.where(self.value == 0, self.reach, np.abs(self.value))).verdict(group, True, quick)
        if again.word == "right" or (again.word == "wrong" and found.word != "wrong"):
            factor = float(self.reach[group[0]] / abs(self.value[group[0]])) if len(group) == 1 else 1.0
            return again._replace(numeric=again.numeric * factor)
        return found._replace(beyond=min(found.beyond, again.beyond))

    def by_itself(self, place, verdict):
        """The verdict on one element of which rounding of larger claims may hide all, by the
        outputs that it moves: that of an op that works element by element has no part in theirs.
        """
        direction = np.zeros(self.value.size)
        direction[place] = self.reach[place]
        middle, *moved = (self.outputs_at(direction, t) for t in (0.0, STEP, -STEP))
        live = iter(np.any([differ(side[k][1], o) for side in moved], axis=0) for k, (_, o) in enumerate(middle))
        cotangents = [None if c is None else freeze(np.where(next(live), c, 0.0)) for c in self.cotangents]
        (gradient,) = self.problem.gradients(cotangents, wanted=[self.i])
        other = copy.copy(self)
        other.cotangents, other.claims = cotangents, gradient.reshape(-1)
        other.floor = _rounding(other.claims)
        if not other.floor < self.floor / 16:
            return verdict
        found = other.verdict(np.array([place]), quick=False)
        if found.word == "wrong":
            self.said[place], self.said_claim[place] = "of the outputs that it moves ", float(other.claims[place])
        return found if found.word in ("right", "wrong") else verdict

    def is_rounding(self):
        """Whether the claims are no more than what rounding leaves of slopes of 0, as those of a
        bias before a batch norm: they are other ones if all inputs are moved by next to nothing.
        """
        rng = np.random.default_rng(0)
        largest = np.abs(self.claims).max(initial=0.0)
        for _ in range(4):  # by chance it may leave the same
            values = list(self.problem.values)
            for k in self.problem.wanted:
                values[k] = freeze(np.asarray(values[k] * (1 + 1e-7 * rng.uniform(-1, 1, values[k].shape))))
            try:
                (gradient,) = self.problem.replaced(values).gradients(self.cotangents, wanted=[self.i])
            except Exception:  # these values are none that the function takes
                return False
            if np.abs(gradient.reshape(-1) - self.claims).max(initial=0.0) > 0.1 * largest:
                return True
        return False

    def scaled(self, reach):
        """The same lines with other steps for each element."""
        other = copy.copy(self)
        other.reach = reach
        return other

    def without_infinite(self, place, middle):
        """The verdict on one element if outputs that are not finite, which have no derivative, are
        left out.
        """
        live = iter(middle)
        cotangents = [None if c is None else freeze(np.where(np.isfinite(next(live)), c, 0.0)) for c in self.cotangents]
        if self.finite_claims is None:
            (gradient,) = self.problem.gradients(cotangents, wanted=[self.i])
            self.finite_claims = gradient.reshape(-1)
        claimed = float(self.finite_claims[place])
        if math.isnan(claimed):  # 0 times what is not finite, added to the rest
            return Verdict("kink", math.nan)
        return self.element(place, claimed, cotangents)

    def element(self, place, claimed, cotangents):
        """The verdict on ``claimed`` for one element with other ``cotangents``."""
        other = copy.copy(self)
        other.cotangents, other.claims = cotangents, self.claims.copy()
        other.claims[place] = claimed
        return other.verdict(np.array([place]), quick=False)

    def outputs_at(self, direction, t):
        """Pairs of cotangent and output with the input moved by ``t`` along ``direction``, a Python
        number.
        """
        still = isinstance(t, float) and t == 0.0 and bool(np.isfinite(direction).all())
        if still and self.unmoved[0] is not None:
            outputs = self.unmoved[0]
        else:
            moved = self.moved(self.value + t * direction)
            outputs = self.problem.evaluate(moved) if still else self.problem.evaluate_beside(moved)
            if still:
                self.unmoved[0] = outputs
        return [(c, o) for c, o in zip(self.cotangents, outputs) if c is not None]

    def moved(self, value):
        """The inputs of the function with these elements."""
        values = list(self.problem.values)
        values[self.i] = freeze(value.reshape(values[self.i].shape))
        return values

    def complaint(self, place, numeric):
        """Everything that one wants to know of a wrong derivative."""
        index = self.problem.index(self.i, place)
        claimed, numeric = float(self.claims[place]), numeric / float(self.reach[place])
        claimed = self.said_claim.get(place, claimed)
        error = abs(claimed - numeric) / max(abs(numeric), abs(claimed), math.ulp(0.0))
        return (
            f"{self.problem.name}: the gradient of {self.problem.label(self.i)} at index {index} {self.said.get(place, '')}"
            f"is {claimed!r} by its rule but {numeric!r} by differences (relative error {error:.2g}), with\n"
            f"{self.problem.given_text()}"
        )


class _Together(_Lines):
    """The lines through the elements of several inputs, one after the other in one flat array."""

    def __init__(self, every):
        vars(self).update(vars(every[0]))
        self.every = every
        for name in ("value", "claims", "reach", "weights"):
            setattr(self, name, np.concatenate([getattr(lines, name) for lines in every]))
        self.floors = np.concatenate([np.full(lines.value.size, lines.floor + lines.atol) for lines in every])
        self.ends = np.cumsum([lines.value.size for lines in every])[:-1]
        self.unmoved = [None if any(lines.unmoved[0] is None for lines in every) else self.unmoved[0]]

    def moved(self, value):
        values = list(self.problem.values)
        for lines, part in zip(self.every, np.split(value, self.ends)):
            values[lines.i] = freeze(part.reshape(values[lines.i].shape))
        return values

    def settle(self, report):
        """Which elements of each input lines through those of all inputs show to be right with one
        step: nearly all are, and this takes a fraction of the time of a look at each input.
        """
        settled = np.zeros(self.claims.size, dtype=bool)
        tried = set()
        for width in (2, 1):
            for group in list(self.groups(~settled, width)):
                share = None if (known := group.tobytes()) in tried else self.share(group)
                tried.add(known)
                if share is not None:
                    settled[group] = True
                    report.error = max(report.error, share)
        return np.split(settled, self.ends)

    def share(self, group):
        """The error along one line as a share of what is allowed, if one step shows that the claim
        is right; else None.
        """
        direction = np.zeros(self.value.size)
        direction[group] = self.weights[group] * self.reach[group]
        parts = self.claims[group] * direction[group]
        moved = np.abs(self.claims[group] * self.value[group])
        sizes = np.abs(parts)
        if not np.isfinite(sizes).all():
            return None
        smallest = float(sizes.min()) or None
        floor = float((self.floors * np.abs(direction)).sum())
        allowed = floor + max(1e-4 * self.rtol, 16 * EPSILON) * float(sizes.sum())
        wobble = EPSILON * float(moved[np.isfinite(moved)].sum())
        sizes_of = (wobble, self.problem.scale, floor)
        return settled_at_once(
            lambda t: self.outputs_at(direction, t), float(parts.sum()), smallest, allowed, *sizes_of
        )
