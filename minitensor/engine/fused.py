"""Fused ops: a definition in Tensor code and a faster equal on raw arrays.

``@fused`` takes the definition, and ``.kernel`` the equal, which returns ``(out, backward)``. First
derivatives run the kernel's
``backward``; higher ones differentiate the definition::

    @fused
    def softmax(x, *, axis=-1):
        e = exp(x - max(x, axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    @softmax.kernel
    def _(xp, x, *, axis=-1):
        ...                     # in few passes, in place
        return out, backward    # backward(g) gives one new array per input

Neither sees numbers of 16 bits: float16 and bfloat16 come as float32, and the result is rounded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, overload

from minitensor.backend import cpu, is_array, is_floating, memory, namespace_of, np, on, widen
from minitensor.engine.autocast import KEPT, cast_call, rounded
from minitensor.engine.autograd import backward_pass, new_node
from minitensor.engine.messages import a_kind, all_finite
from minitensor.engine.mode import current_mode
from minitensor.engine.op import alias
from minitensor.engine.primitive import NUMBERS, Primitive, check_made, check_pulled, check_rounded, refuse_stale
from minitensor.engine.tensor import Tensor

__all__ = ["FUSED", "Fused", "fused"]

_FLOAT32 = np.dtype(np.float32)

P = ParamSpec("P")  # the parameters of a definition

FUSED: dict[str, Fused[...]] = {}  # every fused op of the library by name; the test table must cover them all


class Fused(Primitive, Generic[P]):
    """An op with a definition in Tensor code and a kernel on raw arrays. Made by ``@fused``."""

    def __init__(self, definition, name=None):
        super().__init__(definition, skip=0, name=name)
        self.definition = definition
        self.pullbacks = {}  # by the numbers of the inputs that need a gradient
        self.kernels = {}

    def kernel(self, function=None, *, device="any"):
        """Register the kernel: the same function on raw arrays, faster. It returns ``(out,
        backward)``.

        ``kernel(xp, *inputs, **keywords)``; ``backward(g)`` returns one array (or None) per input,
        in their order, and writes to no argument. The arrays are new and share memory with nothing:
        the engine adds in place to those of the library's own kernels. A
        ``backward(g, homes=None)`` may be given, for each input, an array that it can write this
        gradient to and return, or None. A kernel with a keyword
        ``needs`` gets a tuple of booleans, one per input: whether its gradient is wanted.
        ``device="cuda"`` gives an override for GPUs alone, and ``device="cuda, 16 bits"`` one for
        calls within ``mt.autocast`` there, which is given floats of 16 bits as they are and rounds
        the gradient of its result to them.
        """
        if function is None:
            return functools.partial(self.kernel, device=device)
        self.kernels[device] = (function, "needs" in inspect.signature(function).parameters)
        return function

    def __call__(self, *args: P.args, **params: P.kwargs) -> Tensor:
        """Run the kernel (or, if there is none, the definition)."""
        return self.run(args, params)

    def run(self, args, params, observed=False):
        """The op on any inputs, with any keywords; see ``Op.run``."""
        mode = current_mode.get()
        if mode.watched and not observed:
            if mode.autocast is not None and self.casts is not None:
                return cast_call(self, args, params, mode)
            if mode.observer is not None:
                return mode.observer.forward(self, args, params)
        if len(args) != self.arity or not self.knows(params):
            args, params = self.bind(args, params)
        params = self.settings(params) if params else params
        if not self.kernels:
            out = self.definition(*self.operands(args), **params)
            if not isinstance(out, Tensor):
                raise TypeError(f"the definition of {self.name} returned {a_kind(out)}: an op returns one tensor")
            return out
        arrays, given, wanted, parents, xp, usual = self.read(args)
        if xp is not cpu and xp.away():
            with on(f"cuda:{xp.index}"):
                return self.run(args, params, observed=True)
        if not NUMBERS.isdisjoint(map(type, arrays)):
            arrays = self.as_arrays(arrays, xp)
        kernel, takes_needs = self.kernels.get(xp.name) or self.kernels["any"]
        rounds = None if usual or self.casts != "16 bits" else mode.autocast
        narrow = rounds is not None and xp is not cpu and self._narrow_kernel(xp, arrays, rounds)
        if narrow:
            kernel, takes_needs = narrow
        recording = bool(wanted) and mode.grad
        if recording:  # ``backward`` may keep whatever the kernel was given
            for i in given:
                arrays[i] = memory.private(arrays[i])
            params = memory.private(params) if self.foreign else params
        if takes_needs:
            needs = tuple(recording and i in wanted for i in range(len(arrays)))
            params = {**params, "needs": needs}  # type: ignore[assignment]  # until the kernel has run
        try:
            made = kernel(xp, *(arrays if usual or narrow else map(widen, arrays)), **params)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            params.pop("needs", None)
            if isinstance(error, TypeError) and (whole := self.whole(params)):
                return self.run(args, whole, observed=True)
            raise self.explain(error, arrays) from error
        if not isinstance(made, tuple) or len(made) != 2 or (recording and not callable(made[1])):
            raise TypeError(
                f"the kernel of {self.name} must return (out, backward), an array and a function, not {_kinds(made)}"
            )
        out, backward = made
        if out.__class__ is not xp.ndarray or out.dtype is not _FLOAT32:
            out = self.finish(out, arrays, xp)
        if not recording and (given or (params and self.foreign)):
            out = self.apart(out, [arrays[i] for i in given], params)
        if not usual:
            floats = [a for a in arrays if is_array(a) and is_floating(a.dtype)]  # ids and lengths widen nothing
            out = self.narrow(out, floats)
        if mode.anomaly:
            recorded = recording if mode.grad else None
            called_at = check_made(self, args, arrays, params, out, recorded, kernel, xp)
        if not recording:
            return Tensor(out)
        params.pop("needs", None)
        pullback = self.pullbacks.get(key := (rounds, bool(narrow), *wanted))
        if pullback is None:
            pullback = self.pullbacks[key] = KernelPullback(self, wanted, rounds, bool(narrow))
        node = new_node(pullback, parents, (backward, memory.reference(out), params, *arrays), out)
        if mode.anomaly:
            node.called_at = called_at
        return Tensor(out, node)

    def _narrow_kernel(self, xp, arrays, dtype):
        """The kernel for operands of 16 bits on this device, if all but those that autocast keeps
        are of that type and have elements; else None.
        """
        found = self.kernels.get(f"{xp.name}, 16 bits")
        kept = KEPT.get(self.name, ())
        floats = [
            a for a, name in zip(arrays, self.inputs) if is_array(a) and is_floating(a.dtype) and name not in kept
        ]
        return found if found is not None and all(a.dtype == dtype and a.size for a in floats) else None

    def _value(self, kernel, xp, arrays, params):
        """The raw result of the kernel, as a call gives it."""
        return self.narrow(kernel(xp, *map(widen, arrays), **params)[0], arrays)

    def run_observed(self, args, params):
        """As ``run``, for the observer."""
        return self.run(args, params, observed=True)


class KernelPullback:
    """How a fused op's gradient is pulled back: the kernel's ``backward``, or the definition if the
    pass is recorded.

    A node saves ``(backward, reference to the result, keywords, *inputs)``.
    """

    __slots__ = ("op", "op_name", "wanted", "rounds", "rounds_itself", "gives_new")
    simple = False  # a kernel may return None for an input that is not differentiable
    fills = True

    def __init__(self, op, wanted, rounds=None, rounds_itself=False):
        self.op = op
        self.op_name = op.name
        self.wanted = wanted
        self.rounds = rounds  # the type of 16 bits to which gradients are rounded first, or None
        self.rounds_itself = rounds_itself  # whether the kernel's ``backward`` does it
        self.gives_new = not op.foreign  # the library's kernels are held to it by ``testing.promises``

    def pull(self, node, gradient, recorded, needed, homes=None):
        """One gradient per parent. homes: ``{parent: array}``; the kernel may write gradients to
        these, which are taken out.
        """
        if self.rounds is not None and (recorded or not self.rounds_itself):
            gradient = rounded(gradient, self.rounds)
        if recorded:
            return self._pull_definition(node, gradient, needed)
        backward = node.saved[0]
        gradients = backward(gradient, *self._homes(node, backward, homes)) if homes else backward(gradient)
        if not isinstance(gradients, (tuple, list)) or len(gradients) != len(node.saved) - 3:
            raise TypeError(
                f"the backward of a kernel returns one gradient (or None) for each of its {len(node.saved) - 3} inputs, "
                f"as a tuple, not {_kinds(gradients)}"
            )
        return [gradients[i] for i in self.wanted]

    def _homes(self, node, backward, homes):
        """What ``backward`` is given behind the gradient: ``homes`` in the order of the inputs, if
        it takes them.
        """
        code = getattr(backward, "__code__", None)
        if code is None or "homes" not in code.co_varnames[: code.co_argcount] or homes.keys().isdisjoint(node.parents):
            return ()
        places: list[Any] = [None] * (len(node.saved) - 3)
        for i, parent in zip(self.wanted, node.parents):
            places[i] = homes.pop(parent, None)
        return (places,)

    def _pull_definition(self, node, gradient, needed):
        """Run the definition on the saved inputs and differentiate it, recorded."""
        params, inputs = node.saved[2], list(node.saved[3:])
        for i, parent in zip(self.wanted, node.parents):
            inputs[i] = alias(Tensor(inputs[i], parent))  # one node per input, also if two inputs are one tensor
        arguments = [widen(Tensor(a) if is_array(a) else a) for a in inputs]
        out = self.op.definition(*arguments, **params)
        ends = [inputs[i].node for i in self.wanted]
        wanted = {end for end, parent in zip(ends, node.parents) if needed is None or parent in needed}
        found = backward_pass([out.node], [gradient], wanted=wanted, create_graph=True)
        return [found.get(end) for end in ends]

    def check_fresh(self, node, needed):
        """Raise if an input, or the result (which ``backward`` may use), has been overwritten since
        the op ran.
        """
        for array in (node.saved[1](), *node.saved[3:]):
            refuse_stale(self.op_name, array, node.order)

    def check_finite(self, node, gradient, pulled):
        """Under detect_anomaly: raise at the first non-finite gradient that the kernel made of
        finite numbers.
        """
        if self.rounds is None and all_finite(pulled):
            return
        params = node.saved[2]
        if self.rounds is not None:
            gradient = check_rounded(self.op, node, gradient, self.rounds)

        def again(gradient, arrays):
            xp = namespace_of(self.op_name, arrays, self.op.input_names(len(arrays)))
            kernel, takes_needs = self.op.kernels.get(xp.name) or self.op.kernels["any"]
            needs = {"needs": tuple(i in self.wanted for i in range(len(arrays)))} if takes_needs else {}
            gradients = kernel(xp, *map(widen, arrays), **params, **needs)[1](gradient)
            return [gradients[i] for i in self.wanted]

        check_pulled(self.op, self.wanted, node, gradient, pulled, node.saved[3:], again)


def _kinds(made):
    """What a kernel or its backward returned, in words."""
    if isinstance(made, (tuple, list)):
        return f"{type(made).__name__} ({', '.join(type(one).__name__ for one in made)})"
    return type(made).__name__


@overload
def fused(definition: Callable[P, Any]) -> Fused[P]: ...
@overload
def fused(*, name: str) -> Callable[[Callable[P, Any]], Fused[P]]: ...
def fused(definition=None, *, name=None):
    """Make a fused op of a definition in Tensor code; see the head of this file.

    name: what messages call it; default: the definition's.
    """
    if definition is None:
        return functools.partial(fused, name=name)
    made: Fused[...] = Fused(definition, name)
    if not made.foreign:
        FUSED[made.name] = made
    return made
