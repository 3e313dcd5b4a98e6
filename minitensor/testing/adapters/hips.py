"""HIPS autograd: its primitives, and any function of its boxed arrays."""

from __future__ import annotations

import warnings

import numpy as np
from autograd.builtins import tuple as boxed_tuple
from autograd.core import VJPNode, backward_pass, make_vjp, vspace
from autograd.tracer import Box, getval, notrace_primitives, toposort, trace

from minitensor.testing.adapters.adapted import Library

__all__ = ["Hips"]


class Hips(Library):
    """Gradients by ``autograd.core``."""

    name = "HIPS autograd"
    package = "autograd"
    twice = True
    modules = ("autograd.tracer",)

    def __init__(self, function=None):
        # Such as floor: there is no rule to run, the gradient is 0, and differences tell.
        self.untraced = function in notrace_primitives[VJPNode]

    def move(self, array, device):
        if device not in (None, "cpu"):
            raise ValueError(f"HIPS autograd computes in NumPy: it has no device {device!r}")
        return array

    def is_output(self, value):
        return isinstance(value, (Box, np.ndarray, np.generic, float, int))

    def run(self, function, values, wanted):
        if not wanted:
            return function(*values), None, None
        of_wanted, several = _of_wanted(function, values, wanted)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Output seems independent")
            value, end = trace(VJPNode.new_root(), of_wanted, tuple(values[i] for i in wanted))
        outputs = list(value) if several[0] else [value]
        ran = [0]

        def pull(cotangents):
            if end is None:
                ran[0] += self.untraced
                return [None] * len(wanted)
            seeds = [vspace(o).zeros() if g is None else g for g, o in zip(cotangents, outputs)]
            ran[0] += sum(1 for node in toposort(end) if node.parents)
            found = backward_pass(tuple(seeds) if several[0] else seeds[0], end)
            return [getval(g) for g in found]

        return outputs, pull, lambda: ran[0]

    def pulled(self, function, count, wanted):
        def gradients(*values):
            inputs, cotangents = list(values[:count]), values[count:]
            of_wanted, several = _of_wanted(function, inputs, wanted)
            vjp, _ = make_vjp(of_wanted, boxed_tuple([inputs[i] for i in wanted]))
            return list(vjp(boxed_tuple(cotangents) if several[0] else cotangents[0]))

        return gradients

    def cannot(self, error):
        return isinstance(error.__cause__, NotImplementedError)


def _of_wanted(function, values, wanted):
    """``function`` of a tuple of the values that are ``wanted``, and whether it gives several
    outputs, known once it has run.
    """
    several = [False]

    def of_wanted(moved):
        every = list(values)
        for place, i in enumerate(wanted):
            every[i] = moved[place]
        outputs = function(*every)
        several[0] = len(outputs) > 1
        return boxed_tuple(outputs) if several[0] else outputs[0]

    return of_wanted, several
