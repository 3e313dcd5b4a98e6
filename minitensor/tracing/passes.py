"""A backward pass while it runs: its steps, and what each node adds to the gradients of its
parents.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import holds_numbers, memory, np, on
from minitensor.engine.autograd import Scatter, depositing, raw
from minitensor.engine.sums import as_array, unbroadcast
from minitensor.tracing.copies import copied, on_host
from minitensor.tracing.notes import TOTAL, NotedPass
from minitensor.tracing.reading import NO_RULE
from minitensor.tracing.record import Scattered, Step
from minitensor.tracing.sources import source_of_code

__all__ = ["Run", "Sums"]

NUMBERS_OF_NUMPY = frozenset((np.float32, np.float64))


class Run:
    """A pass that is going on. keeps: whether nodes keep what they saved. ends: nodes that the pass
    may reach without calling anything there.
    """

    def __init__(self, tracer, data, keeps, ends):
        self.tracer, self.data, self.keeps = tracer, data, keeps
        self.noted = NotedPass(data)
        self.waiting = sorted(ends, key=lambda node: node.order)
        self.arrived = {}  # by node: the array of the only contribution with its copy; None if there are more
        self.node = self.step = None
        self.alone = False  # whether no other observer watches the pass
        self.codes = {}  # the rules that are running, by id of their code: their text
        self.sums = Sums(self)

    def arrive(self, parent, array, copy):
        """Enter that something was added to the gradient of a node."""
        self.arrived[parent] = None if parent in self.arrived else (array, copy)

    def come_to(self, node, gradient):
        """The new Step at a node, whose gradient is complete."""
        if self.waiting:
            self.pass_over(node.order)
        only = self.arrived.pop(node, None)
        array = gradient if gradient.__class__ is np.ndarray else raw(gradient)
        copy = only[1] if only is not None and only[0] is array else copied(array)
        self.node, self.step = node, Step(node.order, copy, self.tracer.known_value(node.order))
        self.enter(self.step, None)
        return self.step

    def enter(self, step, plan):
        """Put a step behind those before it."""
        self.data.steps.append(step)
        self.noted.steps.append((step, plan))

    def pass_over(self, order):
        """Steps for the nodes older than none of this order at which the pass called nothing."""
        while self.waiting and self.waiting[-1].order > order:
            node = self.waiting.pop()
            if node in self.arrived:
                del self.arrived[node]
                self.enter(Step(node.order, TOTAL, self.tracer.known_value(node.order)), None)

    def note_served(self, step, watch, gradient, result, deposit, first):
        """Enter what hooks and ``.grad`` made of a gradient."""
        if result is not gradient:
            step.before_hooks, step.gradient = step.gradient, copied(raw(result))
        if deposit and watch.retains_grad:
            step.deposited = step.grad = step.gradient
            with depositing:
                if watch.grad is not None and (not first or watch.grad.dtype != result.dtype):
                    step.grad = copied(raw(watch.grad))


class Sums:
    """The sums of a pass as the pullback of one node sees them: what it adds is noted."""

    __slots__ = ("array", "codes", "copy", "others", "parents", "place", "recorded", "run", "step", "sums")
    homes: dict = {}  # no gradient is written where it belongs while somebody looks

    def __init__(self, run):
        self.run = run

    def turn_to(self, node, gradient, sums, plan):
        """Itself, for what is added from now on."""
        run = self.run
        self.step = step = run.step
        run.noted.steps[-1] = step, plan
        self.sums, self.recorded, self.parents, self.codes, self.place = (
            sums,
            sums.recorded,
            node.parents,
            plan.codes,
            0,
        )
        self.array = gradient if gradient.__class__ is np.ndarray else raw(gradient)
        self.copy, self.others = step.gradient, {}  # arrays that a rule may hand on, with their copies
        if sums.recorded:
            rules = ((code, source_of_code(code)) for code in plan.codes if code)
            run.codes = {id(code): "" if rule is None else rule.text for code, rule in rules}
        return self

    def add(self, parent, value, new=False):
        """As ``GradientSums.add``."""
        if value.__class__ in NUMBERS_OF_NUMPY:  # what NumPy makes of sums and products of 0-d arrays
            value = np.asarray(value)
        if value.__class__ is np.ndarray and value.shape == parent.shape and value.dtype is parent.dtype:
            more: Any = ()
        else:
            value, more = self.fit(parent, value)
        if more is not None:
            if self.run.alone:
                self.note(parent, value, more)
            else:
                self.run.tracer.own(self.note, parent, value, more)
        self.sums.add(parent, value, new)

    def fit(self, parent, value):
        """What a rule gave in shape and dtype of the parent, with ``(raw shape, summed axes,
        whether it is scattered)``; None instead for what the engine will refuse.
        """
        raw_shape, axes, scattered = getattr(value, "shape", None), (), value.__class__ is Scatter
        if raw_shape is None:
            return value, None
        if scattered:
            raw_shape = value.values.shape
            if self.recorded:
                value = value.values.put(value.index, value.shape)
        elif holds_numbers(value.dtype):
            if raw_shape != parent.shape:
                axes = _summed(raw_shape, parent.shape)
                with on(raw(value)):
                    value = unbroadcast(value, parent.shape)
            value = as_array(value if value.dtype == parent.dtype else value.astype(parent.dtype))
        return value, (tuple(raw_shape), axes, scattered)

    def note(self, parent, value, more):
        """Note a contribution in the shape and dtype of the parent."""
        parents, codes, place = self.parents, self.codes, self.place
        while place < len(parents) and (parents[place] is not parent or codes[place] is NO_RULE):
            place += 1  # the next that has a rule, as one may be there twice
        if place < len(parents):
            self.place = place + 1
        else:
            place = next(place for place, one in enumerate(parents) if one is parent)
        array = value if value.__class__ is np.ndarray else raw(value)
        if array is self.array:
            copy = self.copy
        elif (known := self.others.get(id(array))) is not None:
            copy = known[1]
        elif array.__class__ is Scatter:
            index = memory.private(on_host(value.index))
            copy = Scattered(self.run.tracer.notes.value(copied(value.values)), index, value.shape, parent.dtype)
        else:
            copy = (array.tobytes(), parent.shape, parent.dtype) if array.__class__ is np.ndarray else copied(array)
            if len(parents) > 1:
                self.others[id(array)] = array, copy
        self.step.arrivals.append((place, parent.order, copy, *more))
        arrived = self.run.arrived
        arrived[parent] = None if parent in arrived else (array, copy)


def _summed(shape, wanted):
    """The axes of ``shape`` that are summed over to come to the shape ``wanted``."""
    extra = max(len(shape) - len(wanted), 0)
    kept = zip(range(extra, len(shape)), shape[extra:], wanted)
    return (*range(extra), *(i for i, have, want in kept if want == 1 and have != 1))
