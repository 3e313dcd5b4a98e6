"""What chance does to figures: to the mean difference between two methods on the same test items,
and to the mean of several trainings.

Letters: N items, R resamples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from toolkit.console import UserError
from toolkit.samples import random_words

__all__ = ["mean_interval", "sacrebleu_seed", "student_interval"]

RESAMPLES = 2000
SHARE = 0.95
BLOCK = 1 << 20  # places drawn at a time
# Student's t that 97.5 % are below, of 1 to 30 degrees of freedom.
STUDENT = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
    2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


SEED = "SACREBLEU_SEED"  # of the environment: what sacrebleu draws test sets anew by


def sacrebleu_seed() -> int | None:
    """The seed that sacrebleu draws test sets by, SACREBLEU_SEED of the environment, default:
    12345; None, if that is "none": another each time. Raises UserError if it cannot be one.
    """
    given = os.environ.get(SEED, "12345")
    if given.lower() == "none":
        return None
    try:
        seed = int(given)
    except ValueError:
        seed = -1
    if seed < 0:
        raise UserError(f"the environment has {SEED}={given}; it must be a whole number from 0, or none, or not be set")
    return seed


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


def student_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of a normal distribution from which these values are, such as
    the figures of all seeds of a training from those of a few: of 100 such intervals 95 hold it.

        mean +- t sqrt(sum (x - mean)^2 / (n - 1) / n)      t of n - 1 degrees of freedom

    Of more than 31 values t is that of 31, which is a little wide. It says what other seeds would
    change; of other test sets it says nothing. Student, "The Probable Error of a Mean", 1908.
    Raises ValueError for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"student_interval() got {n} values; how far they spread is seen in two or more")
    half = STUDENT[min(n - 1, len(STUDENT)) - 1] * float(np.std(values, ddof=1)) / n**0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half
