"""Functions that bring a gradient of their own which minitensor never calls: they are found, not
passed by, unless an adapter has their own library run them (and counts that it did).

``torch.autograd.Function.apply``, a primitive of HIPS autograd, an object with a method
``backward``: each runs its forward pass on the Tensors that it is given, and what is differentiated
is that pass, not the rule that was meant to be checked.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager

from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters.adapted import Adapted, profiled_by

__all__ = ["own_backward_called"]

OWN_RULES = {  # modules whose functions run ops with gradients of their own
    "autograd.tracer": "a primitive of autograd",
    "mygrad.tensor_base": "an operation of MyGrad",
    "tensorflow.python.ops.custom_gradient": "a tf.custom_gradient",
    "chainer.function_node": "a FunctionNode of Chainer",
}
CURE = "minitensor never calls it, so that it would not be checked: write the gradient as a rule of an op (mt.op and its .vjp)"
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
    kinds, ran, libraries, adapted = set(map(_kind, _owners(function))), set(), set(), set()

    def look(frame, event, _):
        if event != "call":
            return
        module = frame.f_globals.get("__name__") or ""
        if module.startswith("minitensor."):
            if frame.f_code is Adapted.__call__.__code__:  # somewhere in a function of ours
                adapted.update(frame.f_locals["self"].library.modules)
            return
        code = frame.f_code
        ran.add(code)
        if module in OWN_RULES:
            libraries.add(module)
        elif code.co_argcount:
            kinds.add(_kind(frame.f_locals.get(code.co_varnames[0])))

    with profiled_by(look):
        yield
    complaints = [f"{name} runs {OWN_RULES[module]}, whose gradient is its own" for module in libraries - adapted]
    for kind in kinds:
        backward = _backward_of(kind)
        if backward is not None and backward.__code__ not in ran:
            complaints.append(
                f"{name} runs {backward.__qualname__.removesuffix('.backward')}, which has a backward of its own"
            )
    if complaints:
        problem.looked_at.add(EACH)
        raise AssertionError(f"{complaints[0]}: {CURE}")
    problem.looked_at.add(problem.form)


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
