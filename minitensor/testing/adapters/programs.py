"""Functions of JAX compiled as a whole, forward and backward, so that a check of many shapes does
not wait for the compiler.

JAX compiles each operation for each shape that it meets, which takes some 40 ms of processor time,
while a check draws some twenty shapes. A program is compiled once for a shape, without what the
compiler does for speed. Values, gradients and rules are JAX's own.
"""

from __future__ import annotations

import functools
import math
import re

import jax
import numpy as np

from minitensor.backend import is_array
from minitensor.engine.trees import structure

__all__ = ["Program", "has_rules", "key_of"]

QUICK = {  # to compile fast rather than to run fast
    "xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1,
}  # fmt: skip


def key_of(values, keywords):
    """What tells a call from another but for the values of arrays; None if there is no such key."""
    try:
        key = structure(values, _leaf), structure(keywords, _constant)
        hash(key)
    except TypeError:
        return None
    return key


def _leaf(value):
    return "array" if is_array(getattr(value, "_array", value)) else _constant(value)


def _constant(value):
    """A constant that cannot change; TypeError for others."""
    if isinstance(value, float):
        return float, value, math.copysign(1.0, value)
    if value is None or isinstance(value, (bool, int, str, np.dtype)):
        return type(value), value
    raise TypeError("this may change, and is no key")


class Program:
    """A flat function of arrays and constants as one compiled program.

    ``run(values)`` gives its outputs, ``run(values, cotangents)`` the gradients of all floating
    arrays, by their places. ``looked_at``: for the types of the values that it has met, the shapes
    of the outputs, and whether it calls a rule that is not JAX's.
    """

    def __init__(self, function, values):
        self.function, self.constants = function, list(values)
        self.places = [i for i, v in enumerate(values) if is_array(v) or isinstance(v, jax.Array)]
        self.floating = [i for i in self.places if jax.numpy.issubdtype(values[i].dtype, np.floating)]
        self.looked_at: dict = {}
        self.compiled: dict = {}  # with rules, and without

    def look(self, values):
        """``(shapes, has rules, new)`` for values of these types; new: it was not yet compiled."""
        types = jax.config.read("jax_enable_x64"), *((values[i].shape, values[i].dtype) for i in self.places)
        new = types not in self.looked_at
        if new:
            (made, shapes), (again, _) = (
                jax.make_jaxpr(functools.partial(self._plain), return_shape=True)(*[values[i] for i in self.places])
                for _ in range(2)
            )
            if not _same(made, again):
                raise ValueError("it is another function each time, so that it cannot be compiled")
            self.looked_at[types] = shapes, _has_rules(made.jaxpr)
        return *self.looked_at[types], new

    def run(self, values, cotangents=None):
        """``(plain outputs, recorded outputs, gradients)``, these for cotangents of 0 if there are
        none.
        """
        outputs, rules, _ = self.look(values)
        given = cotangents or [None] * len(outputs)
        seeds = [np.zeros(o.shape, o.dtype) if g is None else g for g, o in zip(given, outputs) if _floats(o)]
        if rules not in self.compiled:
            self.compiled[rules] = _compiled(functools.partial(self._all, rules))
        return self.compiled[rules]([values[i] for i in self.places], seeds)

    def _plain(self, *arrays):
        every = list(self.constants)
        for i, array in zip(self.places, arrays):
            every[i] = array
        return self.function(*every)

    def _all(self, rules, arrays, seeds):
        def of_floating(*moved):
            every = dict(zip(self.places, arrays)) | dict(zip(self.floating, moved))
            return self._plain(*(every[i] for i in self.places))

        by_place = dict(zip(self.places, arrays))
        recorded, pullback = jax.vjp(of_floating, *(by_place[i] for i in self.floating))
        left = iter(seeds)
        every = [next(left) if _floats(o) else np.zeros(o.shape, jax.dtypes.float0) for o in recorded]
        return self._plain(*arrays) if rules else recorded, recorded, pullback(every)


def has_rules(function, values, places):
    """Whether ``function`` calls a ``jax.custom_vjp``, traced by the ``values`` at ``places``."""

    def of_places(*arrays):
        every = list(values)
        for i, array in zip(places, arrays):
            every[i] = array
        return function(*every)

    return _has_rules(jax.make_jaxpr(of_places)(*[values[i] for i in places]).jaxpr)


def _same(first, second):
    """Whether two traces are of the same steps and constants."""
    texts = [re.sub(r"0x[0-9a-f]+", "", str(trace.jaxpr)) for trace in (first, second)]
    consts = zip(first.consts, second.consts)
    return texts[0] == texts[1] and all(np.array_equal(a, b, equal_nan=True) for a, b in consts)


def _has_rules(jaxpr):
    """Whether a rule that is not JAX's is called anywhere in it."""
    for step in jaxpr.eqns:
        if step.primitive.name.startswith("custom_vjp"):
            return True
        inner = jax.tree.leaves(list(step.params.values()), is_leaf=lambda part: hasattr(part, "eqns"))
        if any(_has_rules(getattr(part, "jaxpr", part)) for part in inner if hasattr(part, "eqns")):
            return True
    return False


def _floats(output):
    return jax.numpy.issubdtype(output.dtype, np.inexact)


def _compiled(function):
    """``function`` compiled fast, if this JAX knows how."""
    quick, plain = jax.jit(function, compiler_options=QUICK), jax.jit(function)

    def call(*given):
        nonlocal quick
        try:
            return quick(*given)
        except jax.errors.JaxRuntimeError as error:
            if "xla_" not in str(error):
                raise
            quick = plain  # an option that it has no more
            return quick(*given)

    return call
