"""Who runs the ops inside a ``vmap``: an observer that hands tensors of all examples to the rules.

An op that meets a batched tensor of this level is given to its rule, which calls ops on the values
of all examples; these pass on to the levels outside, if there are any, and to the engine. An op
without a rule runs example by example, and its results are stacked.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from minitensor.backend import is_array, is_floating, is_narrow, widen
from minitensor.engine.arraylike import holds_tensors
from minitensor.engine.fused import Fused
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.observer import Observer
from minitensor.engine.op import OPS
from minitensor.engine.tensor import Tensor, asarray
from minitensor.engine.trees import leaves_of, rebuilt
from minitensor.ops.creation import arange, ones, zeros
from minitensor.ops.shape import broadcast_to, expand_dims, stack
from minitensor.transforms.batched import Batched, Unknown
from minitensor.transforms.reading import READING
from minitensor.transforms.rules import FUSED_RULES, RULES, NoRule

__all__ = ["Level", "levels", "of_all", "of_one"]


class Level(Observer):
    """One ``vmap`` that is running: ``size`` examples."""

    def __init__(self, size: int, outer: Observer | None) -> None:
        super().__init__(outer)
        self.size = size

    def mine(self, x: Any) -> bool:
        """Whether ``x`` is batched at this level."""
        return isinstance(x, Batched) and x.level is self

    def value(self, x: Any) -> Any:
        """All examples of ``x``, along axis 0, if it is batched here; else ``x`` itself."""
        return x.value if self.mine(x) else x

    def all_of(self, x: Any) -> Any:
        """The Tensor of all examples of ``x``; one that is the same for all is repeated."""
        return x.value if self.mine(x) else broadcast_to(expand_dims(x, 0), (self.size, *x.shape))

    def concerns(self, tree: Any) -> bool:
        """Whether some leaf of ``tree`` is batched here."""
        return any(map(self.mine, leaves_of(tree)))

    def forward(self, op: Any, args: Any, params: Any) -> Any:
        """The result of an op: by its rule if it meets what is batched here."""
        if not self.concerns(args) and not (params and self.concerns(params)):
            return super().forward(op, args, params)
        args = [asarray(a) if isinstance(a, (list, tuple)) and holds_tensors(a) else a for a in args]
        if len(args) != op.arity or not op.knows(params):
            args, params = op.bind(args, params)
        try:
            if not self.concerns(params):
                return Batched(self._by_rule(op, list(args), params), self)
            if op is OPS["getitem"] or op is OPS["put_along_axis"] or op is OPS["embedding"]:
                raise NoRule
            name = next(name for name, value in params.items() if self.concerns(value))
            raise Unknown(
                f"mt.vmap: {op.name}: {name} is a setting, one for all examples, and was given a tensor that stands for many; "
                "loop=True runs example by example"
            )
        except NoRule:
            return self.one_by_one(super().forward, (op, args, params), {})

    def _by_rule(self, op, args, params):
        mapped = [self.mine(a) for a in args]
        values = [self.value(a) if is_mapped else _plain(a) for a, is_mapped in zip(args, mapped)]
        if op.foreign:
            raise NoRule
        if not isinstance(op, Fused):
            if op.name not in RULES:
                raise NoRule
            return RULES[op.name](op, values, mapped, {**op.defaults, **params}, self.size)
        if op.name in FUSED_RULES:
            out = FUSED_RULES[op.name](op, values, mapped, {**op.defaults, **params}, self.size)
            if out is not None:
                return out
        return self._by_definition(op, args, params)

    def _by_definition(self, op, args, params):
        """A fused op's definition, whose ops have rules; 16 bits are widened, as its kernel's."""
        given = op.operands(args)
        floats = {a.dtype for a in given if isinstance(a, Tensor) and is_floating(a.dtype)}
        try:
            with switched(autocast=None):  # the door has cast the operands
                out = op.definition(*map(widen, given), **params)
        except Unknown:
            raise NoRule from None
        if len(floats) == 1 and is_narrow(*floats):
            out = out.astype(*floats)
        return self.all_of(out)

    def reading(self, names: tuple[str, ...], function: Any, args: Any, keywords: Any) -> Any:
        """A function that reads values: by a rule of its own, or example by example, if one of
        these is batched.
        """
        if not self.concerns(args) and not self.concerns(keywords):
            return super().reading(names, function, args, keywords)
        bound = inspect.signature(function).bind(*args, **keywords)
        if not any(self.concerns(bound.arguments.get(name)) for name in names):
            return super().reading(names, function, args, keywords)

        def run(*args, **keywords):  # for the levels outside, and last for itself
            return super(Level, self).reading(names, function, args, keywords)

        rule = READING.get(f"{function.__module__}.{function.__name__}")
        if rule is not None:
            bound.apply_defaults()
            out = rule(run, bound.arguments, self)
            if out is not None:
                return out
        return self.one_by_one(run, args, keywords)

    def one_by_one(self, function: Any, args: Any, keywords: Any) -> Any:
        """``function`` of each example, and the results (tensors, or trees of them) stacked."""
        leaves = leaves_of((args, keywords))

        def run(examples):
            one, named = rebuilt((args, keywords), examples)
            return function(*one, **named)

        if self.size:
            outs = [run([leaf.value[i] if self.mine(leaf) else leaf for leaf in leaves]) for i in range(self.size)]
        else:
            outs = [self._of_none(run, leaves)]
        stacked = [self._stacked(parts) for parts in zip(*map(leaves_of, outs))]
        return rebuilt(outs[0], stacked)

    def _of_none(self, run, leaves):
        """What ``run`` gives if there is no example, to show the shapes of its results: of zeros,
        or if it refuses these (indices that repeat, lengths of 0) of ones, or of numbers that
        count along an axis.
        """
        depth = max((leaf.ndim for leaf in leaves if self.mine(leaf)), default=0)
        fills: list[Any] = [zeros, ones, *(functools.partial(_counting, axis) for axis in range(depth))]
        refused = None
        for fill in fills:
            try:
                return run([fill(x.shape, dtype=x.dtype, device=x.device) if self.mine(x) else x for x in leaves])
            except (ValueError, IndexError) as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def _stacked(self, parts):
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            raise Unknown(
                f"mt.vmap: the shape of a result depends on the values: it is {' or '.join(map(str, sorted(shapes)))}, "
                "and the results of all examples cannot be one tensor"
            )
        return Batched(stack(parts) if self.size else stack(parts)[:0], self)


def levels() -> list[Level]:
    """The levels that are running here, the innermost first."""
    found, observer = [], current_mode.get().observer
    while observer is not None:
        if isinstance(observer, Level):
            found.append(observer)
        observer = observer.outer
    return found


def of_all(x: Any, running: list[Level]) -> Any:
    """``x`` with an axis of examples in front for each of the levels ``running`` (given innermost
    first, the outermost in front), as a tensor that no level knows.
    """
    for level in running:
        x = level.all_of(x)
    return x


def of_one(x: Tensor, running: list[Level]) -> Tensor:
    """``x``, with an axis for each of the levels ``running`` in front (the outermost first), as a
    tensor of one example.
    """
    for level in reversed(running):
        x = Batched(x, level)
    return x


def _counting(axis, shape, dtype, device):
    """0, 1, 2 and on along an axis; zeros if there is no such axis."""
    if axis >= len(shape):
        return zeros(shape, dtype=dtype, device=device)
    steps = arange(shape[axis], device=device).astype(dtype)
    return broadcast_to(steps.reshape((-1, *[1] * (len(shape) - axis - 1))), shape)


def _plain(value):
    """An input that is the same for all examples, in a form that has a shape, or as it is."""
    return asarray(value) if is_array(value) or isinstance(value, (list, tuple)) else value
