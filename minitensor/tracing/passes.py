"""A backward pass while it runs: its steps, and what each node adds to the gradients of its
parents.
"""

from __future__ import annotations

from minitensor.backend import holds_numbers, memory, on
from minitensor.engine.autograd import Scatter, depositing, raw
from minitensor.engine.sums import as_array, unbroadcast
from minitensor.tracing.copies import copied, on_host
from minitensor.tracing.reading import input_names, numbers_of, rules_of
from minitensor.tracing.record import Arrival, Scattered, Step, Value

__all__ = ["Run", "Sums"]


class Run:
    """A pass that is going on. keeps: whether nodes keep what they saved. ends: nodes that the pass
    may reach without calling anything there.
    """

    def __init__(self, tracer, data, keeps, ends):
        self.tracer, self.data, self.keeps = tracer, data, keeps
        self.waiting = sorted(ends, key=lambda node: node.order)
        self.last, self.alone = {}, {}  # by node: the newest arrival; the array of the only one
        self.node = self.step = None
        self.codes = {}  # the rules that are running, by id of their code: their text

    def arrive(self, parent, arrival, array):
        """Enter a contribution to the gradient of a node."""
        before = self.last.get(parent)
        if before is None:
            self.alone[parent] = array
        else:
            arrival.nth, arrival.before = before.nth + 1, before
            self.alone.pop(parent, None)
        self.last[parent] = arrival

    def come_to(self, node, gradient):
        """The new Step at a node, whose gradient is complete."""
        self.pass_over(node.order)
        last, alone = self.last.pop(node, None), self.alone.pop(node, None)
        array = raw(gradient)
        value = last.value if last is not None and alone is array else Value(copied(array))
        self.node, self.step = node, Step(node.order, value, self.tracer.value_at(node))
        self.data.steps.append(self.step)
        return self.step

    def pass_over(self, order):
        """Steps for the nodes older than none of this order at which the pass called nothing."""
        while self.waiting and self.waiting[-1].order > order:
            node = self.waiting.pop()
            last = self.last.pop(node, None)
            if last is not None:
                self.data.steps.append(Step(node.order, last.total, self.tracer.value_at(node)))

    def note_served(self, step, watch, gradient, result, deposit, first):
        """Enter what hooks and ``.grad`` made of a gradient."""
        if result is not gradient:
            step.before_hooks, step.gradient = step.gradient, Value(copied(raw(result)))
        if deposit and watch.retains_grad:
            step.deposited = step.grad = step.gradient
            with depositing:
                if watch.grad is not None and (not first or watch.grad.dtype != step.gradient.dtype):
                    step.grad = Value(copied(raw(watch.grad)))


class Sums:
    """The sums of a pass as the pullback of one node sees them: what it adds is noted."""

    __slots__ = ("known", "names", "node", "place", "recorded", "rules", "run", "step", "sums")

    def __init__(self, run, sums, step, node, gradient):
        self.run, self.sums, self.step, self.node, self.recorded = run, sums, step, node, sums.recorded
        array = raw(gradient)
        self.known = {id(array): (array, step.gradient)}  # arrays that a rule may hand on, with their copies
        self.rules, self.place = rules_of(node, sums.recorded), 0
        self.names = input_names(node)
        if sums.recorded:
            run.codes = {id(rule.code): rule.text for rule in self.rules if rule is not None}

    def add(self, parent, value, new=False):
        """As ``GradientSums.add``."""
        raw_shape, axes, scattered = getattr(value, "shape", None), (), value.__class__ is Scatter
        if scattered:
            raw_shape = value.values.shape
            if self.recorded:
                value = value.values.put(value.index, value.shape)
        elif raw_shape is not None and holds_numbers(value.dtype):
            if raw_shape != parent.shape:
                axes = _summed(raw_shape, parent.shape)
                with on(raw(value)):
                    value = unbroadcast(value, parent.shape)
            value = as_array(value if value.dtype == parent.dtype else value.astype(parent.dtype))
        if raw_shape is not None:
            self.run.tracer.own(self.note, parent, value, raw_shape, axes, scattered)
        self.sums.add(parent, value, new)

    def note(self, parent, value, raw_shape, axes, scattered):
        """Enter a contribution in the shape and dtype of the parent."""
        place = self.find(parent)
        array = raw(value)
        if array.__class__ is Scatter:
            index = memory.private(on_host(value.index))
            kept: Value = Scattered(Value(copied(value.values)), index, value.shape, parent.dtype)
        elif id(array) in self.known:
            kept = self.known[id(array)][1]
        else:
            kept = Value(copied(array))
            self.known[id(array)] = array, kept
        numbers = numbers_of(self.node)
        rule = self.rules[place]
        arrival = Arrival(
            parent.order, self.node.order, self.names[numbers[place]], rule.line if rule else None,
            tuple(raw_shape), axes, scattered, kept,
        )  # fmt: skip
        self.step.arrivals.append(arrival)
        self.run.arrive(parent, arrival, array)

    def find(self, parent):
        """Which of the node's parents this is: the next that has a rule, as one may be there
        twice.
        """
        parents = self.node.parents
        for place in range(self.place, len(parents)):
            if parents[place] is parent and self.rules[place] is not None:
                self.place = place + 1
                return place
        return next(place for place, one in enumerate(parents) if one is parent)


def _summed(shape, wanted):
    """The axes of ``shape`` that are summed over to come to the shape ``wanted``."""
    extra = max(len(shape) - len(wanted), 0)
    kept = zip(range(extra, len(shape)), shape[extra:], wanted)
    return (*range(extra), *(i for i, have, want in kept if want == 1 and have != 1))
