"""The two kinds of op, and how a call is recorded.

``@op`` turns a function on arrays into an op on Tensors; ``.vjp`` gives it one gradient rule per input::

    @op
    def multiply(xp, x, y):
        return x * y

    multiply.vjp(
        lambda g, y: g * y,  # dL/dx
        lambda g, x: g * x,  # dL/dy
    )

A rule asks for what it needs **by parameter name**: ``g`` (the gradient of the output), ``out``, an input, a keyword of the op,
``x_shape`` (the shape of the input ``x``), ``xp``. Only what the rules of the wanted inputs name is kept alive, and a rule whose
input needs no gradient never runs. The same text runs on raw arrays (``xp`` is NumPy or CuPy: the first derivative) and on Tensors
(``xp`` is minitensor: recorded, so that it can be differentiated again). A rule is pure: it returns a new array, one of its
arguments or a view of one, and writes to none. It need not undo broadcasting; the engine does.

``@fused`` takes a *definition* in Tensor code, and ``.kernel`` a faster equal on raw arrays that returns ``(out, backward)``. First
derivatives run the kernel's ``backward``; higher ones differentiate the definition.
"""

from __future__ import annotations

import functools
import inspect
from operator import itemgetter
from types import SimpleNamespace

from minitensor.autograd import Node, backward_pass, current_mode, watch
from minitensor.backend import cpu, is_array, memory, namespace_of, np
from minitensor.report import call_site, describe, finite, nonfinite_error
from minitensor.tensor import Tensor, asarray

__all__ = ["FUSED", "OPS", "fused", "op"]

OPS = {}  # every elementary op of the library by name; the test table must cover them all
FUSED = {}  # every fused op likewise

_NDARRAY = np.ndarray
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NO_PLAN, _NOTHING = object(), {}
_NUMBERS = frozenset((bool, int, float))


class _Call:
    """What both kinds share: binding arguments, reading Tensors, explaining errors."""

    def __init__(self, function, skip):
        self.name = function.__name__
        self.function = function
        functools.update_wrapper(self, function)
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        self.keywords = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self.input_defaults = {
            p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty
        }
        self.arity = -1 if self.variadic else len(self.inputs)
        self.__signature__ = inspect.Signature(parameters)

    def __repr__(self):
        return f"<{type(self).__name__.lower()} {self.name}{self.__signature__}>"

    def bind(self, args, params):
        """Inputs given by keyword and keywords given by position, brought to ``(inputs, keywords)``."""
        if self.variadic:
            return args, params
        params = dict(params)
        if len(args) > self.arity + len(self.keywords):
            raise TypeError(f"{self.name} takes {self.arity + len(self.keywords)} arguments, got {len(args)}")
        params.update(zip(self.keywords, args[self.arity :]))
        inputs = list(args[: self.arity])
        for name in self.inputs[len(inputs) :]:
            if name not in params and name not in self.input_defaults:
                raise TypeError(f"{self.name}: the argument {name!r} is missing; it takes {self.__signature__}")
            inputs.append(params.pop(name, self.input_defaults.get(name)))
        return inputs, params

    def input_names(self, count):
        """One name per input, for messages; ``x0, x1, ...`` where the op takes any number."""
        if self.variadic:
            return [f"{self.inputs[0]}[{i}]" for i in range(count)]
        return self.inputs

    def read(self, inputs):
        """Raw arrays of ``inputs``, a bit mask of those that need a gradient, and their nodes."""
        arrays, parents, mask, bit = [], [], 0, 1
        for value in inputs:
            if isinstance(value, Tensor):
                arrays.append(value.data)
                node = value.node
                if node is not None:
                    mask |= bit
                    parents.append(node)
            elif value is None or type(value) in _NUMBERS or is_array(value):
                arrays.append(value)
            else:
                arrays.append(asarray(value).data)
            bit += bit
        return arrays, mask, parents

    def finish(self, out, arrays, xp):
        """The op's result as an array of its namespace; float64 comes only from float64."""
        if not is_array(out):
            out = xp.asarray(out)
        if out.dtype is _FLOAT64 and not any(getattr(a, "dtype", None) is _FLOAT64 for a in arrays):
            if any(is_array(a) for a in arrays):
                out = out.astype(_FLOAT32)
        return out

    def explain(self, error, arrays):
        """``error`` again, of a class that callers expect, naming the op and what it was given."""
        given = ", ".join(f"{name}: {describe(a)}" for name, a in zip(self.input_names(len(arrays)), arrays))
        text = str(error)
        cure = ""
        if "broadcast" in text:
            cure = "; shapes must agree from the right, or be 1: insert axes with reshape or x[:, None]"
        elif "core dimension" in text or "matmul" in text:
            cure = "; the last axis of the first must equal the last but one of the second: is a .mT missing?"
        kind = type(error) if type(error) in (ValueError, TypeError, IndexError, NotImplementedError) else ValueError
        return kind(f"{self.name}({given}): {text}{cure}")


