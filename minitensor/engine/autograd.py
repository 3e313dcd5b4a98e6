"""Reverse-mode differentiation: the nodes of the graph, and the backward pass.

Read this file top to bottom. **Nodes are the graph; a Tensor is a light handle** ``(data, node)``. A node knows its parents (the
nodes of the inputs that need a gradient), how to pull a gradient back to them (its *pullback*), and the few values that this needs.
It knows no Tensor, so there are no cycles: the graph dies by reference counting when the last handle to its end goes.

    order     creation number; parents are older than children, so sorting by it is a topological sort
    pullback      ``pullback.pull(...)`` gives one gradient per parent; None for a leaf
    parents   nodes of the inputs that need a gradient
    saved     the values that the pullback's rules asked for, and nothing else; None once they were used and freed
    dtype     of the gradient while the pass runs: that of the values, or float32 where these have 16 bits (NarrowNode)

``backward_pass`` visits nodes from the youngest to the oldest, in one loop; ``sums.py`` adds gradients up where paths meet.
"""

from __future__ import annotations

import threading
from operator import attrgetter

from minitensor.backend import compute_dtype, following, is_narrow, memory
from minitensor.engine.hooks import standing
from minitensor.engine.messages import out_of_memory
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.sums import GradientSums, Scatter, as_array, raw

__all__ = ["NarrowNode", "Node", "Scatter", "backward_pass", "depositing", "new_leaf", "new_node", "raw", "watch"]

# Held while a ``.grad`` is read and written: threads may run backward into the same leaves.
depositing = threading.RLock()


# --- the graph --------------------------------------------------------------------------------------------------------------


class Node:
    """One recorded op, or a leaf. See the head of this file for the fields."""

    __slots__ = ("order", "pullback", "parents", "saved", "shape", "dtype", "watch")
    held = None

    def __init__(self, pullback, parents, saved, shape, dtype, tick=memory.clock.__next__):
        self.order = tick()
        self.pullback = pullback
        self.parents = parents
        self.saved = saved
        self.shape = shape
        self.dtype = dtype
        self.watch = None


class NarrowNode(Node):
    """A node of values of 16 bits. Its gradient is summed up and pulled back in float32; only hooks and ``.grad`` see it rounded.

    held: the dtype of the values, and of the gradient as it is handed out.
    """

    __slots__ = ("held",)

    def __init__(self, pullback, parents, saved, shape, dtype):
        super().__init__(pullback, parents, saved, shape, compute_dtype(dtype))
        self.held = dtype


def new_node(pullback, parents, saved, array):
    """The node of the op that made ``array``."""
    kind = NarrowNode if is_narrow(array.dtype) else Node
    return kind(pullback, parents, saved, array.shape, array.dtype)


class Watch:
    """What somebody asked of a node: a deposited gradient (``keep``), hooks. Leaves always have one."""

    __slots__ = ("grad", "hooks", "keep", "where", "home")

    def __init__(self, keep=False):
        self.grad = None  # a raw array; a Tensor where the pass was recorded, or somebody has read it
        self.hooks = {}  # by key, each a function of the gradient (raw, or Tensor) that returns the one to go on with
        self.keep = keep
        self.where = None  # under detect_anomaly: the line that called the op
        self.home = None  # an array that an optimiser wants the gradient to be written to


def watch(node):
    """The node's Watch, made on first use."""
    if node.watch is None:
        node.watch = Watch()
    return node.watch


def new_leaf(array):
    """A node without parents: backward deposits its gradient."""
    leaf = new_node(None, (), None, array)
    leaf.watch = Watch(keep=True)
    return leaf


# --- the backward pass ------------------------------------------------------------------------------------------------------


