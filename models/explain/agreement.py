"""How far attention agrees with occlusion: does a model need what it looks at?

    effect[t, s] = log P(choice t | all) - log P(choice t | without input s)

Attention is compared with the effects row by row, by ranks (Spearman 1904). Li, Monroe and Jurafsky
2016, arXiv:1612.08220, measure by such erasure; Jain and Wallace 2019, arXiv:1902.10186, found the
two to agree weakly in recurrent classifiers. What is equal to three decimals shares a rank: beyond
lies rounding. Letters: T choices, S inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minitensor.models.explain.capture import Array

__all__ = ["Agreement", "agreement", "spearman"]

FEWEST = 3  # inputs of a row below which ranks say nothing


@dataclass
class Agreement:
    """Attention (T, S) beside effects (T, S), NaN where nothing was left out.

    correlation: (T,), NaN for rows that say nothing; same_first: in how many of ``rows`` rows the
    input most looked at is the one whose loss costs most; by_path: the mean correlation of each
    attention alone; how: what leaving out means here; unmeasured: why nothing could be left out, or
    "".
    """

    effects: Array
    attention: Array | None
    correlation: Array
    same_first: int
    rows: int
    how: str
    by_path: dict[str, float]
    unmeasured: str = ""

    @property
    def mean(self) -> float:
        """Over the rows that say something; NaN if there is none."""
        return float(np.nanmean(self.correlation)) if np.isfinite(self.correlation).any() else float("nan")

    def short(self) -> str:
        """The verdict alone."""
        if self.unmeasured:  # without what the error says
            return f"The effects of {self.how} could not be measured: {self.unmeasured.split(': ')[0]}."
        if self.attention is None or not self.rows:
            return self.sentence()
        degree = next(word for bound, word in WORDS if self.mean >= bound)
        return f"Attention {degree} occlusion here: rank correlation {self.mean:.2f}."

    def sentence(self) -> str:
        """The result in words."""
        if self.unmeasured:
            return f"The effects of {self.how} could not be measured: {self.unmeasured}."
        if self.attention is None:
            return f"There is no attention to compare with; the effects of {self.how} are measured all the same."
        if not self.rows:
            return "Too few inputs, or too equal ones, to compare attention with occlusion."
        degree = next(word for bound, word in WORDS if self.mean >= bound)
        over = "the one answer" if self.rows == 1 else f"{self.rows} answers"
        return (
            f"Attention {degree} occlusion: {self.how} in turn costs the answers log-probability in an order that "
            f"correlates by {self.mean:.2f} with the order of attention, in the mean of all heads and layers over {over} "
            f"(Spearman: 1 is the same order, 0 no relation, -1 the reverse). In {self.same_first} of {self.rows} the "
            "input most looked at is the one most needed. Attention shows where a model looks, not why it answers."
        )


WORDS = (
    (0.8, "agrees well with"), (0.5, "agrees in part with"), (0.2, "agrees little with"),
    (-0.2, "does not agree with"), (-2.0, "contradicts"),
)  # fmt: skip


def agreement(effects: Array, maps: dict[str, Array], how: str, unmeasured: str = "") -> Agreement:
    """Of effects (T, S) and the attention maps (T, S) of each module, a mean over heads."""
    attention = np.mean(list(maps.values()), axis=0) if maps else None
    empty = np.full(len(effects), np.nan)
    if attention is None:
        return Agreement(effects, None, empty, 0, 0, how, {}, unmeasured)
    correlation = _rows(attention, effects)
    counted = np.flatnonzero(np.isfinite(correlation))
    first = 0
    for t in counted:
        known = np.isfinite(effects[t])
        first += int(np.argmax(np.where(known, attention[t], -np.inf)) == np.nanargmax(effects[t]))
    by_path = {path: _mean(_rows(weights, effects)) for path, weights in maps.items()}
    return Agreement(effects, attention, correlation, first, len(counted), how, by_path, unmeasured)


def _rows(attention, effects):
    pairs = zip(np.round(attention, 3), np.round(effects, 3), strict=True)
    return np.array([spearman(a[np.isfinite(e)], e[np.isfinite(e)]) for a, e in pairs])


def _mean(values):
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def spearman(x: Array, y: Array) -> float:
    """The correlation of the ranks of two rows, equal values sharing their mean rank.

    NaN for fewer than three values, and if one of the rows is constant.

    >>> spearman(np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    if len(x) < FEWEST:
        return float("nan")
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else float("nan")


def _ranks(values):
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place.reshape(-1)]
