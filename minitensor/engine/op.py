"""Elementary ops: a function on arrays and one gradient rule per input.

``@op`` turns a function on arrays into an op on Tensors; ``.vjp`` gives it its rules::

    @op
    def multiply(xp, x, y):
        return x * y

    multiply.vjp(
        lambda g, y: g * y,  # dL/dx
        lambda g, x: g * x,  # dL/dy
    )

Inputs stand before ``*``; what stands behind it, or between ``/`` and it, is a keyword, of which no
gradient is taken. A rule asks for what it needs **by parameter name**: ``g`` (the gradient of the
output), ``out``, an input, a keyword of the op, ``x_shape`` (the shape of the input ``x``), ``xp``.
Only what the rules of the wanted inputs name is kept alive, and a rule whose input needs no
gradient never runs. The same text runs on raw arrays (``xp`` is NumPy or CuPy: the first
derivative) and on Tensors (``xp`` is minitensor: recorded, so that it can be differentiated again).
A rule is pure: it returns a new array, one of its arguments or a view of one, and writes to none.
It need not undo broadcasting; the engine does.

Neither the function nor a rule sees numbers of 16 bits: float16 and bfloat16 come as float32, and
the result is rounded. An op that only moves elements (``@moves``) takes them as they are.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, overload

from minitensor.backend import cpu, is_array, is_floating, is_narrow, memory, np, on, widen
from minitensor.engine.autocast import cast_call
from minitensor.engine.autograd import Node, new_node
from minitensor.engine.mode import current_mode
from minitensor.engine.primitive import NUMBERS, Primitive, check_made
from minitensor.engine.pullback import RulePullback, VariadicPullback, WidePullback
from minitensor.engine.tensor import Tensor

__all__ = ["OPS", "Op", "alias", "moves", "op"]

OPS: dict[str, Op[...]] = {}  # every elementary op of the library by name; the test table must cover them all

_NDARRAY = np.ndarray
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NONE: Any = object()
_NOTHING: dict = {}
P = ParamSpec("P")  # an op's parameters: those of its function but for xp


class Op(Primitive, Generic[P]):
    """An elementary op: a function on arrays and one gradient rule per input. Made by ``@op``."""

    computes = True  # whether elements are computed with, not just moved

    def __init__(self, function, name=None):
        if next(iter(inspect.signature(function).parameters), None) != "xp":
            raise TypeError(f"@op: the first parameter of {function.__name__} must be xp, the array namespace")
        super().__init__(function, skip=1, name=name)
        self.rules: Any = None  # given by ``vjp``
        self.suits: Any = None  # given by ``multiplies``
        self.pullbacks = {}
        self.quick = _quick(self, self.run)
        self.quick_observed = _quick(self, functools.partial(self.run, observed=True), observed=True)

    def vjp(self, *rules):
        """Give one rule per input, in their order; None for an input that is never differentiated.

        An op with any number of inputs takes a single rule, which asks for ``i``, the number of the
        input that it is to serve, or returns a list of all gradients (or one array that is the
        gradient of each). Used as a decorator it returns the rule.
        """
        expected = 1 if self.variadic else self.arity
        if len(rules) != expected:
            raise TypeError(f"{self.name}.vjp needs {expected} rule(s), one per input {self.inputs}, got {len(rules)}")
        self.rules = rules
        self.pullbacks.clear()  # those made from earlier rules
        return rules[0]

    def multiplies(self, suits):
        """Say of a product of ``mt.autocast`` for which operands, ``suits(*arrays, **keywords)``,
        its function and rules do nothing but move elements and multiply matrices, by ``xp.matmul``
        and ``xp.einsum``: a GPU then multiplies the numbers of 16 bits as they are.
        """
        self.suits = suits
        return suits

    def __call__(self, *args: P.args, **params: P.kwargs) -> Tensor:
        """Run the op on Tensors, arrays or numbers; record it if an input needs a gradient."""
        if not params and self.arity == len(args) < 3:
            return self.quick(*args)
        return self.run(args, params)

    def run(self, args, params, observed=False):
        """The op on any number of inputs, with any keywords. observed: it is the observer that
        calls.
        """
        mode = current_mode.get()
        if mode.watched and not observed:
            if mode.autocast is not None and self.casts is not None:
                return cast_call(self, args, params, mode)
            if mode.observer is not None:
                return mode.observer.forward(self, args, params)
        if len(args) != self.arity:
            args, params = self.bind(args, params)
        if params:
            params = self.settings(params)
        arrays, given, wanted, parents, xp, usual = self.read(args)
        if xp is not cpu and xp.away():
            with on(f"cuda:{xp.index}"):
                return self.run(args, params, observed=True)
        function, narrow = self.function, False
        if not usual:
            narrow = self.suits is not None and xp is not cpu and self._stays_narrow(arrays, params, mode.autocast)
            xp, function = (xp.narrow, function) if narrow else (xp, self._of_other_types)
        try:
            out = function(xp, *arrays, **params) if params else function(xp, *arrays)
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
            if not self.knows(params) and not isinstance(error, MemoryError):
                args, params = self.bind(args, params)
                return self.run(args, params, observed=True)
            if isinstance(error, TypeError) and (whole := self.whole(params)):
                return self.run(args, whole, observed=True)
            raise self.explain(error, arrays) from error
        if out.__class__ is not xp.ndarray or out.dtype is not _FLOAT32:
            out = self.finish(out, arrays, xp, params.get("dtype"))
        if given or (params and self.foreign):
            out = self.apart(out, [arrays[i] for i in given], params)
        made = out if usual else self.narrow(out, arrays, params.get("dtype"))
        if mode.anomaly:
            recorded = bool(wanted) if mode.grad else None
            called_at = check_made(self, args, arrays, params, made, recorded, function, xp)
        if not wanted or not mode.grad or not is_floating(out.dtype):
            return Tensor(made)
        if self.rules is None:
            raise RuntimeError(
                f"{self.name} has no gradient rules but an input needs a gradient: give them by {self.name}.vjp(...), None for an "
                "input that is not differentiable"
            )
        wide = not usual and self.computes and any(is_array(a) and is_narrow(a.dtype) for a in arrays)
        rounds = mode.autocast if wide and self.casts == "16 bits" else None
        pullback = self._pullback(wanted, len(arrays), wide, rounds, narrow)
        if pullback is _NONE:
            return Tensor(made)
        for i in filter(pullback.keeps, given):
            arrays[i] = memory.private(arrays[i])
        saved = pullback.save(arrays, out, xp, params)  # out: what is saved is not rounded
        node = new_node(pullback, tuple(parents), (*saved, tuple(wanted)) if self.variadic else saved, made)
        if mode.anomaly:
            node.called_at = called_at
        return Tensor(made, node)

    def run_observed(self, args, params):
        """As ``run``, for an observer that takes no time: by the short way, if there is one."""
        if not params and self.arity == len(args) < 3:
            return self.quick_observed(*args)
        return self.run(args, params, observed=True)

    def _value(self, function, xp, arrays, params):
        """The raw result of the op, as ``run`` makes it."""
        out = self.finish(function(xp, *arrays, **params), arrays, xp, params.get("dtype"))
        return self.narrow(out, arrays, params.get("dtype"))

    def _stays_narrow(self, arrays, params, dtype):
        """Whether the op multiplies these operands as they are: all of the 16 bits of
        ``mt.autocast``.
        """
        if dtype is None or self.casts is None or not all(is_array(a) and a.dtype == dtype for a in arrays):
            return False
        return self.suits(*arrays, **params)

    def _pullback(self, wanted, count, wide, rounds, narrow):
        """The pullback for calls with ``count`` inputs of which those numbered in ``wanted`` need a
        gradient.
        """
        mask = 0 if self.variadic else sum(1 << i for i in wanted)
        key = (mask, rounds, narrow) if wide else mask
        pullback = self.pullbacks.get(key)
        if pullback is None:
            if self.variadic:
                pullback = VariadicPullback(self, wide, rounds, narrow) if self.rules[0] else _NONE
            else:
                pullback = WidePullback(self, mask, count, rounds, narrow) if wide else RulePullback(self, mask, count)
                pullback = pullback if pullback.rules else _NONE
            self.pullbacks[key] = pullback
        return pullback

    def _of_other_types(self, xp, *arrays, **params):
        """The function on operands some of which are neither float32 nor float64.

        Floats of 16 bits come as float32. Of integers of 8 bits and truth values NumPy makes
        float16 if a function is one of floats: such a function is given float32 instead.
        """
        if not self.computes:
            return self.function(xp, *arrays, **params)
        arrays = tuple(map(widen, arrays))
        dtypes = {a.dtype for a in arrays if is_array(a)}
        if any(map(is_floating, dtypes)) or all(dtype.itemsize > 1 for dtype in dtypes):
            return self.function(xp, *arrays, **params)
        with np.errstate(all="ignore"):
            out = self.function(xp, *arrays, **params)
        if getattr(out, "dtype", None) != np.float16 or params.get("dtype") is not None:
            return out
        return self.function(xp, *[a.astype(_FLOAT32) if is_array(a) else a for a in arrays], **params)


def _quick(op, run, observed=False):
    """``op.run`` for one or two operands, unrolled, since small ops spend their time on calls;
    ``run`` gets what is unusual. observed: it is the observer that calls.
    """
    function, pullbacks, mode_of = op.function, op.pullbacks, current_mode.get

    def unary(x):
        a = x._array if isinstance(x, Tensor) else None
        mode = mode_of()
        if (
            a.__class__ is not _NDARRAY
            or (a.dtype is not _FLOAT32 and a.dtype is not _FLOAT64)
            or (mode.watched and not observed and (mode.observer is not None or mode.autocast is not None))
        ):
            return run((x,), {})
        node = x.node
        pullback = pullbacks.get(1) if node is not None and mode.grad else _NONE
        if pullback is None:
            return run((x,), {})
        try:
            out = function(cpu, a)
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
            return run((x,), {})
        if out.__class__ is not _NDARRAY or (dtype := out.dtype) is not _FLOAT32:
            out = op.finish(out, (a,), cpu)
            dtype = out.dtype
        if mode.anomaly:
            recorded = pullback is not _NONE if mode.grad else None
            called_at = check_made(op, (x,), (a,), _NOTHING, out, recorded, function, cpu)
        if pullback is _NONE:
            return Tensor(out)
        pick = pullback.pick
        saved = pullback.save([a], out, cpu, _NOTHING) if pick is None else pick((a, out))
        made: Any = Node(pullback, (node,), saved, out.shape, dtype)
        if mode.anomaly:
            made.called_at = called_at
        return Tensor(out, made)

    def binary(x, y):
        if isinstance(x, Tensor):
            a, left = x._array, x.node
            usual = a.__class__ is _NDARRAY and (a.dtype is _FLOAT32 or a.dtype is _FLOAT64)
        else:
            a, left, usual = x, None, x.__class__ in NUMBERS
        if isinstance(y, Tensor):
            b, right = y._array, y.node
            usual = usual and b.__class__ is _NDARRAY and (b.dtype is _FLOAT32 or b.dtype is _FLOAT64)
        else:
            b, right, usual = y, None, usual and y.__class__ in NUMBERS
        mode = mode_of()
        if not usual or (mode.watched and not observed and (mode.observer is not None or mode.autocast is not None)):
            return run((x, y), {})
        parents: tuple[Any, ...]
        if not mode.grad or left is right is None:
            pullback = _NONE
        elif right is None:
            pullback, parents = pullbacks.get(1), (left,)
        elif left is None:
            pullback, parents = pullbacks.get(2), (right,)
        else:
            pullback, parents = pullbacks.get(3), (left, right)
        if pullback is None:
            return run((x, y), {})
        try:
            out = function(cpu, a, b)
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
            return run((x, y), {})
        if out.__class__ is not _NDARRAY or (dtype := out.dtype) is not _FLOAT32:
            out = op.finish(out, (a, b), cpu)
            dtype = out.dtype
        if mode.anomaly:
            recorded = pullback is not _NONE if mode.grad else None
            called_at = check_made(op, (x, y), (a, b), _NOTHING, out, recorded, function, cpu)
        if pullback is _NONE:
            return Tensor(out)
        pick = pullback.pick
        saved = pullback.save([a, b], out, cpu, _NOTHING) if pick is None else pick((a, b, out))
        made: Any = Node(pullback, parents, saved, out.shape, dtype)
        if mode.anomaly:
            made.called_at = called_at
        return Tensor(out, made)

    return unary if op.arity == 1 else binary if op.arity == 2 else None


def moves(made: Op[P]) -> Op[P]:
    """Say of an op that it only moves elements: it runs in their own type, as nothing
    can be lost.
    """
    made.computes = False
    return made


@overload
def op(function: Callable[Concatenate[Any, P], Any]) -> Op[P]: ...
@overload
def op(*, name: str) -> Callable[[Callable[Concatenate[Any, P], Any]], Op[P]]: ...
def op(function=None, *, name=None):
    """Make an op of ``function(xp, *inputs, **keywords)``; see the head of this file.

    name: what messages call it; default: the function's. ``@op(name="pad")`` is for a function that
    stands behind another.
    """
    if function is None:
        return functools.partial(op, name=name)
    made: Op[...] = Op(function, name)
    if not made.foreign:
        OPS[made.name] = made
    return made


@op
def alias(xp, x):
    """``x`` again, with a node of its own."""
    return x


alias.vjp(lambda g: g)
