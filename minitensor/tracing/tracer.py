"""What the engine calls while a trace is open: it lets the op, or the step of a pass, run and notes
what came of it.

The engine hands over each op (``forward``), each backward pass as a whole (``part``), and what is
called at each node of it (``steps``). Nothing is computed here that the engine would not have
computed, and in the same order, so results are the same bit for bit. What is noted is as little as
can be: see ``notes.py``.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from threading import get_ident
from typing import Any

from minitensor.backend import memory, np
from minitensor.engine.autograd import backward_pass, raw
from minitensor.engine.mode import current_mode
from minitensor.engine.observer import Observer
from minitensor.engine.primitive import NUMBERS
from minitensor.engine.sums import as_array
from minitensor.engine.tensor import Tensor
from minitensor.tracing.copies import copied, given
from minitensor.tracing.notes import Noted, Notes, frozen
from minitensor.tracing.older import discover, meet
from minitensor.tracing.passes import Run
from minitensor.tracing.reading import kept, numbers_of, plan_of
from minitensor.tracing.record import Arrival, Node, Pass, Record

__all__ = ["Tracer"]

_new = tuple.__new__
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
        self.notes = Notes(self.record.graph)
        self.graphs = [self.record.graph]  # the one that ops are entered in last
        self.running = []  # passes that are going on, each within a step of the one before
        self.copies = {}  # by id of an array: a reference to it, its copy, the time of the newest write before, and its leaf
        self.constants = {}  # by id of an array that a constant op made: a reference to it, the op's id
        self.plans = {}  # by id of a pullback: what is called at all its nodes
        self.fresh = itertools.count(-1, -1)  # ids of what has no node
        self.unread = set()  # ids of nodes that are older than the trace: what is saved tells of them
        self.only = None  # the name of the only module, if it was not given: it is left out of all paths

    def idle(self):
        """Whether nobody wants to know: this is another thread, or the block is over."""
        return not self.is_open or get_ident() != self.thread

    def close(self):
        """The block is over: let go of everything but what was noted."""
        self.is_open = False
        self.only = self.places.forget()
        self.named, self.copies, self.constants, self.plans = {}, {}, {}, {}

    def work_out(self):
        """Bring the Record up to what was noted."""
        with self.notes.lock:
            self.notes.work_out()
            if self.is_open:
                return
            if self.only is not None:
                for node in self.record.all_nodes():
                    node.module = self.below(node.module)
                    node.calls = tuple((self.below(path), number) for path, number in node.calls)
                self.only = None
            self.record.settle()

    def below(self, path):
        """A path without the name of the only module."""
        return path.removeprefix(self.only).removeprefix(".")

    def own(self, function, *args):
        """``function(*args)``, which is no work of the block."""
        observer = current_mode.get().observer
        if observer is None or (observer is self and self.outer is None):
            return function(*args)
        return observer.aside(lambda: function(*args))

    def is_alone(self):
        """Whether no other observer watches the block."""
        observer = current_mode.get().observer
        return observer is None or (observer is self and self.outer is None)

    # --- what the engine calls --------------------------------------------------------------------

    def forward(self, op, args, params):
        """The result of an op."""
        out = op.run_observed(args, params) if self.outer is None else self.outer.forward(op, args, params)
        if self.is_open and get_ident() == self.thread:
            if self.outer is None and current_mode.get().observer is self:
                self.note_op(op, args, params, out, sys._getframe(2))
            else:
                self.own(self.note_op, op, args, params, out, sys._getframe(2))
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
        run, alone, plans = self.running[-1], self.is_alone(), self.plans
        run.alone = alone
        own = (lambda function, *args: function(*args)) if alone else self.own

        def served(node, gradient, sums, deposit):
            step, first = own(run.come_to, node, gradient), node.watch.grad is None
            step.hooked = bool(node.watch.hooks)
            result = serve(node, gradient, sums, deposit)
            own(run.note_served, step, node.watch, gradient, result, deposit, first)
            return result

        def pulled(node, gradient, sums, needed, anomaly):
            if run.node is not node:
                run.come_to(node, gradient) if alone else own(run.come_to, node, gradient)
            plan = plans.get(id(node.pullback)) or own(plan_of, node, sums.recorded, plans)
            inside = None
            if not sums.recorded and not hasattr(node.pullback, "op"):  # a checkpoint: its ops run again, and are
                inside = run.step.inside = Record()  # nobody else's
                self.graphs.append(inside.graph)
                self.notes.graphs.append(inside.graph)
            try:
                pull_back(node, gradient, run.sums.turn_to(node, gradient, sums, plan), needed, anomaly)
            finally:
                run.codes = {}
                while inside is not None and self.graphs.pop() is not inside.graph:
                    pass
            if not run.keeps:
                run.step.freed = plan.freed

        return served, pulled

    # --- ops --------------------------------------------------------------------------------------

    def note_op(self, op, args, params, out, frame):
        """Note an op that has run."""
        nodes: dict[int, Any] = self.graphs[-1].nodes
        node, array = out.node, out._array
        if node is None:
            if self.constants and self.constant_of(array) is not None:
                return  # it came from an op inside
            made = next(self.fresh)
            self.constants[id(array)] = weakref.ref(array), made
        else:
            made = node.order
            if made in nodes:
                return
        if len(args) != op.arity or (params and not op.knows(params)):
            args, params = op.bind(args, params)
        inputs, constants, parents, newest = [], self.constants, None, memory.last_write
        for i, value in enumerate(args):
            if isinstance(value, Tensor):
                taken, parent = value._array, value.node
                if parent is None:
                    inputs.append((self.constant_of(taken) if constants else None, self.copy_of(taken)))
                    continue
                known = nodes.get(parent.order)
                if known.__class__ is Noted and known.array == id(taken) and known.time == newest:
                    inputs.append((parent.order, known.copy))
                else:
                    inputs.append((parent.order, self.meet_with(parent, value)))
            elif value.__class__ in NUMBERS or value is None:
                inputs.append(value)
            else:
                if parents is None:
                    parents = {} if node is None else dict(zip(numbers_of(node), node.parents))
                inputs.append(self.unusual(value, parents.get(i)))
        run = self.running[-1] if self.running else None
        line, module, calls, rule = self.places.look(frame, run.codes if run is not None else ())
        if node is None or node.held is not None or array.__class__ is not np.ndarray:
            copy = self.copy_of(array)
        else:
            copy = array.tobytes(), node.shape, node.dtype
        nodes[made] = _new(Noted, (
            op, made, node is None, tuple(inputs), _noted(op, params) if params else None, copy, id(array), newest,
            line, module, calls, self.maker(rule) if run is not None else None,
        ))  # fmt: skip
        if len(self.graphs) > 1:
            self.enter_inputs(nodes, inputs)

    def meet_with(self, node, tensor):
        """The copy of a Tensor with a node that is older than the trace, a leaf, or of what was
        written to.
        """
        nodes: dict[int, Any] = self.graphs[-1].nodes
        array = tensor._array
        entry = self.copies.get(id(array))
        if entry is not None and entry[3] == node.order and entry[2] == memory.last_write and entry[0]() is array:
            if node.order in nodes:
                return entry[1]
        meet(self, node, tensor)
        found = nodes[node.order]
        made, time = self.notes.arrays.get(node.order, (None, 0)) if found.__class__ is Node else found[6:8]
        if made == id(array) and memory.overwritten(array, time) is None:
            return self.known_value(node.order)
        return self.copy_of(array, node.order)

    def enter_inputs(self, nodes, inputs):
        """Put what an op took into its graph too, if it stands in one around it."""
        for one in inputs:
            if one.__class__ is tuple and one[0] is not None and one[0] not in nodes:
                for outer in self.graphs:
                    if one[0] in outer.nodes:
                        nodes[one[0]] = outer.nodes[one[0]]

    def maker(self, rule):
        """``(pass, step, rule)`` of what a backward pass computes; None outside of one."""
        if not self.running:
            return None
        outermost = self.running[0].data
        return outermost.number, max(len(outermost.steps) - 1, 0), rule

    def unusual(self, value, parent):
        """What an op was given that is neither a Tensor nor a plain number, as it stands in a note.
        parent: the node of one that needs a gradient, such as of a list of Tensors.
        """
        if parent is None:
            return None, given(value)
        meet(self, parent)
        return parent.order, self.known_value(parent.order)

    def constant_of(self, array):
        """The id of the op without a gradient that made an array; None if there is none."""
        entry = self.constants.get(id(array))
        return entry[1] if entry is not None and entry[0]() is array else None

    def copy_of(self, array, met=None):
        """The copy of a Tensor's array: made once, and again if it was written to since. met: the
        id of its node, if all is known of that.
        """
        entry = self.copies.get(id(array))
        if entry is not None and entry[0]() is array:
            if memory.last_write == entry[2] or memory.overwritten(array, entry[2]) is None:
                if met != entry[3] or memory.last_write != entry[2]:
                    self.copies[id(array)] = entry[0], entry[1], memory.last_write, met
                return entry[1]
        copy = copied(array)
        self.copies[id(array)] = weakref.ref(array), copy, memory.last_write, met
        return copy

    def value_of(self, array):
        """The Value of a Tensor's array."""
        return self.notes.value(self.copy_of(array))

    def known_value(self, number):
        """The Value of a node as it is now, or its copy; None if it is not known."""
        for graph in self.graphs:
            found = graph.nodes.get(number)
            if found is not None:
                return found.copy if found.__class__ is Noted else found.value
        return None

    # --- passes -----------------------------------------------------------------------------------

    def begin(self, roots, gradients, wanted=None, retain_graph=False, create_graph=False, stop=()):
        """Enter a pass that is about to run."""
        discover(self, roots, stop)
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
        self.notes.passes.append(run.noted)
        for root, gradient in zip(roots, gradients):
            value = as_array(raw(gradient))
            copy = copied(value, root.dtype)
            arrival = Arrival(root.order, None, "", None, value.shape, (), False, self.notes.value(copy))
            data.roots.append((root.order, arrival.value))
            data.seeds.append(arrival)
            run.noted.arrive(arrival)
            run.arrive(root, value, copy)
        return run


def _noted(op, params):
    """Keywords as they stand in a note: those of a fused op are for another call."""
    return kept(op, params) if hasattr(op, "definition") else frozen(params)
