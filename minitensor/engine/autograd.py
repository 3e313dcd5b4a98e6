"""Reverse-mode differentiation: the nodes of the graph, and the backward pass.

Read this file top to bottom. **Nodes are the graph; a Tensor is a light handle** ``(data, node)``.
A node knows its parents (the nodes of the inputs that need a gradient), how to pull a gradient back
to them (its *pullback*), and the few values that this needs. It knows no Tensor, so there are no
cycles: the graph dies by reference counting when the last handle to its end goes.

    order     creation number; parents are older than children: sorting by it is a topological sort
    pullback  how to pull a gradient back (see ``Pullback``); None for a leaf
    parents   nodes of the inputs that need a gradient
    saved     the values that the pullback asked for, and nothing else; None once used and freed
    shape     of the values, and so of the gradient
    dtype     of the gradient while the pass runs: that of the values, float32 if they have 16 bits
    watch     what somebody asked of this node: hooks, a gradient to be kept (``Watch``); often None
    called_at who called the op, of nodes that are made under detect_anomaly alone (``call_of``)

``backward_pass`` visits nodes from the youngest to the oldest, in one loop; ``sums.py`` adds
gradients up where paths meet.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from operator import attrgetter
from typing import Any, Protocol

from minitensor.backend import compute_dtype, following, is_narrow, memory, np
from minitensor.engine import library
from minitensor.engine.hooks import standing
from minitensor.engine.loss_scale import added, scale_of
from minitensor.engine.messages import out_of_memory
from minitensor.engine.mode import current_mode, switched, timed
from minitensor.engine.sums import GradientSums, Scatter, SumsOnGpus, as_array, raw

__all__ = [
    "NarrowNode",
    "Node",
    "Pullback",
    "Scatter",
    "backward_pass",
    "call_of",
    "depositing",
    "new_leaf",
    "new_node",
    "raw",
    "reachable",
    "watch",
]

# Held while a ``.grad`` is read and written: threads may run backward into the same leaves.
depositing = threading.RLock()
_ALONE: Any = contextlib.nullcontext()


# --- the graph ------------------------------------------------------------------------------------


class Node:
    """One recorded op, or a leaf. See the head of this file for the fields."""

    __slots__ = ("order", "pullback", "parents", "saved", "shape", "dtype", "watch", "called_at")
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
    """A node of values of 16 bits. Its gradient is summed up and pulled back in float32; only hooks
    and ``.grad`` see it rounded.

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
    """What somebody asked of a node: a deposited gradient, hooks. Leaves always have one."""

    __slots__ = (
        "grad", "hooks", "retains_grad", "grad_buffer", "array", "claimed", "loss_scale", "scale", "summed"
    )  # fmt: skip

    def __init__(self, retains_grad=False):
        self.grad = None  # a raw array; a Tensor if the pass was recorded, or somebody has read it
        self.hooks = {}  # by key, each a function of the gradient (raw, or Tensor) that returns the one to go on with
        self.retains_grad = retains_grad
        self.array = None  # of a leaf: a weak reference to its array, for who asks why a value is NaN
        self.loss_scale = None  # of a scaled loss: by what it was multiplied
        self.scale = None  # of a gradient in ``grad``: by what it is multiplied; see loss_scale.py
        self.summed = False  # of a gradient in ``grad``: whether it holds a sum over several processes
        self.grad_buffer = None  # an array that an optimiser wants the gradient to be written to
        self.claimed = False  # a pass that is running may write there before it deposits


def call_of(node):
    """The place that called the op of a node, known if that was under detect_anomaly; else None."""
    return getattr(node, "called_at", None)


def watch(node):
    """The node's Watch, made on first use."""
    if node.watch is None:
        node.watch = Watch()
    return node.watch


def new_leaf(array):
    """A node without parents: backward deposits its gradient."""
    leaf = new_node(None, (), None, array)
    leaf.watch = Watch(retains_grad=True)
    leaf.watch.array = weakref.ref(array)
    return leaf


