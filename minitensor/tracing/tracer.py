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

from minitensor.backend import is_array, memory
from minitensor.engine.autograd import backward_pass, raw, reachable
from minitensor.engine.mode import current_mode
from minitensor.engine.observer import Observer
from minitensor.engine.primitive import NUMBERS
from minitensor.engine.sums import as_array
from minitensor.engine.tensor import Tensor
from minitensor.tracing.copies import copied, given
from minitensor.tracing.passes import Run, Sums
from minitensor.tracing.reading import (
    Call,
    freed_names,
    input_names,
    keyword_texts,
    numbers_of,
    saved_inputs,
    saved_output,
)
from minitensor.tracing.record import Arrival, Input, Node, Pass, Record, Value

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
            for node in self.record.all_nodes():
                node.module = node.module.removeprefix(only).removeprefix(".")
        self.record.settle()
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
            self.calls[made] = Call(op, [one.value for one in inputs], _kept(op, params))

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
        return Input(name, None, given(value))

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
        value = Value(copied(array))
        self.copies[id(array)] = weakref.ref(array), value, memory.last_write
        return value

    def value_at(self, node):
        """The Value of a node as it is now, None if it is not known."""
        found = next((graph.nodes[node.order] for graph in self.graphs if node.order in graph.nodes), None)
        return None if found is None else found.value

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
        if array is not None and (found.value is None or found.kind == "leaf"):  # a leaf may be written to
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
            found.value = Value(copied(own))
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
                node.pullback.op, [one.value for one in found.inputs], _kept(node.pullback.op, node.saved[2])
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
            arrival = Arrival(root.order, None, "", None, value.shape, (), False, Value(copied(value, root.dtype)))
            data.roots.append((root.order, arrival.value))
            data.seeds.append(arrival)
            run.arrive(root, arrival, value)
        return run


def _kept(op, params):
    """Keywords for another call; arrays among those of the library's own ops are theirs."""
    return memory.private(dict(params)) if op.foreign else dict(params)
