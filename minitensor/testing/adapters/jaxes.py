"""JAX: ``jax.custom_vjp``, ``jax.custom_jvp``, compiled functions and any function of its
arrays.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from minitensor.testing.adapters.adapted import Library, profiled_by

__all__ = ["Jax"]


class Jax(Library):
    """Gradients by ``jax.vjp``, in 64 bits unless every floating input is narrower: what a function
    makes by itself, ``jnp.ones(3)``, is then float32, as it is where JAX runs by default.
    """

    name = "JAX"
    package = "jax"
    twice = True

    def __init__(self):
        self.rules: set = set()  # the custom_vjp that were called
        self.ran: set = set()  # code of what has run
        self.compiled = False  # whether a function that is not JAX's own was compiled, or had been
        self.again: Any = None  # runs what ran last, forward and backward

    def move(self, array, device):
        with jax.enable_x64(True):
            moved = jax.numpy.array(array)
            return moved if device is None else jax.device_put(moved, _device(device))

    def is_output(self, value):
        return isinstance(value, (jax.Array, np.ndarray, np.generic, float, int))

    def run(self, function, values, wanted):
        values = list(values)
        ran = [0]

        def of_wanted(*moved):
            every = list(values)
            for i, value in zip(wanted, moved):
                every[i] = value
            return function(*every)

        wide = _wide(values)
        if not wanted and self.again is not None:  # seen before: what rules there are is known
            with jax.enable_x64(wide):
                return function(*values), None, None
        with jax.enable_x64(wide), self._watched():
            if not wanted:
                return function(*values), None, None
            outputs, pullback = jax.vjp(of_wanted, *[values[i] for i in wanted])

        def pull(cotangents):
            seeds = [
                np.zeros(np.shape(o), dtype=jax.dtypes.float0) if g is None else g for g, o in zip(cotangents, outputs)
            ]
            with jax.enable_x64(wide), self._watched():
                ran[0] += 1
                self.again = lambda: self.run(function, values, wanted)[1](cotangents)
                return list(pullback(list(seeds)))

        return outputs, pull, lambda: ran[0]

    @contextmanager
    def _watched(self):
        """Within, each custom_vjp that is called is put down, and each of their rules that runs."""
        call: Any = jax.custom_vjp.__call__
        called = getattr(call, "__wrapped__", call).__code__

        def look(frame, event, _):
            if event == "call":
                self.ran.add(frame.f_code)
                if frame.f_code is called:
                    self.rules.add(frame.f_locals["self"])
                elif frame.f_globals.get("__name__") == "jax._src.pjit":
                    module = getattr(frame.f_locals.get("fun"), "__module__", None) or "jax"
                    self.compiled = self.compiled or module.partition(".")[0] != "jax"

        with profiled_by(look):
            yield

    def unrun(self):
        # A compiled function calls its rules while it is traced, which may have been long ago.
        if self.again is not None and (self._missing() or (self.compiled and not self.rules)):
            jax.clear_caches()
            self.again()
        return self._missing()

    def _missing(self):
        rules = [(rule, getattr(rule, "bwd", None)) for rule in self.rules]
        codes = [(rule, getattr(bwd, "__code__", None)) for rule, bwd in rules]
        return [getattr(rule, "__name__", "a custom_vjp") for rule, code in codes if code and code not in self.ran]

    def pulled(self, function, count, wanted):
        def gradients(*given):
            values, cotangents = list(given[:count]), list(given[count:])

            def of_wanted(*moved):
                every = list(values)
                for i, value in zip(wanted, moved):
                    every[i] = value
                return function(*every)

            return list(jax.vjp(of_wanted, *[values[i] for i in wanted])[1](cotangents))

        return gradients


def _wide(values):
    """Whether these are to be computed in 64 bits."""
    floats = [v.dtype for v in values if hasattr(v, "dtype") and jax.numpy.issubdtype(v.dtype, np.floating)]
    return not floats or np.float64 in floats


def _device(name):
    """``cpu``, ``cuda`` or ``cuda:1`` as a device of JAX."""
    kind, _, number = name.partition(":")
    return jax.devices(kind)[int(number or 0)]