# --- elementary ops ---------------------------------------------------------------------------------------------------------


class Op(_Call):
    """An elementary op: a function on arrays and one gradient rule per input. Made by ``@op``."""

    def __init__(self, function):
        super().__init__(function, skip=1)  # the first parameter is xp
        self.rules = None
        self.plans = {}
        self.quick = _quick(self)

    def vjp(self, *rules):
        """Give one rule per input, in their order; None for an input that is never differentiated.

        An op with any number of inputs takes a single rule, which asks for ``i``, the number of the input that it is to serve.
        Used as a decorator it returns the rule.
        """
        expected = 1 if self.variadic else self.arity
        if len(rules) != expected:
            raise TypeError(f"{self.name}.vjp needs {expected} rule(s), one per input {self.inputs}, got {len(rules)}")
        self.rules = rules
        return rules[0]

    def __call__(self, *args, **params):
        """Run the op on Tensors, arrays or numbers; record it where an input needs a gradient."""
        if not params and self.arity == len(args) < 3:
            return self.quick(*args)
        return self.run(args, params)

    def run(self, args, params):
        """The op on any number of inputs, with any keywords."""
        if len(args) != self.arity:
            args, params = self.bind(args, params)
        arrays, parents, mask, bit, plain = [], (), 0, 1, True
        for value in args:
            if isinstance(value, Tensor):
                node = value.node
                value = value.data
                if node is not None:
                    mask += bit
                    parents += (node,)
                if value.__class__ is not _NDARRAY:
                    plain = False
            elif value.__class__ not in _NUMBERS:
                value = value if is_array(value) else asarray(value).data
                plain = plain and value.__class__ is _NDARRAY
            arrays.append(value)
            bit += bit
        xp = cpu if plain else namespace_of(self.name, arrays, self.input_names(len(arrays)))
        try:
            out = self.function(xp, *arrays, **params) if params else self.function(xp, *arrays)
        except (ValueError, TypeError, IndexError) as error:
            raise self.explain(error, arrays) from error
        if out.__class__ is not _NDARRAY or out.dtype is _FLOAT64:
            out = self.finish(out, arrays, xp)
        mode = current_mode.get()
        if mode.anomaly and not finite(out):
            raise nonfinite_error(self.name, "forward", out, zip(self.input_names(len(arrays)), arrays), call_site())
        if mask == 0 or not mode.grad or self.rules is None:
            return Tensor(out)
        key = (mask, len(arrays)) if self.variadic else mask
        plan = self.plans.get(key)
        if plan is None:
            plan = Plan(self, mask, len(arrays))
            plan = self.plans[key] = plan if plan.rules else _NO_PLAN
        if plan is _NO_PLAN:
            return Tensor(out)
        node = Node(plan, parents, plan.save(arrays, out, xp, params), out.shape, out.dtype)
        if mode.anomaly:
            watch(node).where = call_site()
        return Tensor(out, node)


