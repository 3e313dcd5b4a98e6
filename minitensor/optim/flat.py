"""Parameters of one dtype and device laid side by side in one flat array, and their gradients
likewise.

An optimiser's step is then a few passes over one long array in pieces that stay in the cache,
whatever the number of parameters. A parameter keeps its object, its shape and its node; only its
memory becomes a stretch of the flat array, and ``backward`` writes its gradient to the same stretch
of a second one. Stretches start at multiples of 64 bytes, as matrix products like them; the padding
between them holds zeros, in every array.

Parameters of 16 bits are updated in float32: a step of 1e-4 is lost on a float16 of 1, and the
square of a gradient of 1e-4 is 0 in it. The flat values are then *master* weights, of which the
parameters hold the rounded copy (Micikevicius et al., "Mixed precision training", ICLR 2018,
arXiv:1710.03740); gradients and states are float32 alike.
"""

from __future__ import annotations

import weakref
from typing import Any

from minitensor.backend import compute_dtype, is_narrow, move, namespace, on
from minitensor.backend.capture import capturing
from minitensor.engine.autograd import raw, watch
from minitensor.engine.holdings import holder
from minitensor.engine.tensor import Tensor

__all__ = ["Entry", "FlatBuffer", "gradients_of", "memory_runs", "pieces"]

ALIGNMENT = 64  # bytes
PIECE = {"cpu": 1 << 16, "cuda": 1 << 24}  # elements: what stays in a core's cache; on a GPU, few large launches

_stretches: dict = {}  # id of a gradient that is a stretch of a flat array -> (weak reference to it, first element)


class Entry:
    """One parameter of an optimiser: where it lies in its flat buffer, how many steps it has made,
    and its state.
    """

    __slots__ = ("parameter", "group", "index", "steps", "start", "stop", "value", "master", "gradient", "state")

    def __init__(self, parameter, group, index):
        self.parameter = parameter
        self.group = group  # the dict in param_groups that holds its learning rate
        self.index = index
        self.steps = 0
        self.start = self.stop = 0  # stretch of the flat array, padding included
        self.value: Any = None  # this and the next two: views of the flat arrays, in the parameter's shape
        self.master: Any = None
        self.gradient: Any = None
        self.state = {}

    @property
    def label(self):
        """The parameter's name, or its number, for messages."""
        return self.parameter.name or f"parameter {self.index}"

    def is_bound(self):
        """Whether the parameter still lives in the flat buffer: moving it to another device or
        dtype takes it out.
        """
        node = self.parameter.node
        return self.parameter._array is self.value and (node is None or watch(node).grad_buffer is self.gradient)


