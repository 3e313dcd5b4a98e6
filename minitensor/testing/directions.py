"""One gradient against differences: along random directions through groups of elements, and element
by element if these disagree.

A direction through all elements at once would let a large one hide a small one that is wrong. So
the elements are grouped by the size of their claims (a decade to a group, zeros in one of their
own), and a direction passes only if an error of the smallest part would show. A group that does not
pass is halved, down to the elements that are wrong, at a kink, or smaller than rounding.
"""

from __future__ import annotations

import math

import numpy as np

from minitensor.testing.differences import EPSILON, Verdict, complex_slope, confirms, judge
from minitensor.testing.problem import freeze, show

__all__ = ["check_gradient"]

FAR = 100.0  # inputs beyond this are moved in proportion to their size
PATIENCE = 100  # groups of an input that rounding may blur before no more of these are halved


def check_gradient(problem, i, gradient, cotangents, report, *, rtol, atol, complex_step, rng):
    """Hold ``gradient``, of input ``i``, to differences; count in ``report``; AssertionError at the
    first wrong element.

    A gradient that passes as a whole counts as one derivative; otherwise each element counts, those
    at kinks by themselves.
    """
    lines = _Lines(problem, i, gradient, cotangents, rtol, atol, complex_step, rng)
    groups = [(group, lines.verdict(group)) for group in lines.groups()]
    if all(verdict.word == "right" for _, verdict in groups):
        report.checked += 1
        report.elements += gradient.size
        return
    for group, verdict in groups:
        lines.narrow(group, verdict, report)


class _Lines:
    """The slope of <cotangents, outputs> along lines through one input; elements by their place in
    the flat array.
    """

    def __init__(self, problem, i, gradient, cotangents, rtol, atol, complex_step, rng):
        self.problem, self.i, self.cotangents = problem, i, cotangents
        self.rtol, self.complex_step = rtol, complex_step
        self.value = np.asarray(problem.values[i]).reshape(-1)
        self.claims = gradient.reshape(-1)
        self.reach = np.where(np.abs(self.value) > FAR, np.abs(self.value), 1.0)
        finite = np.abs(self.claims[np.isfinite(self.claims)])
        self.floor = atol + 16 * EPSILON * float(finite.max(initial=0.0))  # rounding of the gradient itself
        self.blurred = 0
        self.weights = rng.uniform(0.5, 1.5, self.value.size) * rng.choice([-1.0, 1.0], self.value.size)

    def groups(self):
        """Places whose claims have one size each: zeros together, decades by themselves, each that
        is not finite alone.
        """
        sizes = np.abs(self.claims * self.reach)
        for place in np.flatnonzero(~np.isfinite(sizes)):
            yield np.array([place])
        with np.errstate(divide="ignore"):
            decades = np.floor(np.log10(np.where(np.isfinite(sizes), sizes, 0.0)))
        decades[~np.isfinite(sizes)] = np.nan
        for decade in np.unique(decades[~np.isnan(decades)]):
            yield np.flatnonzero(decades == decade)

    def narrow(self, group, verdict, report):
        """Halve a group that is not right as a whole until it is clear which of its elements are
        not.
        """
        if verdict.word == "right":
            report.checked += len(group)
            report.elements += len(group)
        elif len(group) == 1:
            if verdict.word == "wrong":
                raise AssertionError(self.complaint(group[0], verdict.numeric))
            report.kinks += verdict.word == "kink"
        elif verdict.word != "blurred" or self.blurred < PATIENCE:
            self.blurred += verdict.word == "blurred"
            for half in np.array_split(group, 2):
                self.narrow(half, self.verdict(half), report)

    def verdict(self, group):
        """What differences say of the slope along a line that moves the elements of ``group`` and
        no others.
        """
        direction = np.zeros(self.value.size)
        direction[group] = (self.weights[group] if len(group) > 1 else 1.0) * self.reach[group]
        parts = self.claims[group] * direction[group]
        claimed, weight = float(parts.sum()), float(np.abs(parts).sum())
        smallest = float(np.abs(parts).min()) or None

        def line(t):
            return self.outputs_at(direction, t)

        def tolerance(slope, rtol=self.rtol):
            # Of many elements each may be off by rtol, but not so that the sum would hide one that
            # is wrong.
            share = rtol * abs(slope) if len(group) == 1 else max(1e-4 * rtol, 16 * EPSILON) * weight
            return self.floor * float(np.abs(direction).sum()) + share

        exact = complex_slope(line) if self.complex_step and math.isfinite(claimed) else None
        if exact is not None and confirms(line, exact, self.problem.scale):
            return Verdict("right" if abs(claimed - exact) <= tolerance(exact) else "wrong", exact)
        rough = np.abs(self.claims[group] * self.value[group])
        wobble = EPSILON * float(rough[np.isfinite(rough)].sum())  # an infinite claim makes differences no rougher
        loose = max(self.rtol, 1e-5) if self.complex_step else self.rtol
        return judge(line, claimed, smallest, lambda slope: tolerance(slope, loose), wobble, self.problem.scale)

    def outputs_at(self, direction, t):
        """Pairs of cotangent and output with the input moved by ``t`` along ``direction``, a Python
        number.
        """
        values = list(self.problem.values)
        values[self.i] = freeze((self.value + t * direction).reshape(self.problem.values[self.i].shape))
        with np.errstate(all="ignore"):  # a step may leave the domain: the verdict sees the NaN
            outputs = self.problem.evaluate(values)
        return [(c, o) for c, o in zip(self.cotangents, outputs) if c is not None]

    def complaint(self, place, numeric):
        """Everything that one wants to know of a wrong derivative."""
        index = tuple(int(k) for k in np.unravel_index(place, self.problem.values[self.i].shape))
        claimed, numeric = float(self.claims[place]), numeric / float(self.reach[place])
        error = abs(claimed - numeric) / max(abs(numeric), abs(claimed), math.ulp(0.0))
        given = "\n".join(f"  {self.problem.label(i)} = {show(v)}" for i, v in enumerate(self.problem.values))
        given += f"\n  {show(self.problem.keywords)}" if self.problem.keywords else ""
        return (
            f"{self.problem.name}: the gradient of {self.problem.label(self.i)} at index {index} is {claimed!r} by its rule "
            f"but {numeric!r} by differences (relative error {error:.2g}), with\n{given}"
        )
