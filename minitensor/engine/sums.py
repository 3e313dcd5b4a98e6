"""Gradients as they arrive at the nodes of a pass: brought to shape and dtype, and summed.

Rules are pure; only this file adds gradients up, in place only into buffers that it owns.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import copied, device_of, holds_numbers, is_array, namespace, np

__all__ = ["GradientSums", "Scatter", "SumsOnGpus", "as_array", "raw", "unbroadcast"]

_NDARRAY = np.ndarray


class Scatter:
    """The gradient of indexing: ``values`` at ``index`` of an array of zeros of ``shape``, not
    written out.

    The engine adds it in place into a buffer that it owns, so that ``x[:, t]`` in a loop over time
    costs one buffer, not T. Where the derivative is itself recorded it becomes the op ``put``.
    """

    __slots__ = ("values", "index", "shape")

    def __init__(self, values: Any, index: Any, shape: tuple[int, ...]) -> None:
        self.values = values
        self.index = index
        self.shape = shape

    @property
    def device(self) -> Any:
        """Where the values lie, as their array says it."""
        return self.values.device


class GradientSums:
    """Gradients by node, summed as they arrive.

    The first arrival is borrowed, since it may be shared (``x + y`` hands the same array to both),
    and the engine never writes to it, unless it is known to be new, as a kernel's is. A sum is
    owned, and later arrivals are added to it in place. Every arrival is first brought to the node's
    shape and dtype: the one place where broadcasting is undone.
    """

    __slots__ = ("values", "owned", "recorded", "homes", "claimed", "scale")

    def __init__(self, recorded):
        self.values = {}
        self.owned = set()  # nodes whose array nobody else holds
        self.recorded = recorded  # gradients are Tensors, and nothing is added in place
        self.claimed = {}  # leaf -> memory that this pass alone writes to, where the gradient goes in the end
        self.homes = {}  # those of them that no gradient was written to yet
        self.scale = None  # by what the loss was multiplied, if that is known

    def add(self, node, value, new=False):
        """Add ``value`` to the gradient of ``node``; ``new``: it shares memory with nothing."""
        if value.__class__ is Scatter:
            if self.recorded:
                value = self.write_out(node, value)
        elif value.__class__ is not _NDARRAY or value.shape != node.shape or value.dtype is not node.dtype:
            value = self.fit(node, value)
        values = self.values
        before = values.get(node)
        if before is None:
            values[node] = value
            if new and not self.recorded and value.__class__ is not Scatter:
                self.owned.add(node)
        elif node in self.owned and value.__class__ is not Scatter:
            _add_to(before, value)
        else:
            values[node] = self.sum(node, before, value)

    def take(self, node):
        """The gradient of ``node``, complete, since all younger nodes have been visited."""
        gradient = self.values.pop(node)
        return self.write_out(node, gradient) if gradient.__class__ is Scatter else gradient

    def is_unshared(self, node):
        """Whether nobody else holds the gradient of ``node``: it is owned, and goes no further."""
        return node in self.owned and node.pullback is None

    def unshared(self, node, gradient):
        """The gradient of ``node`` for somebody to keep: a copy, unless nobody else holds it."""
        return gradient if self.recorded or self.is_unshared(node) else copied(gradient)

    def fit(self, node, value):
        """``value`` in the shape and dtype of ``node``."""
        if not hasattr(value, "shape"):
            raise TypeError(
                f"a rule returned {value!r}, it must return an array of shape {node.shape} (g * 0.0, if need be)"
            )
        if not holds_numbers(value.dtype):
            raise TypeError(f"a rule returned an array of {value.dtype}, it must return numbers")
        if value.shape != node.shape:
            value = unbroadcast(value, node.shape)
        if value.dtype != node.dtype:
            value = value.astype(node.dtype)
        return as_array(value)

    def sum(self, node, before, value):
        """``before + value`` if a plain addition in place will not do."""
        if self.recorded:
            return before + value
        if before.__class__ is Scatter:
            before = self.write_out(node, before)
        elif node not in self.owned:
            if value.__class__ is not Scatter:
                self.owned.add(node)
                return _plus(before, value)
            before = before.copy()
        self.owned.add(node)
        if value.__class__ is Scatter:
            _add_at(before, value)
        else:
            _add_to(before, value)
        return before

    def write_out(self, node, scatter):
        """The array of zeros with the scattered values in it."""
        if self.recorded:
            return scatter.values.put(scatter.index, scatter.shape)
        out = self.homes.pop(node, None)
        if out is None:
            out = namespace(device_of(scatter.values)).zeros(scatter.shape, dtype=node.dtype)
        else:
            out.fill(0)
        _add_at(out, scatter)
        self.owned.add(node)
        return out


class SumsOnGpus(GradientSums):
    """Gradients of a pass over several GPUs: ``follow`` makes the GPU of a value the current one
    while it is worked on.
    """

    __slots__ = ("follow",)

    def __init__(self, recorded, follow):
        super().__init__(recorded)
        self.follow = follow

    def add(self, node, value, new=False):
        """As ``GradientSums.add``; what ``to`` pulls back lies on another GPU than the gradient
        that it was given.
        """
        self.follow(value)
        super().add(node, value, new)

    def take(self, node):
        """As ``GradientSums.take``."""
        self.follow(self.values[node])
        return super().take(node)


MANY = 1 << 14  # elements from which a sum is left to the device's own way of adding


def _plus(before, value):
    """``before + value``, a new array; both have the shape and dtype of a node."""
    return as_array(before + value) if value.size < MANY else namespace(device_of(value)).add(before, value)


def _add_to(before, value):
    """``before += value``."""
    if value.size < MANY:
        before += value
    else:
        namespace(device_of(value)).add(before, value, out=before)


def _add_at(out, scatter):
    namespace(device_of(out)).add_at(out, scatter.index, scatter.values)


def _sum(gradient, axes, keepdims):
    """``gradient.sum(axis=axes, keepdims=keepdims)``, of an array or a Tensor."""
    if gradient.size < MANY or not is_array(gradient):
        return gradient.sum(axis=axes, keepdims=keepdims)
    return namespace(device_of(gradient)).sum(gradient, axis=axes, keepdims=keepdims)


def raw(value):
    """The array of a Tensor; anything else as it is."""
    return value._array if hasattr(value, "node") else value


def as_array(value):
    """``value``, as an array if it is a NumPy scalar: what NumPy makes of sums and products of 0-d
    arrays.
    """
    return np.asarray(value) if isinstance(value, np.generic) else value


def unbroadcast(gradient, shape):
    """Sum ``gradient`` over the axes along which an operand of ``shape`` was repeated: the adjoint
    of broadcasting.
    """
    extra = gradient.ndim - len(shape)
    if extra > 0:
        gradient = _sum(gradient, tuple(range(extra)), False)
    repeated = tuple(i for i, (have, want) in enumerate(zip(gradient.shape, shape)) if want == 1 and have != 1)
    if repeated:
        gradient = _sum(gradient, repeated, True)
    if gradient.shape != tuple(shape):
        raise RuntimeError(f"a rule returned a gradient of shape {gradient.shape} for an input of shape {tuple(shape)}")
    return gradient
