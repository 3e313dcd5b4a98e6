"""What every call of an op does before and after its arithmetic: bind arguments, read Tensors,
explain errors.

The base class of both kinds of op, ``Op`` and ``Fused``, and the checks that both kinds of pullback
make.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from minitensor.backend import cpu, holds_numbers, is_array, is_floating, is_narrow, memory, namespace_of, np
from minitensor.engine import library
from minitensor.engine.arraylike import plain_array
from minitensor.engine.autocast import casts_of, rounded
from minitensor.engine.autograd import call_of, raw
from minitensor.engine.axes import read_ints
from minitensor.engine.front_door import refusal
from minitensor.engine.messages import (
    a_kind,
    call_site,
    describe,
    finite,
    holds_nan,
    is_fault,
    nonfinite_error,
    out_of_memory,
)
from minitensor.engine.settings import plain
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["NUMBERS", "Primitive", "check_made", "check_pulled", "check_rounded", "refuse_stale"]

NUMBERS: frozenset[Any] = frozenset((bool, int, float))
WHOLE = frozenset("axis axes axis1 axis2 ddof decimals k shape shift".split())  # keywords of ops that are integers
_NDARRAY = np.ndarray
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Primitive:
    """What both kinds share: binding arguments, reading Tensors, explaining errors."""

    __qualname__: str

    def __init__(self, function, skip, name):
        self.name = name or function.__name__
        self.function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # both kinds can be called
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        inputs, keywords = _divided(parameters)
        self.inputs, self.keywords = tuple(p.name for p in inputs), tuple(p.name for p in keywords)
        self.input_defaults = {p.name: p.default for p in inputs if p.default is not p.empty}
        self.defaults = {p.name: p.default for p in keywords if p.default is not p.empty}
        self.arity = -1 if self.variadic else len(self.inputs)
        self.foreign = not (function.__module__ or "").startswith("minitensor.")
        self.casts = None if self.foreign else casts_of(self.name)  # within mt.autocast
        # Functions of the library stand before such an op; the arrays that they pass as keywords
        # are their own already.
        self.behind_a_function = function.__name__.startswith("_") and not self.foreign
        self.positions, self.aliases = self.keywords, {}
        self.__signature__ = inspect.Signature(parameters)

    def __repr__(self):
        return f"<{type(self).__name__.lower()} {self.name}{self.__signature__}>"

    def takes(self, *positions, **aliases):
        """Say in which order NumPy has the arguments behind the inputs, and other names of
        keywords, as ``correction="ddof"``.

        What this op has no keyword for keeps its place, and is refused unless it is None.
        """
        self.positions, self.aliases = positions, aliases

    def knows(self, params):
        """Whether ``params`` are keywords of this op under their own names."""
        return all(name in self.keywords for name in params)

    def __reduce__(self):
        """Copies of an op are the op itself; a pickle holds where it is found: its module, and its
        name there.
        """
        place = getattr(sys.modules.get(self.__module__), "__dict__", {})
        names = [name for name, value in place.items() if value is self]
        return names[0] if names else self.__qualname__

    def bind(self, args, params):
        """Inputs given by keyword and keywords given by position or another name, brought to
        ``(inputs, keywords)``.
        """
        if self.variadic:
            for name in params:
                if name not in self.keywords:
                    raise TypeError(self.refusal(name))
            return args, params
        given, params = params, {}
        if len(args) > self.arity + len(self.positions):
            raise TypeError(f"{self.name} takes {self.arity + len(self.positions)} arguments, got {len(args)}")
        named = [*zip(self.positions, args[self.arity :]), *((self.aliases.get(k, k), v) for k, v in given.items())]
        for name, value in named:
            if name in params:
                raise TypeError(f"{self.name}: {name!r} is given twice, by position and by keyword")
            if name in self.keywords or name in self.inputs[len(args) :]:
                params[name] = value
            elif value is not None:
                raise TypeError(self.refusal(name))
        inputs = list(args[: self.arity])
        for name in self.inputs[len(inputs) :]:
            if name not in params and name not in self.input_defaults:
                raise TypeError(f"{self.name}: the argument {name!r} is missing; it takes {self.__signature__}")
            inputs.append(params.pop(name, self.input_defaults.get(name)))
        return inputs, params

    def refusal(self, name):
        """Why the argument ``name``, which NumPy may have, is not taken, and what to
        write instead.
        """
        if name in self.inputs:
            return f"{self.name}: {name!r} is given twice, by position and by keyword"
        return refusal(self.name, name, self.__signature__)

    def input_names(self, count):
        """One name per input, for messages; ``xs[0], xs[1], ...`` if the op takes any number."""
        if self.variadic:
            return [f"{self.inputs[0]}[{i}]" for i in range(count)]
        return self.inputs

    def read(self, inputs):
        """``(arrays, given, wanted, parents, xp, usual)`` of the inputs.

        arrays: raw; plain numbers and None stay what they are, but numbers alone become arrays.
        given: the numbers of those that were given raw. wanted, parents: the numbers of those that
        need a gradient, and their nodes. xp: the namespace of all. usual: whether arrays are of
        float32 or float64, and beside one of these perhaps of integers or truth values.
        """
        arrays: list[Any]
        arrays, given, wanted, parents, on_host, numbers = [], [], [], [], True, True
        usual, floats, others = True, False, False
        for value in inputs:
            if not isinstance(value, Tensor) and value.__class__ not in NUMBERS:
                value = self.taken(value, len(arrays))
            if isinstance(value, Tensor):
                node, value = value.node, value._array
                if node is not None:
                    wanted.append(len(arrays))
                    parents.append(node)
            elif value is None or value.__class__ in NUMBERS:
                arrays.append(value)
                continue
            else:
                given.append(len(arrays))
            numbers = False
            if value.__class__ is not _NDARRAY:
                on_host = False
            if value.dtype is _FLOAT32 or value.dtype is _FLOAT64:
                floats = True
            elif value.dtype.kind in "biu":
                others = True
            else:
                usual = False
            arrays.append(value)
        if numbers:
            arrays, usual = [value if value is None else asarray(value)._array for value in arrays], False
        xp = cpu if on_host else namespace_of(self.name, arrays, self.input_names(len(arrays)))
        return arrays, given, wanted, parents, xp, usual and (floats or not others)

    def operands(self, inputs):
        """``inputs`` as Tensor code takes them: Tensors, plain numbers beside one of these, and
        None if that is the default.
        """
        taken = [
            value if isinstance(value, Tensor) or value.__class__ in NUMBERS else self.taken(value, i)
            for i, value in enumerate(inputs)
        ]
        numbers = all(value is None or value.__class__ in NUMBERS for value in taken)
        return [asarray(value) if is_array(value) or (numbers and value is not None) else value for value in taken]

    def taken(self, value, place):
        """The input number ``place``, which is neither a Tensor nor a plain number, as one of these
        or as a plain array.
        """
        if isinstance(value, float):
            return float(value)  # np.float64 is a float, and like any other it widens nothing
        name = self.input_names(place + 1)[place]
        if value is None:
            if name in self.input_defaults and self.input_defaults[name] is None:
                return None
            raise TypeError(f"{self.name}: {name} is None, it must be a tensor; it takes {self.__signature__}")
        try:
            return plain_array(value) if is_array(value) else asarray(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: {name}: {error}") from None

    def as_arrays(self, inputs, xp):
        """``inputs`` with plain numbers as arrays that widen nothing; kernels look at shapes and
        types.
        """
        floating = [a.dtype for a in inputs if is_array(a) and is_floating(a.dtype)]
        dtype = np.result_type(*floating) if floating else None
        return [xp.asarray(a, dtype=dtype or asarray(a).dtype) if a.__class__ in NUMBERS else a for a in inputs]

    def settings(self, params):
        """Keywords as plain numbers (or tuples of them) if they were given as Tensors, which must
        want no gradient.
        """
        for name, value in params.items():
            if isinstance(value, Tensor) and name in self.keywords:
                params = {**params, name: plain(self.name, name, value)}
        return params

    def whole(self, params):
        """``params`` with ints for the integer arrays among axes and lengths, which CuPy refuses;
        None if there are none.
        """
        read = {name: read_ints(value) for name, value in params.items() if name in WHOLE and name in self.keywords}
        return {**params, **read} if any(value is not params[name] for name, value in read.items()) else None

    def apart(self, out, given, params):
        """The result, copied if it lies in memory that the caller can still write to: a raw
        operand, an array in ``params``.
        """
        if self.foreign:
            given = [*given, *(value for value in params.values() if is_array(value))]
        return memory.apart(out, given)

    def finish(self, out, arrays, xp, dtype=None):
        """The op's result as an array of its namespace; float64 comes only from float64 (or if
        ``dtype`` asks for it).

        Raises TypeError for what is not one array of numbers or truth values.
        """
        if out.__class__ is _NDARRAY and out.dtype is _FLOAT64:  # of float64: at once
            for array in arrays:
                if array.__class__ is _NDARRAY and array.dtype is _FLOAT64:
                    return out
        if not is_array(out):
            if not isinstance(out, (bool, int, float, np.generic)):
                hint = "; it works on arrays, with the functions of its xp" if isinstance(out, Tensor) else ""
                raise TypeError(
                    f"{self.name} returned {a_kind(out)}: an op returns one array; several are joined by xp.stack{hint}"
                )
            out = xp.asarray(out)
        # Complex of complex: a derivative by steps.
        if not holds_numbers(out.dtype) and out.dtype not in [a.dtype for a in arrays if is_array(a)]:
            raise TypeError(f"{self.name} returned an array of {out.dtype}: an op returns numbers or truth values")
        if out.dtype == _FLOAT64 and dtype is None:
            if not any(is_array(a) and a.dtype.kind == "f" and a.dtype.itemsize > 4 for a in arrays):
                out = out.astype(_FLOAT32)
        return out

    def narrow(self, out, arrays, dtype=None):
        """``out``, computed in float32, rounded to 16 bits if all floating operands are of one such
        type.

        Integers of 8 bits and truth values do not widen it, wider ones do, as in NumPy; and so does
        a ``dtype`` that was asked for.
        """
        if out.dtype != _FLOAT32 or dtype is not None:
            return out
        dtypes = {a.dtype for a in arrays if is_array(a) and (is_floating(a.dtype) or a.dtype.itemsize > 1)}
        narrow = len(dtypes) == 1 and is_narrow(dtype := dtypes.pop())
        return out.astype(dtype) if narrow else out

    def explain(self, error, arrays):
        """``error`` again, of a class that callers expect, naming the op and what it was given."""
        given = ", ".join(f"{name}: {describe(a)}" for name, a in zip(self.input_names(len(arrays)), arrays))
        if isinstance(error, MemoryError):
            return out_of_memory(f"{self.name}({given})", error)
        text = str(error)
        cure = ""
        if "broadcast" in text:
            cure = "; shapes must agree from the right, or be 1: insert axes with reshape or x[:, None]"
        elif "core dimension" in text or "matmul" in text:
            cure = "; the last axis of the first must equal the last but one of the second: is a .mT missing?"
        elif isinstance(error, OverflowError):
            cure = "; write the number as a float, or .astype(...) the tensor to a type that holds it"
        kind = type(error) if type(error) in (ValueError, TypeError, IndexError, NotImplementedError) else ValueError
        return kind(f"{self.name}({given}): {text}{cure}")


def _divided(parameters):
    """The inputs of an op and its keywords: what stands before and behind ``/``, or ``*`` if there
    is no ``/``.
    """
    before_slash = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    inputs = before_slash or [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    return inputs, [p for p in parameters if p not in inputs]


def refuse_stale(op_name, array, order):
    """Raise RuntimeError if a saved array was overwritten after the node of this creation number
    was made.
    """
    name = memory.overwritten(array, order)
    if name is not None:
        raise RuntimeError(
            f"{op_name}: the value of {name} that this op saved has been overwritten since (by assign or an optimiser's step); "
            "call backward before the update, or run the forward pass again after it"
        )


def check_made(op, args, arrays, params, made, recorded, function, xp):
    """Under detect_anomaly: raise if ``made``, what the ``function`` of the op made of ``arrays``,
    is a fault of the op: see ``is_fault``. Returns the place that called the op.

    recorded: whether the result becomes a node; None within no_grad, where an infinity is a fault
    only for what reads it: see ``diagnosis/reading.py``.
    """
    doctor, whole = library.doctor, finite(made)
    if whole or not is_fault(made, (arrays, params), lambda given: op._value(function, xp, *given)):
        return call_site() if doctor is None else doctor.note(op, args, made, whole, recorded)
    operands = list(zip(op.input_names(len(arrays)), arrays))
    if doctor is None:
        raise nonfinite_error(op.name, "forward", made, operands, call_site())
    doctor.refuse_read(op.name, args)
    error = nonfinite_error(op.name, "forward", made, operands, doctor.site())
    error = doctor.explained(error, doctor.of_result, op, args, arrays, params, made)
    if recorded is None and not holds_nan(made):
        return doctor.note(op, args, made, False, None, error)
    raise error


def check_pulled(op, wanted, node, gradient, pulled, saved, again):
    """Under detect_anomaly: raise at the first of the gradients ``pulled`` that is a fault of the
    op, see ``is_fault``, or that an infinite operand has spoilt and that goes to a leaf, into what
    an optimiser would take.

    ``again(gradient, saved)`` gives the raw gradients for another gradient and other saved values
    than these.
    """
    names, given = op.input_names(max(wanted) + 1), (raw(gradient), saved)
    for k, (i, value) in enumerate(zip(wanted, pulled)):
        if value is None:
            continue
        spoilt = node.parents[k].pullback is None and not finite(value) and any(map(_infinite, saved))
        if spoilt or is_fault(value, given, lambda given, k=k: again(*given)[k]):
            where = call_of(node)
            operands = [("g", gradient), *((f"saved {k}", v) for k, v in enumerate(node.saved) if is_array(v))]
            error = nonfinite_error(op.name, f"backward, gradient of {names[i]}", value, operands, where)
            if library.doctor is not None:
                error = library.doctor.explained(error, library.doctor.of_gradient, node, i, gradient, value)
            raise error


def _infinite(value):
    return is_array(value) and is_floating(value.dtype) and not finite(value)


def check_rounded(op, node, gradient, dtype):
    """Under detect_anomaly: the gradient of a product as its rule takes it, rounded to 16 bits;
    raises if a finite number becomes infinite by that.
    """
    taken = rounded(gradient, dtype)
    if not finite(taken) and finite(gradient):
        where = call_of(node)
        error = nonfinite_error(op.name, f"backward, gradient rounded to {dtype}", taken, [("g", gradient)], where)
        if library.doctor is not None:
            error = library.doctor.explained(error, library.doctor.of_rounding, node, gradient, dtype)
        raise error
    return taken
