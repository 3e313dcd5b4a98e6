"""The arguments and results of a CUDA graph: trees, taken apart into arrays and a form, and put
together again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minitensor.backend import device_of, is_array, np
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import current_mode
from minitensor.engine.tensor import Tensor
from minitensor.engine.trees import containers_of, leaves_of, mapped, structure

__all__ = ["arrays_in", "key_of", "plain", "put_together", "taken_apart"]

NUMBERS = bool, int, float, complex


class Place:
    """Where an array was in a tree."""

    def __init__(self, array: Any) -> None:
        self.what = f"{array.dtype}{array.shape} {'host' if isinstance(array, np.ndarray) else device_of(array)}"


def taken_apart(tree: Any, arrays: list[Any], result: bool = False) -> Any:
    """``tree`` with a ``Place`` for each tensor and array, whose raw arrays are put into
    ``arrays``: the form of it.
    """
    for container in containers_of(tree):
        if own := getattr(container, "__dict__", None):
            raise TypeError(
                f"cuda_graph: {a_kind(container)} has attributes of its own, which would be those of one call: "
                f"{', '.join(own)}; pass and return them by themselves"
            )

    def taken(leaf):
        if isinstance(leaf, Tensor):
            if not result and leaf.node is not None and current_mode.get().grad:
                raise ValueError(
                    "cuda_graph: an argument requires a gradient, and arguments are copied: use that tensor inside the "
                    "function, which finds it by itself, or pass x.detach()"
                )
            leaf = leaf._array
        if is_array(leaf):
            arrays.append(leaf)
            return Place(leaf)
        if result and isinstance(leaf, (*NUMBERS, np.generic)):
            raise TypeError(f"the result {leaf!r} is a number of one call, and would be that of all: return tensors")
        if plain(leaf) is None:
            raise TypeError(
                f"cuda_graph: arguments and results are tensors, arrays, numbers, strings and containers of them, not "
                f"{type(leaf).__name__}"
            )
        return leaf

    return mapped(taken, tree)


def put_together(form: Any, arrays: Iterator[Any]) -> Any:
    """``form`` with a tensor of the next of ``arrays`` for each place."""
    return mapped(lambda leaf: Tensor(next(arrays)) if isinstance(leaf, Place) else leaf, form)


def key_of(form: Any) -> Any:
    """A form as a key: values of two types are of two kinds."""
    return structure(form, lambda leaf: leaf.what if isinstance(leaf, Place) else plain(leaf))


def plain(value: Any) -> Any:
    """A number, a word, a type of elements or a slice of such as a key; None for anything else."""
    if isinstance(value, slice):
        parts = [None if part is None else plain(part) or slice for part in (value.start, value.stop, value.step)]
        return None if slice in parts else (slice, *parts)
    if isinstance(value, (*NUMBERS, str, bytes, np.generic, np.dtype)):
        return type(value), float.__repr__(value) if isinstance(value, float) else str(value)
    return None


def arrays_in(tree: Any) -> list[Any]:
    """The tensors and raw arrays of a tree."""
    return [leaf for leaf in leaves_of(tree) if isinstance(leaf, Tensor) or is_array(leaf)]