def _quick(op):
    """``op.run`` for one or two operands, unrolled: small ops spend their time on such calls. Whatever is unusual goes to ``run``."""
    function, plans, mode_of, run = op.function, op.plans, current_mode.get, op.run

    def unary(x):
        a = x.data if isinstance(x, Tensor) else None
        mode = mode_of()
        if a.__class__ is not _NDARRAY or mode.anomaly:
            return run((x,), {})
        node = x.node
        plan = plans.get(1) if node is not None and mode.grad else _NO_PLAN
        if plan is None:
            return run((x,), {})
        try:
            out = function(cpu, a)
        except (ValueError, TypeError, IndexError):
            return run((x,), {})
        if out.__class__ is not _NDARRAY or out.dtype is _FLOAT64:
            out = op.finish(out, (a,), cpu)
        if plan is _NO_PLAN:
            return Tensor(out)
        return Tensor(out, Node(plan, (node,), plan.save([a], out, cpu, _NOTHING), out.shape, out.dtype))

    def binary(x, y):
        a = x.data if isinstance(x, Tensor) else x
        b = y.data if isinstance(y, Tensor) else y
        mode = mode_of()
        if (
            (a.__class__ is not _NDARRAY and a.__class__ not in _NUMBERS)
            or (b.__class__ is not _NDARRAY and b.__class__ not in _NUMBERS)
            or mode.anomaly
        ):
            return run((x, y), {})
        left = None if a is x else x.node
        right = None if b is y else y.node
        if not mode.grad or left is right is None:
            plan = _NO_PLAN
        elif right is None:
            plan, parents = plans.get(1), (left,)
        elif left is None:
            plan, parents = plans.get(2), (right,)
        else:
            plan, parents = plans.get(3), (left, right)
        if plan is None:
            return run((x, y), {})
        try:
            out = function(cpu, a, b)
        except (ValueError, TypeError, IndexError):
            return run((x, y), {})
        if out.__class__ is not _NDARRAY or out.dtype is _FLOAT64:
            out = op.finish(out, (a, b), cpu)
        if plan is _NO_PLAN:
            return Tensor(out)
        return Tensor(out, Node(plan, parents, plan.save([a, b], out, cpu, _NOTHING), out.shape, out.dtype))

    return unary if op.arity == 1 else binary if op.arity == 2 else None


