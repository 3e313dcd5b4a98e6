"""Operators and methods of Tensor, each an op under NumPy's name for it."""

from __future__ import annotations

from minitensor.axes import ints
from minitensor.backend import np
from minitensor.front_door import missing_attribute, taught
from minitensor.gradient import backward
from minitensor.numpy_border import array_function, array_ufunc
from minitensor.ops import elementwise as e
from minitensor.ops import indexing as i
from minitensor.ops import linalg as la
from minitensor.ops import reductions as r
from minitensor.ops import shape as s
from minitensor.ops.repeating import repeat
from minitensor.tensor import Tensor


def _swapped(function):
    return lambda x, y: function(y, x)


def _of_truth(function, sign):
    """``function`` for the operator ``sign``, which means bits on integers elsewhere and is refused for them here."""

    def operator(*operands):
        for x in operands:
            dtype = getattr(x, "dtype", type(x))
            if dtype not in (bool, np.bool_):
                raise TypeError(
                    f"{sign} combines truth values, got {dtype}: write x > 0, or mt.{function.name} for what is not zero"
                )
        return function(*operands)

    return operator


BINARY = {
    "add": e.add.quick, "sub": e.subtract.quick, "mul": e.multiply.quick, "truediv": e.divide.quick,
    "floordiv": e.floor_divide.quick,
    "mod": e.remainder.quick, "pow": e.power.quick,
    "matmul": la.matmul.quick, "and": _of_truth(e.logical_and, "&"), "or": _of_truth(e.logical_or, "|"),
    "xor": _of_truth(e.logical_xor, "^"),
}  # fmt: skip
COMPARISONS = {
    "eq": e.equal,
    "ne": e.not_equal,
    "lt": e.less,
    "le": e.less_equal,
    "gt": e.greater,
    "ge": e.greater_equal,
}
METHODS = {
    "sum": r.sum, "mean": r.mean, "prod": r.prod, "max": r.max, "min": r.min, "var": r.var, "std": r.std,
    "all": r.all, "any": r.any, "argmax": r.argmax, "argmin": r.argmin, "cumsum": r.cumsum, "cumprod": r.cumprod,
    "clip": e.clip, "round": e.round, "put": i.put, "take": i.take, "sort": i.sort, "argsort": i.argsort,
    "reshape": s._reshape_method, "flatten": s.flatten, "squeeze": s.squeeze, "swapaxes": s.swapaxes, "repeat": repeat,
    "diagonal": s.diagonal, "trace": la.trace, "astype": s.astype, "to": s._to, "broadcast_to": s.broadcast_to,
}  # fmt: skip


def _compared(function):
    """A comparison that leaves what is no number (None, a string) to Python, which finds it unequal."""
    quick = function.quick
    return lambda x, y: NotImplemented if y is None or isinstance(y, str) else quick(x, y)


def _method(function):
    """``function`` as a method: ops are objects, and only functions bind to an instance."""
    function = taught(function)

    def method(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    method.__doc__ = function.__doc__
    method.__name__ = getattr(function, "__name__", "method")
    method.__wrapped__ = function  # whose signature help() shows
    return method


def _transpose(self, *axes):
    """``x`` with its axes in the given order, reversed where none is given."""
    axes = axes[0] if len(axes) == 1 else axes or None
    return s.permute_dims(self, axes=None if axes is None else ints(axes))


def _matrix_transpose(self):
    """The last two axes exchanged."""
    return s.swapaxes(self, axis1=-1, axis2=-2)


def _missing(self, name):
    """Raise AttributeError for a name that a tensor does not have, with what to write instead."""
    raise AttributeError(missing_attribute(name), name=name, obj=self)


for _name, _function in BINARY.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", _swapped(_function))
for _name, _function in COMPARISONS.items():
    setattr(Tensor, f"__{_name}__", _compared(_function))
for _name, _function in METHODS.items():
    setattr(Tensor, _name, _method(_function))
Tensor.__neg__ = e.negative.quick
Tensor.__pos__ = lambda x: x
Tensor.__abs__ = _method(e.abs)
Tensor.__invert__ = _of_truth(e.logical_not, "~")
Tensor.__getitem__ = i.getitem
Tensor.__array_ufunc__ = array_ufunc
Tensor.__array_function__ = array_function
Tensor.__getattr__ = _missing
Tensor.backward = backward
Tensor.of_parts = staticmethod(s.of_parts)
Tensor.transpose = _transpose
Tensor.T = property(_transpose, doc="``x`` with its axes reversed.")
Tensor.mT = property(_matrix_transpose, doc="``x`` with its last two axes exchanged.")
