"""A function of NumPy arrays with the function that pulls a gradient back."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.backend import is_array, is_floating
from minitensor.engine.messages import a_kind, describe
from minitensor.engine.trees import CONTAINERS, leaves_of, rebuilt
from minitensor.testing.adapters.adapted import Adapted, Library

__all__ = ["numpy_pair", "numpy_pullback"]

if TYPE_CHECKING:
    from collections.abc import Callable


def numpy_pair(f: Callable[..., Any], vjp: Callable[..., Any], name: str | None = None) -> Adapted:
    """``f(*inputs)`` on NumPy arrays, with ``vjp(g, *inputs)``, for ``check_op`` and ``gradcheck``.

    f: returns an array, or a tuple, list or dict of arrays. vjp: is given the gradient of the
    output, made as the output is, then the inputs; returns the gradient of each input as a tuple,
    or the gradient itself if there is one input. That of a list, tuple or dict of arrays is made as
    it is, with one for each; None stands for what has none, an integer or a whole list. Keywords go
    to both. All arrays are read-only.

    The checks take a bare tuple ``(f, vjp)`` of two functions as well. There is no second
    derivative.

    >>> import numpy as np
    >>> from minitensor.testing import gradcheck
    >>> square = numpy_pair(lambda x: x * x, lambda g, x: 2 * g * x)
    >>> gradcheck(square, [np.array([1.0, -3.0])]).checked
    1
    """

    def with_pullback(*inputs, **keywords):
        return f(*inputs, **keywords), lambda g: vjp(g, *inputs, **keywords)

    return _made(
        functools.wraps(f)(with_pullback) if hasattr(f, "__name__") else with_pullback,
        name or _name(f),
        ("numpy_pair", (f, vjp)),
    )


def numpy_pullback(f: Callable[..., Any], name: str | None = None) -> Adapted:
    """``f(*inputs)`` on NumPy arrays that returns ``(out, pullback)``, as ``jax.vjp`` does; for
    ``check_op`` and ``gradcheck``.

    ``pullback(g)`` returns what the ``vjp`` of ``numpy_pair`` does.

    >>> import numpy as np
    >>> from minitensor.testing import gradcheck
    >>> def exp(x):
    ...     out = np.exp(x)
    ...     return out, lambda g: g * out
    >>> gradcheck(numpy_pullback(exp), [np.array([1.0, -3.0])]).checked
    1
    """
    return _made(f, name or _name(f), ("numpy_pullback", (f,)))


def _name(f):
    return getattr(f, "__name__", type(f).__name__)


def _made(with_pullback, name, made_by):
    def values(*inputs, **keywords):
        return with_pullback(*inputs, **keywords)[0]

    return Adapted(_Pairs(with_pullback, name), functools.wraps(with_pullback)(values), name, made_by)


class _Pairs(Library):
    """Functions of NumPy arrays. The function that ``Adapted`` packs gives values alone, so that
    its arguments are caught on the way.
    """

    name = "NumPy"
    package = "numpy"

    def __init__(self, with_pullback, title):
        self.with_pullback, self.title = with_pullback, title

    def move(self, array, device):
        if device not in (None, "cpu"):
            raise ValueError(f"{self.title}: a function of NumPy arrays has no device {device!r}")
        return array

    def run(self, function, values, wanted):
        caught: list = []

        def catching(*inputs, **keywords):
            out, pullback = self.with_pullback(*inputs, **keywords)
            caught[:] = [pullback, inputs, out]
            return out

        outputs = function(*values, _target=catching)
        pullback, inputs, out = caught

        def pull(cotangents):
            outs = [np.asarray(o) for o in outputs]
            seeds = [np.zeros(o.shape) if g is None else g for g, o in zip(cotangents, outs)]
            return self.per_value(pullback(rebuilt(out, seeds)), inputs, wanted)

        return outputs, pull, lambda: 1

    def per_value(self, found, inputs, wanted):
        """The gradients of the flat values numbered in ``wanted``."""
        if found is None:
            raise AssertionError(f"{self.title}: its vjp returned None: does it end in return?")
        returned = found
        itself = len(inputs) == 1 and _fits(found, inputs[0]) and not _fits(found, inputs)
        if itself or not isinstance(found, (tuple, list)):
            found = (found,)
        if len(found) != len(inputs):
            raise AssertionError(
                f"{self.title}: its vjp returned {_described(returned)}, {len(found)} gradients for {len(inputs)} inputs: return "
                f"a tuple of {len(inputs)}, one for each input{', or the gradient itself' * (len(inputs) == 1)}"
            )
        flat: list = []
        for i, (gradient, value) in enumerate(zip(found, inputs)):
            self.line_up(gradient, value, flat, f"input {i}")
        return [flat[i] for i in wanted]

    def line_up(self, gradient, value, flat, place):
        """Append the gradient of each leaf of ``value``, which may be a list, tuple or dict."""
        if not isinstance(value, CONTAINERS):
            floating = is_array(value) and is_floating(value.dtype)
            if floating and gradient is not None and not _holds_numbers(gradient):
                raise AssertionError(
                    f"{self.title}: its vjp gives {place}, {describe(value)}, {_described(gradient)} as its gradient: an array "
                    "of its shape is needed, None for what has none"
                )
            flat += [] if value is None else [gradient if floating else None]
        elif gradient is None:
            flat += [None] * len(leaves_of(value))
        elif not _alike(gradient, value):
            raise AssertionError(
                f"{self.title}: its vjp gives {place}, {_described(value)}, {_described(gradient)} as its "
                "gradient: one for each part is needed, None for what has none"
            )
        else:
            for key in value if isinstance(value, dict) else range(len(value)):
                self.line_up(gradient[key], value[key], flat, f"{place}[{key!r}]")


def _fits(gradient, value):
    """Whether ``gradient`` can be that of ``value``: containers as there, None for whole ones."""
    if gradient is None or not isinstance(value, CONTAINERS):
        return not isinstance(gradient, CONTAINERS)
    if not _alike(gradient, value):
        return False
    return all(_fits(gradient[key], value[key]) for key in (value if isinstance(value, dict) else range(len(value))))


def _alike(gradient, value):
    """Whether both are dicts of the same keys, or both lists or tuples of as many."""
    if isinstance(value, dict):
        return isinstance(gradient, dict) and gradient.keys() == value.keys()
    return isinstance(gradient, (list, tuple)) and len(gradient) == len(value)


def _holds_numbers(value):
    """Whether NumPy makes numbers of ``value``: an array, a number, a list of them."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a list of lists of several lengths
        return False
    return array.dtype.kind in "biufc" or is_floating(array.dtype)


def _described(value):
    """A container, an array or something else in words."""
    if isinstance(value, dict):
        return f"a dict with the keys {list(value)}"
    if isinstance(value, (list, tuple)):
        return f"{a_kind(value)} of {len(value)}"
    if is_array(value):
        return f"an array {describe(value)}"
    return describe(value) if isinstance(value, (int, float, str, np.generic)) else a_kind(value)
