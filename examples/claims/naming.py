"""Which source word each measure names for each written word, against the known alignment; and all
that is measured of one model.

Letters: N sentences, T written words, S source positions. ``right`` (N, T) says which written words
count; what is behind a sentence never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from claims.aligned import KINDS, Corpus, Sentence
from claims.saliency import (
    ATTENTION,
    Model,
    attention_of,
    difference,
    evenly,
    gradients,
    hidden,
    left_out,
    mean,
    permuted,
    replay,
)
from minitensor.models.explain.agreement import spearman

__all__ = [
    "BEST", "LEFT_OUT", "MOVED", "OCCLUSION", "REFERENCES", "agreeing", "best_head", "examine", "hits", "named", "ranks",
    "references",
]  # fmt: skip

MOVED = "moved"  # words that do not stand where the one stands that they translate
REFERENCES = ("chance", "diagonal")
OCCLUSION, LEFT_OUT, BEST = "occlusion: hidden", "occlusion: left out", "attention, best head"


def named(scores: np.ndarray, sentences: Sequence[Sentence]) -> np.ndarray:
    """The place (N, T) of the English word with the highest score (N, T, S); -1 behind the French
    sentence. The end of the English one is no word.
    """
    places = np.full(scores.shape[:2], -1)
    for row, values, one in zip(places, scores, sentences, strict=True):
        row[: len(one.french)] = values[: len(one.french), : len(one.english)].argmax(axis=-1)
    return places


def hits(
    places: np.ndarray, sentences: Sequence[Sentence], right: np.ndarray | None = None, kind: str = ""
) -> tuple[float, float]:
    """The share of French words for which ``places`` (N, T) has the translated word, and that with
    any that it needs; of the ``right`` ones, and of one kind, or those that are `MOVED`. 0 if there
    is none.
    """
    found = [
        (row[t] == needs[0], row[t] in needs)
        for n, (row, one) in enumerate(zip(places, sentences, strict=True))
        for t, needs in enumerate(one.needs)
        if (right is None or right[n, t]) and (kind in ("", one.kinds[t]) or (kind == MOVED and needs[0] != t))
    ]
    strict, any_needed = np.mean(found, axis=0) if found else (0.0, 0.0)
    return float(strict), float(any_needed)


def agreeing(scores: np.ndarray, sentences: Sequence[Sentence], right: np.ndarray) -> float:
    """The share of articles and adjectives whose noun has one of the two highest scores (N, T, S);
    0 if there is none. A word at random would be among them in 2 of S cases.
    """
    found = [
        needs[1] in np.argsort(-scores[n, t, : len(one.english)])[:2]
        for n, one in enumerate(sentences)
        for t, (needs, kind) in enumerate(zip(one.needs, one.kinds, strict=True))
        if right[n, t] and kind in ("determiner", "adjective")
    ]
    return float(np.mean(found)) if found else 0.0


def references(sentences: Sequence[Sentence], right: np.ndarray) -> dict[str, tuple[float, float]]:
    """What a word drawn at random would come to, and the one at the same place."""
    chance = [
        (1 / len(one.english), len(set(needs)) / len(one.english))
        for n, one in enumerate(sentences)
        for t, needs in enumerate(one.needs)
        if right[n, t]
    ]
    strict, any_needed = np.mean(chance, axis=0) if chance else (0.0, 0.0)
    diagonal = np.broadcast_to(np.arange(right.shape[1]), right.shape)
    return dict(zip(REFERENCES, ((float(strict), float(any_needed)), hits(diagonal, sentences, right)), strict=True))


def ranks(scores: np.ndarray, effects: np.ndarray, sentences: Sequence[Sentence], right: np.ndarray) -> float | None:
    """The mean rank correlation of scores and effects (N, T, S) of the words of each sentence; None
    if no row tells. What is equal to three decimals shares a rank.
    """
    found = [
        spearman(np.round(scores[n, t, : len(one.english)], 3), np.round(effects[n, t, : len(one.english)], 3))
        for n, one in enumerate(sentences)
        for t in np.flatnonzero(right[n])
    ]
    finite = [value for value in found if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


# --- one model ------------------------------------------------------------------------------------


def best_head(model: Model, corpus: Corpus, sentences: Sequence[Sentence]) -> str:
    """The head whose largest weight is oftenest on the translated word; "" if there is only one."""
    maps = attention_of(model, corpus.batch(sentences))
    heads = {name: hits(named(maps[name], sentences), sentences)[0] for name in maps if name.startswith("layer")}
    return max(heads, key=lambda name: heads[name], default="")


def examine(
    model: Model, corpus: Corpus, sentences: Sequence[Sentence], best: str, permutations: int, seed: int
) -> dict[str, Any]:
    """All that is measured of a model, on the words that it writes right."""
    batch = corpus.batch(sentences)
    usual = replay(model, batch)  # (N, T, V)
    right = usual.argmax(axis=-1) == batch.target_out
    right &= np.arange(right.shape[1]) < np.array([[len(one.french)] for one in sentences])  # (N, T), without the end
    effects, changed = hidden(model, batch)
    maps = attention_of(model, batch)
    scores = {name: weights for name, weights in maps.items() if name.startswith("attention")}
    if best:
        scores[BEST] = maps[best]
    scores |= {OCCLUSION: effects, LEFT_OUT: left_out(model, batch)[0]} | gradients(model, batch)
    names = {name: named(values, sentences) for name, values in scores.items()}
    measures = {}
    for name, values in scores.items():
        at = np.take_along_axis(changed, np.maximum(names[name], 0)[..., None], axis=-1)[..., 0]  # (N, T)
        measures[name] = {
            "hits": hits(names[name], sentences, right),
            "by_kind": {kind: hits(names[name], sentences, right, kind) for kind in (*KINDS, MOVED)},
            "agreeing": agreeing(values, sentences, right),
            "rank": ranks(values, effects, sentences, right),
            "changed": mean(at[right]),
        }
    generator = np.random.default_rng(seed)
    others = [replay(model, batch, permuted(batch, generator)) for _ in range(permutations)]
    return {
        "best_head": best,
        "counted": int(right.sum()),
        "references": references(sentences, right),
        "measures": measures,
        "changed_any": mean(changed[right][np.isfinite(effects[right])]),
        "even": difference([replay(model, batch, evenly)], usual, right),
        "permuted": difference(others, usual, right),
        "example": example(corpus, sentences, right, maps[ATTENTION], effects),
    }


def example(
    corpus: Corpus, sentences: Sequence[Sentence], right: np.ndarray, weights: np.ndarray, effects: np.ndarray
) -> dict[str, Any] | None:
    """The word for which hiding what attention names and what occlusion names differ most in cost;
    None if they always name the same.
    """
    looked, needed = named(weights, sentences), named(effects, sentences)
    found = [
        (effects[n, t, needed[n, t]] - effects[n, t, looked[n, t]], n, t)
        for n, t in np.argwhere(right & (looked != needed))
    ]
    if not found:
        return None
    _, n, t = max(found)
    one = sentences[n]
    told = {"english": " ".join(one.english), "french": " ".join(one.french), "word": one.french[t]}
    for name, s in (("looked", looked[n, t]), ("needed", needed[n, t])):
        told[name] = {"word": one.english[s], "weight": float(weights[n, t, s]), "cost": float(effects[n, t, s])}
    return told