class FlatBuffer:
    """The flat arrays of all entries of one dtype and device; makes the parameters views of them.

    values: what the rule of an optimiser writes to, of type ``dtype``. rounded: what the parameters
    are views of, the same array but for parameters of 16 bits.
    """

    def __init__(self, entries, dtype, device, state_names, n_scratch):
        self.entries = entries
        self.xp = namespace(device)
        self.dtype, self.device = compute_dtype(dtype), device
        self.piece = PIECE[self.xp.name]
        step = ALIGNMENT // dtype.itemsize  # of the parameters: a wider array is aligned too
        self.size = 0
        for entry in entries:
            entry.start = self.size
            self.size += -(-entry.parameter.size // step) * step
            entry.stop = self.size
        self.values = self.new()
        self.rounded = self.values.astype(dtype) if is_narrow(dtype) else self.values
        self.gradients = self.new()
        self.state = {name: self.new() for name in state_names}
        self.tables: dict = {}  # what kernels over many parameters are told of them
        self.scratch = [self.new(min(self.size, self.piece)) for _ in range(n_scratch)]
        self.unless: Any = None  # within a DeferredCheck's step a float64 on the device: not 0, it changes nothing
        for entry in entries:
            self._adopt(entry)

    def new(self, size=None):
        """A flat array of zeros on this buffer's device, of its full size if none is given."""
        return self.xp.zeros(self.size if size is None else size, dtype=self.dtype)

    def view(self, array, entry):
        """The stretch of the flat ``array`` that belongs to ``entry``, in its parameter's shape."""
        return array[entry.start : entry.start + entry.parameter.size].reshape(entry.parameter.shape)

    def _adopt(self, entry):
        parameter = entry.parameter
        entry.value, entry.master = self.view(self.rounded, entry), self.view(self.values, entry)
        entry.gradient = self.view(self.gradients, entry)
        _register(entry.gradient, entry.start)
        entry.value[...] = entry.master[...] = parameter._array
        parameter._array = entry.value
        if parameter.node is not None:
            watched = watch(parameter.node)
            if watched.grad is not None and not isinstance(watched.grad, Tensor):  # what was read stays the gradient
                entry.gradient[...] = move(raw(watched.grad), self.device)
                watched.grad = entry.gradient
            watched.grad_buffer = entry.gradient

    def take_writes(self, start, stop):
        """Where a parameter of 16 bits was written to since the last step (by assign, a loaded
        state), let its master follow.
        """
        if self.rounded is not self.values:
            master, rounded = self.values[start:stop], self.rounded[start:stop]
            self.xp.copyto(master, rounded.astype(self.dtype), where=master.astype(rounded.dtype) != rounded)

    def round(self, start, stop):
        """Bring the updated values to the parameters."""
        if self.rounded is not self.values:
            self.rounded[start:stop] = self.values[start:stop].astype(self.rounded.dtype)

    def kept(self, entries, start, stop):
        """``[(array, its copy)]`` of all that an update of ``entries``, the stretch from ``start``
        to ``stop``, writes to.
        """
        stretches = [array[start:stop] for array in (self.values, *self.state.values())]
        own = [
            array
            for entry in entries
            for name, array in entry.state.items()
            if name not in self.state and name != "master"
        ]
        return [(array, array.copy()) for array in (*stretches, *own)]

    def put_back(self, kept):
        """Undo an update where ``unless`` says so, without a look at it."""
        for array, copy in kept:
            self.xp.copyto(array, copy, where=self.unless != 0)

    def fill(self):
        """Make ``gradients`` hold the gradient of each parameter, zeros where there is none;
        returns which have one, in the order of the entries.
        """
        present = []
        with on(self.device):
            for entry in self.entries:
                node = entry.parameter.node
                gradient = None if node is None else node.watch.grad
                present.append(gradient is not None)
                if gradient is None:
                    entry.gradient[...] = 0
                elif gradient is not entry.gradient:
                    entry.gradient[...] = move(raw(gradient), self.device)
        return present

    def deposit(self, present):
        """Make what ``gradients`` holds the gradients of those parameters that are ``present``."""
        for entry, there in zip(self.entries, present):
            if there and entry.parameter.node is not None:
                watched = watch(entry.parameter.node)
                watched.scale = watched.scale if watched.grad is not None else None
                watched.grad = entry.gradient

    def runs(self):
        """``(entries, start, stop)`` for each longest stretch of parameters to update in one go.

        These have a gradient, belong to one group and have made equally many steps; parameters
        without a gradient are left out. Counts the step of each entry.
        """
        found: list = []
        for entry in self.entries:
            node = entry.parameter.node
            gradient = None if node is None else node.watch.grad
            if gradient is None:
                continue
            if gradient is not entry.gradient:  # set by hand, or recorded by create_graph
                entry.gradient[...] = move(raw(gradient), self.device)
            entry.steps += 1
            if found:
                entries, start, stop = found[-1]
                if stop == entry.start and entries[0].group is entry.group and entries[0].steps == entry.steps:
                    entries.append(entry)
                    found[-1] = entries, start, entry.stop
                    continue
            found.append(([entry], entry.start, entry.stop))
        return found


@holder(FlatBuffer)
def _held(buffer):
    states = {f"state of the optimiser, {name}": [array] for name, array in buffer.state.items()}
    return {**states, "master weights": [buffer.values], "scratch of the optimiser": buffer.scratch}


def pieces(start, stop, size):
    """Slices of at most ``size`` elements that cover ``start`` to ``stop``."""
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def gradients_of(parameters):
    """``[(parameter, raw gradient)]`` of those that have a gradient, each parameter once."""
    unique = {id(parameter): parameter for parameter in parameters}.values()
    if (capture := capturing()) is not None:
        capture.parameters += unique
    deposits = [(parameter, watch(parameter.node).grad) for parameter in unique if parameter.node is not None]
    return [(parameter, raw(gradient)) for parameter, gradient in deposits if gradient is not None]


def memory_runs(arrays):
    """``arrays`` with exact neighbours in one flat buffer joined: one flat view in place of many
    small ones.
    """
    runs = []  # [array, or None if joined; flat array; start; stop]
    for array in arrays:
        reference, start = _stretches.get(id(array), (None, 0))
        if reference is None or reference() is not array:
            runs.append([array, None, 0, 0])
        elif runs and runs[-1][1] is array.base and runs[-1][3] == start:
            runs[-1][0] = None
            runs[-1][3] += array.size
        else:
            runs.append([array, array.base, start, start + array.size])
    return [flat[start:stop] if array is None else array for array, flat, start, stop in runs]


def _register(view, start):
    key = id(view)
    _stretches[key] = weakref.ref(view, lambda _: _stretches.pop(key, None)), start
