"""A source of symbols whose entropy is known, and the counting of what it says.

Letters: V symbols, B sequences, T symbols of each; a, b, c three symbols in a row.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Counts", "Source"]

FALL = 0.75  # of the singular values: the k-th is k^-0.75 of the first
SPREAD = 1.5  # standard deviation of what a symbol adds to the logits
SETTLED = 1e-13  # what a step may still change of the chain that counts as stationary


class Source:
    """The next symbol depends on the two before it:

        P(c | a, b) = softmax(-log(c + 1) + G[b, c] + H[a, c])

    Symbols are frequent by Zipf's law but for what G and H (V, V) change. These are random matrices
    whose singular values fall by a power law: there is always more to learn, and each part is worth
    less than the one before it.
    """

    def __init__(self, vocab_size: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        v = self.vocab_size = vocab_size
        logits = -np.log(np.arange(1, v + 1)) + _table(generator, v) + _table(generator, v)[:, None]
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        self.next = odds / odds.sum(axis=-1, keepdims=True)  # (V, V, V)
        self.pairs, before = np.full((v, v), v**-2.0), np.zeros((v, v))  # P(a, b), which becomes the stationary one
        while np.abs(self.pairs - before).sum() > SETTLED:
            self.pairs, before = np.einsum("ab,abc->bc", self.pairs, self.next), self.pairs
            self.pairs /= self.pairs.sum()  # else rounding adds up

    @property
    def entropy(self) -> float:
        """Nats a symbol that nobody can get below: the mean of -log P(c | a, b)."""
        return float(np.einsum("ab,abc,abc->", self.pairs, self.next, -np.log(self.next)))

    @property
    def unigram(self) -> float:
        """Nats a symbol for who knows the frequencies alone."""
        single = self.pairs.sum(axis=0)
        return float(-single @ np.log(single))

    def draw(self, generator: np.random.Generator, count: int, length: int) -> np.ndarray:
        """Independent sequences (B, T) from the stationary chain."""
        v = self.vocab_size
        ids = np.empty((count, length), dtype=np.int64)
        first = self.pairs.ravel().cumsum()
        ids[:, 0], ids[:, 1] = divmod(first.searchsorted(first[-1] * generator.random(count), "right"), v)
        sums = self.next.cumsum(axis=-1)
        for t in range(2, length):
            ids[:, t] = _drawn(generator, sums[ids[:, t - 2], ids[:, t - 1]])
        return ids


def _table(generator: np.random.Generator, v: int) -> np.ndarray:
    """Random (V, V) of standard deviation SPREAD with falling singular values."""
    left, right = (np.linalg.qr(generator.standard_normal((v, v)))[0] for _ in range(2))
    table = (left * np.arange(1.0, v + 1) ** -FALL) @ right.T
    return SPREAD * table / table.std()


def _drawn(generator: np.random.Generator, sums: np.ndarray) -> np.ndarray:
    """A number (B,) for each row of cumulated probabilities (B, V)."""
    places = generator.random(len(sums))[:, None] * sums[:, -1:]  # which rounding leaves beside 1
    return (places >= sums).sum(axis=1)


class Counts:
    """How often each c followed a, b; each b; and at all, in sequences (B, T)."""

    def __init__(self, ids: np.ndarray, vocab_size: int) -> None:
        v = vocab_size
        codes = (ids[:, :-2] * v + ids[:, 1:-1]) * v + ids[:, 2:]
        self.three = np.bincount(codes.ravel(), minlength=v**3).reshape(v, v, v)

    def loss(self, ids: np.ndarray, weight: float) -> float:
        """Nats a symbol of sequences (B, T) from their third on.

        Each estimate starts as the one of less context, as if that had been counted ``weight``
        times (MacKay and Peto 1995).
        """
        guess = np.full(self.three.shape[-1], 1 / self.three.shape[-1])
        for counts in (self.three.sum(axis=(0, 1)), self.three.sum(axis=0), self.three):
            guess = (counts + weight * guess) / (counts.sum(axis=-1, keepdims=True) + weight)
        return float(-np.log(guess[ids[:, :-2], ids[:, 1:-1], ids[:, 2:]]).mean())