class Pullback(Protocol):
    """How the gradient of an op's output becomes those of its inputs.

    ``RulePullback`` runs an op's gradient rules, ``KernelPullback`` the ``backward`` of a fused
    op's kernel, and ``Recomputation`` runs a checkpointed function again. One object serves all
    nodes of its kind: what differs between them is in ``node.saved``.
    """

    op_name: str  # for messages
    simple: bool  # whether None among the gradients is a mistake
    gives_new: bool  # whether the gradients are new arrays that share memory with nothing: the engine may add to them
    fills: bool  # whether ``pull`` takes a dict ``homes`` too: arrays that it may take out and write gradients to

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent of ``node``, or None for those outside ``needed``; Tensors if
        ``recorded``.
        """

    def check_fresh(self, node, needed):
        """Raise RuntimeError if a value that ``pull`` would use has been overwritten since the op
        ran.
        """

    def check_finite(self, node, gradient, pulled):
        """Under detect_anomaly: raise FloatingPointError if ``pull`` made NaN or infinity of finite
        numbers.
        """


# --- the backward pass ----------------------------------------------------------------------------


@timed("gradient sums")
def backward_pass(roots, gradients, wanted=None, retain_graph=False, create_graph=False, stop=()):
    """Pull ``gradients`` of the nodes ``roots`` back through the graph.

    wanted: default: every leaf (and every node that retains its gradient) gets a deposit in
    ``.grad``. Given nodes, nothing is deposited, and the result maps each of them that was reached
    to its gradient, which nobody else holds; what lies below them is let be: not run, not freed,
    not asked whether it is stale. Gradients are raw arrays, or Tensors if ``create_graph`` records
    the pass itself. The pass ends at the nodes ``stop`` as if they were leaves that nobody watches.
    """
    order, needed, ends = _order(roots, wanted, stop)
    mode, results = current_mode.get(), {}
    steps = _serve_watch, _pull_back
    serve, pull_back = steps if mode.observer is None else mode.observer.steps(*steps)
    told = mode.anomaly and library.doctor is not None
    plain = wanted is None and not (create_graph or mode.anomaly or mode.observer is not None)
    scale = scale_of(roots)
    with (
        switched(grad=create_graph, autocast=None),
        following() as follow,
        library.doctor.on_the_way(roots) if told else _ALONE,
        np.errstate(over="ignore", invalid="ignore") if scale is not None else _ALONE,  # an overflow is looked for
        _homes(order) if plain else _ALONE as homes,
    ):
        sums = GradientSums(create_graph) if follow is None else SumsOnGpus(create_graph, follow)
        sums.scale = scale
        if homes:
            sums.claimed, sums.homes = homes, dict(homes)
        for root, gradient in zip(roots, gradients):
            sums.add(root, gradient)
        for node in order:
            if node not in sums.values:
                continue
            gradient = sums.take(node)
            if node.watch is not None and node not in stop:
                gradient = serve(node, gradient, sums, wanted is None)
            if wanted is not None and node in wanted:
                results[node] = sums.unshared(node, gradient)
            if node not in ends:
                pull_back(node, gradient, sums, needed, mode.anomaly)
                if not (retain_graph or create_graph):
                    node.saved = None
    return results


def _pull_back(node, gradient, sums, needed, anomaly):
    """Pull the gradient of ``node`` back to its parents, those in ``needed`` (None: all), and add
    it up there.
    """
    pullback = node.pullback
    if node.saved is None:
        raise RuntimeError(
            f"{pullback.op_name}: backward a second time through a graph that has been freed; write "
            "retain_graph=True (or create_graph=True) the first time, or compute the output again"
        )
    if memory.last_write > node.order:
        pullback.check_fresh(node, needed)
    try:
        homes = (sums.homes,) if sums.homes and pullback.fills else ()
        pulled = pullback.pull(node, gradient, sums.recorded, needed, *homes)
        if anomaly:
            pullback.check_finite(node, gradient, pulled)
        for parent, value in zip(node.parents, pulled):
            if value is not None:
                sums.add(parent, value, pullback.gives_new)
            elif pullback.simple and (needed is None or parent in needed):
                raise TypeError("a rule returned None, and its gradient would be lost: does it end in return?")
    except FloatingPointError:
        if anomaly and sums.recorded:
            _check_unrecorded(node, gradient, needed)
        raise
    except (TypeError, ValueError, IndexError, RuntimeError, MemoryError) as error:
        raise _named(error, pullback.op_name, node) from error


def _check_unrecorded(node, gradient, needed):
    """Raise what ``check_finite`` raises for the arrays themselves: of a pass that is recorded an
    op inside the rule raises first, and would be named in place of the op whose rule it is.
    """
    gradient = raw(gradient)
    with np.errstate(all="ignore"):
        node.pullback.check_finite(node, gradient, node.pullback.pull(node, gradient, False, needed))


def _order(roots, wanted, stop):
    """The nodes that a pass visits, youngest first; those whose gradients it needs (None: all); and
    those at which it ends.
    """
    if wanted is None:
        order, needed = reachable(roots, stop), None
    else:
        order = reachable(roots, stop, min((node.order for node in wanted), default=0))
        needed = _ancestors_of(order, wanted)
        order = [node for node in order if node in needed]
    ends = {node for node in order if node in stop or node.pullback is None}
    if needed is not None:
        ends.update(node for node in wanted if needed.isdisjoint(node.parents))
    return order, needed, ends


def reachable(roots, stop=(), oldest=0):
    """All nodes that lead to ``roots`` without passing through ``stop``, youngest first: a reversed
    topological order.

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
    """Run the hooks of ``node`` and deposit its gradient if somebody keeps it."""
    watch = node.watch
    if watch.hooks and node in sums.claimed:  # one that came during this pass may keep what it is shown
        gradient = gradient.copy()
    for hook in standing(watch.hooks):
        gradient = hook(gradient if node.held is None else gradient.astype(node.held))
        sums.owned.discard(node)  # the hook may keep what it gave
        if gradient.shape != node.shape:
            raise ValueError(f"a hook returned a gradient of shape {gradient.shape} for a tensor of shape {node.shape}")
        if gradient.dtype != node.dtype:
            gradient = gradient.astype(node.dtype)
    if deposit and watch.retains_grad:
        _deposit(watch, gradient, sums, sums.is_unshared(node), node in sums.claimed)
    return gradient


