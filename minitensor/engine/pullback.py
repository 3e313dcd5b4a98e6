"""How a recorded op is pulled back: which values to save, which rules to run, and on what.

A pullback is made once per op and per set of inputs that need a gradient, and serves every call of
that kind; an op that takes any number of inputs has one for all calls.
"""

from __future__ import annotations

import inspect
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

from minitensor.backend import is_array, memory, namespace, widen
from minitensor.engine.autocast import in_16_bits, rounded
from minitensor.engine.library import namespace_on
from minitensor.engine.messages import all_finite
from minitensor.engine.primitive import check_pulled, check_rounded, refuse_stale
from minitensor.engine.tensor import Tensor

__all__ = ["RulePullback", "VariadicPullback", "WidePullback"]

_FIXED = frozenset((int, float, bool, str, type(None)))  # classes of keywords that nobody can write to


class RulePullback:
    """What to save and which rules to run, for one op and one set of inputs that need a
    gradient.
    """

    __slots__ = ("op", "op_name", "wanted", "names", "rules", "sources", "kept", "pick", "simple", "parent_of")
    gives_new = False  # a rule may return its argument, or a view of it
    fills = False
    rounds: Any = None  # the type of 16 bits to which gradients are rounded first

    def __init__(self, op, mask, count):
        self.op = op
        self.op_name = op.name
        self.wanted = [i for i in range(count) if mask >> i & 1]
        self.parent_of = {i: position for position, i in enumerate(self.wanted)}
        rules = [op.rules[i] for i in self.wanted]
        asked = [tuple(inspect.signature(rule).parameters) if rule else () for rule in rules]
        self.names = [name for name in dict.fromkeys(n for names in asked for n in names) if name not in ("g", "i")]
        places = {name: position for position, name in enumerate(["g", "i", *self.names])}
        self.rules = (
            []
            if not any(rules)
            else [(rule, _getter([places[name] for name in names])) for rule, names in zip(rules, asked)]
        )
        self.simple = all(rules)
        self.sources = [self._source(name) for name in self.names]
        self.kept = frozenset(key for kind, key in self.sources if kind == "input")  # the inputs that are saved
        simple = all(kind in ("input", "out") for kind, _ in self.sources)
        self.pick = _getter([count if kind == "out" else key for kind, key in self.sources]) if simple else None

    def _source(self, name):
        """Where the value called ``name`` comes from: an input, the output, xp, a
        keyword, a shape.
        """
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
        raise TypeError(
            f"a rule of {op.name} asks for {name!r}; it may ask for g, i, out, xp, {op.inputs}, {op.keywords}"
        )

    def keeps(self, i):
        """Whether the input of this number is saved."""
        return i in self.kept

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
                value = params[key] if key in params else self.op.defaults[key]
                saved.append(value if self.op.behind_a_function or value.__class__ in _FIXED else memory.private(value))
            elif kind == "shape":
                saved.append(getattr(arrays[key], "shape", ()))
            elif kind == "inputs":
                saved.append(tuple(arrays))
            else:
                saved.append(tuple(getattr(a, "shape", ()) for a in arrays))
        return tuple(saved)

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent: run each rule on what it asked for."""
        saved = self._as_tensors(node, gradient, self.parent_of) if recorded else node.saved
        if needed is None and self.simple:
            values = (gradient, 0, *saved)
            return [rule(*pick(values)) for rule, pick in self.rules]
        return self._run(node, gradient, saved, needed)

    def _run(self, node, gradient, saved, needed):
        """What the rules give that serve the parents in ``needed`` (None: all of them), and None
        for the others.
        """
        return [
            rule(*pick((gradient, i, *saved))) if rule and (needed is None or parent in needed) else None
            for (rule, pick), i, parent in zip(self.rules, self.wanted, node.parents)
        ]

    def _as_tensors(self, node, gradient, parent_of):
        """The saved values as Tensors of the recorded graph, for a derivative that is itself
        recorded.

        Numbers become Tensors of the gradient's type too, since ops on numbers alone give float32.
        """
        xp = namespace(gradient.device)

        def handle(value, i):
            if value.__class__ in (int, float):
                return Tensor(xp.asarray(value, dtype=node.dtype))
            if not is_array(value):
                return value
            return Tensor(value, node.parents[parent_of[i]] if i in parent_of else None)

        tensors = []
        for (kind, key), value in zip(self.sources, node.saved):
            if kind == "input":
                value = handle(value, key)
            elif kind == "inputs":
                value = tuple(handle(array, i) for i, array in enumerate(value))
            elif kind == "out":
                value = Tensor(value, node)
            elif kind == "xp":
                value = namespace_on(value.name)
            tensors.append(value)
        return tensors

    def check_fresh(self, node, needed):
        """Raise if a saved array that one of the rules to be run asks for has been overwritten
        since the op ran.
        """
        places: Any = range(len(node.saved))
        if needed is not None and self.simple:
            asked = [pick((-2, -1, *places)) for (_, pick), parent in zip(self.rules, node.parents) if parent in needed]
            places = sorted({place for each in asked for place in each if place >= 0})
        for value in (node.saved[place] for place in places):
            for array in value if isinstance(value, tuple) else (value,):
                refuse_stale(self.op_name, array, node.order)

    def check_finite(self, node, gradient, pulled):
        """Under detect_anomaly: raise at the first non-finite gradient that a rule made of finite
        numbers.
        """
        if self.rounds is None and all_finite(pulled):
            return
        if self.rounds is not None:
            gradient = check_rounded(self.op, node, gradient, self.rounds)

        def again(gradient, saved):
            return self.pull(SimpleNamespace(saved=saved, parents=node.parents), gradient, False, None)

        check_pulled(self.op, self.numbers_of(node), node, gradient, pulled, node.saved, again)

    def numbers_of(self, node):
        """Which inputs the parents of ``node`` are."""
        return self.wanted


class WidePullback(RulePullback):
    """The pullback of a call with operands of 16 bits: its rules run in float32, on saved values
    that come back widened; or on numbers of 16 bits, if its product did (``Op.multiplies``).
    """

    __slots__ = ("rounds", "narrow")

    def __init__(self, op, mask, count, rounds=None, narrow=False):
        super().__init__(op, mask, count)
        self.rounds, self.narrow = rounds, narrow

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent."""
        if self.narrow and not recorded:
            return self._run(node, in_16_bits(gradient, self.rounds), node.saved, needed)
        if self.rounds is not None:
            gradient = rounded(gradient, self.rounds)
        saved = self._as_tensors(node, gradient, self.parent_of) if recorded else node.saved
        return self._run(node, gradient, _widened(saved), needed)


