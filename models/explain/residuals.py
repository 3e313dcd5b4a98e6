"""What each sub-layer adds to what runs through a stack, found by its numbers.

A module f is a sub-layer if its output y is added to something: if x + y is what a module that runs
next is given or gives, x being what f was given or, if that came from a norm, what the norm was
given. So post-norm, pre-norm and a model of one's own are found by the same look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.backend import is_narrow
from minitensor.models.explain.capture import Array, Call, Seen, array_of

__all__ = ["SubLayer", "sub_layers"]

NORMS = (nn.LayerNorm, nn.RMSNorm)
SKIPPED = (*NORMS, nn.Dropout, nn.Embedding)
NEXT = 12  # how many calls further x + y is looked for


@dataclass
class SubLayer:
    """``x + f(x)``, or ``x + f(norm(x))``: norms of each position, (T,) each."""

    path: str
    layer: str  # the path of the module that it belongs to
    norm_first: bool
    before: Array  # |x|
    added: Array  # |y|
    after: Array  # |x + y|
    normed: Array | None  # |norm(x + y)|, if a norm follows
    hidden: Array | None  # (T, F): inside a feed-forward network, behind its activation


def sub_layers(seen: Seen) -> list[SubLayer]:
    """All sub-layers of one sequence, in order."""
    layers = {attention.path.rpartition(".")[0] for attention in seen.attentions}
    made = {id(call.output): call for call in seen.calls if isinstance(call.module, NORMS)}
    found = []
    for place, call in enumerate(seen.calls):
        parent = call.path.rpartition(".")[0]
        if parent not in layers or isinstance(call.module, SKIPPED):
            continue
        x, y = call.given, call.result
        if x is None or y is None or x.shape != y.shape or y.ndim != 3 or y.shape[0] != 1:
            continue
        norm = made.get(id(x))
        for start, norm_first in ((norm.given if norm else None, True), (x, False)):
            joined = None if start is None else _met(array_of(start) + array_of(y), seen.calls, place)
            if joined is not None:
                found.append(_sub_layer(call, parent, norm_first, start, joined, seen, place))
                break
    return found


def _met(total, calls, place):
    """The call behind ``place`` that is given ``total``, or gives it; None if there is none."""
    for call in calls[place + 1 : place + 1 + NEXT]:
        for tensor in (call.given, call.result):
            if tensor is not None and tensor.shape == total.shape:
                unit = float(mt.finfo(tensor.dtype).eps) if is_narrow(tensor.dtype) else 1e-4  # of a sum of 16 bits
                size = max(1.0, float(np.abs(total).max()))
                if np.allclose(total, array_of(tensor), rtol=unit, atol=0.1 * unit * size):
                    return call
    return None


def _sub_layer(call, parent, norm_first, start, joined, seen, place):
    x, y = array_of(start)[0], array_of(call.result)[0]
    follows = isinstance(joined.module, NORMS) and not norm_first and joined.given is not None
    normed = np.linalg.norm(array_of(joined.result)[0], axis=-1) if follows else None
    before, added, after = (np.linalg.norm(part, axis=-1) for part in (x, y, x + y))
    hidden = _hidden(call, seen.calls[:place])
    return SubLayer(call.path, parent, norm_first, before, added, after, normed, hidden)


def _hidden(call: Call, before: list[Call]) -> Array | None:
    """What the last Linear of a feed-forward network was given, of the attentions nothing."""
    if isinstance(call.module, nn.MultiHeadAttention):
        return None
    inner = [one for one in before if one.path.startswith(f"{call.path}.") and isinstance(one.module, nn.Linear)]
    last = inner[-1] if inner else None
    return None if last is None or len(inner) < 2 or last.given is None else array_of(last.given)[0]
