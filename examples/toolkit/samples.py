"""Samples in shuffled batches: a batch is found again by (seed, epoch, index), which is all that
resuming needs.

Letters: N samples, B samples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, overload

import numpy as np

__all__ = ["Batch", "Epoch", "Samples", "cut", "random_words"]

B = TypeVar("B")


def random_words(seed: int, epoch: int, count: int) -> np.ndarray:
    """``count`` words of 64 random bits that depend on (seed, epoch) alone; sorting by them
    shuffles.

    Raw words of the counter-based generator and a stable sort are the same on every machine and in
    every NumPy.
    """
    key = np.array([seed, epoch], dtype=np.uint64)  # a list with a large seed would pass through float64
    return np.random.Philox(key=key).random_raw(count)


def cut(n: int, parts: int) -> list[slice]:
    """At most ``parts`` slices of about equal length, none of them empty, that make up
    ``range(n)``.
    """
    if parts < 1:
        raise ValueError(f"a batch of {n} samples cannot be cut into {parts} parts: write a number of at least 1")
    parts = max(1, min(parts, n))  # more would be empty
    cuts = [n * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False) if start < stop]


class Epoch(Sequence[B], Generic[B]):
    """The batches of one epoch in order, each made when asked for: ``epoch[17:]`` resumes there at
    no cost.
    """

    def __init__(self, make: Callable[[np.ndarray], B], groups: Sequence[np.ndarray]) -> None:
        """``make(group)`` makes a batch; ``groups`` holds the indices of the samples of each."""
        self._make, self.groups = make, groups

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> B: ...
    @overload
    def __getitem__(self, index: slice) -> Epoch[B]: ...
    def __getitem__(self, index: int | slice) -> B | Epoch[B]:
        """One batch, or those of a slice."""
        if isinstance(index, slice):
            return Epoch(self._make, self.groups[index])
        return self._make(self.groups[index])


class Batch:
    """Arrays with a row for each sample, by name: ``batch["inputs"]``."""

    def __init__(self, arrays: Mapping[str, np.ndarray], tokens_each: int = 1) -> None:
        """``tokens_each``: what a sample counts when a loss is divided by ``tokens``."""
        self.arrays, self.tokens_each = dict(arrays), tokens_each

    def __getitem__(self, name: str) -> np.ndarray:
        """One of the arrays, (B, ...)."""
        return self.arrays[name]

    def __len__(self) -> int:
        """B."""
        return len(next(iter(self.arrays.values())))

    @property
    def tokens(self) -> int:
        """By what the loss is divided."""
        return len(self) * self.tokens_each

    def split(self, parts: int) -> list[Batch]:
        """At most ``parts`` micro-batches, for accumulating gradients."""
        return [self.rows(rows) for rows in cut(len(self), parts)]

    def rows(self, rows: slice | np.ndarray) -> Batch:
        return Batch({name: array[rows] for name, array in self.arrays.items()}, self.tokens_each)


class Samples:
    """N samples in batches of ``batch_size``, shuffled anew in each epoch; the last batch may be
    smaller.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], batch_size: int, seed: int = 0, tokens_each: int = 1) -> None:
        """``arrays`` have a row for each sample. Raises ValueError if they differ in rows, or if
        there are no arrays.
        """
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(f"Samples() needs arrays with equally many rows, and at least one; got {counts}")
        self.whole, self.batch_size, self.seed = Batch(arrays, tokens_each), batch_size, seed

    def __len__(self) -> int:
        """N."""
        return len(self.whole)

    def epoch(self, number: int) -> Epoch[Batch]:
        """The batches of epoch ``number``."""
        return self._batches(np.argsort(random_words(self.seed, number, len(self)), kind="stable"))

    def in_order(self) -> Epoch[Batch]:
        """The batches unshuffled, for evaluation."""
        return self._batches(np.arange(len(self)))

    def _batches(self, order: np.ndarray) -> Epoch[Batch]:
        cuts = range(self.batch_size, len(order), self.batch_size)
        return Epoch(self.whole.rows, np.split(order, cuts))
