"""A rule is linear in the gradient that it is given, whatever the numbers and wherever they lie in
memory: one of zeros and of both signs, broadcast, or with gaps.
"""

from __future__ import annotations

import numpy as np

from minitensor.testing.packing import freeze
from minitensor.testing.problem import generator
from minitensor.testing.promises import size_of, strided

__all__ = ["check_cotangents", "check_linear"]

FACTOR = -1024.0  # what cotangents are multiplied by


def check_linear(problem):
    """Cotangents times -1024, with gaps between them in memory, give gradients times -1024: a rule
    is linear in what it is given, not clipped or cut to one sign, whatever the memory. A power of
    two changes no rounding.
    """
    outputs, leaves = problem.recorded
    cotangents, gradients = problem.pulled_back
    with np.errstate(all="ignore"):
        larger = [None if c is None else strided(np.asarray(FACTOR * c)) for c in cotangents]
        wanted = [FACTOR * right for right in gradients]
        found = problem.pulled(outputs, leaves, larger, keep=True)
        if _unlike(problem, found, wanted, larger) is None:
            return
        dense = [None if c is None else freeze(np.array(c, order="C")) for c in larger]
        what = f"with cotangents times {FACTOR:g}: its rule is not linear in the gradient that it is given"
        _complain(problem, problem.pulled(outputs, leaves, dense, keep=True), wanted, larger, what)
        what = "if the gradient that it is given is not contiguous (its rule reads the memory and not the array)"
        _complain(problem, found, wanted, larger, what)


def check_cotangents(problem):
    """A rule gives for the parts of a cotangent, zeros elsewhere, what adds up to that of the
    whole; and for one number broadcast, as the gradient of a sum is, what it gives for an array.

    Of many examples that are of one kind, the first alone is looked at.
    """
    if not problem.turns.is_first(problem):
        return
    outputs, leaves = problem.recorded
    cotangents, _ = problem.pulled_back
    rng = generator(1)
    masks = [None if c is None else np.asarray(rng.integers(0, 2, c.shape), dtype=c.dtype) for c in cotangents]

    def gradients_of(change):
        made = [None if c is None else freeze(change(c, m)) for c, m in zip(cotangents, masks)]
        return problem.pulled(outputs, leaves, made, keep=True)

    with np.errstate(all="ignore"):
        one, other = gradients_of(lambda c, m: m), gradients_of(lambda c, m: np.asarray(1 - m))
        parts = [np.asarray(a + b) for a, b in zip(one, other)]
        found = gradients_of(lambda c, m: np.broadcast_to(np.ones((), c.dtype), c.shape))
        both = (found, parts), (parts, found)  # neither is NaN where the other is a number
        if all(_unlike(problem, a, b, cotangents, one) is None for a, b in both):
            return
        ones = gradients_of(lambda c, m: np.ones(c.shape, c.dtype))
        _complain(problem, found, ones, cotangents, "if the gradient that it is given is one number broadcast")
        what = "as the sum over two parts of the gradient that it is given, each with zeros in the place of the other"
        _complain(problem, parts, ones, cotangents, what, one)


def _unlike(problem, found, wanted, cotangents, parts=(), rtol=1e-9):
    """``(input, index)`` of the first gradient that is another one than is ``wanted``, which is
    finite there; None if there is none. parts: what was added, whose rounding may be left.
    """
    given = min((size_of(c) for c in cotangents if c is not None), default=0.0)
    given = max([given, *map(size_of, parts)])
    for i, gradient, right in zip(problem.wanted, found, wanted):
        off = np.isfinite(right) & ~(np.abs(gradient - right) <= rtol * max(size_of(right), given))
        if off.any():
            return i, tuple(int(k) for k in np.argwhere(off)[0])
    return None


def _complain(problem, found, wanted, cotangents, what, parts=()):
    """Raise for the first gradient ``found`` that is not as ``wanted``; ``what`` says of which."""
    place = _unlike(problem, found, wanted, cotangents, parts)
    if place is None:
        return
    i, index = place
    k = problem.wanted.index(i)
    raise AssertionError(
        f"{problem.name}: the gradient of {problem.label(i)} at index {index} is {float(found[k][index])!r} and not "
        f"{float(wanted[k][index])!r} {what}, with\n{problem.given_text()}"
    )
