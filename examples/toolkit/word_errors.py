"""The word error rate: how many words must be changed, put in or left out to mend a transcript."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["edit_distance", "word_error_rate"]


def edit_distance(found: Sequence[str], wanted: Sequence[str]) -> int:
    """The fewest substitutions, insertions and deletions that turn one sequence into the other
    (Levenshtein 1966).

    >>> edit_distance("turn left forty".split(), "turn left four two".split())
    2
    """
    row = np.arange(len(wanted) + 1)  # distances of the beginnings of ``wanted`` from nothing
    for number, word in enumerate(found, start=1):
        above, row = row, np.empty_like(row)
        row[0] = number
        for place, other in enumerate(wanted, start=1):
            row[place] = min(above[place] + 1, row[place - 1] + 1, above[place - 1] + (word != other))
    return int(row[-1])


def word_error_rate(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Edits of all transcripts over the number of words that were said: 0 if none are needed, and
    it may exceed 1.

    Raises ValueError if nothing was said, or for unequal numbers of texts.
    """
    pairs = [(a.split(), b.split()) for a, b in zip(found, wanted, strict=True)]
    count = sum(len(said) for _, said in pairs)
    if not count:
        raise ValueError("word_error_rate() needs at least one word that was said")
    return sum(edit_distance(made, said) for made, said in pairs) / count
