"""The mutants of an op: copies with one place of a rule, a kernel or a definition changed."""

from __future__ import annotations

import inspect
import linecache
from types import FunctionType
from typing import TYPE_CHECKING

from minitensor.engine.fused import Fused
from minitensor.engine.op import Op
from minitensor.engine.tensor import Tensor
from minitensor.testing.planted import changed
from minitensor.testing.rewriting import KEPT, UNSUMMED, changes, unsummed
from minitensor.testing.sources import made_of, names_used, tree_of

__all__ = ["mutated"]

if TYPE_CHECKING:
    from collections.abc import Iterator


def mutated(op: Op | Fused) -> Iterator[tuple[Op | Fused, str, str, str]]:
    """Copies of the op, each with one place changed: ``(copy, part, kind, diff)``, which rule or
    function it is in, the kind of the fault, and the lines before and after.
    """
    for part, function, arrays, recorded, install in _parts(op):
        for changing, target in [(part, function), *((f"{part}, {h.__name__}", h) for h in _helpers(function))]:
            tree, filename = tree_of(target)
            lines = linecache.getlines(filename)
            made = list(changes(tree, arrays if target is function else (), recorded))
            if target is function and isinstance(op, Op) and op.arity > 1:
                made += unsummed(tree, f"{part.rpartition(' ')[2]}_shape")
            for change in made:
                try:
                    wrong = made_of(target, change.tree, {KEPT: _constant, UNSUMMED: _slice})
                except SyntaxError:  # no program, and so no mutant
                    continue
                if target is not function:
                    wrong = _rebound(function, {target.__name__: wrong})
                yield install(wrong), changing, change.kind, change.diff(lines)


def _parts(op):
    """``(words, function, parameters that hold arrays, whether it runs on Tensors, function from a
    mutant to the changed op)`` for each function of the op whose faults a check should see.
    """
    if isinstance(op, Op):
        for i, rule in enumerate(op.rules or ()):
            if isinstance(rule, FunctionType):
                names = inspect.signature(rule).parameters
                arrays = tuple(n for n in ("g", "out", *op.inputs) if n in names)

                def install(mutant, i=i):
                    return changed(op, rules=(*op.rules[:i], mutant, *op.rules[i + 1 :]))

                yield f"the rule of {op.inputs[i]}", rule, arrays, True, install
        return
    if "any" in op.kernels:
        kernel, takes_needs = op.kernels["any"]
        yield "the kernel", kernel, op.inputs, False, lambda mutant: changed(op, kernels={"any": (mutant, takes_needs)})
    # A definition that is another op, or wrapped, has no source of its own.
    if isinstance(op.definition, FunctionType):
        yield "the definition", op.definition, op.inputs, True, lambda mutant: changed(op, definition=mutant)


def _helpers(function):
    """The functions of the same file that ``function`` calls, and those that these call."""
    found: dict[str, FunctionType] = {}
    waiting = [function]
    while waiting:
        for name in sorted(names_used(waiting.pop().__code__)):
            value = function.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__globals__ is function.__globals__ and name not in found:
                if value is not function and not hasattr(value, "__wrapped__") and "check" not in name:
                    found[name] = value
                    waiting.append(value)
    return list(found.values())


def _rebound(function, replaced):
    """``function`` with ``replaced`` in place of the functions of these names, wherever its file
    calls them.
    """
    names = dict(function.__globals__)

    def moved(one):
        made = FunctionType(one.__code__, names, one.__name__, one.__defaults__, one.__closure__)
        made.__kwdefaults__ = one.__kwdefaults__
        return made

    for name, value in function.__globals__.items():
        if isinstance(value, FunctionType) and value.__globals__ is function.__globals__:
            names[name] = moved(value)
    names.update(replaced)
    return moved(function)


def _constant(value):
    """``value``, of which no derivative is taken."""
    return Tensor(value._array) if isinstance(value, Tensor) else value


def _slice(value, shape):
    """``value`` cut down to ``shape``, where it should have been summed."""
    while getattr(value, "ndim", 0) > len(shape):
        value = value[0]
    if getattr(value, "ndim", None) != len(shape):
        return value
    return value[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]
