"""A graph that was recorded without ``detect_anomaly``: what its nodes have saved is put together,
and what they have not is computed again where all operands are known.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import is_array, memory, namespace_of, np
from minitensor.diagnosis.arrays import bad_in, host, number
from minitensor.diagnosis.finding import Finding
from minitensor.diagnosis.forward import ZERO_NORMS
from minitensor.diagnosis.results import finding_of_result, maker_of_node, step_of
from minitensor.diagnosis.updates import called, entry_of, runaway, wrote
from minitensor.engine.autograd import reachable
from minitensor.engine.messages import finite, is_fault
from minitensor.engine.tensor import Tensor
from minitensor.tracing.reading import numbers_of, saved_inputs, saved_output

__all__ = ["bad_parameters", "forward", "freed"]

AGAIN = (
    "lines and modules are not known, as no mode was on when the graph was recorded: run it again within "
    "mt.detect_anomaly(), or call mt.why_nan with a function that computes the loss"
)
FREED = (
    "the graph's values are gone, as backward has freed them: call mt.why_nan before backward, run it again within "
    "mt.detect_anomaly(), or call mt.why_nan with a function that computes the loss"
)


def freed(node: Any) -> bool:
    """Whether a part of the graph that ends in a node has been freed."""
    return any(one.pullback is not None and one.saved is None for one in reachable([node]))


def forward(loss: Tensor) -> Finding:
    """Why the value of a Tensor is not finite, from the graph that it ends."""
    if loss.node is None or loss.node.pullback is None:
        bad = bad_in(loss, "the tensor")
        what = f"the tensor is {number(bad.value) if bad is not None else 'finite'}, and no op is known that made it"
        return Finding("unknown", what, notes=["it has no graph: no input required a gradient, or mt.no_grad() was on"])
    nodes = reachable([loss.node])[::-1]  # the oldest first
    values = _values(nodes, loss)
    live = _live(loss.node, values)
    for node, masks in [(node, False) for node in nodes] + [(node, True) for node in nodes]:
        if node not in live:
            continue
        found = _leaf(node, values, masks) if node.pullback is None else _fault(node, values, masks)
        if found is not None:
            found.chain = _chain(node, loss.node, live)
            found.notes.append(AGAIN)
            return found
    note = FREED if freed(loss.node) else AGAIN
    if freed(loss.node) and (told := runaway({node for node in nodes if node.pullback is None})) is not None:
        return Finding("learning rate", told[0], phase="update", notes=[*told[1], note])
    ops = (node for node in nodes if node in live and node.pullback is not None)
    end = next((node for node in ops if not _known_good(values.get(node))), loss.node)
    what = f"the first value that is known to be bad, or not known, is that of {step_of(end).op}, of shape {end.shape}"
    return Finding("unknown", what, step_of(end).op, chain=_chain(end, loss.node, live), notes=[note])


def _known_good(value):
    return value is not None and finite(value)


def _values(nodes, loss):
    """``{node: raw array}`` of all values that are known or can be computed again."""
    values: dict[Any, Any] = {loss.node: loss._array}
    for node in nodes:
        if node.pullback is None or node.saved is None:
            continue
        parents = dict(zip(numbers_of(node), node.parents))
        for i, value in saved_inputs(node).items():
            if i in parents and is_array(value) and value.shape == parents[i].shape:
                values.setdefault(parents[i], value)
    for node in nodes:
        if node.pullback is None:
            array = _array_of(node)
            if node not in values and array is not None and memory.overwritten(array, _oldest(node, nodes)) is None:
                values[node] = array
        elif node not in values:
            found = saved_output(node)
            found = _again(node, values) if found is None else found
            if found is not None and found.shape == node.shape:
                values[node] = found
    return values


def _array_of(leaf):
    """The array of a leaf, if it is known where it is."""
    _, entry = entry_of(leaf)
    if entry is not None:
        return entry.parameter._array
    reference = leaf.watch.array if leaf.watch is not None else None
    return None if reference is None else reference()


def _oldest(leaf, nodes):
    """When the first op of the graph read a leaf."""
    return min((node.order for node in nodes if leaf in node.parents), default=leaf.order)


def _given(node, values):
    """``(inputs, keywords)`` of a node; None for an input that is not known."""
    op, saved = node.pullback.op, saved_inputs(node)
    parents = dict(zip(numbers_of(node), node.parents))
    if hasattr(op, "definition"):
        count, keywords = len(node.saved) - 3, dict(node.saved[2])
    else:
        count = max(parents, default=0) + 1 if op.variadic else op.arity
        pairs = zip(node.pullback.sources, node.saved)
        keywords = {key: value for (kind, key), value in pairs if kind == "keyword"}
    inputs = [saved[i] if saved.get(i) is not None else values.get(parents.get(i)) for i in range(count)]
    return inputs, keywords


def _function(node, keywords):
    """A function of a list of inputs that gives the value of a node again."""
    op = node.pullback.op

    def again(inputs):
        xp = namespace_of(op.name, inputs, op.input_names(len(inputs)))
        if not hasattr(op, "definition"):
            return op.function(xp, *inputs, **keywords)
        kernel, takes_needs = op.kernels.get(xp.name) or op.kernels["any"]
        return kernel(xp, *inputs, **keywords, **({"needs": (False,) * len(inputs)} if takes_needs else {}))[0]

    return again


def _again(node, values):
    """The value of a node computed again, None if an operand is not known."""
    if node.saved is None or not hasattr(node.pullback, "op"):
        return None
    inputs, keywords = _given(node, values)
    if not hasattr(node.pullback.op, "definition") and any(one is None for one in inputs):
        return None
    try:
        out = _function(node, keywords)(inputs)
    except (TypeError, ValueError, IndexError):  # keywords that no rule asked for are not known
        return None
    out = np.asarray(out) if isinstance(out, (float, np.generic)) else out
    return out.reshape(node.shape) if is_array(out) and out.size == np.prod(node.shape, dtype=int) else None


def _live(root, values):
    """The nodes through which what is bad may have come to the root."""
    live, stack = {root}, [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in live and not _known_good(values.get(parent)):
                live.add(parent)
                stack.append(parent)
    return live


def _leaf(node, values, masks):
    """The Finding of a leaf that is not finite. masks: even if it holds minus
    infinities alone.
    """
    value = values.get(node)
    if value is None or finite(value):
        return None
    _, entry = entry_of(node)
    bad = bad_in(value, "a leaf" if entry is None else entry.label)
    if bad is None or not (bad.nan or bad.up or masks):
        return None
    name = f"a leaf of shape {node.shape}" if entry is None else called(entry.label)
    words, _ = wrote(node, value, bad.index)
    what = f"{name} is {number(bad.value)} at {list(bad.index)}: {words}"
    return Finding("NaN or infinity in a parameter", what, "leaf", "forward", bad.index, name)


def _fault(node, values, masks):
    """The Finding of a node whose op made what is bad; None if it is none, or nothing is known.
    masks: even if a constant brought minus infinities alone.
    """
    out = values.get(node)
    if out is None or finite(out) or node.saved is None or not hasattr(node.pullback, "op"):
        return None
    op = node.pullback.op
    inputs, keywords = _given(node, values)
    parents = dict(zip(numbers_of(node), node.parents))
    names = list(op.input_names(len(inputs)))
    if any(is_array(one) and i in parents and parents[i].pullback and _nan(one) for i, one in enumerate(inputs)):
        return None  # an older op made it
    unknown = [i for i, one in enumerate(inputs) if one is None and not hasattr(op, "definition")]
    if unknown:
        if len(unknown) != 1 or not all(_known_good(one) or not is_array(one) for one in inputs if one is not None):
            return None
        i = unknown[0]
        if i in parents:
            return None
        bad = bad_in(out, names[i])
        if bad is None or not (bad.nan or bad.up or masks):
            return None
        divisor = np.broadcast_to(host(inputs[1]), out.shape) if op.name == "divide" and i == 0 else None
        if divisor is not None and not divisor[bad.index]:
            quotient = "0 / 0" if bad.nan else "x / 0"
            cause, zero = ZERO_NORMS.get(maker_of_node(parents.get(1)), (quotient, "the divisor"))
            words = f"{zero} is 0; the graph does not keep what was divided"
            return Finding(cause, words, op.name, "forward", bad.index)
        what = f"{names[i]} of {op.name}, a constant that the graph does not keep, came with {number(bad.value)}"
        return Finding("NaN or infinity in the data", what, op.name, "forward", bad.index, "the result", bad.rows)
    try:
        if not is_fault(out, inputs, _function(node, keywords)):
            return _constant(op, names, inputs, parents, masks)
    except (TypeError, ValueError, IndexError):
        return None
    args = [Tensor(a, parents.get(i)) if is_array(a) else a for i, a in enumerate(inputs)]

    def maker(name):
        return maker_of_node(parents.get(names.index(name)))

    return finding_of_result(op, args, inputs, keywords, out, None, maker)


def _constant(op, names, inputs, parents, masks):
    """The Finding of a constant operand that brought an infinity along; None if there is none."""
    for i, (name, value) in enumerate(zip(names, inputs)):
        bad = None if i in parents or value is None else bad_in(value, name)
        if bad is not None and (bad.nan or bad.up or masks):
            what = f"{name} of {op.name} came with {number(bad.value)}, first at {list(bad.index)}; no op of the graph made it"
            return Finding("NaN or infinity in the data", what, op.name, "forward", bad.index, name, bad.rows)
    return None


def _nan(array):
    return bool(np.isnan(host(array)).any())


def _chain(start, end, live):
    """The Steps from a node to the end, through what is bad."""
    after: dict[Any, Any] = {end: None}
    for node in reachable([end]):
        for parent in node.parents:
            if parent in live:
                after.setdefault(parent, node)
    steps, node = [], start
    while node is not None:
        if node.pullback is not None:
            steps.append(step_of(node))
        node = after.get(node)
    return steps


def bad_parameters(node: Any) -> Finding | None:
    """The Finding of a parameter that is not finite, though the value that was computed from it is:
    an update came in between.
    """
    for leaf in reachable([node]):
        optimizer, entry = entry_of(leaf) if leaf.pullback is None else (None, None)
        if entry is None or finite(entry.parameter._array):
            continue
        bad = bad_in(host(entry.parameter), entry.label)
        assert bad is not None
        words, _ = wrote(leaf, entry.parameter, bad.index)
        what = f"{called(entry.label)} is {number(bad.value)} at {list(bad.index)}, the loss is finite: {words}"
        return Finding("NaN or infinity in a parameter", what, "", "update", bad.index, entry.label)
    return None
