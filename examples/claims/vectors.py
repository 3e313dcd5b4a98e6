"""A table of word vectors, and what it says of its words: cosines, neighbours, analogies.

Letters: V words, D numbers of each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

__all__ = ["Vectors", "principal"]


class Vectors:
    """The vectors (V, D) of V words, by the angles between them alone: all are scaled to length
    1; a vector of zeros stays, and is at right angles to all.
    """

    def __init__(self, words: Sequence[str], table: np.ndarray) -> None:
        self.words = list(words)
        self.numbers = {word: number for number, word in enumerate(self.words)}
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        self.table = table / np.where(lengths > 0, lengths, 1)

    def __contains__(self, word: str) -> bool:
        return word in self.numbers

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector (D,) of a word."""
        return self.table[self.numbers[word]]

    def cosine(self, one: str, other: str) -> float:
        """Of the angle between two words."""
        return float(self[one] @ self[other])

    def ranking(self, vector: np.ndarray, without: Collection[str] = ()) -> list[str]:
        """The words by their cosine with a vector, the nearest first."""
        order = np.argsort(-(self.table @ vector), kind="stable")
        return [self.words[place] for place in order if self.words[place] not in without]

    def offset(self, a: str, b: str, c: str) -> np.ndarray:
        """``c - a + b``, where the word that is to c as b is to a should be."""
        return self[c] - self[a] + self[b]

    def nearest(self, vector: np.ndarray, without: Collection[str] = ()) -> str:
        """The first of `ranking`, found sooner."""
        cosines = self.table @ vector
        cosines[[self.numbers[word] for word in without]] = -np.inf
        return self.words[int(np.argmax(cosines))]


def principal(table: np.ndarray) -> list[list[float]]:
    """The two coordinates of each vector (V, D) along which they differ most: principal components,
    by SVD of the vectors less their mean. Signs are such that the largest coordinate is positive.
    """
    table = table - table.mean(axis=0)
    axes = np.linalg.svd(table, full_matrices=False)[2][:2]  # (2, D)
    places = table @ axes.T  # (V, 2)
    largest = places[np.abs(places).argmax(axis=0), [0, 1]]
    return (places * np.where(largest < 0, -1, 1)).tolist()
