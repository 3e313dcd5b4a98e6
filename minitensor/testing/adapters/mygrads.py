"""MyGrad: its operations, ufuncs, and any function of its tensors."""

from __future__ import annotations

import functools
from typing import Any

import mygrad
import numpy as np
from mygrad.operation_base import Operation

from minitensor.testing.adapters.adapted import Library

__all__ = ["MyGrad", "of_operation"]


def of_operation(kind):
    """A subclass of ``mygrad.operation_base.Operation`` as a function."""

    @functools.wraps(kind, updated=())
    def function(*inputs, **keywords):
        return mygrad.execute_op(kind, *inputs, op_kwargs=keywords)

    return function


def is_operation(value):
    """Whether ``value`` is a class of operations."""
    return isinstance(value, type) and issubclass(value, Operation)


class MyGrad(Library):
    """Gradients by ``backward`` of a tensor; the graph is used up, so that each pull makes it
    anew.
    """

    name = "MyGrad"
    package = "mygrad"
    modules = ("mygrad.tensor_base",)

    def move(self, array, device):
        if device not in (None, "cpu"):
            raise ValueError(f"MyGrad computes in NumPy: it has no device {device!r}")
        return array

    def back(self, value):
        return None if value is None else np.array(value.data if isinstance(value, mygrad.Tensor) else value)

    def is_output(self, value):
        return isinstance(value, (mygrad.Tensor, np.ndarray, np.generic, float, int))

    def run(self, function, values, wanted):
        if not wanted:
            with mygrad.no_autodiff:
                return function(*[_tensor(v, True) for v in values]), None, None
        ran = [0]

        def call():
            tensors = [_tensor(v, i not in wanted) for i, v in enumerate(values)]
            return tensors, function(*tensors)

        def pull(cotangents):
            tensors, outputs = call()
            ran[0] += sum(isinstance(o, mygrad.Tensor) and o.creator is not None for o in outputs)
            pairs = [(o, g) for o, g in zip(outputs, cotangents) if g is not None and isinstance(o, mygrad.Tensor)]
            if len(pairs) == 1:
                pairs[0][0].backward(pairs[0][1])
            else:
                total: Any = sum(mygrad.sum(o * g) for o, g in pairs)
                total.backward()
            return [None if tensors[i].grad is None else np.array(tensors[i].grad) for i in wanted]

        with mygrad.no_autodiff:
            outputs = function(*[_tensor(v, True) for v in values])
        return outputs, pull, lambda: ran[0]


def _tensor(value, constant):
    if not isinstance(value, np.ndarray):
        return value
    return mygrad.tensor(value, constant=constant) if value.dtype.kind in "fc" else value