def backward_pass(roots, gradients, wanted=None, retain_graph=False, create_graph=False, stop=(), owned=None):
    """Pull ``gradients`` of the nodes ``roots`` back through the graph.

    With ``wanted`` None every leaf (and every node that retains its gradient) gets a deposit in ``.grad``. Otherwise nothing is
    deposited and the result maps each reached node of ``wanted`` to its gradient. Gradients are raw arrays, or Tensors where
    ``create_graph`` records the pass itself. The pass ends at the nodes ``stop`` as if they were leaves that nobody watches. What
    lies below ``wanted`` is let be: not run, not freed, not asked whether it is stale. Nodes of ``wanted`` whose gradient nobody
    else holds are added to the set ``owned``.
    """
    order = _reachable(roots, stop, 0 if wanted is None else min((node.order for node in wanted), default=0))
    needed = None if wanted is None else _ancestors_of(order, wanted)
    anomaly = current_mode.get().anomaly
    keep_saved = retain_graph or create_graph
    sums = GradientSums(recorded=create_graph)
    add, values, results = sums.add, sums.values, {}
    with switched(grad=create_graph), following() as follow:
        if follow is not None:
            add = _following(follow, add)
        for root, gradient in zip(roots, gradients):
            add(root, gradient, gradient, (), ())
        for node in order:
            if node not in values or (needed is not None and node not in needed):
                continue
            gradient = values.pop(node)
            if follow is not None:
                follow(gradient)
            if gradient.__class__ is Scatter:
                gradient = sums.write_out(node, gradient)
            if node.watch is not None and node not in stop:
                gradient = _serve_watch(node, gradient, sums, deposit=wanted is None)
            if wanted is not None and node in wanted:
                results[node] = gradient
                if owned is not None and node in sums.owned:
                    owned.add(node)
            pullback, saved = node.pullback, node.saved
            if pullback is None or node in stop:
                continue
            if needed is not None and needed.isdisjoint(node.parents):
                continue
            if saved is None:
                raise RuntimeError(
                    f"{pullback.op_name}: backward a second time through a graph that has been freed; write "
                    "retain_graph=True (or create_graph=True) the first time, or compute the output again"
                )
            if memory.last_write[0] > node.order:
                pullback.check_fresh(node, needed)
            try:
                pulled = pullback.pull(node, gradient, create_graph, needed)
                if anomaly:
                    pullback.check_finite(node, gradient, pulled)
                for parent, contribution in zip(node.parents, pulled):
                    if contribution is not None:
                        add(parent, contribution, gradient, saved, pulled)
                    elif pullback.simple and (needed is None or parent in needed):
                        raise TypeError("a rule returned None, and its gradient would be lost: does it end in return?")
            except (TypeError, ValueError, IndexError, RuntimeError, MemoryError) as error:
                raise _named(error, pullback.op_name, node) from error
            if not keep_saved:
                node.saved = None
    return results


def _following(follow, add):
    """``add``, run on the GPU of what is added: what ``to`` pulls back lies on another one than the gradient it was given."""

    def adding(parent, value, *others):
        follow(value)
        add(parent, value, *others)

    return adding


def _reachable(roots, stop, oldest):
    """All nodes that lead to ``roots`` without passing through ``stop``, youngest first: a reversed topological order.

    Nodes made before the time ``oldest`` are left out: they depend on no younger one.
    """
    found = set(roots)
    stack = list(found)
    while stack:
        for parent in stack.pop().parents:
            if parent not in found and parent.order >= oldest:
                found.add(parent)
                if parent not in stop:
                    stack.append(parent)
    return sorted(found, key=attrgetter("order"), reverse=True)


def _named(error, op_name, node):
    """``error`` again, of a class that callers expect, with the op whose gradient rule met it."""
    if isinstance(error, MemoryError):
        shapes = ", ".join(str(parent.shape) for parent in node.parents)
        return out_of_memory(f"{op_name}, in backward from {node.shape} to {shapes}", error)
    kind = next(kind for kind in (TypeError, ValueError, IndexError, RuntimeError) if isinstance(error, kind))
    return kind(f"{op_name}, in backward: {error}")


def _ancestors_of(order, wanted):
    """The nodes of ``order`` through which some node of ``wanted`` is reached."""
    needed = set()
    for node in reversed(order):
        if node in wanted or any(parent in needed for parent in node.parents):
            needed.add(node)
    return needed


def _serve_watch(node, gradient, sums, deposit):
    """Run the hooks of ``node`` and deposit its gradient where somebody keeps it."""
    watch = node.watch
    for hook in standing(watch.hooks):
        gradient = hook(gradient if node.held is None else gradient.astype(node.held))
        sums.owned.discard(node)
        if gradient.shape != node.shape:
            raise ValueError(f"a hook returned a gradient of shape {gradient.shape} for a tensor of shape {node.shape}")
        if gradient.dtype != node.dtype:
            gradient = gradient.astype(node.dtype)
    if deposit and watch.keep:
        _deposit(watch, gradient, sums.recorded, fresh=node in sums.owned and node.pullback is None)
    return gradient


def _deposit(watch, gradient, recorded, fresh):
    """Add to ``.grad``; what is deposited is never shared with another holder."""
    with depositing:
        previous = watch.grad if recorded else raw(watch.grad)
        if previous is not None:
            gradient = as_array(previous + gradient)
        elif not recorded and not fresh and watch.home is None:
            gradient = gradient.copy()
        if watch.home is not None and not recorded:
            watch.home[...] = gradient
            gradient = watch.home
        watch.grad = gradient
