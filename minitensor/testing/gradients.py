"""Gradients against differences, first order and second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.engine.autograd import new_leaf
from minitensor.engine.messages import describe
from minitensor.engine.mode import current_mode, enable_grad
from minitensor.engine.tensor import Tensor
from minitensor.testing.collected import collected
from minitensor.testing.directions import check_gradient
from minitensor.testing.foreign import own_backward_called
from minitensor.testing.problem import Problem, generator

__all__ = ["Report", "gradcheck", "gradgradcheck"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


@dataclass
class Report:
    """How many derivatives were compared, and how many were left out because the function has a
    kink there.

    A gradient that was right as a whole counts as one; ``elements`` counts all elements of what was
    compared.
    """

    checked: int = 0
    kinks: int = 0
    elements: int = field(default=0, repr=False, compare=False)


@collected
def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | np.ndarray | Sequence[Any],
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    complex_step: bool = False,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compare the gradients of ``fn(*inputs, **keywords)`` with differences.

    fn: a function of Tensors that returns a Tensor or several, an op, or a module (whose parameters
    are checked too). inputs: a list of tensors or arrays, or lists of these, one item for each
    argument of fn (one tensor is taken as one input); floating ones are brought to float64 and
    differentiated (those numbered in ``wanted`` alone, if given), all are frozen read-only. rtol,
    atol: error allowed in each element, beside what rounding hides. complex_step: compare with the
    complex step if differences confirm that fn is analytic; exact to rounding, so that rtol can be
    1e-10. seed: of the random cotangents and directions.

    The cotangent of each output is random. The elements of a gradient are compared along random
    directions, each through elements of one size, so that none hides behind larger ones; a
    direction that disagrees is halved down to the elements that are wrong. Smaller steps go around
    a kink near by. At a kink itself the gradient must lie between the slopes of both sides; such an
    element is counted apart. Returns a ``Report``.

    Raises AssertionError that names the function, the input, the index and both numbers; if no
    derivative could be compared, whatever the reason; and if fn runs something with a backward of
    its own, which minitensor never calls (a ``torch.autograd.Function``, a primitive of HIPS
    autograd): it would not be checked.

    >>> import minitensor as mt
    >>> gradcheck(lambda x, y: mt.tanh(x) * y, [mt.ones((2, 3)), mt.ones((3,))])
    Report(checked=2, kinks=0)
    """
    problem = Problem(fn, inputs, keywords, wanted, name=name)
    return check_problem(problem, rtol, atol, complex_step, seed)


@collected
def gradgradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | np.ndarray | Sequence[Any],
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compare the second derivatives of ``fn(*inputs, **keywords)`` with differences of its first
    ones.

    The function that is checked takes the inputs and a random cotangent and returns the gradients
    of the inputs. The differences run the plain first-order pass, the gradients the recorded one
    (``create_graph=True``): the two are compared as well. Arguments, result and errors are those of
    ``gradcheck``.
    """
    problem = Problem(fn, inputs, keywords, wanted, name=name)
    cotangents = problem.cotangents(problem.evaluate(), generator(seed))
    if not problem.wanted or all(c is None for c in cotangents):
        raise AssertionError(nothing_compared(problem, Report(), cotangents))
    return check_problem(second_order(problem, seed), rtol, atol, False, seed + 1)


def second_order(problem, seed):
    """The problem of pulling a random cotangent back through ``problem``: a function of its inputs
    and of the cotangent.
    """
    outputs = problem.evaluate()
    cotangents = problem.cotangents(outputs, generator(seed))
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
    made.scale = max(
        (float(np.abs(o[np.isfinite(o)]).max(initial=0.0)) for o in outputs if o.dtype.kind == "f"), default=0.0
    )
    return made


def check_problem(problem, rtol, atol, complex_step, seed, lone=False):
    """Compare all wanted gradients of ``problem`` with differences.

    lone: whether nothing compared, or nothing but kinks, is no error, as it is for one example of
    many.
    """
    rng = generator(seed)
    cotangents = problem.cotangents(problem.evaluate(), rng)
    report = Report()
    if problem.wanted and any(c is not None for c in cotangents):
        with own_backward_called(problem.given, problem.name):
            gradients = problem.gradients(cotangents)
        for i, gradient in zip(problem.wanted, gradients):
            value = problem.values[i]
            if gradient.shape != value.shape or gradient.dtype != value.dtype:
                raise AssertionError(
                    f"{problem.name}: the gradient of {problem.label(i)} is {gradient.shape} {gradient.dtype}, "
                    f"the input {value.shape} {value.dtype}"
                )
            if value.size:
                options = {"rtol": rtol, "atol": atol, "complex_step": complex_step, "rng": rng}
                check_gradient(problem, i, gradient, cotangents, report, **options)
    if not lone and not report.checked:
        raise AssertionError(nothing_compared(problem, report, cotangents))
    return report


def nothing_compared(problem, report, cotangents):
    """Why a check of ``problem`` compared no derivative, and what to give it instead."""
    if report.kinks:
        why = f"every one of {report.kinks} derivatives is at a kink: move the inputs off it"
    elif all(c is None for c in cotangents):
        why = "no output is floating, so that there is no derivative"
    elif not problem.wanted:
        given = ", ".join(f"{problem.label(i)}: {describe(v)}" for i, v in enumerate(problem.values))
        why = f"no input is a floating array that is wanted ({given}): give np.array([1.0, 2.0]) or a Tensor, and check wanted="
    elif not any(problem.values[i].size for i in problem.wanted):
        why = "the inputs have no elements"
    else:
        why = (
            "the gradients are smaller than the rounding errors of the outputs: scale the function, or move the inputs"
        )
    return f"{problem.name}: no derivative was compared: {why}"
