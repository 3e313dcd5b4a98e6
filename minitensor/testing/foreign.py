"""Functions that bring a gradient of their own which is never called: they are found, not passed
by, unless an adapter has their own library run them (and counts that it did).

``torch.autograd.Function.apply``, a primitive of HIPS autograd, an object with a method
``backward``: each runs its forward pass on the Tensors that it is given, and what is differentiated
is that pass, not the rule that was meant to be checked. An op of one's own, or what was adapted, is
found as well if its rule did not run: it was called on a detached input, say.
"""

from __future__ import annotations

import functools
import inspect
import types
from contextlib import contextmanager

from minitensor.engine.autograd import raw
from minitensor.engine.fused import Fused
from minitensor.engine.op import Op
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters.adapted import Adapted
from minitensor.testing.adapters.watching import Watch, as_bytes, never_ran, profiled_by
from minitensor.testing.planted import standing_for

__all__ = ["own_backward_called"]

OWN_RULES = {  # modules whose functions run ops with gradients of their own
    "autograd.tracer": "a primitive of autograd",
    "mygrad.tensor_base": "an operation of MyGrad",
    "tensorflow.python.ops.custom_gradient": "a tf.custom_gradient",
    "chainer.function_node": "a FunctionNode of Chainer",
}
CURE = "minitensor never calls it, so that it would not be checked: write the gradient as a rule of an op (mt.op and its .vjp)"
CALLS = {kind.__call__.__code__ for kind in (Adapted, Op, Fused)}
EACH = "each"  # among the forms looked at: look at each example, so that what is shrunk fails again


@contextmanager
def own_backward_called(problem):
    """Within, the function of ``problem`` runs forward and backward; AssertionError if it has
    gradients of its own that did not run.

    A look at each example would make a check last a quarter longer. So those are passed by whose
    `Problem.form` was looked at already, until one is found that fails.
    """
    function, name = problem.given, problem.name
    if problem.form in problem.looked_at and EACH not in problem.looked_at:
        yield
        return
    if isinstance(function, Adapted):  # its library runs the rules
        yield
        function.check_ran()
        return
    kinds, libraries, adapted = set(map(_kind, _owners(function))), set(), set()
    before: dict[Adapted, int] = {}  # what was adapted, and how many of its rules had run when it was called first
    watch = Watch(_rule_of)

    def look(frame, event, argument):
        watch.look(frame, event, argument)
        if event != "call":
            return
        module = frame.f_globals.get("__name__") or ""
        if module.startswith("minitensor."):
            if frame.f_code is Adapted.__call__.__code__:  # somewhere in a function of ours
                inner = frame.f_locals["self"]
                adapted.update(inner.library.modules)
                before.setdefault(inner, inner.ran)
            return
        code = frame.f_code
        if module in OWN_RULES:
            libraries.add(module)
        elif code.co_argcount:
            kinds.add(_kind(frame.f_locals.get(code.co_varnames[0])))

    with profiled_by(look):
        yield
    complaints = [
        f"{name} runs {OWN_RULES[module]}, whose gradient is its own: {CURE}" for module in libraries - adapted
    ]
    for kind in kinds:
        backward = _backward_of(kind)
        if backward is not None and backward.__code__ not in watch.ran:
            called = backward.__qualname__.removesuffix(".backward")
            complaints.append(f"{name} runs {called}, which has a backward of its own: {CURE}")
    idle = [rule for rule in watch.calls if not _ran(rule, watch.ran, before)]
    if idle and not complaints:
        complaints += [
            f"{name} calls {rule.name}, whose own rule never ran, so that it was not checked (a detached input, a block without "
            "gradients?): what has no part in the gradient is computed beforehand and given as an input"
            for rule in never_ran(idle, _codes_of, functools.partial(_watch_again, problem))
        ]
    if complaints:
        problem.looked_at.add(EACH)
        raise AssertionError(complaints[0])
    for inner, earlier in before.items():
        if inner not in idle:
            inner.check_ran(earlier)
    problem.looked_at.add(problem.form)


def _rule_of(frame):
    """The op of the user's own, or the function of another library, that a call calls, and its
    arguments.
    """
    if frame.f_code not in CALLS:
        return None
    called = standing_for(frame.f_locals["self"])
    arguments = frame.f_locals.get("args") or frame.f_locals.get("values")
    return (called, arguments) if isinstance(called, Adapted) or _codes_of(called) else None


def _codes_of(rule):
    """The code of the rules of an op that is not of the library, none if they cannot be seen; of
    what was adapted, which counts itself, something that never runs.
    """
    if isinstance(rule, Adapted):
        return {rule}
    if not rule.foreign:
        return set()
    if isinstance(rule, Fused):
        kernels = [getattr(inspect.unwrap(kernel), "__code__", None) for kernel, _ in rule.kernels.values()]
        within = {part for code in kernels if code for part in code.co_consts if isinstance(part, types.CodeType)}
        return within | {rule.definition.__code__} if within else set()  # by which it is differentiated again
    codes = {getattr(inspect.unwrap(given), "__code__", None) for given in rule.rules or () if given is not None}
    return set() if None in codes else codes


def _ran(rule, ran, before):
    if isinstance(rule, Adapted):
        return rule.ran > before[rule]
    return bool(_codes_of(rule) & ran)


def _watch_again(problem, factor, shift):
    """What is called, and with what, where the wanted inputs are multiplied and shifted so."""
    values = [v * factor + shift if i in problem.wanted else v for i, v in enumerate(problem.values)]
    moved, watch = problem.replaced(values), Watch(_rule_of, functools.partial(as_bytes, raw))
    with watch.on():
        outputs, leaves = moved.record()
        moved.pulled(outputs, leaves, problem.cotangents_given)
    return watch


def _owners(function):
    """What ``function`` is made of: itself, what it is a method of, and what it wraps."""
    while function is not None:
        yield function
        yield getattr(function, "__self__", None)
        function = getattr(function, "func", None) or getattr(function, "__wrapped__", None)


def _kind(owner):
    """The class of ``owner``, or itself if it is one."""
    return owner if isinstance(owner, type) else type(owner)


def _backward_of(kind):
    """The function ``backward`` that a class defines in Python, or None."""
    if issubclass(kind, Tensor) or kind.__module__.startswith("minitensor."):
        return None
    found = inspect.getattr_static(kind, "backward", None)
    found = getattr(found, "__func__", found)
    return found if inspect.isfunction(found) else None
