"""What a translating model needs of its source for each word that it writes, by several measures,
and what becomes of its words if its attention is another.

    hidden[t, s]    log P(word t | source) - log P(word t | source, word s hidden)
    left out        the same with word s taken out of the sentence
    gradient        | d log P(word t) / d x_s |, of the embedding x_s
    gradient x input   x_s . d log P(word t) / d x_s

Occlusion as in Li, Monroe and Jurafsky 2016, arXiv:1612.08220; gradients as in Simonyan, Vedaldi
and Zisserman 2014, arXiv:1312.6034, and Denil et al. 2014, arXiv:1412.6815. All are of the words of
the right translation, each after those before it.

Letters: N sentences, S source positions, T written words, V vocabulary, H heads, K features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from toolkit.batches import Batch

import minitensor as mt
import minitensor.nn.functional as F
from claims.aligned import UNKNOWN, hideable
from minitensor.models.checks import evaluating
from minitensor.models.seq2seq import Seq2Seq
from minitensor.models.transformer import Transformer
from minitensor.nn.cache import KeyValueCache

__all__ = [
    "ATTENTION",
    "Model",
    "attention_of",
    "difference",
    "evenly",
    "gradients",
    "hidden",
    "left_out",
    "permuted",
    "replay",
]

Model = Transformer | Seq2Seq
ATTENTION = "attention, mean"
Change = Callable[[Any], Any]  # of keys (..., S, K)


def attention_of(model: Model, batch: Batch) -> dict[str, np.ndarray]:
    """Attention to the source (N, T, S): the mean of all, of each layer, and each head."""
    maps = model.attention_maps(batch.source, batch.target_in, batch.source_mask)
    layers = [weights.numpy() for name, weights in maps.items() if name.endswith("cross")]  # (N, H, T, S) each
    found = {ATTENTION: np.mean([layer.mean(axis=1) for layer in layers], axis=0)}
    for number, layer in enumerate(layers, start=1):
        if len(layers) > 1:
            found[f"attention, layer {number}"] = layer.mean(axis=1)
        if layer.shape[1] > 1:
            found |= {f"layer {number}, head {head + 1}": layer[:, head] for head in range(layer.shape[1])}
    return found


@mt.no_grad
def predictions(model: Model, batch: Batch, source: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log P (N, T) of the right words for another source (N, S), and the most probable ones."""
    table = F.log_softmax(model(source, batch.target_in, mask)).numpy()  # (N, T, V)
    return np.take_along_axis(table, batch.target_out[..., None], axis=-1)[..., 0], table.argmax(axis=-1)


def hidden(model: Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What each word costs that is `UNKNOWN` (N, T, S), NaN where there is none, and whether the
    most probable word is another then.
    """

    def without(s: int) -> tuple[np.ndarray, np.ndarray]:
        source = batch.source.copy()
        source[:, s] = UNKNOWN
        return source, batch.source_mask

    return _occluded(model, batch, without)


def left_out(model: Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """As `hidden`, for sentences that lack the word."""
    return _occluded(
        model, batch, lambda s: (np.delete(batch.source, s, axis=1), np.delete(batch.source_mask, s, axis=1))
    )


def _occluded(
    model: Model, batch: Batch, without: Callable[[int], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    words = hideable(batch)  # (N, S)
    whole, choice = predictions(model, batch, batch.source, batch.source_mask)  # (N, T)
    effects = np.full((*whole.shape, words.shape[1]), np.nan)
    changed = np.zeros(effects.shape, dtype=bool)
    for s in range(words.shape[1]):
        rows = words[:, s]
        if rows.any():
            left, others = predictions(model, batch, *without(s))
            effects[rows, :, s] = (whole - left)[rows]
            changed[rows, :, s] = (others != choice)[rows]
    return effects, changed


def gradients(model: Model, batch: Batch) -> dict[str, np.ndarray]:
    """``"gradient"`` and ``"gradient x input"``, (N, T, S) each."""
    seen: list[mt.Tensor] = []
    handle = model.source_embedding.register_forward_hook(lambda module, args, output: seen.append(output))
    norms, products = [], []
    try:
        for t in range(batch.target_out.shape[1]):
            seen.clear()
            logits = model(batch.source, batch.target_in[:, : t + 1], batch.source_mask)[:, t]  # (N, V)
            words = np.arange(len(batch)), batch.target_out[:, t]
            (gradient,) = mt.grad(F.log_softmax(logits)[words].sum(), seen[:1])
            slope, x = gradient.numpy(), seen[0].numpy()  # (N, S, D)
            norms.append(np.linalg.norm(slope, axis=-1))
            products.append((slope * x).sum(axis=-1))
    finally:
        handle.remove()
    return {"gradient": np.stack(norms, axis=1), "gradient x input": np.stack(products, axis=1)}


# --- another attention ----------------------------------------------------------------------------


def replay(model: Model, batch: Batch, change: Change | None = None) -> np.ndarray:
    """P (N, T, V) of the words, computed one after the other; ``change`` takes the keys (..., S, K)
    that all attention to the source asks, and gives those that it is to ask instead.

    The values stay: what changes is how much each source word is looked at.
    """
    with evaluating(model):
        state: Any = model.start(batch.source, batch.source_mask)
        if change is not None and isinstance(model, Seq2Seq):
            state.keys = change(state.keys)  # (N, S, K)
        elif change is not None:
            state.cache.layers = [(own, _changed(memory, change)) for own, memory in state.cache.layers]
        steps = [model.step(batch.target_in[:, t], state).numpy() for t in range(batch.target_in.shape[1])]
    return np.exp(np.stack(steps, axis=1))


def _changed(held: KeyValueCache, change: Change) -> KeyValueCache:
    key, value = held.read()  # (N, H, S, K)
    cache = KeyValueCache(fixed=True)
    cache.append(change(key), value)
    return cache


def evenly(keys: mt.Tensor) -> mt.Tensor:
    """Keys that are all alike, of which attention makes equal weights."""
    return keys * 0.0


def permuted(batch: Batch, generator: np.random.Generator) -> Change:
    """A change that gives each source position the weight of another: in each sentence the same
    permutation at random of its positions for all words, heads and layers.
    """
    order = np.where(batch.source_mask, generator.random(batch.source.shape), 2 + np.arange(batch.source.shape[1]))
    places = np.argsort(order, axis=1)  # (N, S), padding stays where it is

    def change(keys: mt.Tensor) -> mt.Tensor:
        wide = places[:, None, :, None] if keys.ndim == 4 else places[:, :, None]  # (N, H, S, K), or (N, S, K)
        return mt.tensor(np.take_along_axis(keys.numpy(), wide, axis=-2))

    return change


def difference(others: list[np.ndarray], usual: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """How far other probabilities (N, T, V) are from the usual ones: the mean total variation, half
    the sum of what they differ by, of the median of ``others``; and how many words become others.
    """
    apart = np.median([0.5 * np.abs(other - usual).sum(axis=-1)[right] for other in others], axis=0)
    turned = np.array([(other.argmax(axis=-1) != usual.argmax(axis=-1))[right] for other in others])
    return {"variation": mean(apart), "changed": mean(turned)}


def mean(values: np.ndarray) -> float:
    """The mean, 0 of no values."""
    return float(values.mean()) if values.size else 0.0
