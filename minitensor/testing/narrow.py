"""The rule in a narrower type, float16, bfloat16 or float32, against the one in float64.

The float64 rule has been held to differences at the same inputs, which are first rounded to the
narrow type, so that both see the same numbers. How far apart they may be follows from the rounding
of that type, ``eps``, and from how the gradient answers to it:

    |narrow - wide| <= 8 eps (|wide| + R + S)

R is how far the float64 gradient moves, in units of eps, if inputs and cotangents are each moved by
a random part of 4 eps of themselves: its condition. S is the size that rounding of what the rule is
made of leaves: the largest element of the gradient, the largest output times cotangent over the
largest input, or, if larger, the smaller one of cotangent and output times cotangent. An element is
counted if the bound is below nine tenths of it, so that a lost one or a wrong sign shows. Outputs
are held to the same bound, with S the largest output or input.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minitensor.backend import as_dtype, is_floating
from minitensor.testing.packing import freeze
from minitensor.testing.problem import generator

__all__ = ["Narrow", "as_types", "check_narrow", "eps_of", "representable"]

FACTOR = 8.0
VISIBLE = 0.9
STEPS = 4.0  # how far inputs are moved, in units of eps
TRIES = 6
MORE = 50  # tries where an output is off: it may be at a step, which rounding takes and few tries meet


def eps_of(dtype):
    """The distance from 1 to the next number of a floating type, and the largest and the smallest
    of it.
    """
    dtype = np.dtype(dtype)
    if dtype.name == "bfloat16":
        import ml_dtypes

        info: Any = ml_dtypes.finfo(dtype)
    else:
        info = np.finfo(dtype)
    return float(info.eps), float(info.max), float(info.smallest_normal)


def as_types(check, dtype):
    """The narrower types that ``dtype=`` of a check names, none for None; TypeError for another."""
    if dtype is None:
        return []
    types = [np.dtype(as_dtype(each)) for each in (dtype if isinstance(dtype, (list, tuple)) else [dtype])]
    for each in types:
        if not is_floating(each) or each.itemsize > 4:
            wide = ", and compares in float64 by itself" if is_floating(each) else ""
            raise TypeError(
                f"{check}: dtype={each.name!r}: it takes float16, bfloat16, float32, or a list of them{wide}"
            )
    if not types:
        raise ValueError(f"{check}: dtype={dtype!r} names no type: give float16, bfloat16, float32, or a list of them")
    return types


class Narrow:
    """The comparisons in each of ``types``, and why there was none."""

    def __init__(self, types):
        self.elements = dict.fromkeys(types, 0)
        self.why: dict = {}  # functions that say it

    def roundings(self, problem):
        """``problem`` rounded to each type that can hold its inputs."""
        for dtype in self.elements:
            self.dtype, rounded = dtype, representable(problem, dtype)
            if rounded is None:
                self.why.setdefault(dtype, lambda name=dtype.name: f"an input overflows {name}: make it smaller")
            else:
                yield rounded

    def compare(self, rounded, seed, report):
        """Hold the last rounding to its type; ``report`` gets what was compared."""
        before = report.elements
        check_narrow(rounded, self.dtype, seed, report)
        self.elements[self.dtype] += report.elements - before
        if report.elements == before:
            self.why[self.dtype] = functools.partial(_why_nothing, rounded, self.dtype)

    def check(self, name):
        """AssertionError if a type was compared in no derivative at all."""
        for dtype, elements in self.elements.items():
            if not elements:
                raise AssertionError(f"{name}: no derivative in {dtype.name} was compared: {self.why[dtype]()}")


def _why_nothing(problem, dtype):
    """Why rounding to ``dtype`` hides all derivatives, and what to give instead."""
    outputs = [o for o in problem.outputs if o.dtype.kind == "f"]
    largest = max(map(_largest, outputs), default=0.0)
    if largest > eps_of(dtype)[1]:
        return (
            f"an output, {largest:.3g}, overflows {dtype.name}: make the inputs smaller, or take a mean of fewer terms"
        )
    gradient = _largest_gradient(problem)
    if gradient == 0.0:
        return (
            f"every gradient is 0 there, and a rule that gives less than the rounding of {dtype.name} cannot be told from it: "
            "give inputs at which the function moves"
        )
    summed = max((problem.values[i].size for i in problem.wanted), default=0) > 8 * sum(o.size for o in outputs)
    cure = (
        "fewer elements, a mean in place of a sum" if summed else "inputs of another size, a function of another scale"
    )
    return (
        f"a result as large as {largest:.3g} is rounded by so much in {dtype.name} that a gradient of "
        f"{gradient:.3g} could be lost in it: {cure}, or a wider type shows it"
    )


def _largest_gradient(problem):
    return max(map(_largest, problem.pulled_back[1]), default=0.0)


def representable(problem, dtype):
    """``problem`` with floating inputs rounded to ``dtype`` and back; None if one is too large."""
    with np.errstate(over="ignore"):
        values = [_rounded(v, dtype) for v in problem.values]
    for old, new in zip(problem.values, values):
        if isinstance(old, np.ndarray) and old.dtype.kind == "f" and (np.isfinite(old) & ~np.isfinite(new)).any():
            return None
    return problem.replaced(values)


def check_narrow(problem, dtype, seed, report):
    """Compare outputs and gradients in ``dtype`` with those of ``problem``, whose inputs it
    holds exactly; AssertionError with the place and both numbers.
    """
    eps, largest, least = eps_of(dtype)
    rng = generator(seed)
    outputs = problem.evaluate()
    cotangents = [_rounded(c, dtype) for c in problem.cotangents(outputs, rng)]
    if not problem.wanted or all(c is None for c in cotangents):
        return
    narrow = problem.replaced([_cast(v, dtype) for v in problem.values])
    with np.errstate(all="ignore"):
        wide = problem.gradients(cotangents)
        made, _ = narrow.record([])
        for k, (out, right) in enumerate(zip(made, outputs)):
            if (
                is_floating(right.dtype)
                and is_floating(out.dtype)
                and out.dtype != dtype
                and "dtype" not in problem.keywords
            ):
                raise AssertionError(f"{problem.name}: output {k} of {dtype.name} inputs is {out.dtype}")
        seeds = [None if c is None else _cast(c, dtype) for c in cotangents]
        found = narrow.gradients(seeds)
        moved = [np.zeros(w.shape) for w in wide]
        _check_outputs(problem, [out._array for out in made], outputs, dtype, rng)
        for _ in range(TRIES):
            near = _nearby(problem, STEPS * eps, rng).gradients(
                [None if c is None else _nudged(c, STEPS * eps, rng) for c in cotangents]
            )
            moved = [np.fmax(m, np.abs(n - w)) for m, n, w in zip(moved, near, wide)]
        pairs = [(_largest(c), _largest(c) * _largest(o)) for c, o in zip(cotangents, outputs) if c is not None]
        pushed = max(push for _, push in pairs)
        given = max(min(pair) for pair in pairs)  # a softmax takes what is nearly g from g, however large its inputs
        for i, gradient, right, response in zip(problem.wanted, found, wide, moved):
            if gradient.dtype != dtype:
                raise AssertionError(
                    f"{problem.name}: the gradient of {dtype.name} {problem.label(i)} is {gradient.dtype}"
                )
            scale = max(_largest(right), given, pushed / max(1.0, _largest(problem.values[i])))
            size = np.abs(right)
            bound = FACTOR * (eps * (size + scale) + response / STEPS) + FACTOR * least
            got = gradient.astype(np.float64)
            sure = np.isfinite(right) & (size + bound < largest) & np.isfinite(bound)
            off = np.where(sure, ~(np.abs(got - right) <= bound), False)
            if off.any():
                place = int(np.flatnonzero(off.reshape(-1))[0])
                index = problem.index(i, place)
                raise AssertionError(
                    f"{problem.name}: the gradient of {problem.label(i)} at index {index} is {float(got[index])!r} by its rule in "
                    f"{dtype.name} but {float(right[index])!r} in float64, which differences confirm; rounding explains "
                    f"{float(bound[index]):.2g}, with\n{problem.given_text()}"
                )
            clear = sure & (bound <= VISIBLE * size)
            report.elements += int(clear.sum())
            report.checked += bool(clear.any())
            if clear.any():
                report.error = max(report.error, float((np.abs(got - right)[clear] / bound[clear]).max()))


def _check_outputs(problem, made, outputs, dtype, rng):
    """Compare the outputs in ``dtype`` with those in float64."""
    eps, largest, least = eps_of(dtype)
    scale = max((_largest(problem.values[i]) for i in problem.wanted), default=0.0)
    pairs = [(k, out.astype(np.float64)) for k, out in enumerate(made) if out.dtype == dtype]
    moved = [np.zeros(np.shape(out)) for out in outputs]
    for tries in (TRIES, MORE):
        for _ in range(tries):
            near = _nearby(problem, STEPS * eps, rng).evaluate()
            for k, _ in pairs:
                moved[k] = np.fmax(moved[k], np.abs(near[k] - outputs[k]))
        off = None
        for k, got in pairs:
            right = np.asarray(outputs[k])
            bound = FACTOR * (eps * (np.abs(right) + max(_largest(right), scale)) + moved[k] / STEPS + least)
            sure = np.isfinite(right) & (np.abs(right) + bound < largest)
            wrong = sure & ~(np.abs(got - right) <= bound)
            if off is None and wrong.any():
                off = k, tuple(int(n) for n in np.argwhere(wrong)[0]), got, right, bound
        if off is None:
            return
    assert off is not None
    k, index, got, right, bound = off
    raise AssertionError(
        f"{problem.name}: output {k} at index {index} is {float(got[index])!r} in {dtype.name} but {float(right[index])!r} in "
        f"float64; rounding explains {float(bound[index]):.2g}, with\n{problem.given_text()}"
    )


def _nearby(problem, part, rng):
    """``problem`` with its wanted inputs moved by random parts of themselves, up to ``part``."""
    values = list(problem.values)
    for i in problem.wanted:
        values[i] = _nudged(values[i], part, rng)
    return problem.replaced(values)


def _rounded(value, dtype):
    """A floating array rounded to ``dtype``, in float64."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return freeze(np.asarray(value.astype(dtype).astype(np.float64)))


def _cast(value, dtype):
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return freeze(np.asarray(value.astype(dtype)))


def _nudged(value, part, rng):
    return freeze(np.asarray(value * (1.0 + part * rng.uniform(-1.0, 1.0, value.shape))))


def _largest(array):
    good = np.abs(array[np.isfinite(array)])
    return float(good.max()) if good.size else 0.0
