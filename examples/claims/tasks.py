"""The made-up tasks; letters: B sequences, A symbols, N of them to copy."""

from __future__ import annotations

import numpy as np

__all__ = ["copy_batch", "copy_vocab", "log_uniform", "recall_batch", "recall_vocab"]

Batch = tuple[np.ndarray, np.ndarray]


def log_uniform(generator: np.random.Generator, shortest: int, longest: int) -> int:
    """A whole number whose logarithm is uniform: short and long ones are equally frequent by their
    factor.
    """
    return round(shortest * (longest / shortest) ** generator.random())


def recall_batch(generator: np.random.Generator, distance: int, batch: int, n_symbols: int) -> Batch:
    """Ids (B, distance + 1) and targets (B, 1): which symbol was seen ``distance`` steps before the
    last position?

    The first position holds one of A symbols, the last a question mark, and those between one of A
    others, which have to be passed over (Hochreiter and Schmidhuber 1997, section 5.2, with random
    distractors).
    """
    ids = generator.integers(n_symbols, 2 * n_symbols, (batch, distance + 1))
    targets = generator.integers(0, n_symbols, (batch, 1))
    ids[:, :1] = targets
    ids[:, -1] = 2 * n_symbols
    return ids, targets


def recall_vocab(n_symbols: int) -> int:
    """Ids of `recall_batch`: symbols, distractors, the question mark."""
    return 2 * n_symbols + 1


def copy_batch(generator: np.random.Generator, distance: int, batch: int, n_symbols: int, n_copied: int) -> Batch:
    """Ids (B, distance + N) and targets (B, N): N symbols, blanks, and N places where the symbols
    are to be said again.

    Each symbol is said ``distance`` steps after it was seen. The n-th place asks "the n-th?" by its
    own id, so that what is measured is memory, not counting (Hochreiter and Schmidhuber 1997,
    section 5; Arjovsky et al. 2016, arXiv:1511.06464; Jing et al. 2017, arXiv:1612.05231, whose
    places all look alike).
    """
    ids = np.full((batch, distance + n_copied), n_symbols)
    targets = generator.integers(0, n_symbols, (batch, n_copied))
    ids[:, :n_copied] = targets
    ids[:, -n_copied:] = n_symbols + 1 + np.arange(n_copied)
    return ids, targets


def copy_vocab(n_symbols: int, n_copied: int) -> int:
    """Ids of `copy_batch`: symbols, the blank, a question per place."""
    return n_symbols + 1 + n_copied
