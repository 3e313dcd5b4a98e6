"""Gradients against differences, first order and second."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.engine.autograd import new_leaf
from minitensor.engine.messages import describe
from minitensor.engine.mode import current_mode, enable_grad
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters import Adapted
from minitensor.testing.arguments import as_inputs, check_given, split
from minitensor.testing.collected import collected
from minitensor.testing.directions import check_gradients
from minitensor.testing.foreign import own_backward_called
from minitensor.testing.kinks import check_together
from minitensor.testing.narrow import Narrow, as_types
from minitensor.testing.problem import Problem, check_options, generator
from minitensor.testing.promises import check_same_twice
from minitensor.testing.snippet import reproduced

__all__ = ["Report", "gradcheck", "gradgradcheck"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


@dataclass
class Report:
    """How many derivatives were compared, and how many of them at a kink, where the function has
    none.

    name: what was checked. checked: a gradient that was right as a whole counts as one. kinks:
    elements at a kink, where the rule gives a slope between those of both sides. elements: all
    elements of what was compared. error: the worst error found, as a share of what was allowed, so
    that 1 would have failed. hidden: elements that could not be compared, since rounding of the
    outputs hides them, or the function oscillates within the finest step. note: what could not be
    checked, second derivatives for example. by_input: of each input by its name, how many elements
    were held to a slope; an input without elements is not there.
    """

    name: str = field(default="", repr=False, compare=False)
    checked: int = 0
    kinks: int = 0
    elements: int = field(default=0, repr=False, compare=False)
    error: float = field(default=0.0, repr=False, compare=False)
    hidden: int = field(default=0, repr=False, compare=False)
    note: str = field(default="", repr=False, compare=False)
    by_input: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        hidden = f", hidden={self.hidden}" if self.hidden else ""
        note = f", note={self.note!r}" if self.note else ""
        return f"Report(checked={self.checked}, kinks={self.kinks}{hidden}{note})"

    def add(self, found: Report) -> None:
        """Add what another check found."""
        self.checked += found.checked
        self.kinks += found.kinks
        self.elements += found.elements
        self.hidden += found.hidden
        self.error = max(self.error, found.error)
        for label, compared in found.by_input.items():
            self.count(label, compared)

    def count(self, label: str, compared: int) -> None:
        """Of the input that ``label`` names, so many more elements were held to a slope."""
        self.by_input[label] = self.by_input.get(label, 0) + compared


@collected
def gradcheck(
    fn: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
    inputs: Tensor | np.ndarray | Sequence[Any],
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    complex_step: bool = False,
    dtype: Any = None,
    device: str | None = None,
    at_kinks: Callable[..., Any] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compare the gradients of ``fn(*inputs, **keywords)`` with differences.

    fn: a function of Tensors that returns a Tensor or several, an op, or a module (whose parameters
    are checked too); or what is made in another library, whose own backward is then run: a tuple
    ``(f, vjp)`` of functions of NumPy arrays, a ``torch.autograd.Function``, a ``torch.nn.Module``
    or a function of PyTorch's tensors, a ``jax.custom_vjp`` or a function of JAX's arrays, a
    primitive of HIPS autograd, an operation of MyGrad (``minitensor.testing.adapters``); one that
    names no library is of the library of its inputs. inputs: a list of tensors or arrays (PyTorch's
    and JAX's too), or lists, tuples and dicts of these, one item for each argument of fn (one
    tensor is taken as one input); floating ones are brought to float64 and differentiated (those
    numbered in ``wanted`` alone, if given), all are frozen read-only. A dict at the end holds
    keywords if fn takes all of its keys by name, and is an input if fn can be called with it in its
    place alone, or with a further ``{}`` behind it. rtol, atol: error allowed in each element,
    beside what rounding hides and what differences leave open, a millionth: a smaller rtol does
    nothing without complex_step. complex_step: compare with the complex step if differences confirm
    that fn is analytic; exact to rounding, so that rtol can be 1e-10. dtype: a narrower type,
    ``"float16"``, ``"bfloat16"`` or ``"float32"``, or a list of them: inputs are rounded to it, and
    the rule that runs in it is held to the one in float64, within bounds that follow from its
    rounding and from how the gradient answers to it. device: where fn is computed (``"cuda"``).
    at_kinks: the documented choice for kinks, ``(cotangent, *inputs)`` to gradients: a rule that
    gives it at a kink is right, whatever the slopes of both sides. seed: of the random cotangents
    and directions.

    The cotangent of each output is random. The elements of a gradient are compared along random
    directions, each through elements of one size, so that none hides behind larger ones; a
    direction that disagrees is cut down to the elements that are wrong. Smaller steps go around
    a kink near by. At a kink itself the gradient of each output must lie between the slopes of both
    sides, and so must the sum over elements that kink together; of an output that moves with none
    alone, between the slopes at points near by. Such an element is counted apart. Returns a
    ``Report``.

    Raises AssertionError that names the function, the input, the index and both numbers, with lines
    to paste that fail again; if no derivative could be compared, whatever the reason; and if fn
    runs something with a backward of its own that never runs: it would not be checked. What is
    called on what moves with no wanted input, or within a rule that stands for it, has no part in
    the gradient and is passed by. TypeError if the inputs are of two libraries and fn names
    neither, or if a dict at their end can be both.

    >>> import minitensor as mt
    >>> gradcheck(lambda x, y: mt.tanh(x) * y, [mt.ones((2, 3)), mt.ones((3,))])
    Report(checked=2, kinks=0)
    """
    check_options("gradcheck", seed, rtol, atol)
    check_given("gradcheck", inputs, keywords, at_kinks)
    types = as_types("gradcheck", dtype)
    inputs, at_end = split(fn, as_inputs(inputs), keywords)
    keywords = {**(keywords or {}), **(at_end or {})}
    options = {
        "wanted": wanted, "rtol": rtol, "atol": atol, "complex_step": complex_step, "dtype": dtype, "device": device,
        "at_kinks": at_kinks, "seed": seed, "name": name,
    }  # fmt: skip
    with reproduced(gradcheck, fn, inputs, keywords, options):
        problem = Problem(fn, inputs, keywords, wanted, name=name, device=device, at_kinks=at_kinks)
        if not types:
            report = check_problem(problem, rtol, atol, complex_step, seed)
            check_inputs_compared(problem.name, report)
            return report
        report, narrow = Report(problem.name), Narrow(types)
        for rounded in narrow.roundings(problem):
            report.add(check_problem(rounded, rtol, atol, complex_step, seed))
            narrow.compare(rounded, seed, report)
        check_inputs_compared(problem.name, report)
        narrow.check(problem.name)
        return report


