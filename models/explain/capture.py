"""What runs while a model computes: every call of a module, and every attention.

Letters: T queries, S keys, H heads, K features of a head, D model width. All is of the first row of
a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.nn.functional.watching import watching_attention

__all__ = ["Array", "Attention", "Call", "Seen", "array_of", "capturing"]

Array = NDArray[Any]


@dataclass
class Call:
    """One call of a module."""

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    @property
    def result(self) -> mt.Tensor | None:
        """The output, or the first of several, if it is a Tensor."""
        first = self.output[0] if isinstance(self.output, tuple) and self.output else self.output
        return first if isinstance(first, mt.Tensor) else None

    @property
    def given(self) -> mt.Tensor | None:
        """The first argument, if it is a Tensor."""
        return self.args[0] if self.args and isinstance(self.args[0], mt.Tensor) else None


@dataclass
class Attention:
    """One attention: the numbers that the model itself computed by.

    query (H, T, K), key (H, S, K), value (H, S, V), weights (H, T, S): softmax(scores), as they are
    before dropout. allowed (H or 1, T, S): where a query may look; None: everywhere. bias: what was
    added to the scores, (H or 1, T or 1, S), or None.
    """

    path: str
    query: Array
    key: Array
    value: Array
    weights: Array
    allowed: Array | None
    bias: Array | None
    scale: float
    causal: bool
    output: Array  # (H, T, V)
    side: str = ""  # "encoder self", "decoder self", "cross", "self"

    @property
    def n_heads(self) -> int:
        return len(self.weights)


@dataclass
class Seen:
    """All calls of one forward pass, in the order in which they ended."""

    calls: list[Call] = field(default_factory=list)
    attentions: list[Attention] = field(default_factory=list)

    def of(self, *kinds: type) -> list[Call]:
        """The calls of modules of these classes."""
        return [call for call in self.calls if isinstance(call.module, kinds)]

    def merged(self) -> list[Attention]:
        """Attentions by path; those of one module that was called step by step are joined."""
        parts: dict[str, list[Attention]] = {}
        for attention in self.attentions:
            parts.setdefault(attention.path, []).append(attention)
        return [one for group in parts.values() for one in _joined(group)]


def array_of(tensor: Any) -> Array:
    """A Tensor as a NumPy array on the host, 16 bits widened."""
    array = mt.asarray(tensor).to("cpu").numpy()
    return array if array.dtype.itemsize > 2 or array.dtype.kind not in "fV" else array.astype(np.float32)


@contextmanager
def capturing(model: nn.Module) -> Iterator[Seen]:
    """What the model computes inside the block, by this thread."""
    seen, stack, own = Seen(), [""], threading.get_ident()
    handles = []

    def enter(path):
        def hook(module, args, kwargs):
            if threading.get_ident() == own:
                stack.append(path)

        return hook

    def leave(module, args, kwargs, output):
        if threading.get_ident() == own:
            seen.calls.append(Call(stack.pop(), module, args, kwargs, output))

    def attended(query, key, value, how, output):
        if query.ndim in (2, 3, 4):
            seen.attentions.append(_attention(stack[-1], query, key, value, how, output))

    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(path), prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))
    try:
        with watching_attention(attended):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _attention(path, query, key, value, how, output):
    weights = _first(F.attention_weights(query, key, **how), 3)
    heads, queries, keys = weights.shape
    allowed = None if how["mask"] is None else np.broadcast_to(_first(how["mask"], 3), (1, queries, keys)).copy()
    if how["mask"] is not None and how["mask"].ndim == 4 and how["mask"].shape[1] > 1:
        allowed = np.broadcast_to(_first(how["mask"], 3), (heads, queries, keys)).copy()
    if how["is_causal"]:
        triangle = np.tri(queries, keys, keys - queries, dtype=bool)[None]
        allowed = triangle if allowed is None else allowed & triangle
    bias = None if how["bias"] is None else _first(how["bias"], 3)
    causal = bool(how["is_causal"]) or (
        allowed is not None and queries == keys > 1 and not np.triu(allowed.any(axis=0), 1).any()
    )
    q, k, v, y = (_first(x, 3) for x in (query, key, value, output))
    if allowed is not None and allowed.all():
        allowed = None
    return Attention(path, q, k, v, weights, allowed, bias, float(array_of(how["scale"])), causal, y)


def _first(tensor, ndim):
    """The first row of a batch, with ``ndim`` axes."""
    array = array_of(tensor)
    while array.ndim > ndim:
        array = array[0]
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def _joined(group):
    """One attention of those that had a query each of the same keys; otherwise all of them."""
    first = group[0]
    same = all(one.query.shape[1] == 1 and one.key.shape == first.key.shape for one in group)
    if len(group) == 1 or not same:
        return group
    allowed = None
    if any(one.allowed is not None for one in group):
        shape = (1, 1, first.key.shape[1])
        allowed = np.concatenate([np.ones(shape, bool) if a.allowed is None else a.allowed for a in group], axis=1)
    bias = None if first.bias is None else np.concatenate([one.bias for one in group], axis=1)
    rows: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in group], axis=1) for name in ("query", "weights", "output")
    }
    return [replace(first, allowed=allowed, bias=bias, **rows)]
