"""What is older than a trace: nodes that no op has made before its eyes, and what their graph has
saved of their values.
"""

from __future__ import annotations

from minitensor.backend import is_array, memory
from minitensor.engine.autograd import reachable
from minitensor.tracing.copies import copied
from minitensor.tracing.notes import Noted
from minitensor.tracing.reading import (
    Call,
    input_names,
    kept,
    keyword_texts,
    numbers_of,
    saved_inputs,
    saved_output,
)
from minitensor.tracing.record import Input, Node

__all__ = ["discover", "meet"]


def meet(tracer, node, tensor=None, array=None):
    """The Node (or note) of a parent: known, or entered now. tensor, array: what it stands for, as
    far as it is known.
    """
    for graph in tracer.graphs:
        if node.order in graph.nodes:
            found = graph.nodes[node.order]
            break
    else:
        found = _first_met(tracer, node)
    if found.__class__ is not Noted:
        if tensor is not None:
            array = tensor._array
            if found.kind == "leaf" and not found.name:
                found.name = tensor.name or ""
        if array is not None and (found.value is None or found.kind == "leaf"):  # a leaf may be written to
            found.value = tracer.value_of(array)
    tracer.graphs[-1].nodes.setdefault(node.order, found)
    return found


def _first_met(tracer, node):
    """The Node of something that no op has made before the eyes of the trace."""
    pullback, dtype = node.pullback, node.held or node.dtype
    named = tracer.named.get(node.order)
    if pullback is None:
        found = Node(node.order, "leaf", named[0] if named else "", node.shape, dtype)
        if named:
            found.value = tracer.value_of(named[1]._array)
        return found
    tracer.unread.add(node.order)
    kind = "checkpoint" if not hasattr(pullback, "op") else "fused" if hasattr(pullback.op, "definition") else "op"
    found = Node(node.order, kind, pullback.op_name, node.shape, dtype, made_by=tracer.maker(""))
    if kind == "checkpoint" and node.saved is not None:
        _enclose(tracer, found, node)
    return found


def _enclose(tracer, found, node):
    """Move the ops of a checkpointed function, which has just run, out of the graph and into
    its node.
    """
    ends = {parent.order for parent in node.parents}
    graph = tracer.graphs[-1]
    tracer.notes.work_out_nodes()
    made = {one for one, (array, _) in tracer.notes.arrays.items() if array == id(node.saved[2])}
    last = next((one for one in reversed(graph.nodes.values()) if one.id in made and one.id < node.order), None)
    found.value = last.value if last is not None else None
    if last is None or last.id in ends or last.id < 0:
        return
    found.line, found.module, found.calls = last.line, last.module, last.calls
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


def discover(tracer, roots, stop):
    """Enter all nodes that a pass may come to, and what they saved of their inputs."""
    young_to_old = reachable(roots, stop)
    known = tracer.graphs[-1].nodes
    if not tracer.unread and all(node.order in known for node in young_to_old):
        return
    for node in reversed(young_to_old):
        found = meet(tracer, node)
        if node.order in tracer.unread:
            tracer.unread.discard(node.order)
            _read(tracer, node, found)


def _read(tracer, node, found):
    """Fill in what a node tells of its inputs, and of its own value."""
    saved, names = saved_inputs(node), input_names(node)
    parents = dict(zip(numbers_of(node), node.parents))
    if found.value is None and (own := saved_output(node)) is not None:
        found.value = tracer.notes.value(copied(own))
    for i, name in enumerate(names):
        array, parent = saved.get(i), parents.get(i)
        if is_array(array) and memory.overwritten(array, node.order) is not None:
            array = None
        if parent is not None:
            meet(tracer, parent, array=array)
            value = tracer.known_value(parent.order) if array is None else tracer.value_of(array)
            value = tracer.notes.value(value)
            found.inputs.append(Input(name, parent.order, value))
        else:
            found.inputs.append(Input(name, None, tracer.value_of(array) if is_array(array) else array))
    if found.kind == "fused" and node.saved is not None:
        found.keywords = keyword_texts(node.saved[2])
        tracer.notes.calls[node.order] = Call(
            node.pullback.op, [one.value for one in found.inputs], kept(node.pullback.op, node.saved[2])
        )
