"""Gradients against differences, first order and second."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minitensor.autograd import new_leaf
from minitensor.mode import current_mode, enable_grad
from minitensor.tensor import Tensor
from minitensor.testing.differences import complex_slope, judge
from minitensor.testing.problem import Problem, freeze, show

__all__ = ["Report", "gradcheck", "gradgradcheck"]


@dataclass
class Report:
    """How many derivatives were compared, and how many were left out because the function has a kink there."""

    checked: int = 0
    kinks: int = 0


def gradcheck(fn, inputs, *, keywords=None, wanted=None, rtol=1e-5, atol=1e-7, complex_step=False, seed=0, name=None):
    """Compare the gradients of ``fn(*inputs, **keywords)`` with differences.

    fn: a function of Tensors that returns a Tensor or several, an op, or a module (whose parameters are checked too).
    inputs: tensors or arrays; floating ones are brought to float64 and differentiated (those numbered in ``wanted`` alone, where
    given), all are frozen read-only. complex_step: compare with the complex step where differences confirm that fn is analytic;
    exact to rounding, so that rtol can be 1e-10. seed: of the random cotangents and directions.

    The cotangent of each output is random, and so is a direction for each input; where the two slopes along it differ, every
    element is looked at by itself. A kink is stepped around with smaller steps; an element at a kink is left out and counted.
    Returns a ``Report``; raises AssertionError that names the function, the input, the index and both numbers.

    >>> import minitensor as mt
    >>> gradcheck(lambda x, y: mt.tanh(x) * y, [mt.ones((2, 3)), mt.ones((3,))])
    Report(checked=2, kinks=0)
    """
    problem = Problem(fn, inputs, keywords, wanted, name=name)
    return check_problem(problem, rtol, atol, complex_step, seed)


def gradgradcheck(fn, inputs, *, keywords=None, wanted=None, rtol=1e-5, atol=1e-7, seed=0, name=None):
    """Compare the second derivatives of ``fn(*inputs, **keywords)`` with differences of its first ones.

    The function that is checked takes the inputs and a random cotangent and returns the gradients of the inputs. The differences
    run the plain first-order pass, the gradients the recorded one (``create_graph=True``): the two are compared as well.
    Arguments, result and errors are those of ``gradcheck``.
    """
    problem = Problem(fn, inputs, keywords, wanted, name=name)
    return check_problem(second_order(problem, seed), rtol, atol, False, seed + 1)


def second_order(problem, seed):
    """The problem of pulling a random cotangent back through ``problem``: a function of its inputs and of the cotangent."""
    outputs = problem.evaluate()
    cotangents = problem.cotangents(outputs, np.random.default_rng(seed))
    given = [c for c in cotangents if c is not None]
    count, wanted = len(problem.values), problem.wanted

    def pulled(*values):
        recorded = current_mode.get().grad
        arguments = list(values[:count])
        if not recorded:  # a plain first-order pass: leaves of its own
            for i in wanted:
                arguments[i] = Tensor(arguments[i]._array, new_leaf(arguments[i]._array))
        with enable_grad():
            outs = problem.call(arguments)
        seeds = iter(values[count:])
        cotangents = [next(seeds) if o.dtype.kind in "fc" else None for o in outs]
        return tuple(problem.pull(outs, [arguments[i] for i in wanted], cotangents, create_graph=recorded))

    made = Problem(pulled, [*problem.values, *given], name=f"the gradient of {problem.name}")
    made.labels = [*problem.labels, *("cotangent" for _ in given)]
    made.wanted = [*wanted, *range(count, count + len(given))]
    return made


def check_problem(problem, rtol, atol, complex_step, seed, lone_kinks=False):
    """Compare all wanted gradients of ``problem`` with differences; nothing but kinks is an error unless ``lone_kinks``."""
    rng = np.random.default_rng(seed)
    outputs = problem.evaluate()
    cotangents = problem.cotangents(outputs, rng)
    report = Report()
    if not problem.wanted or all(c is None for c in cotangents):
        return report
    gradients = problem.gradients(cotangents)
    for i, gradient in zip(problem.wanted, gradients):
        value = problem.values[i]
        if gradient.shape != value.shape or gradient.dtype != value.dtype:
            raise AssertionError(
                f"{problem.name}: the gradient of {problem.label(i)} is {gradient.shape} {gradient.dtype}, "
                f"the input {value.shape} {value.dtype}"
            )
        if value.size:
            _Lines(problem, i, gradient, cotangents, rtol, atol, complex_step).check(rng, report)
    if report.kinks and not report.checked and not lone_kinks:
        raise AssertionError(
            f"{problem.name}: every one of {report.kinks} derivatives is at a kink: move the inputs off it"
        )
    return report


class _Lines:
    """The slope of <cotangents, outputs> along lines through one input."""

    def __init__(self, problem, i, gradient, cotangents, rtol, atol, complex_step):
        self.problem, self.i, self.gradient, self.cotangents = problem, i, gradient, cotangents
        self.rtol, self.atol, self.complex_step = rtol, atol, complex_step

    def check(self, rng, report):
        """One random direction; where it disagrees, every element by itself."""
        direction = rng.uniform(0.5, 1.5, self.gradient.shape) * rng.choice([-1.0, 1.0], self.gradient.shape)
        if self.verdict(direction).word == "right":
            report.checked += 1
            return
        for index in np.ndindex(self.gradient.shape):
            direction = np.zeros(self.gradient.shape)
            direction[index] = 1.0
            verdict = self.verdict(direction)
            if verdict.word == "wrong":
                raise AssertionError(self.complaint(index, verdict.numeric))
            report.kinks += verdict.word == "kink"
            report.checked += verdict.word == "right"

    def verdict(self, direction):
        """What differences along ``direction`` say of the gradient."""
        used = np.where(direction == 0, 0.0, self.gradient)  # a NaN elsewhere is not this direction's business
        claimed = float((used * direction).sum())
        weight = float(np.abs(used * direction).sum())

        def line(t):
            return self.value_at(direction, t)

        exact = complex_slope(line) if self.complex_step else None
        return judge(line, claimed, lambda numeric: self.atol + self.rtol * max(abs(numeric), weight), exact)

    def value_at(self, direction, t):
        """<cotangents, outputs> with the input moved by ``t`` along ``direction``, a Python number."""
        values = list(self.problem.values)
        values[self.i] = freeze(np.asarray(values[self.i] + t * direction))
        with np.errstate(all="ignore"):  # a step may leave the domain: the verdict sees the NaN
            outputs = self.problem.evaluate(values)
            total = sum((c * o).sum() for c, o in zip(self.cotangents, outputs) if c is not None)
        return complex(total) if isinstance(t, complex) else float(total)

    def complaint(self, index, numeric):
        """Everything that one wants to know of a wrong derivative."""
        claimed = float(self.gradient[index])
        error = abs(claimed - numeric) / max(abs(numeric), abs(claimed), math.ulp(0.0))
        given = "\n".join(f"  {self.problem.label(i)} = {show(v)}" for i, v in enumerate(self.problem.values))
        given += f"\n  {show(self.problem.keywords)}" if self.problem.keywords else ""
        return (
            f"{self.problem.name}: the gradient of {self.problem.label(self.i)} at index {index} is {claimed!r} by its rule "
            f"but {numeric!r} by differences (relative error {error:.2g}), with\n{given}"
        )
