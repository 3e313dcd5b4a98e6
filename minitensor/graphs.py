"""``mt.cuda_graph``: a training step as one launch.

On a GPU a small model's step is bound by the host, which launches a thousand kernels one after the
other. A CUDA graph holds them all, with their arguments, and is launched at once. What Python does
in the step is then done once, when the graph is captured; so this file has to see to it that
nothing it did goes stale without a word:

* The arguments are copied to arrays whose addresses stay. Numbers that change from step to step
  (learning rates, the number of the step, the counters of random generators) lie in slots of the
  graph's own (``backend/capture.py``).
* What is fixed in the graph is looked at before each launch: which arrays the tensors hold that the
  step read, which gradients there were, whether modules train, how optimisers are set up, the modes
  that are on, the rows that dropout draws for. If something has changed, the graph is thrown away,
  and the step runs as it is written.
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
        kind = str(form), tuple(getattr(mode, name) for name in _MODES), random.rows_here()
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
        args, keywords = _put_together(form, iter([Tensor(_moved(array, device)) for array in given]))
        return self._function(*args, **keywords)

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

    Arguments are arrays, tensors, and tuples, lists and dicts of them, which are moved to
    ``device``; anything else (None, numbers, strings) is fixed in the graph, so that another value
    makes another one. ``most``: graphs that are kept, the oldest is let go of; each holds the
    memory of a step. Results are tensors without a graph, or containers of them.

    Inside, Python runs only while the graph is captured. So nothing is read back (``item``,
    ``numpy``, ``print`` of values), nothing is computed on the host, and schedules are stepped
    outside. A gradient that has been read is overwritten by the next call. The learning rates of
    SGD, RMSprop, Adam and AdamW may change from step to step, and random generators go on. If
    parameters are moved, gradients appear or go, a module changes between training and evaluation,
    or an optimiser is set up anew, the graph is thrown away and captured again. What else the
    function reads (your own variables) is fixed.

    Raises RuntimeError if the step cannot be captured, with nothing changed, and where there is no
    GPU. NVIDIA, "CUDA C++ Programming Guide", section on CUDA graphs.

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
    """Notes the tensors and raw arrays that were there before, as ops read them."""

    def __init__(self):
        super().__init__()
        self.tensors: dict[int, Any] = {}
        self.arrays: list[Any] = []
        self._made: set[int] = set()

    def forward(self, op, args, params):
        """The result of an op."""
        for value in _within((args, params)):
            tensor = isinstance(value, Tensor)
            array = value._array if tensor else value
            if id(array) not in self._made:
                if tensor:
                    self.tensors[id(value)] = value
                else:
                    self.arrays.append(array)
        out = op.run_observed(args, params)
        self._made.update(id(one._array) for one in _within(out) if isinstance(one, Tensor))
        return out


class _Graph:
    """A captured graph with its arguments and results, and what must stay as it was."""

    def __init__(self, function, form, given, device):
        self.device, self.capture = device, Capture(device)
        self.capture.reserve(sum(array.nbytes + 512 for array in given))
        self.given: list[Any] = given
        with on(device):
            self.static = [self._static(i, array) for i, array in enumerate(given)]
        args, keywords = _put_together(form, iter([Tensor(array) for array in self.static]))
        before = {node: watch(node).grad for node in _watched_nodes()}
        self.modules = [(weakref.ref(module), module.training) for module in _modules()]
        reader = _Reader()
        self.results: list[Any] = []
        try:
            with random.noting_draws() as drawn, switched(observer=reader, watched=True), self.capture.recording():
                result = function(*args, **keywords)
                self.form = _taken_apart(result, self.results)
                self._take_gradients(reader, before)
            self.generators = [(generator, state, generator.state) for generator, state, _ in drawn.values()]
            self._check_generators()
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
        static = {id(array) for array in self.static}
        tensors = [tensor for tensor in reader.tensors.values() if id(tensor._array) not in static]
        self.read = [(tensor, tensor._array) for tensor in tensors]
        self.kept = reader.arrays

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
            and all(tensor._array is array for tensor, array in self.read)
            and all(_gradient(watch(node).grad) is then for node, then in zip(self.leaves, self.before))
            and all((module := ref()) is None or module.training == training for ref, training in self.modules)
            and all((generator.seed, generator.stream) == state[:2] for generator, state, _ in self.generators)
        )

    def run(self, given, first=False):
        """Launch the graph on these arguments; copies of its results."""
        self.given = given
        for generator, start, end in self.generators:
            if not first:
                self.capture.move(start[:2], generator.counter - start[2])
                generator.counter = (generator.counter + end[2] - start[2]) % (1 << 64)
        self.capture.launch(first, self._fill)
        for node, grad in zip(self.leaves, self.after):
            watch(node).grad = grad
        return _put_together(self.form, iter([Tensor(copied(array)) for array in self.results]))

    def _fill(self):
        """Copy the arguments that lie on a GPU."""
        for static, array in zip(self.static, self.given):
            if not isinstance(array, np.ndarray):
                static[...] = move(array, self.device)


# --- what is alive --------------------------------------------------------------------------------


def _gradient(deposited):
    """A deposited gradient as a raw array, or None."""
    return None if deposited is None else raw(deposited)


def _watched_nodes() -> list[Node]:
    return [one for one in gc.get_objects() if issubclass(type(one), Node) and getattr(one, "watch", None) is not None]


def _modules() -> list[Any]:
    kind = library.face.nn.Module
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _moved(array, device):
    """``array`` on ``device``, shared with nobody."""
    return copied(array) if device_of(array) == device else move(array, device)


# --- arguments and results as trees ---------------------------------------------------------------


class _Place:
    """Where an array was in a tree."""

    def __init__(self, array):
        self.what = f"{array.dtype}{array.shape} {'host' if isinstance(array, np.ndarray) else device_of(array)}"

    def __repr__(self):
        return self.what


def _taken_apart(tree, arrays):
    """``tree`` with a ``_Place`` for each tensor and array, whose raw arrays are put into
    ``arrays``.
    """
    if isinstance(tree, Tensor):
        tree = tree._array
    if is_array(tree):
        arrays.append(tree)
        return _Place(tree)
    if isinstance(tree, dict):
        return {key: _taken_apart(value, arrays) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts = [_taken_apart(value, arrays) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if tree is None or isinstance(tree, (bool, int, float, complex, str, bytes, np.generic, np.dtype, slice)):
        return tree
    raise TypeError(
        f"cuda_graph: arguments and results are tensors, arrays, numbers, strings and containers of them, not "
        f"{type(tree).__name__}"
    )


def _put_together(form, tensors: Iterator[Tensor]):
    """``form`` with the next of ``tensors`` for each place."""
    if isinstance(form, _Place):
        return next(tensors)
    if isinstance(form, dict):
        return {key: _put_together(value, tensors) for key, value in form.items()}
    if isinstance(form, (list, tuple)):
        parts = [_put_together(value, tensors) for value in form]
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
