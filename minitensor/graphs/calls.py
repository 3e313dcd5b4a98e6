"""The calls of a function that becomes CUDA graphs: which run as they are written, which are
captured, and which are the launch of a graph.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from minitensor import random
from minitensor.backend import as_device, copied, device_of, move
from minitensor.backend.capture import capturing
from minitensor.engine.mode import Mode, current_mode
from minitensor.engine.settings import integer
from minitensor.graphs.arguments import key_of, put_together, taken_apart
from minitensor.graphs.captured import Graph

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
        self._calls: dict[Any, Any] = {}  # kind of call -> how often it has run as it is written, or its Graph
        self._lock = threading.RLock()
        self.captured = self.replayed = 0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the function, or its graph for arguments of these shapes."""
        mode = current_mode.get()
        if capturing() is not None:  # within another graph
            return self._function(*args, **keywords)
        device = as_device(self._device)
        given: list[Any] = []
        form = taken_apart((args, keywords), given)
        if mode.observer is not None or mode.anomaly:  # a profile, a trace, detect_anomaly
            return self._as_written(form, given, device)
        kind = key_of(form), tuple(getattr(mode, name) for name in _MODES), random.rows_here()
        with self._lock:
            return self._call(kind, form, given, device)

    def _call(self, kind, form, given, device):
        state = self._calls.get(kind, 0)
        if isinstance(state, Graph) and not state.holds():
            state = self._calls[kind] = self._warmup - 1  # once more as it is written, then a new graph
        if isinstance(state, Graph):
            self.replayed += 1
            return state.run(given)
        if state < self._warmup:
            self._calls[kind] = state + 1
            self._look_after()
            return self._as_written(form, given, device)
        graphs = [other for other, made in self._calls.items() if isinstance(made, Graph)]
        if len(graphs) >= self._most:
            del self._calls[graphs[0]]
        made = self._calls[kind] = Graph(self._function, form, given, device)
        self.captured += 1
        return made.run(given, first=True)

    def _as_written(self, form, given, device):
        args, keywords = put_together(form, (_moved(array, device) for array in given))
        results: list[Any] = []
        form = taken_apart(self._function(*args, **keywords), results, result=True)
        return put_together(form, iter(results))  # tensors without a graph, as a launch gives them

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


def _moved(array, device):
    """``array`` on ``device``, shared with nobody."""
    return copied(array) if device_of(array) == device else move(array, device)
