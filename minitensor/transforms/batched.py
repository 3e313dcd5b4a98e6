"""A tensor that stands for the tensors of all examples at once: what a function sees inside
``vmap``.

It has the shape of one example. Its values are in ``value``, a Tensor with the examples along axis
0, which only the rules of ``level.py`` touch. Whatever needs the values of one example (a truth
value for ``if``, a Python number, a NumPy array) raises ``Unknown``, for they are many.
"""

from __future__ import annotations

from typing import Any

from minitensor.engine.tensor import Tensor

__all__ = ["Batched", "Unknown"]


class Unknown(TypeError):
    """The values of one example were asked for, where one tensor stands for many."""


class _Veil:
    """What a batched tensor has for an array: nothing can be done with it."""

    __slots__ = ()

    def __getattr__(self, name):
        raise AttributeError(name) if name.startswith("__") else _unknown("the values")

    def _refused(self, *args, **keywords):
        raise _unknown("the values")

    __array__ = __getitem__ = __setitem__ = __len__ = __iter__ = __bool__ = __float__ = __int__ = __index__ = _refused


def _unknown(wish):
    return Unknown(
        f"mt.vmap: {wish} of a tensor that stands for many examples at once cannot be read: write mt.where(condition, x, y) "
        "for an if, leave .numpy(), .item(), float() and random numbers outside, and keep no such tensor behind the call; "
        "mt.vmap(f, loop=True) runs any function, example by example"
    )


class _NoNode:
    """What a batched tensor has for a node: it can be handed on, and nothing can be asked of it."""

    __slots__ = ()

    def __getattr__(self, name):
        raise AttributeError(name) if name.startswith("__") else _no_gradient()


def _no_gradient():
    return Unknown(
        "mt.vmap: a tensor that stands for many examples at once has no gradient of its own: write mt.vjp, mt.value_and_grad, "
        "mt.jacobian or mt.jvp inside the function instead of backward, mt.grad, mt.checkpoint or requires_grad, or loop=True"
    )


_VEIL: Any = _Veil()
_NODE: Any = _NoNode()


def _refusing(wish):
    """A method or property that is not to be had."""

    def refused(self, *args, **keywords):
        raise _unknown(wish)

    return refused


class Batched(Tensor):
    """``value``: a Tensor (B, ...) of all B examples; ``level``: the ``vmap`` it belongs to."""

    __slots__ = ("value", "level")

    def __init__(self, value: Tensor, level: Any) -> None:
        self._array = _VEIL
        self.node = _NODE
        self.value = value
        self.level = level

    shape = property(lambda self: self.value.shape[1:])  # type: ignore[assignment]
    ndim = property(lambda self: self.value.ndim - 1)  # type: ignore[assignment]
    dtype = property(lambda self: self.value.dtype)  # type: ignore[assignment]
    device = property(lambda self: self.value.device)  # type: ignore[assignment]
    requires_grad = property(lambda self: self.value.requires_grad)  # type: ignore[assignment]
    data = property(_refusing("the array"))  # type: ignore[assignment]

    @property
    def size(self) -> int:
        """Number of elements of one example."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    def detach(self) -> Batched:
        """The same values as constants."""
        return Batched(self.value.detach(), self.level)

    def __repr__(self) -> str:
        return f"batched tensor(shape={self.shape}, dtype={self.dtype}, one of {len(self.value)} examples)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def check_tracked(self, wish: str) -> None:
        """Refused: the gradient of one example is not that of all."""
        raise _no_gradient()

    check_constant = _refusing("the array")  # type: ignore[assignment]

    def requires_grad_(self, wanted: bool = True) -> Any:
        """Refused, likewise."""
        raise _no_gradient()

    assign = _refusing("the memory")  # type: ignore[assignment]
    numpy = _refusing("the array")  # type: ignore[assignment]
    item = _refusing("the number")  # type: ignore[assignment]
    tolist = _refusing("the numbers")  # type: ignore[assignment]
    __array__ = _refusing("the array")  # type: ignore[assignment]
    __float__ = __int__ = __index__ = _refusing("the number")  # type: ignore[assignment]
    __bool__ = _refusing("the truth value")  # type: ignore[assignment]
    __reduce__ = _refusing("the values")  # type: ignore[assignment]
    __hash__ = object.__hash__
