"""A function as a check calls it: with the values of a module's parameters, or on a device."""

from __future__ import annotations

from contextlib import contextmanager

from minitensor.engine.tensor import Tensor
from minitensor.testing.packing import mapped

__all__ = ["on_device", "with_parameters"]


def with_parameters(module, parameters, count):
    """``module`` as a function of its inputs and the values of its parameters."""

    def function(*values, **keywords):
        with _lent(parameters, values[count:]):
            return module(*values[:count], **keywords)

    return function


def on_device(function, device):
    """``function`` run on ``device``: its Tensors are sent there, what it returns comes back."""

    def moved(value, to):
        if isinstance(value, (list, tuple, dict)):
            return mapped(lambda _, item: moved(item, to), value)
        return value.to(to) if isinstance(value, Tensor) else value

    def there(*values, **keywords):
        out = function(*moved(values, device), **keywords)
        return moved(out, "cpu")

    return there


@contextmanager
def _lent(parameters, tensors):
    """Within, the parameters hold the arrays and nodes of ``tensors``."""
    before = [(p._array, p.node) for p in parameters]
    try:
        for parameter, lent in zip(parameters, tensors):
            parameter._array, parameter.node = lent._array, lent.node
        yield
    finally:
        for parameter, (data, node) in zip(parameters, before):
            parameter._array, parameter.node = data, node
