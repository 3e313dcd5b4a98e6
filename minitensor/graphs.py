"""``mt.cuda_graph``: a training step as one launch.

On a GPU a small model's step is bound by the host, which launches a thousand kernels one after the
other. A CUDA graph holds them all, with their arguments, and is launched at once. What Python does
in the step is then done once, when the graph is captured; so this file has to see to it that
nothing it did goes stale without a word:

* The arguments are copied to arrays whose addresses stay. Numbers that change from step to step
  (learning rates, the number of the step, the counters of random generators) lie in slots of the
  graph's own (``backend/capture.py``).
* What is fixed in the graph is looked at before each launch: the tensors that the step read or
  wrote, with their arrays, nodes and hooks, which gradients there were, the settings of modules,
  how optimisers are set up, the modes that are on, the rows that dropout draws for. If something
  has changed, the graph is thrown away, and the step runs as it is written.
* What the step would keep of one call, a tensor that it made or a number that it returns, is
  refused.
"""

from __future__ import annotations

import functools
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from minitensor import random
from minitensor.backend import as_device, copied, device_of, is_array, move, namespace, np, on
from minitensor.backend.capture import Capture, capturing
from minitensor.engine import library
from minitensor.engine.autograd import Node, raw, watch
from minitensor.engine.mode import Mode, current_mode, switched
from minitensor.engine.observer import Observer
from minitensor.engine.settings import integer
from minitensor.engine.tensor import Tensor

__all__ = ["CudaGraph", "cuda_graph"]

MANY = 100  # kinds of calls that were never made twice, before a warning
_MODES = [field.name for field in fields(Mode) if field.name != "blocks"]


