"""The inside of a node: the definition of a fused op, run again; the ops that a checkpoint ran
again.
"""

from __future__ import annotations

from minitensor.backend import np, widen
from minitensor.engine.mode import switched
from minitensor.engine.tensor import Tensor
from minitensor.tracing.record import Record, Value
from minitensor.tracing.sources import ENGINE

__all__ = ["fill"]


def fill(made, trace, number):
    """Make of the new trace ``made`` that of the inside of node ``number`` of ``trace``."""
    node = trace.nodes.get(number)
    if node is None:
        raise KeyError(f"backward_trace.open: this trace has no node {number!r}; t.nodes has all by their ids")
    step = next((step for one in reversed(trace.passes) if (step := one.step_of(number)) is not None), None)
    if node.kind == "checkpoint":
        inside = step.inside if step is not None else None
        if inside is None and node.definition is not None:
            inside = Record(node.definition)
        if inside is None:
            raise ValueError(f"backward_trace.open: what {node.name} ran is not known; no pass in the block came to it")
        made._record, made._block = inside, trace._block
        made._calls = trace._calls
        return
    call = trace._calls.get(number)
    if call is None:
        raise ValueError(
            f"backward_trace.open: {node.name or 'a leaf'} has no inside; fused ops and checkpoints have: those whose "
            'kind is "fused" or "checkpoint"'
        )
    _run(made, call, node, None if step is None else step.gradient)
    made.record.note = _note(node, made.record, step)
    node.definition = made.record.graph


def _run(made, call, node, gradient):
    """Run the definition of a fused op in the trace ``made``, forward and, given a gradient,
    backward.
    """
    wanted = {one.name for one in node.inputs if one.node is not None and _is_floating(one.value)}
    names, leaves, inputs = call.op.input_names(len(call.inputs)), {}, []
    for name, value in zip(names, call.inputs):
        if isinstance(value, Value):
            tensor = Tensor(value.array.copy())
            if name in wanted:
                tensor.name = name
                leaves[name] = tensor.requires_grad_()
            value = tensor
        inputs.append(value)
    made._named = {leaf.node.order: (name, leaf) for name, leaf in leaves.items() if leaf.node is not None}
    made._hidden = ENGINE
    with switched(observer=None, autocast=None, watched=False, grad=True, anomaly=False), made:
        out = call.op.definition(*map(widen, inputs), **call.keywords)
        if gradient is not None and out.requires_grad:
            out.backward(Tensor(gradient.array.astype(out.dtype)))


def _note(node, inside, step):
    """That the definition's gradients are those of the kernel, and how nearly."""
    said = f"The inside of {node.name} #{node.id}: its definition, run again on the inputs that it had."
    if step is None or not inside.passes:
        return said
    found = {inside.graph.nodes[one.node].name: one.grad for one in inside.passes[-1].steps if one.grad is not None}
    apart = [
        _apart(arrival.value.array, found[arrival.input].array) for arrival in step.arrivals if arrival.input in found
    ]
    if not apart:
        return said
    return (
        f"{said} Its gradients are those of the kernel up to rounding: they differ by {max(apart):.1g} of the greatest "
        "at most."
    )


def _apart(kernel, definition):
    """The greatest difference, in parts of the greatest finite number."""
    kernel, definition = kernel.astype(np.float64), definition.astype(np.float64)
    good = np.isfinite(kernel) & np.isfinite(definition)
    greatest = np.abs(kernel[good]).max(initial=0.0)
    return float(np.abs(kernel - definition)[good].max(initial=0.0) / greatest) if greatest else 0.0


def _is_floating(value):
    return isinstance(value, Value) and value.dtype.kind not in "biu"
