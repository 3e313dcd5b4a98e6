"""What the engine calls while a trace is open: it lets the op, or the step of a pass, run and notes
what came of it.

The engine hands over each op (``forward``), each backward pass as a whole (``part``), and what is
called at each node of it (``steps``). Nothing is computed here that the engine would not have
computed, and in the same order, so results are the same bit for bit.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from threading import get_ident
from typing import Any

from minitensor.backend import holds_numbers, is_array, memory, move, np, on
from minitensor.engine.arraylike import holds_tensors
from minitensor.engine.autograd import backward_pass, depositing, raw, reachable
from minitensor.engine.mode import current_mode
from minitensor.engine.observer import Observer
from minitensor.engine.primitive import NUMBERS
from minitensor.engine.sums import Scatter, as_array, unbroadcast
from minitensor.engine.tensor import Tensor
from minitensor.tracing.reading import (
    Call,
    freed_names,
    input_names,
    keyword_texts,
    numbers_of,
    rules_of,
    saved_inputs,
    saved_output,
)
from minitensor.tracing.record import Arrival, Input, Node, Pass, Record, Scattered, Step, Value

__all__ = ["Tracer"]

_PASS: Any = backward_pass.__wrapped__  # type: ignore[attr-defined]  # what ``timed`` hands over


class Tracer(Observer):
    """Fills a Record with what the thread that made it does while ``is_open``.

    places: see ``sources.Places``. named: tensors by the id of their leaf, with the names to show.
    outer: the observer around this one.
    """

    def __init__(self, places, named, outer):
        super().__init__(outer)
        self.thread, self.is_open = get_ident(), False
        self.places, self.named = places, named
        self.record = Record()
        self.graphs = [self.record.graph]  # the one that ops are entered in last
        self.running = []  # passes that are going on, each within a step of the one before
        self.calls = {}  # by id of a fused op: the Call, to be run again
        self.copies = {}  # by id of an array: a reference to it, its Value, the time of the newest write before
        self.constants = {}  # by id of an array that a constant op made: a reference to it, the op's id
        self.fresh = itertools.count(-1, -1)  # ids of what has no node
        self.unread = set()  # ids of nodes that are older than the trace: what is saved tells of them

    def idle(self):
        """Whether nobody wants to know: this is another thread, or the block is over."""
        return not self.is_open or get_ident() != self.thread

    def close(self):
        """The block is over: let go of everything but the record."""
        self.is_open = False
        only = self.places.forget()
        if only is not None:
            for node in _all_nodes(self.record):
                node.module = node.module.removeprefix(only).removeprefix(".")
        graph = self.record.graph
        taken = {one.node for node in graph.nodes.values() for one in node.inputs}
        graph.outputs = [number for number in graph.nodes if number not in taken]
        self.named, self.copies, self.constants = {}, {}, {}

    def own(self, function, *args):
        """``function(*args)``, which is no work of the block."""
        observer = current_mode.get().observer
        if observer is None or (observer is self and self.outer is None):
            return function(*args)
        return observer.aside(lambda: function(*args))

    # --- what the engine calls --------------------------------------------------------------------

    def forward(self, op, args, params):
        """The result of an op."""
        out = super().forward(op, args, params)
        if not self.idle():
            self.own(self.note_op, op, args, params, out, sys._getframe(1))
        return out

    def part(self, name, function, args, keywords):
        """The result of a function that is no op: of a backward pass all is noted."""
        if function is not _PASS or self.idle():
            return super().part(name, function, args, keywords)
        run = self.own(lambda: self.begin(*args, **keywords))
        self.running.append(run)
        try:
            found = super().part(name, function, args, keywords)
            self.own(run.pass_over, 0)
            run.data.finished = True
            return found
        finally:
            while self.running.pop() is not run:  # an interrupt may have left others above it
                pass

    def steps(self, serve, pull_back):
        """The functions of a backward pass, which note the gradient of a node and what it
        contributes.
        """
        serve, pull_back = super().steps(serve, pull_back)
        if self.idle() or not self.running:
            return serve, pull_back
        run = self.running[-1]

        def served(node, gradient, sums, deposit):
            step, first = self.own(run.come_to, node, gradient), node.watch.grad is None
            step.hooked = bool(node.watch.hooks)
            result = serve(node, gradient, sums, deposit)
            self.own(run.note_served, step, node.watch, gradient, result, deposit, first)
            return result

        def pulled(node, gradient, sums, needed, anomaly):
            step = run.step if run.node is node else self.own(run.come_to, node, gradient)
            seen = self.own(Sums, run, sums, step, node, gradient)
            inside = Record() if not hasattr(node.pullback, "op") and not sums.recorded else None
            if inside is not None:  # a checkpoint: its ops run again, and are nobody else's
                step.inside = inside
                self.graphs.append(inside.graph)
            freed = freed_names(node)
            try:
                pull_back(node, gradient, seen, needed, anomaly)
            finally:
                run.codes = {}
                while inside is not None and self.graphs.pop() is not inside.graph:
                    pass
            if not run.keeps:
                step.freed = freed

        return served, pulled

    # --- ops --------------------------------------------------------------------------------------

    def note_op(self, op, args, params, out, frame):
        """Enter an op that has run."""
        graph, node = self.graphs[-1], out.node
        known = self.constant_of(out._array) if node is None else node.order in graph.nodes
        if known:
            return  # it came from an op inside
        if len(args) != op.arity or not op.knows(params):
            args, params = op.bind(args, params)
        names = op.input_names(len(args))
        if node is None:
            made, kind, parents = next(self.fresh), "constant", {}
        else:
            made, kind = node.order, "fused" if hasattr(op, "definition") else "op"
            parents = dict(zip(numbers_of(node), node.parents))
        inputs = [self.input(name, value, parents.get(i)) for i, (name, value) in enumerate(zip(names, args))]
        run = self.running[-1] if self.running else None
        line, module, rule = self.places.look(frame, run.codes if run is not None else ())
        self.enter(
            Node(
                made, kind, op.name, out.shape, out.dtype, module, line, inputs, keyword_texts(params),
                self.value_of(out._array), self.maker(rule),
            )
        )  # fmt: skip
        if node is None:
            self.constants[id(out._array)] = weakref.ref(out._array), made
        elif kind == "fused":
            self.calls[made] = Call(op, [one.value for one in inputs], memory.private(dict(params)))

    def enter(self, node):
        """Put a node into the graph, with those that it was made of if they stand in one around
        it.
        """
        graph = self.graphs[-1]
        for one in node.inputs:
            if one.node is not None and one.node not in graph.nodes:
                for outer in self.graphs:
                    if one.node in outer.nodes:
                        graph.nodes[one.node] = outer.nodes[one.node]
        graph.nodes[node.id] = node

    def maker(self, rule):
        """``(pass, step, rule)`` of what a backward pass computes; None outside of one."""
        if not self.running:
            return None
        outermost = self.running[0].data
        return outermost.number, max(len(outermost.steps) - 1, 0), rule

    def input(self, name, value, parent):
        """The Input of a value that an op was given; parent: the node of one that needs a
        gradient.
        """
        tensor = value if isinstance(value, Tensor) else None
        if parent is None and tensor is not None:
            parent = tensor.node
        if parent is not None:
            met = self.meet(parent, tensor)
            return Input(name, parent.order, met.value if tensor is None else self.value_of(tensor._array))
        if value.__class__ in NUMBERS or value is None:
            return Input(name, None, value)
        if tensor is not None:
            return Input(name, self.constant_of(tensor._array), self.value_of(tensor._array))
        return Input(name, None, _given(value))

    def constant_of(self, array):
        """The id of the op without a gradient that made an array; None if there is none."""
        entry = self.constants.get(id(array))
        return entry[1] if entry is not None and entry[0]() is array else None

    def value_of(self, array):
        """The Value of a Tensor's array: copied once, and again if it was written to since."""
        entry = self.copies.get(id(array))
        if entry is not None and entry[0]() is array:
            if memory.last_write == entry[2] or memory.overwritten(array, entry[2]) is None:
                return entry[1]
        value = Value(_copied(array))
        self.copies[id(array)] = weakref.ref(array), value, memory.last_write
        return value

    # --- what is older than the trace -------------------------------------------------------------

    def meet(self, node, tensor=None, array=None):
        """The Node of a parent: known, or entered now. tensor, array: what it stands for, as far as
        it is known.
        """
        for graph in self.graphs:
            if node.order in graph.nodes:
                found = graph.nodes[node.order]
                break
        else:
            found = self.first_met(node)
        if tensor is not None:
            array = tensor._array
            if found.kind == "leaf" and not found.name:
                found.name = tensor.name or ""
        if found.value is None and array is not None:
            found.value = self.value_of(array)
        self.graphs[-1].nodes.setdefault(node.order, found)
        return found

    def first_met(self, node):
        """The Node of something that no op has made before the eyes of the trace."""
        pullback, dtype = node.pullback, node.held or node.dtype
        named = self.named.get(node.order)
        if pullback is None:
            found = Node(node.order, "leaf", named[0] if named else "", node.shape, dtype)
            if named:
                found.value = self.value_of(named[1]._array)
            return found
        self.unread.add(node.order)
        kind = "checkpoint" if not hasattr(pullback, "op") else "fused" if hasattr(pullback.op, "definition") else "op"
        found = Node(node.order, kind, pullback.op_name, node.shape, dtype, made_by=self.maker(""))
        if kind == "checkpoint" and node.saved is not None:
            self.enclose(found, node)
        return found

    def enclose(self, found, node):
        """Move the ops of a checkpointed function, which has just run, out of the graph and into
        its node.
        """
        ends = {parent.order for parent in node.parents}
        graph = self.graphs[-1]
        entry = self.copies.get(id(node.saved[2]))
        if entry is None or entry[0]() is not node.saved[2]:
            return
        found.value = entry[1]
        last = next(
            (one for one in reversed(graph.nodes.values()) if one.value is entry[1] and one.id < node.order), None
        )
        if last is None or last.id in ends or last.id < 0:
            return
        found.line, found.module = last.line, last.module
        inside, stack = set(), [last.id]
        while stack:
            one = stack.pop()
            if one not in inside and one in graph.nodes:
                inside.add(one)
                if one not in ends:
                    stack.extend(i.node for i in graph.nodes[one].inputs if i.node is not None)
        found.definition = type(graph)({one: graph.nodes[one] for one in graph.nodes if one in inside}, [last.id])
        for one in inside - ends:
            if graph.nodes[one].kind != "leaf":
                del graph.nodes[one]

    def discover(self, roots, stop):
        """Enter all nodes that a pass may come to, and what they saved of their inputs."""
        young_to_old = reachable(roots, stop)
        known = self.graphs[-1].nodes
        if not self.unread and all(node.order in known for node in young_to_old):
            return
        for node in reversed(young_to_old):
            found = self.meet(node)
            if node.order in self.unread:
                self.unread.discard(node.order)
                self.read(node, found)

    def read(self, node, found):
        """Fill in what a node tells of its inputs, and of its own value."""
        saved, names = saved_inputs(node), input_names(node)
        parents = dict(zip(numbers_of(node), node.parents))
        if found.value is None and (own := saved_output(node)) is not None:
            found.value = Value(_copied(own))
        for i, name in enumerate(names):
            array, parent = saved.get(i), parents.get(i)
            if is_array(array) and memory.overwritten(array, node.order) is not None:
                array = None
            if parent is not None:
                met = self.meet(parent, array=array)
                value = met.value if array is None else self.value_of(array)
                found.inputs.append(Input(name, parent.order, value))
            else:
                found.inputs.append(Input(name, None, self.value_of(array) if is_array(array) else array))
        if found.kind == "fused" and node.saved is not None:
            found.keywords = keyword_texts(node.saved[2])
            self.calls[node.order] = Call(
                node.pullback.op, [one.value for one in found.inputs], memory.private(dict(node.saved[2]))
            )

    # --- passes -----------------------------------------------------------------------------------

    def begin(self, roots, gradients, wanted=None, retain_graph=False, create_graph=False, stop=()):
        """Enter a pass that is about to run."""
        self.discover(roots, stop)
        around = self.running[-1] if self.running else None
        passes = self.record.passes
        if around is not None and around.step is not None:
            if around.step.inside is None:
                around.step.inside = Record(self.graphs[-1])
            passes = around.step.inside.passes
        asked = None if wanted is None else sorted(node.order for node in wanted)
        data = Pass(len(passes), create_graph, asked=asked)
        passes.append(data)
        run = Run(self, data, retain_graph or create_graph, {*(wanted or ()), *stop})
        for root, gradient in zip(roots, gradients):
            value = as_array(raw(gradient))
            arrival = Arrival(root.order, None, "", None, value.shape, (), False, Value(_copied(value, root.dtype)))
            data.roots.append((root.order, arrival.value))
            data.seeds.append(arrival)
            run.arrive(root, arrival, value)
        return run


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
        value = last.value if last is not None and alone is array else Value(_copied(array))
        self.node, self.step = node, Step(node.order, value)
        self.data.steps.append(self.step)
        return self.step

    def pass_over(self, order):
        """Steps for the nodes older than none of this order at which the pass called nothing."""
        while self.waiting and self.waiting[-1].order > order:
            node = self.waiting.pop()
            last = self.last.pop(node, None)
            if last is not None:
                self.data.steps.append(Step(node.order, last.total))

    def note_served(self, step, watch, gradient, result, deposit, first):
        """Enter what hooks and ``.grad`` made of a gradient."""
        if result is not gradient:
            step.before_hooks, step.gradient = step.gradient, Value(_copied(raw(result)))
        if deposit and watch.retains_grad:
            step.deposited = step.grad = step.gradient
            with depositing:
                if watch.grad is not None and (not first or watch.grad.dtype != step.gradient.dtype):
                    step.grad = Value(_copied(raw(watch.grad)))


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
            index = memory.private(_on_host(value.index))
            kept: Value = Scattered(Value(_copied(value.values)), index, value.shape, parent.dtype)
        elif id(array) in self.known:
            kept = self.known[id(array)][1]
        else:
            kept = Value(_copied(array))
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


def _copied(array, dtype=None):
    """A private copy on the host, which nobody writes to."""
    made = np.array(move(array, "cpu"), dtype=dtype, copy=True)
    made.flags.writeable = False
    return made


def _on_host(index):
    if isinstance(index, (tuple, list)):
        return type(index)(map(_on_host, index))
    return move(raw(index), "cpu") if is_array(raw(index)) else index


def _given(value):
    """The Value of something that is no Tensor; None if it is not made of numbers alone."""
    if not is_array(value) and holds_tensors(value):
        return None
    try:
        array = _copied(value) if is_array(value) else np.array(value)
    except (TypeError, ValueError):
        return None
    return Value(array) if array.dtype.kind in "biuf" or holds_numbers(array.dtype) else None


def _all_nodes(record):
    """The nodes of a record and of all that is inside it, each once."""
    found = {id(node): node for node in record.graph.nodes.values()}
    for node in list(found.values()):
        if node.definition is not None:
            found.update((id(one), one) for one in node.definition.nodes.values())
    for one in record.passes:
        for step in one.steps:
            if step.inside is not None and step.inside.graph is not record.graph:
                found.update((id(node), node) for node in _all_nodes(step.inside))
    return found.values()
