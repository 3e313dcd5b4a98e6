"""What is noted while a block runs, and what is made of it when somebody asks the trace.

A step of a program may run in a few microseconds, so while it runs nothing is written out: an op is
one tuple (``NODE`` names its places) in the graph where its Node will stand, a contribution one
tuple among the arrivals of its Step, and a value its bytes (``copied``). All of that is of the
trace's own and can no longer change, so it can be worked out at any later time.
"""

from __future__ import annotations

from threading import RLock
from typing import Any, NamedTuple

from minitensor.engine.primitive import NUMBERS
from minitensor.tracing.copies import as_value
from minitensor.tracing.reading import Call, Texts, keyword_texts
from minitensor.tracing.record import Arrival, Input, Node
from minitensor.tracing.sources import source_of_code

__all__ = ["TOTAL", "Noted", "NotedPass", "Notes", "frozen"]

TOTAL: Any = None  # as the gradient of a step: the sum of all that has arrived there

FIXED = frozenset((bool, int, float, str, type(None)))  # classes of keywords that nobody can write to


class Noted(NamedTuple):
    """An op that ran. inputs: plain numbers and None as they were; else a pair: the id of the node,
    and the copy or the Value. kept: the keywords, frozen. copy: of the result. array: the id of the
    result. time: of the newest write before.
    """

    op: Any
    id: int
    constant: bool
    inputs: tuple[Any, ...]
    kept: Any
    copy: Any
    array: int
    time: int
    line: Any
    module: str
    calls: tuple[tuple[str, int], ...]
    made_by: Any


class NotedPass:
    """A pass whose steps are not all worked out. last: by node, the newest of the arrivals that
    are. steps: each with the plan of its node, None where no rule was called.
    """

    def __init__(self, data):
        self.data, self.last, self.steps = data, {}, []

    def arrive(self, arrival):
        """Enter an Arrival behind those before it."""
        before = self.last.get(arrival.parent)
        if before is not None:
            arrival.nth, arrival.before = before.nth + 1, before
        self.last[arrival.parent] = arrival


class Notes:
    """What waits to be worked out. graphs, passes: where it stands. calls: by id of a fused op the
    Call that runs it again.
    """

    def __init__(self, graph):
        self.graphs, self.passes, self.calls = [graph], [], {}
        self.values = {}  # by id of a copy: the copy, and its Value
        self.arrays = {}  # by id of an op that is worked out: ``array`` and ``time`` of its note
        self.lock = RLock()

    def value(self, copy):
        """The one Value of a copy; anything else as it is."""
        if copy.__class__ is not tuple:
            return copy
        found = self.values.get(id(copy))
        if found is None:
            found = self.values[id(copy)] = copy, as_value(copy)
        return found[1]

    def work_out(self):
        """Write out all that was noted so far."""
        with self.lock:
            self.work_out_nodes()
            for one in self.passes:
                self._steps(one)
            self.passes = [one for one in self.passes if not one.data.finished]

    def work_out_nodes(self):
        """Write out the ops."""
        known: dict[int, Node] = {}  # a note may stand in two graphs
        for graph in self.graphs:
            for number, noted in graph.nodes.items():
                if noted.__class__ is Noted:
                    if id(noted) not in known:
                        known[id(noted)] = self._node(noted)
                    graph.nodes[number] = known[id(noted)]

    def _node(self, noted):
        op, inputs, (_, shape, dtype) = noted.op, [], noted.copy
        self.arrays[noted.id] = noted.array, noted.time
        for name, given in zip(op.input_names(len(noted.inputs)), noted.inputs):
            number, value = given if given.__class__ is tuple else (None, given)
            inputs.append(Input(name, number, value if value.__class__ in NUMBERS else self.value(value)))
        is_fused = hasattr(op, "definition")
        if is_fused and not noted.constant:
            self.calls[noted.id] = Call(op, [one.value for one in inputs], noted.kept or {})
        return Node(
            noted.id, "constant" if noted.constant else "fused" if is_fused else "op", op.name,
            shape, dtype, noted.module, noted.line, inputs,
            noted.kept if noted.kept.__class__ is Texts else keyword_texts(noted.kept),
            self.value(noted.copy), noted.made_by, noted.calls,
        )  # fmt: skip

    def _steps(self, one):
        for step, plan in one.steps:
            step.value, step.gradient = self.value(step.value), self.value(step.gradient)
            if step.gradient is TOTAL:
                step.gradient = one.last[step.node].total
            step.before_hooks = self.value(step.before_hooks)
            step.deposited, step.grad = self.value(step.deposited), self.value(step.grad)
            for i, noted in enumerate(step.arrivals):
                if noted.__class__ is tuple:
                    step.arrivals[i] = self._arrival(one, step, plan, noted)
        del one.steps[: -1 if not one.data.finished else None]  # the step that is going on

    def _arrival(self, one, step, plan, noted):
        place, parent, copy, *more = noted
        value = self.value(copy)
        raw_shape, axes, scattered = more or (value.shape, (), False)
        code = plan.codes[place]
        arrival = Arrival(
            parent, step.node, plan.names[plan.numbers[place]], source_of_code(code) if code else None,
            raw_shape, axes, scattered, value,
        )  # fmt: skip
        one.arrive(arrival)
        return arrival


def frozen(params):
    """Keywords as nobody can change them any more: their text, if it has to be made now."""
    if not params:
        return None
    return params if all(map(_is_fixed, params.values())) else Texts(keyword_texts(params))


def _is_fixed(value):
    return value.__class__ in FIXED or (value.__class__ is tuple and all(map(_is_fixed, value)))
