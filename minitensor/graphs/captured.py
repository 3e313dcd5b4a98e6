"""One CUDA graph of a step: what the step read, wrote and gave, and whether all of that is still as
it was.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from minitensor import random
from minitensor.backend import copied, move, namespace, np, on
from minitensor.backend.capture import Capture
from minitensor.engine import library
from minitensor.engine.autograd import Node, raw, watch
from minitensor.engine.mode import switched
from minitensor.engine.observer import Observer
from minitensor.engine.tensor import Tensor
from minitensor.engine.trees import leaves_of, structure
from minitensor.graphs.arguments import arrays_in, put_together, taken_apart

__all__ = ["Graph"]

WORDS = bool, int, float, complex, str, bytes


class Reader(Observer):
    """Notes what ops read that was there before: tensors, and raw arrays."""

    def __init__(self, before, static):
        super().__init__()
        self.tensors: dict[int, Any] = {}
        self.arrays: list[Any] = []
        self._before = before
        self._of_array = {id(tensor._array): tensor for tensor in before.values()}
        self._made = {id(array) for array in static}  # arrays that are the graph's own

    def forward(self, op, args, params):
        """The result of an op."""
        for value in arrays_in((args, params)):
            array = value._array if isinstance(value, Tensor) else value
            if id(array) not in self._made:
                self._note(value, array)
        out = op.run_observed(args, params)
        self._made.update(id(one._array) for one in arrays_in(out) if isinstance(one, Tensor))
        return out

    def _note(self, value, array):
        # A tensor made since, by detach() say, stands for the one that has its array.
        known = value if id(value) in self._before else self._of_array.get(id(array))
        if known is None:
            self.arrays.append(array)
            return
        if known.node is not None and known.node.pullback is not None:
            raise RuntimeError(
                f"it reads a tensor {known.shape} of a graph that was recorded outside of it: give that as an argument, or "
                "compute it inside"
            )
        self.tensors[id(known)] = known


class Graph:
    """A captured graph with its arguments and results, and what must stay as it was."""

    def __init__(self, function, form, given, device):
        self.device, self.capture = device, Capture(device)
        self.capture.reserve(sum(array.nbytes + 512 for array in given))
        self.given: list[Any] = given
        gc.collect()  # what is found alive below is so
        tensors = {id(tensor): tensor for tensor in _alive(Tensor)}
        modules = {id(module): (module, dict(vars(module))) for module in _alive(library.face.nn.Module)}
        before = {node: (node.watch.grad, node.watch.scale) for node in _alive(Node) if node.watch is not None}
        self.modules = [(weakref.ref(module), module.training) for module, _ in modules.values()]
        with on(device):
            self.static = [self._static(i, array) for i, array in enumerate(given)]
        reader = Reader(tensors, self.static)
        self.results: list[Any] = []
        try:
            with random.noting_draws() as drawn, switched(observer=reader, watched=True), self.capture.recording():
                self.form = self._called(function, form)
                self._take_gradients(reader, before)
            self.generators = [(generator, state, generator.state) for generator, state, _ in drawn.values()]
            self._check_generators()
            self._check_kept(tensors)
            self.settings = self._settings(modules)
        except BaseException as error:
            for node, deposited in before.items():
                _deposit(node, deposited)
            for generator, state, _ in drawn.values():
                generator.state = state
            self.capture.undo()
            if isinstance(error, Exception):
                name = getattr(function, "__qualname__", repr(function))
                raise RuntimeError(
                    f"cuda_graph: {name} cannot be captured: {error}. A step that becomes a CUDA graph reads no value back, and "
                    "is given as arguments what is computed on the host"
                ) from error
            raise
        touched = (*self.capture.touched, *self.capture.parameters)
        read = {**reader.tensors, **{id(one): one for one in touched}}
        self.read = [(tensor, tensor._array, tensor.node, _hooks(tensor)) for tensor in read.values()]
        self.kept = reader.arrays

    def _called(self, function, form):
        """Run the function on the static arguments; the form of its results, whose arrays are
        kept.
        """
        args, keywords = put_together(form, iter(self.static))
        return taken_apart(function(*args, **keywords), self.results, result=True)

    def _check_kept(self, before):
        """Raise if a tensor that was made inside is alive: it would keep the value of one call."""
        for noted in (self.capture.touched, self.capture.parameters):
            noted[:] = [tensor for tensor in noted if id(tensor) in before]
        gc.collect()
        gradients = {id(node.watch.grad) for node in _alive(Node) if node.watch is not None}
        for tensor in _alive(Tensor):
            if id(tensor) not in before and id(tensor) not in gradients and tensor.device == self.device:
                raise RuntimeError(
                    f"a tensor {tensor.shape} that it made is kept somewhere, where it would stay as it is: return it, or "
                    "write it to one that was there before by .assign(...)"
                )

    def _settings(self, before):
        """``(module, what is not looked at in it, its settings, their objects)`` of all modules
        that were called, and of those within them. Not looked at is what the step itself moves on,
        and ``training``, which is looked at in every module: a step may ask for it without a call.
        """
        called = {id(part): part for module in self.capture.modules.values() for part in module.modules()}
        found = []
        for key, module in called.items():
            then = before.get(key, (module, {}))[1]
            but = {name for name, value in vars(module).items() if name in then and then[name] is not value}
            but.add("training")
            alive = [value for name, value in vars(module).items() if name not in but]  # no other gets their ids
            found.append((module, but, _settings_of(module, but), leaves_of(alive)))
        return found

    def _take_gradients(self, reader, before):
        """Note the gradients of the leaves, before the step and after it. One that was added to
        stays where it was, so that the next launch adds to it too.
        """
        tensors = (*reader.tensors.values(), *self.capture.parameters)
        nodes = dict.fromkeys(tensor.node for tensor in tensors if tensor.node is not None)
        self.leaves = [node for node in nodes if node.pullback is None]
        self.before = [_gradient(*before.get(node, (None, None))) for node in self.leaves]
        self.after = [_gradient(watch(node).grad, watch(node).scale) for node in self.leaves]
        for i, ((then, _), (now, scale)) in enumerate(zip(self.before, self.after)):
            if then is not None and now is not None and then is not now:
                then[...] = now
                self.after[i] = then, scale

    def _static(self, i, array):
        """Where argument i lies while the graph runs."""
        if isinstance(array, np.ndarray):
            return self.capture.slot(array.dtype, array.shape, lambda: self.given[i])
        return namespace(self.device).empty(array.shape, dtype=array.dtype)

    def _check_generators(self):
        keys = [(generator.seed, generator.stream) for generator, _, _ in self.generators]
        if len(set(keys)) < len(keys):
            raise RuntimeError("two generators of one seed and stream draw in it; give each a stream of its own")
        if set(keys) - self.capture.keys:
            raise RuntimeError("random numbers are drawn on the host (normal, permutation)")

    def holds(self):
        """Whether the graph still does what the step would do."""
        return (
            self.capture.holds()
            and all(
                tensor._array is array and tensor.node is node and _hooks(tensor) == hooks
                for tensor, array, node, hooks in self.read
            )
            and all(_settings_of(module, but) == then for module, but, then, _ in self.settings)
            and all(_is(node.watch, then) for node, then in zip(self.leaves, self.before))
            and all((module := ref()) is None or module.training == training for ref, training in self.modules)
            and all((generator.seed, generator.stream) == state[:2] for generator, state, _ in self.generators)
        )

    def run(self, given, first=False):
        """Launch the graph on these arguments; copies of its results."""
        self.given = given
        for generator, start, end in self.generators:
            if not first:
                self.capture.move(start[:2], generator.advance(end[2] - start[2]) - start[2])
        self.capture.launch(first, self._fill)
        for node, deposited in zip(self.leaves, self.after):
            _deposit(node, deposited)
        return put_together(self.form, map(copied, self.results))

    def _fill(self):
        """Copy the arguments that lie on a GPU."""
        for static, array in zip(self.static, self.given):
            if not isinstance(array, np.ndarray):
                static[...] = move(array, self.device)


# --- what is alive --------------------------------------------------------------------------------


def _gradient(grad, scale):
    """A deposited gradient as a raw array, and its loss scale; two None if there is none."""
    return (None, None) if grad is None else (raw(grad), scale)


def _is(watched, deposited):
    """Whether a leaf's gradient is this one."""
    grad, scale = deposited
    now = None if watched is None else watched.grad
    return now is None if grad is None else now is not None and raw(now) is grad and watched.scale == scale


def _deposit(node, deposited):
    """Make this the gradient of a leaf."""
    watched = watch(node)
    watched.grad, watched.scale = deposited
    watched.summed = False


def _alive(kind) -> list[Any]:
    """All objects of a class, or of one below it."""
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _hooks(tensor):
    """The hooks of a tensor."""
    node = tensor.node
    return () if node is None or node.watch is None else tuple(node.watch.hooks.values())


def _settings_of(module, but):
    """What the attributes of a module are: numbers and words by value, all else by identity, and
    what lists, tuples and dicts hold likewise. but: names of those that are not looked at.
    """
    attributes = {name: value for name, value in vars(module).items() if name not in but}
    return structure(attributes, lambda value: value if isinstance(value, WORDS) else (id(value),))
