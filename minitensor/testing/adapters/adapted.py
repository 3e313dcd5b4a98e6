"""What every adapter shares: a function of our Tensors whose values and gradients are computed
elsewhere.

A library is described by one small class (``Library``): how an array goes there and comes back, how
a function runs with its backward kept for later, and, if it can be differentiated again, the
function that pulls gradients back as a function of the inputs and of the cotangents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitensor.backend import is_array, is_floating
from minitensor.engine.autograd import new_node
from minitensor.engine.mode import current_mode
from minitensor.engine.tensor import Tensor
from minitensor.engine.trees import leaves_of, rebuilt
from minitensor.testing.adapters.signatures import labels_of

__all__ = ["Adapted", "Library"]


class Library:
    """One library: where arrays go, and how gradients are taken there.

    name: in words. package: the module that it is imported as. twice: whether its gradients can be
    differentiated. modules: those whose functions record ops that differentiate themselves. drew:
    whether a function has drawn random numbers, which the library may give out by the order in
    memory. examples: how many of those that are drawn it has met.
    """

    name = ""
    package = ""
    twice = False
    modules: tuple = ()
    typed_by_form = False
    drew = False
    examples = 0

    def move(self, array, device):
        """``array`` as the library has it."""
        return array

    def back(self, value):
        """An output or a gradient as an array of NumPy; None as it is."""
        return value if value is None else np.asarray(value)

    def is_output(self, value):
        """Whether ``value`` can be an output of a function of this library."""
        return isinstance(value, (np.ndarray, np.generic, float, int))

    def run(self, function, values, wanted):
        """``(outputs, pull, count)`` of the flat ``function`` at ``values``.

        ``pull(cotangents)`` gives one gradient, or None, for each value numbered in ``wanted``, and
        ``count()`` how many rules of the library ran.
        """
        raise NotImplementedError

    def pulled(self, function, count, wanted):
        """The function of ``count`` values and of the cotangents that gives the gradients of those
        ``wanted``, written so that the library can differentiate it.
        """
        raise NotImplementedError

    def key_of(self, values, keywords):
        """What tells such a call from another but for the values of arrays, if that helps; it is
        the ``key`` of the function that ``run`` is given.
        """
        return None

    def unrun(self):
        """The names of rules that should have run and never did."""
        return []

    def parameters(self, function):
        """``[(name, array)]`` of a layer, none of a function."""
        return []

    def with_parameters(self, function, names, values):
        """``function`` with ``values`` in place of its parameters."""
        return function

    def cannot(self, error):
        """Whether ``error`` says that there is no second derivative, and not that it is wrong."""
        return False


class Adapted:
    """A function of another library as a function of Tensors, made by ``adapt`` and its kin.

    Called with Tensors (or arrays, numbers, lists of these) it runs the other library's forward
    pass; a gradient of the result runs the other library's backward, and is an AssertionError if it
    has another shape or type than its input. ``ran``: how many of its rules have run so far.
    ``twice``: whether the library can differentiate its gradients, so that a check of order 2 has
    something to compare.
    """

    def __init__(self, library: Library, function: Any, name: str, made_by: Any, device: str | None = None) -> None:
        self.library, self.target, self.name, self.device = library, function, name, device
        self.made_by = made_by  # the name of the function that made it, and what that was given
        self.twice = library.twice
        self.ran = 0
        self.parameters = library.parameters(function)
        self.labels = labels_of(function)

    def __repr__(self) -> str:
        return f"<{self.name}, {self.library.name}>"

    def on(self, device):
        """The same function, computed on ``device`` of its library."""
        return Adapted(self.library, self.target, self.name, self.made_by, device)

    def __call__(self, *values: Any, **keywords: Any) -> Any:
        """Run it: the inputs, behind them the parameters if it is a layer and they are given."""
        flat = leaves_of(values)

        def function(*moved, _target=None):
            arguments = rebuilt(values, moved)
            target = _target or self.target
            if self.parameters and len(arguments) > len(self.parameters):
                extra = len(arguments) - len(self.parameters)
                names = [name for name, _ in self.parameters]
                target = self.library.with_parameters(target, names, arguments[extra:])
                arguments = arguments[:extra]
            out = target(*arguments, **keywords)
            outputs = _flat(out)
            if not outputs or not all(self.library.is_output(o) for o in outputs):
                kinds = ", ".join(type(o).__name__ for o in outputs)
                raise TypeError(f"{self.name} must return arrays of {self.library.name}, it returns {kinds}")
            return outputs

        function.key = self.library.key_of(values, keywords)  # type: ignore[attr-defined]
        outputs = self._record(function, flat)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _record(self, function, flat):
        """The outputs of the flat ``function`` as Tensors, with a node if a gradient is wanted."""
        tracked = [i for i, v in enumerate(flat) if isinstance(v, Tensor) and v.node is not None]
        wanted = tracked if current_mode.get().grad else []
        arrays = [v._array if isinstance(v, Tensor) else v for v in flat]
        moved = [self.library.move(a, self.device) if is_array(a) else a for a in arrays]
        try:
            outs, pull, count = self.library.run(function, moved, wanted)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}") from error
        outs = [_typed(o, moved) if type(o) in (float, int) else np.asarray(self.library.back(o)) for o in outs]
        floating = [k for k, o in enumerate(outs) if is_floating(o.dtype)]
        self.ran += not floating  # what gives integers alone has no rule to run
        if not wanted or not floating:
            return [Tensor(o) for o in outs]

        def backward(cotangents):
            seeds = dict(zip(floating, cotangents))
            given = [self.library.move(seeds[k], self.device) if k in seeds else None for k in range(len(outs))]
            found = [self.library.back(g) for g in pull(given)]
            self.ran += count()
            if len(found) != len(wanted):
                raise AssertionError(f"{self.name}: {len(found)} gradients for {len(wanted)} inputs")
            for i, gradient in zip(wanted, found):
                self._check(i, gradient, arrays[i])
            return found

        def recorded(inputs, cotangents):
            if not self.twice:
                raise NotImplementedError(f"{self.library.name} has no second derivatives")
            values = list(flat)
            for i, x in zip(wanted, inputs):
                values[i] = x
            inner = self.library.pulled(_only(function, floating), len(values), wanted)
            return self._record(inner, [*values, *cotangents])

        if len(floating) == 1:
            (only,) = floating
            pullback = _Pullback(self.name, lambda g: backward([g]), lambda xs, g: recorded(xs, [g]))
            return [Tensor(o, _node(pullback, flat, wanted, o)) if k == only else Tensor(o) for k, o in enumerate(outs)]
        # Several outputs are one node, a vector of all of them, so that their backward runs once.
        kind = np.result_type(*[outs[k].dtype for k in floating])
        ends = np.cumsum([0, *[outs[k].size for k in floating]])
        whole = np.concatenate([outs[k].reshape(-1).astype(kind, copy=False) for k in floating])
        pieces = [(k, int(a), int(b)) for k, a, b in zip(floating, ends, ends[1:])]

        def split(g):
            return [g[a:b].reshape(outs[k].shape).astype(outs[k].dtype) for k, a, b in pieces]

        pullback = _Pullback(self.name, lambda g: backward(split(g)), lambda xs, g: recorded(xs, split(g)))
        vector = Tensor(whole, _node(pullback, flat, wanted, whole))
        found = dict(zip(floating, split(vector)))
        return [found.get(k, Tensor(o)) for k, o in enumerate(outs)]

    def _check(self, i, gradient, value):
        """A gradient is of the shape and type of its input."""
        if gradient is None or (gradient.shape == value.shape and gradient.dtype == value.dtype):
            return
        cure = ": cast it, .astype(x.dtype)" if gradient.shape == value.shape else ""
        raise AssertionError(
            f"{self.name}: its rule gives input {i}, {value.shape} {value.dtype}, a gradient of "
            f"{gradient.shape} {gradient.dtype}{cure}"
        )

    def check_ran(self, before=0):
        """AssertionError if no rule of the other library ran for the gradients that were asked for,
        beyond the ``before`` that had run until then.
        """
        missing = self.library.unrun()
        if missing or self.ran == before:
            what = f"{missing[0]} has a backward of its own, and" if missing else "nothing leads back from its outputs:"
            raise AssertionError(
                f"{self.name}: {what} {self.library.name} never ran {'it' if missing else 'a backward'}: "
                "what was compared is not its rule (a detached input, a block without gradients, or an output made of other "
                "arrays?); what has no part in the gradient is computed beforehand and given as an input"
            )


class _Pullback:
    """How the engine asks for the gradient: on arrays, or recorded on Tensors."""

    simple = False  # None: the other library says that an input has no gradient
    gives_new = False
    fills = False

    def __init__(self, op_name, on_arrays, on_tensors):
        self.op_name, self.on_arrays, self.on_tensors = op_name, on_arrays, on_tensors

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent."""
        if not recorded:
            kind = node.held or node.dtype
            return self.on_arrays(gradient if gradient.dtype == kind else gradient.astype(kind))
        inputs = [Tensor(array, parent) for array, parent in zip(node.saved, node.parents)]
        return self.on_tensors(inputs, gradient if node.held is None else gradient.astype(node.held))

    def check_fresh(self, node, needed):
        """What the other library keeps is its own affair."""

    def check_finite(self, node, gradient, pulled):
        """Nothing to say: the rule is not ours."""


def _node(pullback, flat, wanted, out):
    saved = tuple(flat[i]._array for i in wanted)
    return new_node(pullback, tuple(flat[i].node for i in wanted), saved, out)


def _typed(number, inputs):
    """A number of Python's, which has no type, in that of the floating inputs."""
    kinds = [x.dtype for x in inputs if isinstance(x, np.ndarray) and is_floating(x.dtype)]
    return np.asarray(number, dtype=np.result_type(*kinds) if kinds and isinstance(number, float) else None)


def _only(function, places):
    """``function`` with the outputs numbered in ``places``."""

    def some(*values):
        return [out for k, out in enumerate(function(*values)) if k in places]

    some.key = None if function.key is None else ("some", tuple(places), function.key)  # type: ignore[attr-defined]
    return some


def _flat(out):
    """The outputs of a function one by one: those in tuples, lists and dicts too."""
    if isinstance(out, dict):
        out = list(out.values())
    return [leaf for item in out for leaf in _flat(item)] if isinstance(out, (list, tuple)) else [out]
