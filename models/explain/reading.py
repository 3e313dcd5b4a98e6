"""What each kind of model is asked, and what came of it: one forward pass, looked into.

Letters: S source or input positions, T rows of the output, V vocabulary or classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.checks import evaluating
from minitensor.models.explain.capture import Array, Attention, Seen, array_of, capturing

__all__ = [
    "Reading", "batches", "changed_inputs", "deletions", "log_softmax", "on_device", "one_row", "picked", "read", "stop_ids",
]  # fmt: skip

AT_ONCE = 32  # inputs with something left out that go through the model together


@dataclass
class Reading:
    """One forward pass. ``logits`` (T, V); ``chosen`` (T,), the entry that each row is asked about;
    ``contexts`` says of each row what it follows, or where it stands.

    without(s): log P (T,) of what was chosen, input s left out; None if that cannot be done.
    """

    kind: str
    source: list[Any]  # ids, or names of positions
    target: list[Any]  # what a decoder was given
    seen: Seen
    logits: Array
    chosen: Array
    contexts: list[Any]
    how: str = "hiding each input"
    without: Callable[[], Array] | None = None  # (T, S), NaN where there is nothing to compare
    rows_of: Callable[[Attention], Array | None] = lambda attention: None  # (T, S) of an attention
    sequential: Callable[[], Array] | None = None  # log P (T, V), one step after the other
    names: str = "tokens"  # what the columns of logits are: "tokens", "classes" or "outputs"
    image: Array | None = None
    grid: int = 0  # patches a side of the image
    unmeasured: str = ""  # why leaving out failed, if it did
    about: dict[str, Any] = field(default_factory=dict)


def read(model: nn.Module, *inputs: Any) -> tuple[Seen, Any]:
    """What ran while the model computed, and what it returned; in evaluation mode."""
    with evaluating(model), capturing(model) as seen:
        output = model(*inputs)
    return seen, output


def log_softmax(logits: Array) -> Array:
    """In float64, whatever the type of the logits."""
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def picked(logits: Array, chosen: Array) -> Array:
    """The log-probabilities (..., T) of chosen (T,) in logits (..., T, V)."""
    table = log_softmax(logits)
    return np.take_along_axis(table, np.broadcast_to(chosen, table.shape[:-1])[..., None], axis=-1)[..., 0]


def batches(count: int) -> list[Array]:
    """The numbers from 0 to ``count`` - 1 in groups that are computed together."""
    return np.array_split(np.arange(count), max(1, -(-count // AT_ONCE)))


def deletions(rows: Array) -> Array:
    """All that remains of ``rows`` (S, ...) if one is taken out: (S, S - 1, ...)."""
    return np.stack([np.delete(rows, s, axis=0) for s in range(len(rows))])


def stop_ids(config: Any) -> tuple[int, ...]:
    """The tokens that end a text, of a configuration."""
    stop = getattr(config, "stop_id", None)
    return () if stop is None else tuple(int(one) for one in np.atleast_1d(np.asarray(stop)))


def _is_text(ids):
    return isinstance(ids, (str, bytes)) or (isinstance(ids, (list, tuple)) and any(map(_is_text, ids)))


def one_row(ids: Any, what: str) -> Array:
    """Ids (S,) or (1, S) as (S,). Raises ValueError for others, TypeError for no integers."""
    if _is_text(ids):
        raise TypeError(f"explain takes the ids of a {what}, and got text: let the model's tokenizer encode it")
    array = array_of(ids)
    array = array[0] if array.ndim == 2 and len(array) == 1 else array
    if array.ndim != 1 or not array.size:
        raise ValueError(f"explain takes one {what}, ids (length,) or (1, length) with at least one, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"explain: the ids of the {what} must be integers, got {array.dtype}")
    return array.astype(np.int64)


def on_device(model: nn.Module, array: Array) -> mt.Tensor:
    """An array where the model's parameters are."""
    parameter = next(iter(model.parameters()), None)
    return mt.asarray(array, device="cpu" if parameter is None else parameter.device)


def changed_inputs(model: nn.Module, variants: Array, run: Callable[[Any], Array]) -> Array:
    """``run`` of all variants of an input, in groups: (variants, ...)."""
    with evaluating(model):
        return np.concatenate([run(on_device(model, variants[group])) for group in batches(len(variants))])
