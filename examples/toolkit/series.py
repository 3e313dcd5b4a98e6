"""A time series: a made one whose noise is known, or a column of a CSV file; and the forecasts that every other must beat.

Letters: N origins, from each of which a forecast is made, H values of the horizon.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

import numpy as np

from toolkit.console import UserError
from toolkit.reading import read_text
from toolkit.samples import random_words

__all__ = ["Series", "make_series", "persistence", "read_series", "seasonal_naive", "targets_at"]

HOURS = 24 * 7 * 40  # forty weeks
DAY, WEEK = 24, 24 * 7
NOISE = 0.5  # standard deviation of the noise of the made series
VALIDATION, TEST = 0.1, 0.2  # shares at the end of a series


@dataclass(frozen=True)
class Series:
    """Values at equal steps of time; ``signal``, where it is known, is the part of them that can be foreseen."""

    values: np.ndarray  # (T,) float64
    name: str
    signal: np.ndarray | None = None  # (T,)

    @property
    def cuts(self) -> tuple[int, int]:
        """Where the values to validate by begin, and the last fifth, which is only reported on."""
        n = len(self.values)
        return round(n * (1 - VALIDATION - TEST)), round(n * (1 - TEST))


def make_series(seed: int = 0) -> Series:
    """Forty weeks of hours: a daily and a weekly wave, each with an overtone, on a trend, and independent normal noise.

    y(t) = 10 + t / 2000 + sum over waves of a sin(2 pi t / period + phase) + noise
    """
    t = np.arange(HOURS)
    waves = ((DAY, 2.0, 0.3), (DAY / 2, 1.0, 1.7), (WEEK, 1.5, 2.2), (WEEK / 3, 0.8, 0.5))
    periodic = sum(height * np.sin(2 * np.pi * t / period + phase) for period, height, phase in waves)
    unit = (random_words(seed, 0, 2 * HOURS) >> np.uint64(11)).reshape(2, -1) * 2.0**-53  # (2, T), uniform on [0, 1)
    noise = np.sqrt(-2 * np.log1p(-unit[0])) * np.cos(2 * np.pi * unit[1])  # Box and Muller 1958
    signal = 10 + t / 2000 + periodic
    return Series(signal + NOISE * noise, "value", signal)


def read_series(path: str, column: str | None) -> Series:
    """A column of a CSV file with a line of names, by its name; the last one where ``column`` is None.

    Raises UserError for a missing file or column, and for a cell that is no number, naming its line.
    """
    text = read_text(path).rstrip().replace("\r", " ")  # one that ends no line, which the reader would take for an end
    reader = csv.reader(io.StringIO(text, newline="\n"))  # which cuts at LF alone
    rows = [(reader.line_num, row) for row in reader]
    if len(rows) < 2:
        raise UserError(f"{path} holds no values; it must have a line of names and then a line for each step of time")
    names = [name.strip() for name in rows[0][1]]
    if all(map(_is_number, names)):
        raise UserError(f"{path} begins with numbers; put a line of names before them, such as: value")
    name = names[-1] if column is None else column
    if name not in names:
        raise UserError(f"{path} has no column {name!r}; there are: {', '.join(names)}")
    if column is not None and names.count(name) > 1:
        raise UserError(f"{path} has several columns {name!r}; give each a name of its own")
    place, values = len(names) - 1 if column is None else names.index(name), []
    for number, row in rows[1:]:
        cell = row[place] if place < len(row) else ""
        try:
            values.append(float(cell))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise UserError(f"{path} line {number}, column {name}: {cell!r} is not a number; fill in what is missing")
    return Series(np.array(values), name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- what is to be forecast, and how anybody can --------------------------------------------------------------------------------


def targets_at(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """The (N, H) values that follow each origin, which is the place of the first of them."""
    return values[origins[:, None] + np.arange(horizon)]


def persistence(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """The forecast that nothing changes: the value before each origin, (N, H)."""
    return np.repeat(values[origins - 1, None], horizon, axis=1)


def seasonal_naive(values: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The forecast that all is as a season ago, or as many seasons as it takes to be known, (N, H).

    Hyndman and Athanasopoulos, "Forecasting: principles and practice", 2021, section 5.2.
    """
    ahead = np.arange(horizon)
    return values[origins[:, None] + ahead - season * (1 + ahead // season)]
