"""A model seen from outside, the same for a Module of ours and an ``nn.Module`` of PyTorch.

What is asked of it is what both have: ``named_modules``, ``named_parameters``, ``named_buffers``,
``train`` and ``eval``, ``state_dict`` and ``load_state_dict``, forward hooks. PyTorch is never
imported here: whoever has one of its modules has done so.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np

from minitensor import random
from minitensor.engine.autograd import new_leaf
from minitensor.engine.gradient import grad
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import enable_grad, no_dropout, no_grad
from minitensor.engine.tensor import Tensor, asarray
from minitensor.files.state import load, save

__all__ = ["Subject", "spread", "untouched"]

# What rounding explains, of the largest value compared, by the bytes of a model's numbers.
TOLERANCES = {2: 3e-2, 4: 1e-4, 8: 1e-10}


_untouched: ContextVar[tuple[Any, Any]] = ContextVar("minitensor_untouched", default=(None, None))


@contextmanager
def untouched(model):
    """Within, copies of ``model`` are as it is now, without what it keeps of calls in between."""
    try:
        token = _untouched.set((model, copy.deepcopy(model)))
    except Exception:  # what cannot be copied is told by the checks that copy it
        token = _untouched.set((None, None))
    try:
        yield
    finally:
        _untouched.reset(token)


class Subject:
    """A Module of minitensor, and how to call it."""

    library = "minitensor"
    suffix = ".safetensors"

    def __init__(self, model, call=None):
        self.model, self.call = model, call
        self.name = type(model).__name__
        floating = [p for _, p in model.named_parameters() if self.is_floating(p)]
        self.dtype = floating[0].dtype if floating else None
        self.tolerance = TOLERANCES[floating[0].dtype.itemsize if floating else 4]
        held = self.array(floating[0]).dtype if floating else np.dtype(np.float32)
        self.float_dtype = held  # that of arrays; what NumPy does not have, such as bfloat16, is float32 there

    # --- tensors ----------------------------------------------------------------------------------

    def is_tensor(self, value):
        return isinstance(value, Tensor)

    def is_floating(self, value):
        return value.dtype.kind not in "biu"

    def device(self):
        return next((p.device for _, p in self.model.named_parameters()), "cpu")

    def tensor(self, array):
        made = asarray(array, device=self.device())
        return made.astype(self.dtype) if array.dtype.kind == "f" and self.dtype is not None else made

    def tokens(self, ids):
        """What ``step`` is given."""
        return ids

    def leaf(self, array):
        return self.tensor(array).detach().requires_grad_()

    def zeros_leaf(self, value):
        made = Tensor(value.detach()._array * 0)
        made.node = new_leaf(made._array)
        return made

    def array(self, value):
        """A tensor as a NumPy array of a type that NumPy itself has."""
        array = value.detach().to("cpu").numpy()
        return array if array.dtype.kind in "biuf" else array.astype(np.float32)

    def assign(self, value, array):
        value.assign(array)

    def gradients(self, output, seed, leaves):
        """Of the sum of ``output * seed``: an array for each leaf, or None if it has no say."""
        if output.node is None:
            return [None] * len(leaves)
        found = grad(output, leaves, asarray(seed, device=output.device), allow_unused=True)
        return [None if g is None else self.array(g) for g in found]

    def backward(self, output):
        output.backward()

    def is_recorded(self, value):
        return value.node is not None

    def no_grad(self):
        return no_grad()

    def quiet(self):
        """How outputs are computed that nothing is differentiated of."""
        return no_grad()

    def enable_grad(self):
        return enable_grad()

    @contextmanager
    def same_randomness(self):
        state = random.default.state
        try:
            yield
        finally:
            random.default.state = state

    def no_dropout(self):
        """Within, the library's own dropout drops nothing."""
        return no_dropout()

    def draws(self, function):
        """``(what the function gives, whether it draws random numbers of the library)``."""
        with random.noting_draws() as noted:
            return function(), bool(noted)

    @contextmanager
    def part(self, start, stop, of):
        """Within, dropout draws for a part of a batch what the whole draws for its rows; afterwards
        random numbers are as they were.
        """
        with Subject.same_randomness(self), random.rows(start, stop, of):
            yield

    def copied(self):
        """Another model, as this one is now, or was before all checks (`untouched`); None if it
        cannot be copied.
        """
        model, before = _untouched.get()
        try:
            return type(self)(copy.deepcopy(before if model is self.model else self.model), self.call)
        except Exception:
            return None

    # --- files ------------------------------------------------------------------------------------

    def save(self, path, state):
        save(path, state)

    def load(self, path):
        return load(path)

    # --- the call ---------------------------------------------------------------------------------

    def output(self, inputs):
        """What comes out, one tensor; of a tuple the first."""
        args, kwargs = inputs.called()
        out = self.model(*args, **kwargs) if self.call is None else self.call(self.model, *args, **kwargs)
        out = out[0] if isinstance(out, (tuple, list)) else out
        if not self.is_tensor(out):
            raise TypeError(
                f"the output of {self.name} is {a_kind(out)} and no tensor: say which part of it is meant by "
                "call=lambda model, *inputs: model(*inputs).logits, or the like"
            )
        return out

    def run(self, inputs):
        """The output as an array, in the mode that the model is in."""
        with self.quiet():
            return self.array(self.output(inputs))

    @contextmanager
    def kept(self, training=False, dropout=True, rates=()):
        """Within, the model is in a mode; at the end modes, buffers, gradients, random numbers are
        as they were.

        dropout: whether the library's acts. rates: the attributes that are 0, see ``by_hand``.
        """
        model = self.model
        modes = [(module, module.training) for _, module in model.named_modules()]
        rates = [(module, name, getattr(module, name)) for _, module, name in rates]
        parameters = [p for _, p in model.named_parameters()]
        gradients = [p.grad for p in parameters]
        buffers = [(b, self.array(b).copy()) for _, b in model.named_buffers()]
        model.train(training)
        for p in parameters:
            p.grad = None
        for module, name, _ in rates:
            setattr(module, name, 0.0)
        try:
            # NaN and infinity that are planted, or found, are told by the checks.
            with self.same_randomness(), np.errstate(all="ignore"), nullcontext() if dropout else self.no_dropout():
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            for module, name, rate in rates:
                setattr(module, name, rate)
            for p, gradient in zip(parameters, gradients):
                p.grad = gradient
            for buffer, array in buffers:
                if not np.array_equal(self.array(buffer), array, equal_nan=array.dtype.kind == "f"):
                    self.assign(buffer, array)

    def by_hand(self, run):
        """What must be 0 besides, so that training is without dropout: ``[(path, module,
        attribute)]``.

        Nothing if ``run()`` draws no numbers in training where the library's dropout does not act.
        If it does, there may be dropout that is written by hand: its rates are the numbers between
        0 and 1 that are called p or have "drop" in their names.
        """
        with self.kept(training=True, dropout=False), self.enable_grad():
            if not self.draws(run)[1]:
                return []
        return [
            (f"{path}.{name}" if path else name, module, name)
            for path, module in self.model.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, float) and 0.0 < value < 1.0 and (name == "p" or "drop" in name.lower())
        ]

    @contextmanager
    def vectors(self, ids, change):
        """Within, ``change(vectors)`` stands for what each ``nn.Embedding`` gives for ``ids``."""

        def hook(module, args, output):
            read = (
                self.array(args[0]) if args and self.is_tensor(args[0]) else None if not args else np.asarray(args[0])
            )
            looked_up = read is not None and np.array_equal(read, ids) and tuple(output.shape[: ids.ndim]) == ids.shape
            return change(output) if looked_up else None

        handles = [
            module.register_forward_hook(hook)
            for _, module in self.model.named_modules()
            if any(kind.__name__ == "Embedding" for kind in type(module).__mro__)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def recorded(self, inputs, key):
        """``(output, leaves)``: with a leaf for the floats of ``key``, or for each place where its
        ids are looked up.
        """
        array, leaves = inputs.values[key], []
        with self.enable_grad():
            if array.dtype.kind == "f":
                leaves.append(self.leaf(array))
                return self.output(inputs.replaced({key: leaves[0]})), leaves

            def change(vectors):
                leaves.append(self.zeros_leaf(vectors))
                return vectors + leaves[-1]

            with self.vectors(array, change):
                return self.output(inputs), leaves

    def missing(self, output, leaves):
        """The note that there is no gradient of what ``recorded`` gave, in a list; an empty one if
        there is one.
        """
        if not leaves:
            return ["no gradient (no nn.Embedding reads these ids)"]
        return [] if self.is_recorded(output) else ["no gradient (none is recorded)"]

    def with_nan(self, inputs, key, places):
        """The output with NaN in the vectors of ``key`` at ``places`` (B, T), None if there are no
        vectors to be changed.
        """
        array, found = inputs.values[key], []
        if array.dtype.kind == "f":
            return self.run(inputs.replaced({key: np.where(spread(places, array), np.nan, array).astype(array.dtype)}))

        def change(vectors):
            found.append(vectors)
            planted = np.where(spread(places, self.array(vectors)), np.nan, 0.0)
            return vectors + self.tensor(planted.astype(self.float_dtype))

        with self.vectors(array, change):
            out = self.run(inputs)
        return out if found else None

    # --- state that is not registered -------------------------------------------------------------

    def unregistered(self, inputs):
        """``{path: tensor}`` of what an attribute holds, is to be trained, and no parameter is; of
        modules that the model does not know, the parameters that the output depends on.
        """
        known = {id(p) for _, p in self.model.named_parameters()}
        modules = {id(module) for _, module in self.model.named_modules()}
        found: dict[str, Any] = {}
        hidden: dict[str, Any] = {}
        for path, module in self.model.named_modules():
            for name, value in vars(module).items():
                if name not in ("_parameters", "_buffers", "_modules"):
                    for key, item in _items(f"{path}.{name}" if path else name, value):
                        if self.is_tensor(item):
                            parts, into = [("", item)], found
                        elif hasattr(item, "named_parameters") and id(item) not in modules:
                            parts, into = item.named_parameters(), hidden
                        else:
                            continue
                        for inner, p in parts:
                            if p.requires_grad and p.is_leaf and id(p) not in known:
                                into[f"{key}.{inner}" if inner else key] = p
        if hidden:
            with self.kept(training=True), self.enable_grad():
                output = self.output(inputs)
            seed = np.ones(tuple(output.shape), self.float_dtype)
            reached = self.gradients(output, seed, list(hidden.values()))
            found.update({key: p for (key, p), g in zip(hidden.items(), reached) if g is not None})
        return found


def spread(places, array):
    """``places`` (B, T) with axes of one behind them, as many as ``array`` has."""
    return places.reshape(places.shape + (1,) * (array.ndim - places.ndim))


def _items(name, value):
    """A value, or the items of a list, tuple or dict that an attribute holds, by their paths."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _items(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _items(f"{name}.{key}", item)
    else:
        yield name, value