@collected
def gradgradcheck(
    fn: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
    inputs: Tensor | np.ndarray | Sequence[Any],
    *,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    device: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compare the second derivatives of ``fn(*inputs, **keywords)`` with differences of its first
    ones.

    The function that is checked takes the inputs and a random cotangent and returns the gradients
    of the inputs. The differences run the plain first-order pass, the gradients the recorded one
    (``create_graph=True``): the two are compared as well. Arguments, result and errors are those of
    ``gradcheck``; TypeError if the library of fn has no second derivatives (NumPy pairs, MyGrad).
    """
    check_options("gradgradcheck", seed, rtol, atol)
    check_given("gradgradcheck", inputs, keywords)
    inputs, at_end = split(fn, as_inputs(inputs), keywords)
    keywords = {**(keywords or {}), **(at_end or {})}
    options = {"wanted": wanted, "rtol": rtol, "atol": atol, "device": device, "seed": seed, "name": name}
    with reproduced(gradgradcheck, fn, inputs, keywords, options):
        problem = Problem(fn, inputs, keywords, wanted, name=name, device=device)
        if isinstance(problem.given, Adapted) and not problem.given.twice:
            raise TypeError(
                f"{problem.name}: {problem.given.library.name} has no second derivatives: gradcheck checks the first"
            )
        problem.refuse_complex()
        cotangents = problem.cotangents(problem.outputs, generator(seed))
        if not problem.wanted or all(c is None for c in cotangents):
            raise AssertionError(nothing_compared(problem, Report(), cotangents))
        return check_problem(second_order(problem, seed), rtol, atol, False, seed + 1)


def second_order(problem, seed):
    """The problem of pulling a random cotangent back through ``problem``: a function of its inputs
    and of the cotangent.
    """
    outputs = problem.outputs
    cotangents = problem.cotangents(outputs, generator(seed))
    given = [c for c in cotangents if c is not None]
    count, wanted = len(problem.values), problem.wanted

    def pulled(*values):
        recorded = current_mode.get().grad
        arguments = list(values[:count])
        for i in wanted:  # leaves of its own, for a plain first-order pass and for what nobody differentiates by
            if not recorded or arguments[i].node is None:
                arguments[i] = Tensor(arguments[i]._array, new_leaf(arguments[i]._array))
        with enable_grad():
            outs = problem.call(arguments)
        seeds = iter(values[count:])
        cotangents = [next(seeds) if o.dtype.kind in "fc" else None for o in outs]
        return tuple(problem.pull(outs, [arguments[i] for i in wanted], cotangents, create_graph=recorded))

    made = Problem(pulled, [*problem.values, *given], name=f"the gradient of {problem.name}")
    made.labels = [*problem.labels, *("cotangent" for _ in given)]
    made.wanted = [*wanted, *range(count, count + len(given))]
    made.given, made.looked_at = problem.given, problem.looked_at
    made.form = made.name  # one look at what runs if a pass is recorded, since the rest ran for the first order
    size = max((float(np.abs(o[np.isfinite(o)]).max(initial=0.0)) for o in outputs if o.dtype.kind == "f"), default=0.0)
    reach = min((float(np.abs(problem.values[i]).max(initial=0.0)) for i in wanted), default=1.0)
    made.cancelling = size
    made.scale = size / max(1.0, reach if math.isfinite(reach) else 1.0)  # a slope is made of outputs over inputs
    return made


def check_problem(problem, rtol, atol, complex_step, seed, lone=False):
    """Compare all wanted gradients of ``problem`` with differences.

    lone: whether nothing compared, or nothing but kinks, is no error, as it is for one example of
    many.
    """
    problem.refuse_complex()
    rng = generator(seed)
    outputs = problem.outputs
    cotangents = problem.cotangents(outputs, rng)
    report = Report(problem.name)
    problem.cotangents_given = cotangents
    if problem.wanted and any(c is not None for c in cotangents):
        with own_backward_called(problem):
            recorded, leaves = problem.record()
            gradients = problem.pulled(recorded, leaves, cotangents)
        check_same_twice(problem, [o._array for o in recorded])
        for i, gradient in zip(problem.wanted, gradients):
            value = problem.values[i]
            if gradient.shape != value.shape or gradient.dtype != value.dtype:
                raise AssertionError(
                    f"{problem.name}: the gradient of {problem.label(i)} is {gradient.shape} {gradient.dtype}, "
                    f"the input {value.shape} {value.dtype}"
                )
        options = {"rtol": rtol, "atol": atol, "complex_step": complex_step, "rng": rng}
        kinks = check_gradients(problem, gradients, outputs, cotangents, report, **options)
        check_together(problem, kinks, cotangents)
    if not lone and not report.checked:
        raise AssertionError(nothing_compared(problem, report, cotangents))
    return report


def check_inputs_compared(name, report):
    """Raise for an input of which no element was held to a slope, though others were."""
    never = [label for label, compared in report.by_input.items() if not compared]
    if never:
        raise AssertionError(
            f"{name}: no derivative of {never[0]} was compared: the function refuses every step from what was given, or "
            "rounding of the outputs hides what it does: give inputs that can be moved by a little (one that must be "
            "symmetric, or add up to 1, is made so within the function), scale the outputs, or leave it out by wanted="
        )


def nothing_compared(problem, report, cotangents, what="derivative"):
    """Why a check of ``problem`` compared no derivative, and what to give it instead."""
    if report.kinks:
        why = (
            f"every one of {report.kinks} {what}s is at a kink, or at the end of what is taken: move the inputs off it"
        )
    elif not problem.wanted:
        given = ", ".join(f"{problem.label(i)}: {describe(v)}" for i, v in enumerate(problem.values))
        why = f"no input is a floating array that is wanted ({given}): give np.array([1.0, 2.0]) or a Tensor, and check wanted="
    elif all(c is None for c in cotangents):
        why = "no output is floating, so that there is no derivative"
    elif not any(problem.values[i].size for i in problem.wanted):
        why = "the inputs have no elements"
    else:
        why = (
            "the gradients, or what is wrong of them, are smaller than the rounding errors of the outputs, or than those of"
            " numbers of about 1 within a rule (4e-15): scale the function, or move the inputs"
        )
    return f"{problem.name}: no {what} was compared: {why}"
