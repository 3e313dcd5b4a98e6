"""Which source word a measure names for each written word, against the known alignment.

Letters: N sentences, T written words, S source positions. ``right`` (N, T) says which written words
count; what is behind a sentence never does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from claims.aligned import Sentence
from minitensor.models.explain.agreement import spearman

__all__ = ["MOVED", "REFERENCES", "hits", "named", "ranks", "references"]

MOVED = "moved"  # words that do not stand where the one stands that they translate
REFERENCES = ("chance", "diagonal")


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
