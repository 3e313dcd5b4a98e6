"""Power laws with a floor, L(x) = floor + scale / x^exponent, fitted by least squares of the
logarithms.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Law", "fit", "fits", "interval"]

FLOORS = 400  # that are tried between 0 and the least loss


@dataclass(frozen=True)
class Law:
    """L(x) = floor + scale / x^exponent."""

    floor: float
    scale: float
    exponent: float

    def at(self, x: np.ndarray | float) -> np.ndarray | float:
        """The loss at x."""
        return self.floor + self.scale * x**-self.exponent


def fit(sizes: np.ndarray, losses: np.ndarray, floor: float | None = None) -> Law:
    """The law of losses (P,) at sizes (P,), with the least sum of the squares of log(L - floor) -
    (log scale - exponent log x). ``floor``: default: of many below the least loss the one whose law
    has the least squares of errors in log L. Those of log(L - floor) cannot be compared between
    floors: they are small where the floor is far below all losses.

    A loss that is not above a given floor, as that of a few test sequences may be, counts as a
    thousandth above it. Raises ValueError for fewer different sizes than it takes: two, three for a
    free floor.

    >>> sizes = np.array([10.0, 100.0, 1000.0, 10000.0])
    >>> law = fit(sizes, 2 + 5 * sizes**-0.5)
    >>> round(law.floor, 2), round(law.scale, 1), round(law.exponent, 2)
    (2.0, 5.0, 0.5)
    """
    needed = 3 if floor is None else 2
    if len(np.unique(sizes)) < needed:
        raise ValueError(f"a law takes {needed} different sizes, got {len(np.unique(sizes))}: measure at more")
    # Close to the least loss lie most of the floors that are tried.
    floors = losses.min() * (1 - np.geomspace(1e-4, 1, FLOORS)) if floor is None else np.array([floor])
    rests = np.log(np.maximum(losses - floors[:, None], 1e-3 if floor is not None else 0))  # (floors, P)
    x = np.log(sizes) - np.log(sizes).mean()
    slopes = rests @ x / (x @ x)
    scales = np.exp(rests.mean(axis=1) - slopes * np.log(sizes).mean())
    laws = floors[:, None] + scales[:, None] * sizes ** slopes[:, None]  # (floors, P)
    best = int(((np.log(laws) - np.log(losses)) ** 2).sum(axis=1).argmin())
    return Law(float(floors[best]), float(scales[best]), float(-slopes[best]))


def interval(
    sizes: np.ndarray, losses: np.ndarray, floor: float | None, resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Where 95 % of the exponents lie if the points are drawn anew (the bootstrap, Efron 1979)."""
    exponents: list[float] = []
    while len(exponents) < resamples:
        drawn = generator.integers(0, len(sizes), len(sizes))
        if len(np.unique(sizes[drawn])) >= 3:
            exponents.append(fit(sizes[drawn], losses[drawn], floor).exponent)
    low, high = np.percentile(exponents, [2.5, 97.5])
    return float(low), float(high)


def fits(sizes: np.ndarray, losses: np.ndarray, floor: float, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """The law with the ``"known"`` floor and that with a ``"free"`` one: what `Law` has, the
    ``"interval"`` of the exponent, and what the others have ``"predicted"`` of the largest.
    """
    others = sizes < sizes.max()
    found = {}
    for name, given in (("known", floor), ("free", None)):
        found[name] = {
            **asdict(fit(sizes, losses, given)),
            "interval": list(interval(sizes, losses, given, resamples, np.random.default_rng(seed))),
            "predicted": float(fit(sizes[others], losses[others], given).at(sizes.max())),
        }
    return found
