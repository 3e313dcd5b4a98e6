"""``check_op``: one call that holds a function to everything an op promises."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from minitensor.testing import promises
from minitensor.testing.adapters import Adapted, adapt
from minitensor.testing.collected import collected
from minitensor.testing.gradients import Report, as_list, check_problem, second_order
from minitensor.testing.narrow import check_narrow, representable
from minitensor.testing.problem import Problem, as_inputs, check_options, generator, name_of, show
from minitensor.testing.profiles import of_case
from minitensor.testing.snippet import reproduced

__all__ = ["check_op"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NOTHING = (
    "give floating inputs with elements (arrays or Tensors, no lists of numbers) and floating outputs, or order=0; if they "
    "are such, rounding of the outputs hides every one: scale the function, or move the inputs"
)


@collected
def check_op(
    fn: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
    inputs: Any,
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    rtol: float = 1e-5,
    atol: float = 0.0,
    complex_step: bool = False,
    dtype: Any = None,
    device: str | None = None,
    at_kinks: Callable[..., Any] | None = None,
    profiles: Collection[str] | str = (),
    examples: int = 25,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Check an op, a fused op, a layer or any function of Tensors, on given inputs or on many drawn
    ones.

    fn: as for ``gradcheck``. inputs: a list of tensors, arrays and other arguments, any of them a
    hypothesis strategy, or one strategy that draws a tensor or such a list (see
    ``minitensor.testing.strategies``); a dict at the end of a drawn list holds keywords. reference:
    a NumPy function that gives the right values. rtol, atol, complex_step: as for ``gradcheck``; an
    rtol below 1e-6 does nothing without complex_step. order: 0 checks values alone, 1 gradients
    too, 2 second derivatives as well (1 by itself for what comes from a library that has none, and
    the report says so). dtype, device, at_kinks: as for ``gradcheck``. profiles: names of
    ``strategies.PROFILES`` such as ``"ties"`` or ``"huge"``, or one of them; for each further
    examples, what is given or drawn changed so. examples: how many to draw; a fifth of it for each
    profile. Our strategies list kinds of inputs, which come in turns that the seed shuffles, so
    that 25 examples have them all.

    Checked are: values (against ``reference``); the same bits under ``no_grad``; inputs unchanged,
    and frozen throughout, so that a rule that writes to its arguments fails; any memory layout;
    float32 stays float32; gradients linear in the cotangents; each gradient alone as with the
    others; a second backward as the first; a ``@fused`` kernel against its definition; and first
    and second derivatives against differences with random cotangents, at kinks with the slopes of
    both sides. Shapes with 0 elements or no axes come from the strategy.

    Returns a ``Report``. Raises AssertionError with the op, input, index and both numbers, and with
    lines to paste that fail again; a drawn example is shrunk first and shown with the seed that
    drew it.

    >>> import numpy as np
    >>> import minitensor as mt
    >>> check_op(mt.multiply, [mt.ones((2, 3)), mt.full((3,), 2.0)], reference=np.multiply).kinks
    0
    """
    check_options("check_op", seed, rtol, atol, order)
    profiles = (profiles,) if isinstance(profiles, str) else profiles
    given, fn = fn, adapt(fn)
    note = ""
    if order > 1 and isinstance(fn, Adapted) and not fn.twice:
        order, note = 1, f"first derivatives alone: {fn.library.name} has no second ones"
    title = name or name_of(fn)
    first, second = Report(title, note=note), Report(title)
    options = {
        "reference": reference, "order": order, "rtol": rtol, "atol": atol, "complex_step": complex_step, "dtype": dtype,
        "seed": seed,
    }  # fmt: skip
    again = {"wanted": wanted, **options, "device": device, "at_kinks": at_kinks, "name": name}

    looked_at: set = set()

    def check(case, first=first, second=second):
        case = list(case) if isinstance(case, (list, tuple)) else [case]
        named = {**(keywords or {}), **(case.pop() if case and isinstance(case[-1], dict) else {})}
        with reproduced(check_op, given, case, named, again):
            problem = Problem(fn, case, named, wanted, name=name, device=device, at_kinks=at_kinks)
            problem.looked_at = looked_at
            _check_case(problem, first, second, **options)

    inputs = inputs if hasattr(inputs, "example") else as_inputs(inputs)
    if isinstance(inputs, list) and any(hasattr(value, "example") for value in inputs):
        inputs = _drawn_list(inputs)
    if isinstance(inputs, list):
        check(inputs)
    else:
        _check_drawn(check, inputs, examples, seed)
    for compared, what in ((first, "derivative"), (second, "second derivative"))[: 1 if second.note else order]:
        if not compared.checked:
            why = NOTHING
            if compared.kinks:
                why = f"every one of {compared.kinks} is at a kink, or outside the domain: move the inputs off it, or draw others"
            raise AssertionError(f"{name_of(fn)}: no {what} was compared: {why}")
    for profile in profiles:
        looked_at.clear()  # other elements are what a profile is for
        extra = Report(title), Report(title)
        if isinstance(inputs, list):
            check(of_case(inputs, profile, generator(seed)), *extra)
        else:
            varied = functools.partial(check, first=extra[0], second=extra[1])
            _check_drawn(varied, _varied(inputs, profile), max(3, examples // 5), seed)
        first.add(extra[0])
        second.add(extra[1])
    first.add(second)
    if second.note:
        first.note = second.note
    return first


def _varied(strategy, profile):
    """What ``strategy`` draws, changed as ``profile`` says."""
    from hypothesis import strategies as st

    return st.tuples(strategy, st.integers(0, 2**16)).map(lambda pair: of_case(pair[0], profile, generator(pair[1])))


def _drawn_list(inputs):
    """A strategy of lists from a list some of whose items are strategies."""
    from hypothesis import strategies as st

    return st.tuples(*[value if isinstance(value, st.SearchStrategy) else st.just(value) for value in inputs]).map(list)


def _check_case(problem, first, second, *, reference, order, rtol, atol, complex_step, dtype, seed):
    """All checks of one example."""
    for each in as_list(dtype) if dtype is not None and order else ():
        rounded = representable(problem, each)
        if rounded is not None:
            first.add(check_problem(rounded, rtol, atol, complex_step, seed, lone=True))
            check_narrow(rounded, each, seed, first)
    promises.check_repeatable(problem)
    if reference is not None:
        promises.check_reference(problem, reference, rtol=1e-11, atol=1e-12)
    promises.check_float32(problem)
    promises.check_fused(problem)
    if order == 0:
        return
    promises.check_backward_twice(problem)  # before the others, which run the rules of the same graph
    promises.check_new_arrays(problem)
    promises.check_linear(problem)
    promises.check_layout(problem)
    promises.check_each_input_alone(problem)
    first.add(check_problem(problem, rtol, atol, complex_step, seed, lone=True))
    if order > 1 and not second.note:
        try:
            second.add(check_problem(second_order(problem, seed), rtol, atol, False, seed, lone=True))
        except (AssertionError, RuntimeError) as error:
            cause = _cannot(problem.given, error)
            if cause is None:
                raise
            second.note = f"first derivatives alone: {cause}"


def _cannot(function, error):
    """The words in which the library of an adapted function says that it has no second derivative
    here; None if the error is another.
    """
    while isinstance(function, Adapted) and error is not None:
        if function.library.cannot(error):
            return str(error).partition("\n")[0]
        error = error.__cause__
    return None


def _check_drawn(check, strategy, examples, seed):
    """Draw examples, shrink the first that fails, and say which it was."""
    from minitensor.testing import strategies  # noqa: F401  (the error for a missing hypothesis)
    from minitensor.testing.strata import CHUNK, Strata

    last: list = []
    strata = Strata(seed)
    count = _checked(check, strategy, 1, 0, strata, last)  # the simplest, which hypothesis begins each run with
    if not strata.used:
        _checked(check, strategy, examples, 1, strata, last)
    while strata.used and count < examples:
        found = _checked(check, strategy, min(CHUNK, examples - count + 1), 1, strata, last)
        count += found
        if not found:  # there are no more
            break


def _checked(check, strategy, examples, known, strata, last):
    """Check what hypothesis draws but for the first ``known`` examples; returns how many had a
    turn, or needed none, of the others.
    """
    import hypothesis as hy

    seed = strata.seed
    seen, new = [0], [0]
    failed: list[bool] = []

    @hy.settings(
        max_examples=examples, deadline=None, database=None, report_multiple_bugs=False, print_blob=False,
        suppress_health_check=list(hy.HealthCheck), phases=(hy.Phase.generate, hy.Phase.shrink),
    )  # fmt: skip
    @hy.seed(seed + 2**32 * strata.rounds)
    @hy.given(strata.examples(strategy))
    def run(case):
        if not failed:
            seen[0] += 1
            new[0] += not strata.repeated
            if seen[0] <= known:  # they were right
                return
        last[:] = [case]
        try:
            check(case)
        except BaseException:
            failed.append(True)
            raise

    try:
        with strata.lent():
            run()
    except hy.errors.HypothesisException:
        raise
    except Exception as error:
        given = last[0] if isinstance(last[0], (list, tuple)) else [last[0]]
        example = ", ".join(show(value) for value in given)
        kind = AssertionError if isinstance(error, AssertionError) else RuntimeError
        words, mark, snippet = str(error).partition("\n\nTo see it again")
        raise kind(f"{words}\nshrunk example: {example}\nseed: {seed}{mark}{snippet}") from error
    strata.rounds += 1
    return new[0] - (known and not strata.used)
