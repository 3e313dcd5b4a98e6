"""``check_op``: one call that holds a function to everything an op promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.testing import promises
from minitensor.testing.collected import collected
from minitensor.testing.gradients import Report, check_problem, second_order
from minitensor.testing.problem import Problem, as_inputs, name_of, show

__all__ = ["check_op"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NOTHING = "give floating inputs with elements (arrays or Tensors, no lists of numbers) and floating outputs, or order=0"


@collected
def check_op(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    rtol: float = 1e-5,
    atol: float = 0.0,
    complex_step: bool = False,
    examples: int = 25,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Check an op, a fused op, a layer or any function of Tensors, on given inputs or on many drawn
    ones.

    fn: as for ``gradcheck``. inputs: a list of tensors, arrays and other arguments, any of them a
    hypothesis strategy, or one strategy that draws a tensor or such a list (see
    ``minitensor.testing.strategies``); a dict at the end of a drawn list holds keywords. reference:
    a NumPy function that gives the right values. order: 0 checks values alone, 1 gradients too, 2
    second derivatives as well. examples: how many to draw.

    Checked are: values (against ``reference``); the same bits under ``no_grad``; inputs unchanged,
    and frozen throughout, so that a rule that writes to its arguments fails; any memory layout;
    float32 stays float32; each gradient alone as with the others; a second backward as the first; a
    ``@fused`` kernel against its definition; and first and second derivatives against differences
    with random cotangents, kinks stepped around. Shapes with 0 elements or no axes come from the
    strategy.

    Returns a ``Report``. Raises AssertionError with the op, input, index and both numbers; a drawn
    example is shrunk first and shown with the seed that drew it.

    >>> import numpy as np
    >>> import minitensor as mt
    >>> check_op(mt.multiply, [mt.ones((2, 3)), mt.full((3,), 2.0)], reference=np.multiply).kinks
    0
    """
    options = {
        "reference": reference, "order": order, "rtol": rtol, "atol": atol, "complex_step": complex_step, "seed": seed,
    }  # fmt: skip
    first, second = Report(), Report()

    def check(case):
        case = list(case) if isinstance(case, (list, tuple)) else [case]
        named = {**(keywords or {}), **(case.pop() if case and isinstance(case[-1], dict) else {})}
        problem = Problem(fn, case, named, wanted, name=name)
        _check_case(problem, first, second, **options)

    inputs = inputs if hasattr(inputs, "example") else as_inputs(inputs)
    if not isinstance(inputs, list):
        _check_drawn(check, inputs, examples, seed)
    elif any(hasattr(value, "example") for value in inputs):
        _check_drawn(check, _drawn_list(inputs), examples, seed)
    else:
        check(inputs)
    for compared, what in ((first, "derivative"), (second, "second derivative"))[:order]:
        if not compared.checked and not compared.kinks:
            raise AssertionError(f"{name_of(fn)}: no {what} was compared: {NOTHING}")
        if compared.kinks > 2 * compared.elements:  # a floor has one at every other drawn number
            raise AssertionError(
                f"{name_of(fn)}: {compared.kinks} {what}s at kinks but only {compared.elements} compared: draw other inputs"
            )
    _count(first, second)
    return first


def _drawn_list(inputs):
    """A strategy of lists from a list some of whose items are strategies."""
    from hypothesis import strategies as st

    return st.tuples(*[value if isinstance(value, st.SearchStrategy) else st.just(value) for value in inputs]).map(list)


def _check_case(problem, first, second, *, reference, order, rtol, atol, complex_step, seed):
    """All checks of one example."""
    promises.check_repeatable(problem)
    if reference is not None:
        promises.check_reference(problem, reference, rtol=1e-11, atol=1e-12)
    promises.check_float32(problem)
    promises.check_fused(problem)
    if order == 0:
        return
    promises.check_new_arrays(problem)
    promises.check_layout(problem)
    promises.check_each_input_alone(problem)
    promises.check_backward_twice(problem)
    _count(first, check_problem(problem, rtol, atol, complex_step, seed, lone=True))
    promises.check_shares(problem)
    if order > 1:
        _count(second, check_problem(second_order(problem, seed), rtol, atol, False, seed, lone=True))


def _count(report, found):
    """Add what was ``found``, in one example: the sum over all examples decides whether enough was
    compared.
    """
    report.checked += found.checked
    report.kinks += found.kinks
    report.elements += found.elements


def _check_drawn(check, strategy, examples, seed):
    """Draw examples, shrink the first that fails, and say which it was."""
    import hypothesis as hy

    from minitensor.testing import strategies  # noqa: F401  (the error for a missing hypothesis)

    last: list = []

    @hy.settings(
        max_examples=examples, deadline=None, database=None, report_multiple_bugs=False, print_blob=False,
        suppress_health_check=list(hy.HealthCheck), phases=(hy.Phase.generate, hy.Phase.shrink),
    )  # fmt: skip
    @hy.seed(seed)
    @hy.given(strategy)
    def run(case):
        last[:] = [case]
        check(case)

    try:
        run()
    except hy.errors.HypothesisException:
        raise
    except Exception as error:
        drawn = last[0] if isinstance(last[0], (list, tuple)) else [last[0]]
        example = ", ".join(show(value) for value in drawn)
        kind = AssertionError if isinstance(error, AssertionError) else RuntimeError
        raise kind(f"{error}\nshrunk example: {example}\nseed: {seed}") from error
