"""Operators and methods of Tensor, each an op under NumPy's name for it."""

from __future__ import annotations

import functools

from minitensor.backend import np
from minitensor.engine.axes import ints
from minitensor.engine.front_door import missing_attribute, taught
from minitensor.engine.gradient import backward
from minitensor.engine.tensor import Tensor
from minitensor.ops import elementwise, indexing, interchange, linalg, reductions, repeating, scans, shape
from minitensor.ops.numpy_border import array_function, array_ufunc


def _swapped(function):
    return lambda x, y: function(y, x)


def _of_truth(function, sign):
    """``function`` for the operator ``sign``, which means bits on integers elsewhere and is refused
    for them here.
    """

    def operator(*operands):
        for x in operands:
            dtype = getattr(x, "dtype", type(x))
            if dtype not in (bool, np.bool_):
                raise TypeError(
                    f"{sign} combines truth values, got {dtype}: write x > 0, or mt.{function.name} for what is not zero"
                )
        return function(*operands)

    return operator


BINARY = {  # operators of two operands, __add__ and __radd__: the op
    "add": elementwise.add.quick,
    "and": _of_truth(elementwise.logical_and, "&"),
    "floordiv": elementwise.floor_divide.quick,
    "matmul": linalg.matmul.quick,
    "mod": elementwise.remainder.quick,
    "mul": elementwise.multiply.quick,
    "or": _of_truth(elementwise.logical_or, "|"),
    "pow": elementwise.power.quick,
    "sub": elementwise.subtract.quick,
    "truediv": elementwise.divide.quick,
    "xor": _of_truth(elementwise.logical_xor, "^"),
}
COMPARISONS = {
    "eq": "equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
    "ne": "not_equal",
}
METHODS = {  # by the file that has them
    elementwise: "clip round",
    indexing: "argsort put sort take",
    linalg: "trace",
    reductions: "all any argmax argmin max mean min prod std sum var",
    repeating: "repeat",
    scans: "cumprod cumsum",
    shape: "astype broadcast_to diagonal flatten squeeze swapaxes",
}


def _compared(function):
    """A comparison that leaves what is no number (None, a string) to Python, which finds it
    unequal.
    """
    quick = function.quick
    return lambda x, y: NotImplemented if y is None or isinstance(y, str) else quick(x, y)


def _method(function):
    """``function`` as a method: ops are objects, and only functions bind to an instance."""
    function = taught(function)

    def method(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    functools.update_wrapper(method, function)  # its signature too
    return method


def _transpose(self, *axes):
    """``x`` with its axes in the given order, reversed if none is given."""
    order = axes[0] if len(axes) == 1 else axes or None
    return shape.permute_dims(self, axes=None if order is None else ints(order))


def _matrix_transpose(self):
    """The last two axes exchanged."""
    return shape.swapaxes(self, axis1=-1, axis2=-2)


def _missing(self, name):
    """Raise AttributeError for a name that a tensor does not have, with what to write instead."""
    raise AttributeError(missing_attribute(name), name=name, obj=self)


OTHERS = {  # what has another name than its op, other parameters, or no op
    "T": property(_transpose, doc="``x`` with its axes reversed."),
    "__abs__": _method(elementwise.abs),
    "__array_function__": array_function,
    "__array_ufunc__": array_ufunc,
    "__dlpack__": interchange.dlpack,
    "__dlpack_device__": interchange.dlpack_device,
    "__getattr__": _missing,
    "__getitem__": indexing.getitem,
    "__invert__": _of_truth(elementwise.logical_not, "~"),
    "__neg__": elementwise.negative.quick,
    "__pos__": lambda x: x,
    "backward": backward,
    "mT": property(_matrix_transpose, doc="``x`` with its last two axes exchanged."),
    "of_parts": staticmethod(shape.of_parts),
    "reshape": _method(shape.reshape_method),
    "to": _method(shape.to),
    "to_device": interchange.to_device,
    "transpose": _transpose,
}

for _name, _function in BINARY.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", _swapped(_function))
for _name, _function in COMPARISONS.items():
    setattr(Tensor, f"__{_name}__", _compared(getattr(elementwise, _function)))
for _file, _names in METHODS.items():
    for _name in _names.split():
        setattr(Tensor, _name, _method(getattr(_file, _name)))
for _name, _value in OTHERS.items():
    setattr(Tensor, _name, _value)
