"""Vectors of words from pairs of neighbours: skip-grams with negative sampling, and plain counts.

Letters: B pairs, K negatives of each, V words, D numbers of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from claims.training import train
from minitensor import nn

__all__ = ["Budget", "SkipGram", "counted", "fit"]


@dataclass(frozen=True)
class Budget:
    """Of a training: which words are thinned out, D, K and how long."""

    common: float = 5e-4  # words of a larger share of the corpus are thinned out
    d_model: int = 24
    negatives: int = 5
    steps: int = 1500
    batch: int = 512
    learning_rate: float = 0.02


class SkipGram(nn.Module):
    """Two tables (V, D), of words and of neighbours; pairs (B, 1 + K) to the logits of being
    neighbours.
    """

    def __init__(self, n_words: int, d_model: int) -> None:
        self.words = nn.Embedding(n_words, d_model)
        self.neighbours = nn.Embedding(n_words, d_model)
        nn.init.uniform_(self.words.weight, -0.5 / d_model, 0.5 / d_model)  # as word2vec starts
        nn.init.zeros_(self.neighbours.weight)

    def forward(self, words: np.ndarray, neighbours: np.ndarray) -> mt.Tensor:
        """Logits (B, 1 + K) of words (B,) and the neighbours (B, 1 + K) of each."""
        return mt.sum(self.words(words)[:, None, :] * self.neighbours(neighbours), axis=-1)


def fit(network: SkipGram, pairs: np.ndarray, budget: Budget, seed: int) -> None:
    """Train on ``pairs`` (pairs, 2) of a word and its neighbour, thinned out as word2vec does."""
    s, generator = budget, np.random.default_rng(seed)
    counts = np.bincount(pairs[:, 0], minlength=network.words.weight.shape[0])
    keep = np.sqrt(np.minimum(1, s.common * counts.sum() / np.maximum(counts, 1)))
    pairs = pairs[generator.random(len(pairs)) < keep[pairs[:, 0]] * keep[pairs[:, 1]]]
    # The power 3/4 of the counts, as Mikolov et al. draw.
    noise = np.cumsum(np.bincount(pairs[:, 1], minlength=len(counts)) ** 0.75)
    targets = np.zeros((s.batch, 1 + s.negatives), dtype=np.float32)
    targets[:, 0] = 1

    def loss_of(step: int) -> mt.Tensor:
        words, neighbours = pairs[generator.integers(0, len(pairs), s.batch)].T
        others = np.searchsorted(noise, noise[-1] * generator.random((s.batch, s.negatives)), side="right")
        logits = network(words, np.column_stack([neighbours, others]))
        return F.binary_cross_entropy_with_logits(logits, targets)

    train(network, loss_of, s.steps, mt.optim.Adam(network.parameters(), lr=s.learning_rate))


def counted(pairs: np.ndarray, n_words: int) -> np.ndarray:
    """Positive pointwise mutual information (V, V): ``max(0, log(p(w, n) / (p(w) p(n))))``."""
    together = np.zeros((n_words, n_words))
    np.add.at(together, (pairs[:, 0], pairs[:, 1]), 1)
    expected = together.sum(axis=1, keepdims=True) * together.sum(axis=0) / together.sum()
    return np.log(np.maximum(1, together / np.where(expected > 0, expected, 1)))