class CudaGraph:
    """A function whose calls become launches of CUDA graphs; see ``cuda_graph``.

    captured: how many graphs have been captured so far. replayed: how many calls were the launch of
    one.
    """

    def __init__(self, function: Callable[..., Any], device: str, warmup: int, most: int) -> None:
        functools.update_wrapper(self, function)
        self._function: Any = function
        self._device = device
        self._warmup, self._most = warmup, most
        self._calls: dict[Any, Any] = {}  # kind of call -> how often it has run as it is written, or its _Graph
        self._lock = threading.RLock()
        self.captured = self.replayed = 0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the function, or its graph for arguments of these shapes."""
        mode = current_mode.get()
        if capturing() is not None:  # within another graph
            return self._function(*args, **keywords)
        device = as_device(self._device)
        given: list[Any] = []
        form = _taken_apart((args, keywords), given)
        if mode.observer is not None or mode.anomaly:  # a profile, a trace, detect_anomaly
            return self._as_written(form, given, device)
        kind = _kind(form), tuple(getattr(mode, name) for name in _MODES), random.rows_here()
        with self._lock:
            return self._call(kind, form, given, device)

    def _call(self, kind, form, given, device):
        state = self._calls.get(kind, 0)
        if isinstance(state, _Graph) and not state.holds():
            state = self._calls[kind] = self._warmup - 1  # once more as it is written, then a new graph
        if isinstance(state, _Graph):
            self.replayed += 1
            return state.run(given)
        if state < self._warmup:
            self._calls[kind] = state + 1
            self._look_after()
            return self._as_written(form, given, device)
        graphs = [other for other, made in self._calls.items() if isinstance(made, _Graph)]
        if len(graphs) >= self._most:
            del self._calls[graphs[0]]
        made = self._calls[kind] = _Graph(self._function, form, given, device)
        self.captured += 1
        return made.run(given, first=True)

    def _as_written(self, form, given, device):
        args, keywords = _put_together(form, (_moved(array, device) for array in given))
        results: list[Any] = []
        form = _taken_apart(self._function(*args, **keywords), results, result=True)
        return _put_together(form, iter(results))  # tensors without a graph, as a launch gives them

    def __get__(self, instance: Any, owner: Any = None) -> CudaGraph:
        if instance is None:
            return self
        name = self._function.__name__
        raise TypeError(
            f"cuda_graph: {name} is a method: decorate it for each object, self.{name} = mt.cuda_graph(self.{name}) in __init__"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "cuda_graph: a step belongs to the model that it was captured for, and is neither copied nor pickled"
        )

    def _look_after(self):
        """Warn of calls no two of which are alike."""
        if len(self._calls) == MANY and not self.captured:
            warnings.warn(
                f"cuda_graph: {self._function.__name__} was called with {MANY} kinds of arguments, and with none often enough "
                "to be captured. Give numbers that vary as arrays, and pad arrays to few shapes",
                RuntimeWarning,
                stacklevel=4,
            )


def cuda_graph(
    function: Callable[..., Any] | None = None, *, device: str = "cuda", warmup: int = 2, most: int = 16
) -> Any:
    """Decorator: the calls of a function, such as a whole training step, become launches of CUDA
    graphs.

    The first ``warmup`` calls with arguments of some shapes run as the function is written; the
    next one is captured, and from then on such a call is one launch, which does what was captured
    with the new arguments. Results, gradients, weights, optimiser states and random numbers are
    those of the function itself, bit for bit.

    Arguments are arrays, tensors without a gradient, and tuples, lists and dicts of them. They are
    copied to ``device``; anything else (None, numbers, strings) is fixed in the graph, so that
    another value makes another one. ``most``: graphs that are kept, the oldest is let go of; each
    holds the memory of a step. Results are tensors without a graph, or containers of them.

    Inside, Python runs only while the graph is captured. So nothing is read back (``item``,
    ``numpy``, ``print`` of values), nothing is computed on the host, schedules are stepped outside,
    and no tensor that was made is kept: state is written by ``assign``. A gradient that has been
    read is overwritten by the next call. The learning rates of SGD, RMSprop, Adam and AdamW may
    change from step to step, and random generators go on. If a tensor that the step reads or writes
    is moved, frozen or given a hook, gradients appear or go, a setting of a module that was called
    changes (``training``, a dropout's ``p``, a part of it), or an optimiser is set up anew, the
    graph is thrown away and captured again. What else the function reads (your own variables, and
    what they hold) is fixed.

    Raises RuntimeError if the step cannot be captured, with nothing changed, and where there is no
    GPU; ValueError for an argument that requires a gradient. NVIDIA, "CUDA C++ Programming Guide",
    section on CUDA graphs.

    >>> import minitensor as mt
    >>> @mt.cuda_graph                      # doctest: +SKIP
    ... def step(ids, targets):
    ...     optimizer.zero_grad()
    ...     loss = model.loss(ids, targets)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    """
    if function is None:
        return functools.partial(cuda_graph, device=device, warmup=warmup, most=most)
    if not callable(function):
        raise TypeError(f"cuda_graph decorates a function, not {function!r}")
    warmup = integer("cuda_graph", "warmup", warmup, least=1)
    return CudaGraph(function, device, warmup, integer("cuda_graph", "most", most, least=1))


# --- one graph ------------------------------------------------------------------------------------


class _Reader(Observer):
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
        for value in _within((args, params)):
            array = value._array if isinstance(value, Tensor) else value
            if id(array) not in self._made:
                self._note(value, array)
        out = op.run_observed(args, params)
        self._made.update(id(one._array) for one in _within(out) if isinstance(one, Tensor))
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


class _Graph:
    """A captured graph with its arguments and results, and what must stay as it was."""

    def __init__(self, function, form, given, device):
        self.device, self.capture = device, Capture(device)
        self.capture.reserve(sum(array.nbytes + 512 for array in given))
        self.given: list[Any] = given
        gc.collect()  # what is found alive below is so
        tensors = {id(tensor): tensor for tensor in _alive(Tensor)}
        modules = {id(module): (module, dict(vars(module))) for module in _alive(library.face.nn.Module)}
        before = {node: watch(node).grad for node in _alive(Node) if node.watch is not None}
        self.modules = [(weakref.ref(module), module.training) for module, _ in modules.values()]
        with on(device):
            self.static = [self._static(i, array) for i, array in enumerate(given)]
        reader = _Reader(tensors, self.static)
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
            for node, grad in before.items():
                watch(node).grad = grad
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
        args, keywords = _put_together(form, iter(self.static))
        return _taken_apart(function(*args, **keywords), self.results, result=True)

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
        """``(module, what the step itself moves on, its settings)`` of all modules that were
        called, and of those within them.
        """
        called = {id(part): part for module in self.capture.modules.values() for part in module.modules()}
        found = []
        for key, module in called.items():
            then = before.get(key, (module, {}))[1]
            moved = {name for name, value in vars(module).items() if name in then and then[name] is not value}
            found.append((module, moved, _setting_of(module, moved)))
        return found

    def _take_gradients(self, reader, before):
        """Note the gradients of the leaves, before the step and after it. One that was added to
        stays where it was, so that the next launch adds to it too.
        """
        tensors = (*reader.tensors.values(), *self.capture.parameters)
        nodes = dict.fromkeys(tensor.node for tensor in tensors if tensor.node is not None)
        self.leaves = [node for node in nodes if node.pullback is None]
        self.before = [_gradient(before.get(node)) for node in self.leaves]
        self.after = [_gradient(watch(node).grad) for node in self.leaves]
        for i, (then, now) in enumerate(zip(self.before, self.after)):
            if then is not None and now is not None and then is not now:
                then[...] = now
                self.after[i] = then

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
            and all(_setting_of(module, moved) == then for module, moved, then in self.settings)
            and all(_gradient(watch(node).grad) is then for node, then in zip(self.leaves, self.before))
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
        for node, grad in zip(self.leaves, self.after):
            watch(node).grad = grad
        return _put_together(self.form, map(copied, self.results))

    def _fill(self):
        """Copy the arguments that lie on a GPU."""
        for static, array in zip(self.static, self.given):
            if not isinstance(array, np.ndarray):
                static[...] = move(array, self.device)


# --- what is alive --------------------------------------------------------------------------------


def _gradient(deposited):
    """A deposited gradient as a raw array, or None."""
    return None if deposited is None else raw(deposited)


def _alive(kind) -> list[Any]:
    """All objects of a class, or of one below it."""
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _hooks(tensor):
    """The hooks of a tensor."""
    node = tensor.node
    return () if node is None or node.watch is None else tuple(node.watch.hooks.values())


class _Same:
    """An object that is equal to itself alone."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self.value is other.value


def _setting_of(module, but):
    """What the attributes of a module are: numbers and words by value, all else by identity, and
    what lists, tuples and dicts hold likewise. but: names of those that the step itself moves on.
    """
    return {name: _setting(value) for name, value in vars(module).items() if name not in but}


def _setting(value):
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [_setting(one) for one in value]
    if isinstance(value, dict):
        return {key: _setting(one) for key, one in value.items()}
    return _Same(value)


def _moved(array, device):
    """``array`` on ``device``, shared with nobody."""
    return copied(array) if device_of(array) == device else move(array, device)


# --- arguments and results as trees ---------------------------------------------------------------


class _Place:
    """Where an array was in a tree."""

    def __init__(self, array):
        self.what = f"{array.dtype}{array.shape} {'host' if isinstance(array, np.ndarray) else device_of(array)}"


def _taken_apart(tree, arrays, result=False):
    """``tree`` with a ``_Place`` for each tensor and array, whose raw arrays are put into
    ``arrays``.
    """
    if isinstance(tree, Tensor):
        if not result and tree.node is not None and current_mode.get().grad:
            raise ValueError(
                "cuda_graph: an argument requires a gradient, and arguments are copied: use that tensor inside the function, "
                "which finds it by itself, or pass x.detach()"
            )
        tree = tree._array
    if is_array(tree):
        arrays.append(tree)
        return _Place(tree)
    if isinstance(tree, dict):
        return {key: _taken_apart(value, arrays, result) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts = [_taken_apart(value, arrays, result) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if result and isinstance(tree, (bool, int, float, complex, np.generic)):
        raise TypeError(f"the result {tree!r} is a number of one call, and would be that of all: return tensors")
    if tree is None or isinstance(tree, (bool, int, float, complex, str, bytes, np.generic, np.dtype, slice)):
        return tree
    raise TypeError(
        f"cuda_graph: arguments and results are tensors, arrays, numbers, strings and containers of them, not "
        f"{type(tree).__name__}"
    )


def _kind(form):
    """A form as a key: values of two types are of two kinds."""
    if isinstance(form, _Place):
        return form.what
    if isinstance(form, dict):
        return type(form), tuple((key, _kind(value)) for key, value in form.items())
    if isinstance(form, (list, tuple)):
        return type(form), tuple(map(_kind, form))
    return type(form), float.__repr__(form) if isinstance(form, float) else str(form)


def _put_together(form, arrays: Iterator[Any]):
    """``form`` with a tensor of the next of ``arrays`` for each place."""
    if isinstance(form, _Place):
        return Tensor(next(arrays))
    if isinstance(form, dict):
        return {key: _put_together(value, arrays) for key, value in form.items()}
    if isinstance(form, (list, tuple)):
        parts = [_put_together(value, arrays) for value in form]
        return type(form)(*parts) if hasattr(form, "_fields") else type(form)(parts)
    return form


def _within(tree):
    """The tensors and raw arrays of a tree."""
    if isinstance(tree, Tensor) or is_array(tree):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _within(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _within(value)
