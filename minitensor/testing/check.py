"""``check_op``: one call that holds a function to everything an op promises."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from minitensor.testing import promises
from minitensor.testing.adapters import Adapted, adapt
from minitensor.testing.adapters.detect import OURS, libraries_of
from minitensor.testing.arguments import as_inputs, as_reference, check_given, drawn_list, note, split
from minitensor.testing.collected import collected
from minitensor.testing.cotangents import check_cotangents, check_linear
from minitensor.testing.forms import Turns
from minitensor.testing.gradients import Report, check_inputs_compared, check_problem, nothing_compared, second_order
from minitensor.testing.narrow import Narrow, as_types
from minitensor.testing.problem import Problem, check_options, generator, name_of, show
from minitensor.testing.profiles import of_case
from minitensor.testing.snippet import reproduced
from minitensor.testing.wanted import check_each_input_alone, check_pairs_alone

__all__ = ["check_op"]

PHASES = ("generate", "shrink")  # of hypothesis: a run ends with the smallest example that fails

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


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
    ``minitensor.testing.strategies``); a dict at the end is read as ``gradcheck`` reads it.
    reference: a NumPy function that gives the right values. rtol, atol, complex_step: as for
    ``gradcheck``; an rtol below 1e-6 does nothing without complex_step. order: 0 checks values
    alone, 1 gradients too, 2 second derivatives as well (1 by itself for what comes from a library
    that has none, and the report says so). dtype, device, at_kinks: as for ``gradcheck``. profiles:
    names of ``strategies.PROFILES`` such as ``"ties"`` or ``"huge"``, or one of them; for each
    further examples, what is given or drawn changed so, keywords left out. examples: how many to
    draw; a fifth of it for each profile. Our strategies list kinds of inputs, which come in turns
    that the seed shuffles, so that 25 examples have them all.

    Checked are: values (against ``reference``); the same bits under ``no_grad``; inputs unchanged,
    and frozen throughout, so that a rule that writes to its arguments fails; any memory layout;
    float32 stays float32; gradients linear in the cotangents, which lie with gaps too; a second
    backward as the first; a ``@fused`` kernel against its definition; and first and second
    derivatives against differences with random cotangents, at kinks with the slopes of both sides.
    With the first example of each of twelve kinds also: cotangents with zeros, and broadcast; each
    gradient alone, and two of three or more, as with the others; a backward after a call at other
    values. Shapes with 0 elements or no axes come from the strategy.

    Returns a ``Report``. Raises AssertionError with the op, input, index and both numbers, and with
    lines to paste that fail again; a drawn example is shrunk first and shown with the seed that
    drew it. It is one as well if no derivative could be compared, or none in a type of ``dtype``.
    Any other error of the function stays what it is, with the example as a note.

    >>> import numpy as np
    >>> import minitensor as mt
    >>> check_op(mt.multiply, [mt.ones((2, 3)), mt.full((3,), 2.0)], reference=np.multiply).kinks
    0
    """
    check_options("check_op", seed, rtol, atol, order)
    check_given("check_op", inputs, keywords, at_kinks, examples, draws=True)
    types = as_types("check_op", dtype)
    if types and not order:
        raise ValueError("check_op: dtype= compares derivatives: give order=1 or order=2 with it")
    profiles = (profiles,) if isinstance(profiles, str) else profiles
    inputs = inputs if hasattr(inputs, "example") else as_inputs(inputs)
    plain = [value for value in inputs if not hasattr(value, "example")] if isinstance(inputs, list) else []
    given, fn = fn, adapt(fn, (plain, keywords))
    named_itself = isinstance(adapt(given), Adapted) or not isinstance(fn, Adapted)
    title = name or name_of(fn)
    first, second = Report(title), Report(title)
    options = {
        "reference": reference, "order": order, "rtol": rtol, "atol": atol, "complex_step": complex_step, "seed": seed,
    }  # fmt: skip
    again = {"wanted": wanted, **options, "dtype": dtype, "device": device, "at_kinks": at_kinks, "name": name}
    options["reference"] = as_reference("check_op", reference)
    narrow = Narrow(types)
    looked_at: set = set()
    turns = Turns()
    largest: list = []  # the problem with the most elements: what it lacks, all lack

    def check(case, first=first, second=second, narrow=narrow):
        nonlocal fn, named_itself
        if not isinstance(fn, Adapted) and libraries_of(case) - {OURS}:
            fn = adapt(fn, (case, keywords), drawn=True)  # what is drawn may tell the library
            named_itself = named_itself and not isinstance(fn, Adapted)
        if isinstance(fn, Adapted) and not fn.twice:
            second.note = f"first derivatives alone: {fn.library.name} has no second ones"
        case, at_end = split(fn, _listed(case), keywords)
        named = {**(keywords or {}), **(at_end or {})}
        with reproduced(check_op, given if named_itself else fn, case, named, again):
            problem = Problem(fn, case, named, wanted, name=name, device=device, at_kinks=at_kinks)
            problem.looked_at, problem.turns = looked_at, turns
            largest[:] = [max([*largest, problem], key=_elements)]
            try:
                _check_case(problem, first, second, narrow, **options)
            except BaseException:
                turns.everything = True  # so that it fails again
                raise
            turns.pass_on(problem)

    drawing = drawn_list(inputs) if isinstance(inputs, list) and len(plain) < len(inputs) else inputs
    if isinstance(drawing, list):
        check(drawing)
    else:
        _check_drawn(check, drawing, examples, seed)
    try:
        for compared, what in ((first, "derivative"), (second, "second derivative"))[
            : min(order, 1) if second.note else order
        ]:
            if not compared.checked:
                raise AssertionError(nothing_compared(largest[0], compared, largest[0].cotangents_given, what))
        if order:
            check_inputs_compared(title, first)
        narrow.check(title)
    except AssertionError as error:
        raise AssertionError(f"{error}\nseed: {seed}") from None
    for profile in profiles:
        looked_at.clear()  # other elements are what a profile is for
        turns.clear()
        extra = Report(title), Report(title, note=second.note)
        varied = functools.partial(check, first=extra[0], second=extra[1], narrow=Narrow(types))
        change = functools.partial(_varied, fn, keywords, profile)
        if isinstance(drawing, list):
            varied(change(drawing, generator(seed)))
        else:
            _check_drawn(varied, _drawn_varied(drawing, change), max(3, examples // 5), seed)
        first.add(extra[0])
        second.add(extra[1])
    first.add(second)
    first.note = second.note
    return first


def _listed(case):
    """What is drawn as a list of inputs; one alone is one input."""
    return list(case) if isinstance(case, (list, tuple)) else [case]


def _elements(problem):
    return sum(problem.values[i].size for i in problem.wanted)


def _varied(fn, keywords, profile, case, rng):
    """The inputs of ``case`` changed as ``profile`` says; the keywords at its end stay."""
    inputs, at_end = split(fn, _listed(case), keywords)
    return [*of_case(inputs, profile, rng), *([] if at_end is None else [at_end])]


def _drawn_varied(strategy, change):
    """What ``strategy`` draws, changed with random numbers that are drawn as well."""
    from hypothesis import strategies as st

    return st.tuples(strategy, st.integers(0, 2**16)).map(lambda pair: change(pair[0], generator(pair[1])))


def _check_case(problem, first, second, narrow, *, reference, order, rtol, atol, complex_step, seed):
    """All checks of one example."""
    if isinstance(problem.given, Adapted):
        problem.given.library.examples += 1
    for rounded in narrow.roundings(problem):
        first.add(check_problem(rounded, rtol, atol, complex_step, seed, lone=True))
        narrow.compare(rounded, seed, first)
    promises.check_repeatable(problem)
    if reference is not None:
        promises.check_reference(problem, reference, rtol=1e-11, atol=1e-12)
    if not _types_are_known(problem):
        promises.check_float32(problem)
    promises.check_fused(problem)
    if order == 0:
        return
    problem.refuse_complex()
    promises.check_backward_twice(problem)  # before the others, which run the rules of the same graph
    promises.check_new_arrays(problem)
    check_linear(problem)
    check_cotangents(problem)
    promises.check_graphs_apart(problem)
    promises.check_layout(problem)
    check_each_input_alone(problem)
    check_pairs_alone(problem)
    first.add(check_problem(problem, rtol, atol, complex_step, seed, lone=True))
    if order > 1 and not second.note:
        try:
            second.add(check_problem(second_order(problem, seed), rtol, atol, False, seed, lone=True))
        except (AssertionError, RuntimeError) as error:
            cause = _cannot(problem.given, error)
            if cause is None:
                raise
            second.note = f"first derivatives alone: {cause}"


def _types_are_known(problem):
    """Whether an example of this form was right, in a library where types follow from that."""
    known = isinstance(problem.given, Adapted) and problem.given.library.typed_by_form
    return known and problem.form in problem.looked_at


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

    last: list = []  # the example that failed, and its error
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
        suppress_health_check=list(hy.HealthCheck), phases=[hy.Phase[phase] for phase in PHASES],
    )  # fmt: skip
    @hy.seed(seed + 2**32 * strata.rounds)
    @hy.given(strata.examples(strategy))
    def run(case):
        if not failed:
            seen[0] += 1
            new[0] += not strata.repeated
            if seen[0] <= known:  # they were right
                return
        try:
            check(case)
        except BaseException as error:
            failed.append(True)
            last[:] = [case, error]
            raise

    try:
        with strata.lent():
            run()
    except Exception as error:
        error = _flaky(error, last)
        if not last or last[1] is not error:  # of the strategy, or of hypothesis
            raise
        example = f"\nshrunk example: {', '.join(show(value) for value in _listed(last[0]))}"
        at_end = f"\nseed: {seed}"
        if not isinstance(error, AssertionError):
            note(error, example[1:] + at_end)
            raise error
        words, _, snippet = str(error).partition(f"{at_end}\n\nTo see it again")
        mark = "\n\nTo see it again" if snippet else ""
        raise AssertionError(f"{words}{example}{at_end}{mark}{snippet}") from error
    strata.rounds += 1
    return new[0] - (known and not strata.used)


def _flaky(error, last):
    """``error``, or the one of the example that failed if hypothesis says that it does so at one
    call alone; ``last`` gets it too.
    """
    from hypothesis.errors import Flaky, FlakyStrategyDefinition

    if not last or not isinstance(error, Flaky) or isinstance(error, FlakyStrategyDefinition):
        return error
    words = (
        "It failed at one call and not at the next one with the same numbers: the function, or its rule, keeps something from "
        "call to call (a cache by id, a counter), or draws numbers of its own."
    )
    found = last[1]
    if isinstance(found, AssertionError):
        first, mark, rest = str(found).partition("\nseed: ")
        last[1] = AssertionError(f"{first}\n{words}{mark}{rest}")
    else:
        note(found, words)
    return last[1]