def _deposit(watch, gradient, sums, new, mine):
    """Add to ``.grad``; what is deposited is never shared with another holder (``new``: it has
    none). mine: this pass has claimed the ``grad_buffer``.
    """
    recorded = sums.recorded
    with depositing:
        previous = watch.grad if recorded else raw(watch.grad)
        home = None if watch.claimed and not mine else watch.grad_buffer  # another pass may be writing there
        if previous is not None:
            gradient = as_array(previous + gradient)
        elif not recorded and not new and home is None:
            gradient = gradient.copy()
        if home is not None and gradient is not home and not recorded:
            home[...] = gradient
            gradient = home
        watch.scale = sums.scale if previous is None else added(watch.scale, sums.scale)
        watch.summed = watch.summed and previous is not None
        watch.grad = gradient


@contextlib.contextmanager
def _claimed(homes):
    """Gives ``homes``, which nobody else may write to meanwhile."""
    try:
        yield homes
    finally:
        with depositing:
            for node in homes:
                node.watch.claimed = False


def _homes(order):
    """A context that gives ``{leaf: its grad_buffer}``, where the first gradient to arrive may be
    written at once: on a GPU, where a copy is a launch.

    That is, of leaves that have no gradient yet and no hooks.
    """
    leaves = {}
    for node in reversed(order):  # parameters are older than all that is computed of them
        if node.pullback is not None or node.watch.grad_buffer.__class__ is np.ndarray:
            break
        if node.watch.grad_buffer is not None:
            leaves[node] = node.watch.grad_buffer
    if not leaves:
        return _ALONE
    with depositing:
        homes = {
            leaf: home
            for leaf, home in leaves.items()
            if leaf.watch.grad is None and not (leaf.watch.hooks or leaf.watch.claimed)
        }
        for leaf in homes:
            leaf.watch.claimed = True
    return _claimed(homes)
