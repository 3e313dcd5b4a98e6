"""Recomputing instead of remembering: memory for time.

``checkpoint(fn, *args)`` runs ``fn`` and keeps only its inputs; everything in between is recomputed
during backward. Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost",
2016, arXiv:1604.06174.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor import random
from minitensor.backend import device_of, memory, namespace, precision
from minitensor.engine.autograd import backward_pass, new_node
from minitensor.engine.mode import current_mode, enable_grad, switched
from minitensor.engine.primitive import refuse_stale
from minitensor.engine.tensor import Tensor

__all__ = ["checkpoint"]

if TYPE_CHECKING:
    from collections.abc import Callable


def checkpoint(fn: Callable[..., Tensor], *args: Any) -> Tensor:
    """``fn(*args)``, one tensor, whose inner values are not kept for backward but computed a second
    time.

    Gradients of any order reach the tensors of ``args`` and all else that ``fn`` uses: a module's
    parameters, tensors of an enclosing function. ``fn`` must compute the same both times. Numbers
    from ``mt.random`` (as dropout draws them), from generators of your own too, are the same again.
    Backward raises RuntimeError if the second run differs: if a parameter has been overwritten in
    between, or ``fn`` draws from elsewhere or changes what it reads.

    >>> import minitensor as mt
    >>> x = mt.tensor([1.0, 2.0], requires_grad=True)
    >>> mt.checkpoint(lambda x: x * x * x, x).sum().backward()
    >>> x.grad
    tensor([ 3., 12.])
    """
    args = memory.private(args)
    began = next(memory.clock)
    with random.noting_draws() as drawn:
        out = fn(*args)
    if not isinstance(out, Tensor):
        raise TypeError(
            f"checkpoint: fn must return one tensor, not {type(out).__name__}; mt.concat several, and split them after"
        )
    if out.node is None or out.node.order < began or not current_mode.get().grad:
        return out
    parents = _older_than(began, out.node)
    return Tensor(
        out._array,
        new_node(Recomputation(fn, current_mode.get().autocast), parents, (args, drawn, out._array), out._array),
    )


def _older_than(began, node):
    """The nodes from before ``began`` at which the graph that ends in ``node`` starts, oldest
    first.
    """
    outer: list = []
    seen, stack = {node}, [node]
    while stack:
        for parent in stack.pop().parents:
            if parent not in seen:
                seen.add(parent)
                (outer if parent.order < began else stack).append(parent)
    return sorted(outer, key=lambda node: node.order)


def _equal(second, first, exactly):
    """Whether two results are one; not ``exactly`` means up to rounding, as parallel sums may be
    added up in another order.
    """
    if second.shape != first.shape or second.dtype != first.dtype:
        return False
    xp = namespace(device_of(first))
    if xp.array_equal(second, first, equal_nan=True):
        return True
    if exactly:
        return False
    greatest = float(abs(xp.where(xp.isfinite(first), first, 0)).max())
    bound = 64 * 2.0 ** -precision(first.dtype) * greatest
    return bool(xp.allclose(second, first, rtol=0, atol=bound, equal_nan=True))


class Recomputation:
    """How a checkpoint's gradient is pulled back: run ``fn`` again, recorded this time, and go back
    through that.
    """

    __slots__ = ("fn", "autocast", "op_name")
    simple = False
    gives_new = True
    fills = False

    def __init__(self, fn, autocast):
        self.fn = fn
        self.autocast = {} if autocast is None else {"autocast": autocast, "watched": True}  # as forward had it
        self.op_name = f"checkpoint({getattr(fn, '__qualname__', type(fn).__name__)})"

    def pull(self, node, gradient, recorded, needed):
        """One gradient per parent."""
        args, drawn, before = node.saved
        began = next(memory.clock)
        with enable_grad(), switched(**self.autocast), random.drawing_again(drawn):
            out = self.fn(*args)
        self._refuse_other(out, before, node, began)
        wanted = {parent for parent in node.parents if needed is None or parent in needed}
        found = backward_pass([out.node], [gradient], wanted=wanted, create_graph=recorded, stop=set(node.parents))
        return [found.get(parent) for parent in node.parents]

    def _refuse_other(self, out, before, node, began):
        """Raise RuntimeError if the second run did not come out as the first: its gradients would
        be those of something else.
        """
        if (
            isinstance(out, Tensor)
            and out.node is not None
            and _equal(out._array, before, exactly=memory.last_write > node.order)
            and set(_older_than(began, out.node)) == set(node.parents)
        ):
            return
        names = ", ".join(memory.written_since(node.order))
        cause = (
            f"values may have been overwritten since, by assign or an optimiser's step (written were: {names}); call backward "
            "before the update"
            if names
            else "fn must compute the same from its arguments each time; random numbers are drawn again alike from generators of "
            "mt.random alone (not from Python's or NumPy's), and what fn counts, changes or reads from files must not matter"
        )
        raise RuntimeError(f"{self.op_name}: the second run differs from the first: {cause}")

    def check_fresh(self, node, needed):
        """Raise if an argument has been overwritten since ``fn`` ran."""
        for value in node.saved[0]:
            if isinstance(value, Tensor):
                refuse_stale(self.op_name, value._array, node.order)

    def check_finite(self, node, gradient, pulled):
        """Nothing to do: the backward pass within has looked at every value."""