class VariadicPullback(RulePullback):
    """The pullback of an op that takes any number of inputs. Which of them need a gradient is the
    last of the values saved.

    The rule serves one input if it asks for ``i``, and all at once if it returns a list.
    """

    __slots__ = ("wide", "one_by_one", "rounds", "narrow")

    def __init__(self, op, wide, rounds=None, narrow=False):
        super().__init__(op, 1, 1)
        self.rounds, self.narrow = rounds, narrow
        self.wide = wide
        self.one_by_one = "i" in inspect.signature(op.rules[0]).parameters

    def keeps(self, i):
        """Whether the inputs are saved."""
        return ("inputs", None) in self.sources

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent."""
        narrow = self.narrow and not recorded
        if narrow:
            gradient = in_16_bits(gradient, self.rounds)
        elif self.rounds is not None:
            gradient = rounded(gradient, self.rounds)
        wanted = node.saved[-1]
        parent_of = {i: position for position, i in enumerate(wanted)} if recorded else None
        saved = self._as_tensors(node, gradient, parent_of) if recorded else node.saved[:-1]
        if self.wide and not narrow:
            saved = _widened(saved)
        ((rule, pick),) = self.rules
        if not self.one_by_one:
            given = rule(*pick((gradient, 0, *saved)))
            pulled: Any = [given[i] for i in wanted] if isinstance(given, (list, tuple)) else [given] * len(wanted)
        else:
            pulled = (
                rule(*pick((gradient, i, *saved))) if needed is None or parent in needed else None
                for i, parent in zip(wanted, node.parents)
            )
        return [value if needed is None or parent in needed else None for value, parent in zip(pulled, node.parents)]

    def check_fresh(self, node, needed):
        """Raise if a saved array has been overwritten since the op ran."""
        super().check_fresh(node, None)

    def numbers_of(self, node):
        """Which inputs the parents of ``node`` are."""
        return node.saved[-1]


def _widened(saved):
    """The saved values with those of 16 bits in float32."""
    return [tuple(map(widen, value)) if isinstance(value, tuple) else widen(value) for value in saved]


def _getter(places):
    """A function from a tuple to the tuple of its items at ``places``."""
    if len(places) == 1:
        (place,) = places
        return lambda values: (values[place],)
    return itemgetter(*places) if places else lambda values: ()
