"""JAX: ``jax.custom_vjp``, ``jax.custom_jvp``, compiled functions and any function of its
arrays.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import numpy as np

from minitensor.testing.adapters.adapted import Library
from minitensor.testing.adapters.programs import Program, has_rules, key_of
from minitensor.testing.adapters.watching import Watch, as_bytes, never_ran

__all__ = ["Jax"]

PULLED = "pulled"  # the first part of the key of a gradient
_call: Any = jax.custom_vjp.__call__
_CALL = getattr(_call, "__wrapped__", _call).__code__


class Jax(Library):
    """Gradients by ``jax.vjp``, in 64 bits unless every floating input is narrower: what a function
    makes by itself, ``jnp.ones(3)``, is then float32, as it is where JAX runs by default.

    The first derivatives of the first example run operation by operation, as the function does
    wherever it is called; what else there is runs as one compiled program, if it can be compiled.
    """

    name = "JAX"
    package = "jax"
    twice = True
    typed_by_form = True

    def __init__(self):
        self.rules: set = set()  # the custom_vjp that were called
        self.ran: set = set()  # code of what has run
        self.within: set = set()  # code of their forward and backward functions
        self.compiled = False  # whether a function that is not JAX's own was compiled, or had been
        self.again: Any = None  # runs what ran last, forward and backward
        self.programs: dict = {}  # for each form of a call its program; None if it has none

    def move(self, array, device):
        if device is None:
            return array
        with jax.enable_x64(True):
            return jax.device_put(np.array(array), _device(device))

    def is_output(self, value):
        return isinstance(value, (jax.Array, np.ndarray, np.generic, float, int))

    def run(self, function, values, wanted, watch=None):
        values = list(values)
        if watch is None and (program := self._program_of(function, values)) is not None:
            try:
                return self._run_program(program, function, values, wanted)
            except Exception:  # it cannot be compiled, or refuses these values: it says so itself
                self.programs[function.key] = None
        found = self._run(function, values, wanted, watch)
        if not all(isinstance(out, jax.Array) for out in found[0]):  # a number, which a program gives a type
            self.programs[getattr(function, "key", None)] = None
        return found

    def key_of(self, values, keywords):
        return key_of(values, keywords)

    def _program_of(self, function, values):
        """The program of ``function``; None if it has none, or none yet."""
        key = getattr(function, "key", None)
        first = key is not None and key[0] is not PULLED and _wide(values)
        if key is None or self.examples < (2 if first else 1):
            return None
        if key not in self.programs:
            self.programs[key] = Program(function, values)
        return self.programs[key]

    def _run_program(self, program, function, values, wanted):
        wide = _wide(values)

        def run(cotangents=None):
            with jax.enable_x64(wide):
                _, rules, new = program.look(values)
                with self._watched() if rules and new else nullcontext():
                    return program.run(values, cotangents)

        plain, recorded, _ = run()
        if not wanted:
            return plain, None, None
        ran = [0]

        def pull(cotangents):
            ran[0] += 1
            self.again = functools.partial(self._watch_again, function, values, wanted, cotangents)
            gradients = dict(zip(program.floating, run(cotangents)[2]))
            return [gradients[i] for i in wanted]

        return recorded, pull, lambda: ran[0]

    def _run(self, function, values, wanted, watch):
        values, ran = _moved(values), [0]

        def of_wanted(*moved):
            every = list(values)
            for i, value in zip(wanted, moved):
                every[i] = value
            return function(*every)

        wide = _wide(values)
        if not wanted and self.again is not None:  # seen before: what rules there are is known
            with jax.enable_x64(wide):
                return function(*values), None, None
        with jax.enable_x64(wide), self._watched(watch):
            if not wanted:
                return function(*values), None, None
            outputs, pullback = jax.vjp(of_wanted, *[values[i] for i in wanted])

        def pull(cotangents):
            seeds = [
                np.zeros(np.shape(o), dtype=jax.dtypes.float0) if g is None else g
                for g, o in zip(_moved(cotangents), outputs)
            ]
            with jax.enable_x64(wide), self._watched(watch):
                ran[0] += 1
                if watch is None:
                    self.again = functools.partial(self._watch_again, function, values, wanted, cotangents)
                return list(pullback(list(seeds)))

        return outputs, pull, lambda: ran[0]

    @contextmanager
    def _watched(self, watch=None):
        """Within, each custom_vjp that is called is put down, and each of their rules that runs."""
        watch = watch or Watch(self._rule_of)
        with watch.on():
            yield
        self.ran |= watch.ran
        self.rules |= watch.calls.keys()

    def _rule_of(self, frame):
        """The custom_vjp that a call calls, and its arguments; None as the rule where one of their
        own two functions is called.
        """
        if frame.f_code is _CALL:
            rule = frame.f_locals["self"]
            self.within |= {
                getattr(f, "__code__", None) for f in (getattr(rule, "fwd", None), getattr(rule, "bwd", None))
            }
            return rule, jax.tree.leaves(frame.f_locals["args"])
        if frame.f_globals.get("__name__") == "jax._src.pjit":
            module = getattr(frame.f_locals.get("fun"), "__module__", None) or "jax"
            self.compiled = self.compiled or module.partition(".")[0] not in ("jax", "minitensor")
        return (None, ()) if frame.f_code in self.within else None

    def _watch_again(self, function, values, wanted, cotangents, factor=1.0, shift=0.0, traced=False):
        """What is called, and with what, where the wanted values are multiplied and shifted so.

        traced: nothing is computed if that can be, which shows what is called and not with what.
        """
        if traced:
            try:
                return self._trace(function, values, wanted, cotangents)
            except Exception:  # it asks for values
                pass
        with jax.enable_x64(_wide(values)):
            values = [v * factor + shift if i in wanted else v for i, v in enumerate(values)]
        watch = Watch(self._rule_of, functools.partial(as_bytes, np.asarray))
        self.run(function, values, wanted, watch)[1](cotangents)
        return watch

    def _trace(self, function, values, wanted, cotangents):
        watch = Watch(self._rule_of)

        def both(*moved):
            every = list(values)
            for i, value in zip(wanted, moved):
                every[i] = value
            return self._run(function, every, wanted, watch)[1](cotangents)

        with jax.enable_x64(_wide(values)):
            jax.eval_shape(both, *[values[i] for i in wanted])
        return watch

    def unrun(self):
        # A compiled function calls its rules while it is traced, which may have been long ago.
        if self.again is not None and (
            self._missing() or (self.compiled and not self.rules and self._may_have_rules())
        ):
            with jax.disable_jit():
                self.again(traced=True)
        missing = self._missing()
        if missing and self.again is not None:
            with jax.disable_jit():  # so that one can see what is called with what
                missing = never_ran(missing, _code_of_bwd, self.again)
        return [getattr(rule, "__name__", "a custom_vjp") for rule in missing]

    def _may_have_rules(self):
        """Whether what ran last calls a rule, as far as one can see."""
        function, values, wanted = self.again.args[:3]
        try:
            with jax.enable_x64(_wide(values)):
                return has_rules(function, values, wanted)
        except Exception:  # it asks for values
            return True

    def _missing(self):
        return [rule for rule in self.rules if (code := _code_of_bwd(rule)) and not code & self.ran]

    def pulled(self, function, count, wanted):
        def gradients(*given):
            values, cotangents = list(given[:count]), list(given[count:])

            def of_wanted(*moved):
                every = list(values)
                for i, value in zip(wanted, moved):
                    every[i] = value
                return function(*every)

            return list(jax.vjp(of_wanted, *[values[i] for i in wanted])[1](cotangents))

        if getattr(function, "key", None) is not None:
            gradients.key = (PULLED, count, tuple(wanted), function.key)  # type: ignore[attr-defined]
        return gradients


def _code_of_bwd(rule):
    code = getattr(getattr(rule, "bwd", None), "__code__", None)
    return {code} if code else set()


def _moved(values):
    """``values`` with JAX's arrays in place of NumPy's."""
    with jax.enable_x64(True):
        return [jax.device_put(np.array(v)) if isinstance(v, np.ndarray) else v for v in values]


def _wide(values):
    """Whether these are to be computed in 64 bits."""
    floats = [v.dtype for v in values if hasattr(v, "dtype") and jax.numpy.issubdtype(v.dtype, np.floating)]
    return not floats or np.float64 in floats


def _device(name):
    """``cpu``, ``cuda`` or ``cuda:1`` as a device of JAX."""
    kind, _, number = name.partition(":")
    return jax.devices(kind)[int(number or 0)]
