"""How models that answer once, or at every position, are read: BERT, ViT, classifiers, one's own.

Letters: S input positions, T rows of the output, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT
from minitensor.models.checks import evaluating
from minitensor.models.explain.capture import Array, Attention, array_of, capturing
from minitensor.models.explain.reading import (
    Reading,
    changed_inputs,
    deletions,
    on_device,
    one_row,
    picked,
    read,
)
from minitensor.models.vit import ViT

__all__ = ["read_any", "read_bert", "read_vit"]


def read_bert(model: BERT, ids: Any, positions: Any) -> Reading:
    """The word at each position, if there is a head for that; otherwise the class of the text."""
    ids = one_row(ids, "text")
    head: Callable[..., Any] | None = None
    of_words = model.mlm is not None
    if of_words:
        head = model.word_logits
    elif model.classifier is not None:
        head = model.class_logits
    elif model.nsp is not None:
        head = model.next_logits
    with evaluating(model), capturing(model) as seen:
        hidden = model(on_device(model, ids[None]))
        logits = array_of(head(hidden))[0] if head else np.zeros((0, 1))
    logits = logits.reshape(-1, logits.shape[-1])
    at = np.arange(len(ids)) if of_words else np.zeros(len(logits), dtype=np.int64)
    if of_words and positions is not None:
        at = np.asarray(positions).reshape(-1)
        if not at.size:
            raise ValueError("explain: positions is empty: name at least one, or leave it out to see all")
        if at.dtype.kind not in "iu":
            raise TypeError(f"explain: positions must be integers, got {at.dtype}")
        if at.min() < -len(ids) or at.max() >= len(ids):
            raise IndexError(f"explain: positions {at.tolist()} are not all among the {len(ids)} of the text")
        at = at % len(ids)
        logits = logits[at]
    chosen = logits.argmax(axis=-1)
    for one in seen.attentions:
        one.side = "self"
    contexts = [ids[t] for t in at] if of_words else ["the whole text"] * len(logits)
    made = Reading("hidden words" if of_words else "class of a text", list(ids), [], seen, logits, chosen, contexts)
    made.names = "tokens" if of_words else "classes"
    made.about["at"] = list(at)
    made.rows_of = lambda one: one.weights.mean(axis=0)[at]
    if head is not None and len(ids) > 1:
        made.how, masks = "hiding each token", ~np.eye(len(ids), dtype=bool)

        def run(mask):
            rows = on_device(model, np.broadcast_to(ids, tuple(mask.shape)).copy())
            return array_of(head(model(rows, mask)))

        def without():
            found = changed_inputs(model, masks, run)  # (S, T, V) or (S, C)
            found = found[:, at] if of_words else found[:, None]
            effects = picked(found, chosen).T
            if of_words:  # a position that is hidden from the others still sees itself as a query
                effects[np.arange(len(at)), at] = np.nan
            return effects

        made.without = without
    return made


def read_vit(model: ViT, image: Any) -> Reading:
    """An image (C, S, S): its class, and what the class token looked at."""
    image = array_of(image)
    image = image[0] if image.ndim == 4 and len(image) == 1 else image
    if image.ndim != 3:
        raise ValueError(f"explain takes one image (channels, height, width), got shape {image.shape}")
    batch = on_device(model, image[None])
    side, size = model.config.image_size // model.config.patch_size, model.config.patch_size
    first = model.class_token is not None
    if model.classifier is None:
        with evaluating(model), capturing(model) as seen:
            model.features(batch)
        logits = np.zeros((0, 1))
    else:
        seen, output = read(model, batch)
        logits = array_of(output)
    chosen = logits.argmax(axis=-1)
    places = [f"row {n // side + 1}, column {n % side + 1}" for n in range(side * side)]
    for one in seen.attentions:
        one.side = "self"
    made = Reading("class of an image", (["class"] if first else []) + places, [], seen, logits, chosen, ["the image"])
    made.names, made.image, made.grid = "classes", image, side

    def patches(one: Attention) -> Array:
        weights = one.weights.mean(axis=0)  # (T, T)
        return weights[:1, 1:] if first else weights.mean(axis=0, keepdims=True)

    def without():
        variants = np.broadcast_to(image, (side * side, *image.shape)).copy()
        for n, variant in enumerate(variants):
            row, column = n // side * size, n % side * size
            variant[:, row : row + size, column : column + size] = image.mean(axis=(1, 2), keepdims=True)
        return picked(changed_inputs(model, variants, lambda x: array_of(model(x)))[:, None], chosen).T

    made.rows_of, made.how = patches, "painting each patch in the image's mean colour"
    if len(logits):
        made.without = without
    return made


def read_any(model: nn.Module, inputs: Any) -> Reading:
    """Any Module: what it returns is taken for logits, (1, V) or one row a position, (1, T, V).

    inputs: its argument, or a tuple of them; each with a batch of one. Raises ValueError for more.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not given:
        raise ValueError("explain: inputs is an empty tuple, there is nothing to look at")
    first = array_of(given[0]) if not isinstance(given[0], (tuple, list, dict)) else np.asarray(given[0])
    if first.ndim >= 2 and len(first) != 1:
        raise ValueError(f"explain takes one input at a time, a batch of one; got {len(first)}, of shape {first.shape}")
    seen, output = read(model, *given)
    output = output[0] if isinstance(output, tuple) and output else output
    found = array_of(output) if isinstance(output, mt.Tensor) else np.zeros((0, 1))
    if first.ndim == 1 and found.ndim and len(first) == len(found) > 1:
        raise ValueError(
            f"explain takes one input at a time, a batch of one; got {len(first)}, of shape {first.shape}: if that is "
            f"one input, give it as (1, {len(first)})"
        )
    if found.dtype.kind != "f" or found.ndim not in (2, 3) or len(found) != 1:
        found = np.zeros((0, 1))
    logits = found.reshape(-1, found.shape[-1])
    chosen = logits.argmax(axis=-1) if logits.size else np.zeros(0, dtype=np.int64)
    ids = first.dtype.kind in "iu" and first.ndim == 2
    length = first.shape[1] if first.ndim >= 2 else 0
    each = len(logits) == length and found.ndim == 3
    for one in seen.attentions:
        one.side = "self" if one.weights.shape[1] == one.weights.shape[2] else "cross"
    source = list(first[0]) if ids else list(range(1, length + 1))
    contexts = list(source) if each else ["the whole input"] * len(logits)
    made = Reading("outputs", source, [], seen, logits, chosen, contexts)
    words = {call.module.weight.shape[0] for call in seen.of(nn.Embedding)}  # a tagger's outputs are no tokens
    made.names = "tokens" if ids and each and logits.shape[-1] in words else "outputs"
    made.about["plain"] = not ids

    def rows(one: Attention) -> Array | None:
        weights = one.weights.mean(axis=0)
        if weights.shape[1] != length or (each and len(weights) != len(logits)):
            return None
        return weights if each else weights.mean(axis=0, keepdims=True)

    made.rows_of = rows
    causal = bool(seen.attentions) and all(one.causal for one in seen.attentions)
    if len(given) == 1 and len(logits) in (1, length) and length > 1 and logits.shape[-1] > 1:
        made.how = "leaving out each position"
        made.without = lambda: _without_position(model, first, made, each, causal)
    return made


def _without_position(model, first, made, each, causal):
    """Log P of what was chosen, each position taken out: the others move up."""
    shorter, chosen = deletions(first[0]), made.chosen

    def run(x):
        output = model(x)
        return array_of(output[0] if isinstance(output, tuple) else output)

    try:
        found = changed_inputs(model, shorter, run)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        name, kind = type(model).__name__, type(error).__name__
        made.unmeasured = f"with one position fewer {name} raises {kind}: {str(error).rstrip('.')}"
        return np.full((len(chosen), len(shorter)), np.nan)
    if not each:
        return picked(found.reshape(len(shorter), 1, -1), chosen).T
    effects = np.full((len(chosen), len(shorter)), np.nan)
    for t, choice in enumerate(chosen):
        for s in range(len(shorter)):
            if s != t and not (causal and s > t):
                effects[t, s] = picked(found[s, t - (t > s)][None], np.array([choice]))[0]
    return effects
