"""Whether a mean difference between two methods, on the same test items, is more than chance.

Letters: N items, R resamples.
"""

from __future__ import annotations

import numpy as np

from toolkit.samples import random_words

__all__ = ["mean_interval"]

RESAMPLES = 2000
SHARE = 0.95
BLOCK = 1 << 20  # places drawn at a time


def mean_interval(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Where 95 % of the means of differences (N,) are, if N of them are drawn anew from these: the
    paired bootstrap, by percentiles.

    It says what other items of the kind would change; of other seeds of a training it says nothing.
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Raises ValueError if
    there are none.
    """
    n = len(differences)
    if not n:
        raise ValueError("mean_interval() got no differences; give one of each item")
    each = max(1, BLOCK // n)  # resamples at a time
    means = []
    for number, start in enumerate(range(0, RESAMPLES, each)):
        rows = min(each, RESAMPLES - start)
        places = random_words(seed, number, rows * n) % np.uint64(n)
        means.append(differences[places.reshape(rows, n)].mean(axis=1))  # (R, N) to (R,)
    low, high = np.quantile(np.concatenate(means), [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)