class Plan:
    """What to save and which rules to run, for one op and one set of inputs that need a gradient."""

    __slots__ = ("op", "op_name", "wanted", "names", "rules", "sources", "pick", "simple", "parent_of")

    def __init__(self, op, mask, count):
        self.op = op
        self.op_name = op.name
        self.wanted = [i for i in range(count) if mask >> i & 1]
        self.parent_of = {i: position for position, i in enumerate(self.wanted)}
        rules = [op.rules[0] if op.variadic else op.rules[i] for i in self.wanted]
        asked = [tuple(inspect.signature(rule).parameters) if rule else () for rule in rules]
        self.names = [name for name in dict.fromkeys(n for names in asked for n in names) if name not in ("g", "i")]
        places = {name: position for position, name in enumerate(["g", "i", *self.names])}
        self.rules = [] if not any(rules) else [
            (rule, _getter([places[name] for name in names])) for rule, names in zip(rules, asked)
        ]
        self.simple = all(rules) and not op.variadic
        self.sources = [self._source(name) for name in self.names]
        simple = all(kind in ("input", "out") for kind, _ in self.sources)
        self.pick = _getter([count if kind == "out" else key for kind, key in self.sources]) if simple else None

    def _source(self, name):
        """Where the value called ``name`` comes from: an input, the output, xp, a keyword, a shape."""
        op = self.op
        if name in ("out", "xp"):
            return name, None
        if op.variadic and name == op.inputs[0]:
            return "inputs", None
        if op.variadic and name == "shapes":
            return "shapes", None
        if name in op.inputs:
            return "input", op.inputs.index(name)
        if name in op.keywords:
            return "keyword", name
        if name.endswith("_shape") and name[:-6] in op.inputs:
            return "shape", op.inputs.index(name[:-6])
        raise TypeError(f"a rule of {op.name} asks for {name!r}; it may ask for g, i, out, xp, {op.inputs}, {op.keywords}")

    def save(self, arrays, out, xp, params):
        """The values that the rules ask for, in the order of ``names``."""
        if self.pick is not None:
            arrays.append(out)
            return self.pick(arrays)
        saved = []
        for kind, key in self.sources:
            if kind == "input":
                saved.append(arrays[key])
            elif kind == "out":
                saved.append(out)
            elif kind == "xp":
                saved.append(xp)
            elif kind == "keyword":
                saved.append(params[key] if key in params else self.op.defaults[key])
            elif kind == "shape":
                saved.append(getattr(arrays[key], "shape", ()))
            elif kind == "inputs":
                saved.append(tuple(arrays))
            else:
                saved.append(tuple(getattr(a, "shape", ()) for a in arrays))
        return tuple(saved)

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent: run each rule on what it asked for."""
        saved = self._as_tensors(node) if recorded else node.saved
        if needed is None and self.simple:
            values = (gradient, 0, *saved)
            return [rule(*pick(values)) for rule, pick in self.rules]
        return [
            rule(*pick((gradient, i, *saved))) if rule and (needed is None or parent in needed) else None
            for (rule, pick), i, parent in zip(self.rules, self.wanted, node.parents)
        ]

    def _as_tensors(self, node):
        """The saved values as Tensors of the recorded graph, for a derivative that is itself recorded."""

        def handle(array, i):
            return Tensor(array, node.parents[self.parent_of[i]] if i in self.parent_of else None) if is_array(array) else array

        tensors = []
        for (kind, key), value in zip(self.sources, node.saved):
            if kind == "input":
                value = handle(value, key)
            elif kind == "inputs":
                value = tuple(handle(array, i) for i, array in enumerate(value))
            elif kind == "out":
                value = Tensor(value, node)
            elif kind == "xp":
                value = _tensor_namespace(value.name)
            tensors.append(value)
        return tensors

    def check_fresh(self, node):
        """Raise where a saved array has been overwritten since the op ran."""
        for value in node.saved:
            for array in value if isinstance(value, tuple) else (value,):
                _refuse_stale(self.op_name, array, node.order)

    def check_finite(self, node, gradient, pulled):
        """Under detect_anomaly: raise at the first non-finite gradient that a rule produced."""
        _check_pulled(self.op, self.wanted, node, gradient, pulled)


@functools.cache
def _tensor_namespace(device):
    """Minitensor as the ``xp`` of a recorded rule; what the rule creates is on ``device``."""
    import minitensor
    from minitensor import creation

    if device == "cpu":
        return minitensor
    names = [name for name in creation.__all__ if not name.endswith("_like")]  # those look at the device themselves
    created = {name: functools.partial(getattr(creation, name), device=device) for name in names}
    return SimpleNamespace(**{**vars(minitensor), **created})


def _getter(places):
    """A function from a tuple to the tuple of its items at ``places``."""
    if len(places) == 1:
        (place,) = places
        return lambda values: (values[place],)
    return itemgetter(*places) if places else lambda values: ()


def _refuse_stale(op_name, array, order):
    name = memory.overwritten(array, order)
    if name is not None:
        raise RuntimeError(
            f"{op_name}: the value of {name} that this op saved has been overwritten since (by assign or an optimiser's step); "
            "call backward before the update, or run the forward pass again after it"
        )


def _check_pulled(op, wanted, node, gradient, pulled):
    names = op.input_names(max(wanted) + 1)
    for i, value in zip(wanted, pulled):
        if value is not None and not finite(value):
            where = node.watch.where if node.watch is not None else None
            operands = [("g", gradient), *((f"saved {k}", v) for k, v in enumerate(node.saved) if is_array(v))]
            raise nonfinite_error(op.name, f"backward, gradient of {names[i]}", value, operands, where)


def op(function):
    """Make an op of ``function(xp, *inputs, **keywords)``; see the head of this file."""
    made = Op(function)
    if function.__module__.startswith("minitensor."):
        OPS[made.name] = made
    return made


# --- fused ops --------------------------------------------------------------------------------------------------------------


class Fused(_Call):
    """An op with a definition in Tensor code and a kernel on raw arrays. Made by ``@fused``."""

    def __init__(self, definition):
        super().__init__(definition, skip=0)
        self.definition = definition
        self.kernels = {}

    def kernel(self, function=None, *, device="any"):
        """Give the fast equal: ``kernel(xp, *inputs, **keywords)`` returns ``(out, backward)``.

        ``backward(g)`` returns one new array (or None) per input, in their order, and writes to no argument. A kernel that names
        a keyword ``needs`` gets a tuple of booleans, one per input: whether its gradient is wanted. ``device="cuda"`` gives an
        override for GPUs alone.
        """
        if function is None:
            return functools.partial(self.kernel, device=device)
        self.kernels[device] = (function, "needs" in inspect.signature(function).parameters)
        return function

    def __call__(self, *args, **params):
        """Run the kernel (or, where none was given, the definition)."""
        if len(args) != self.arity:
            args, params = self.bind(args, params)
        if not self.kernels:
            return self.definition(*args, **params)
        arrays, mask, parents = self.read(args)
        names = self.input_names(len(arrays))
        xp = namespace_of(self.name, arrays, names)
        kernel, takes_needs = self.kernels.get(xp.name) or self.kernels["any"]
        mode = current_mode.get()
        recording = bool(mask) and mode.grad
        if takes_needs:
            params = {**params, "needs": tuple(bool(recording and mask >> i & 1) for i in range(len(arrays)))}
        try:
            out, backward = kernel(xp, *arrays, **params)
        except (ValueError, TypeError, IndexError) as error:
            raise self.explain(error, arrays) from error
        if mode.anomaly and not finite(out):
            raise nonfinite_error(self.name, "forward", out, zip(names, arrays), call_site())
        if not recording:
            return Tensor(out)
        params.pop("needs", None)
        plan = FusedPlan(self, [i for i in range(len(arrays)) if mask >> i & 1], params)
        node = Node(plan, parents, (backward, *arrays), out.shape, out.dtype)
        if mode.anomaly:
            watch(node).where = call_site()
        return Tensor(out, node)


class FusedPlan:
    """How a fused op's gradient is pulled back: the kernel's ``backward``, or the definition where the pass is recorded."""

    __slots__ = ("op", "op_name", "wanted", "params")

    def __init__(self, op, wanted, params):
        self.op = op
        self.op_name = op.name
        self.wanted = wanted
        self.params = params

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent."""
        if recorded:
            return self._pull_definition(node, gradient)
        gradients = node.saved[0](gradient)
        return [gradients[i] for i in self.wanted]

    def _pull_definition(self, node, gradient):
        """Run the definition on the saved inputs and differentiate it, recorded."""
        from minitensor.ops.shape import alias

        inputs = list(node.saved[1:])
        for i, parent in zip(self.wanted, node.parents):
            inputs[i] = alias(Tensor(inputs[i], parent))  # one node per input, also where two inputs are one tensor
        arguments = [Tensor(a) if is_array(a) else a for a in inputs]
        out = self.op.definition(*arguments, **self.params)
        ends = [inputs[i].node for i in self.wanted]
        found = backward_pass([out.node], [gradient], wanted=set(ends), create_graph=True)
        return [found.get(end) for end in ends]

    def check_fresh(self, node):
        """Raise where an input has been overwritten since the op ran."""
        for array in node.saved[1:]:
            _refuse_stale(self.op_name, array, node.order)

    def check_finite(self, node, gradient, pulled):
        """Under detect_anomaly: raise at the first non-finite gradient that the kernel produced."""
        _check_pulled(self.op, self.wanted, node, gradient, pulled)


def fused(definition):
    """Make a fused op of a definition in Tensor code; see the head of this file."""
    made = Fused(definition)
    if definition.__module__.startswith("minitensor."):
        FUSED[made.name] = made
    return made

