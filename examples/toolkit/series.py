"""A time series: a made one whose noise is known, or a column of a CSV file; and the naive
forecasts to compare with.

Letters: N origins, from each of which a forecast is made, H values of the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolkit.console import UserError
from toolkit.dates import dates_of, in_order, times_of
from toolkit.samples import random_words
from toolkit.seasons import Season, season_of
from toolkit.tables import Table, read_table

__all__ = ["Series", "make_series", "persistence", "read_series", "seasonal_naive", "targets_at"]

HOURS = 24 * 7 * 40  # forty weeks
DAY, WEEK = 24, 24 * 7
NOISE = 0.5  # standard deviation of the noise of the made series
VALIDATION, TEST = 0.1, 0.2  # shares at the end of a series
LARGEST, SMALLEST = 1e140, 1e-140  # whose squares can be added up, and are not 0


@dataclass(frozen=True)
class Series:
    """Values at equal steps of time; ``signal``, if known, is the part of them that can be
    predicted.

    ``notes`` say what is odd about the dates of a file, ``unique`` whether it has but one column of
    this name, and ``season`` what its dates tell of that.
    """

    values: np.ndarray  # (T,) float64
    name: str
    signal: np.ndarray | None = None  # (T,)
    notes: tuple[str, ...] = ()
    unique: bool = True
    season: Season | None = None

    @property
    def cuts(self) -> tuple[int, int]:
        """Where the values to validate by begin, and the last fifth, which is only reported on."""
        n = len(self.values)
        return round(n * (1 - VALIDATION - TEST)), round(n * (1 - TEST))


def make_series(seed: int = 0) -> Series:
    """Forty weeks of hours: a daily and a weekly wave, each with an overtone, on a trend, and
    independent normal noise.

    y(t) = 10 + t / 2000 + sum over waves of a sin(2 pi t / period + phase) + noise
    """
    t = np.arange(HOURS)
    waves = ((DAY, 2.0, 0.3), (DAY / 2, 1.0, 1.7), (WEEK, 1.5, 2.2), (WEEK / 3, 0.8, 0.5))
    periodic = sum(height * np.sin(2 * np.pi * t / period + phase) for period, height, phase in waves)
    unit = (random_words(seed, 0, 2 * HOURS) >> np.uint64(11)).reshape(2, -1) * 2.0**-53  # (2, T), uniform on [0, 1)
    noise = np.sqrt(-2 * np.log1p(-unit[0])) * np.cos(2 * np.pi * unit[1])  # Box and Muller 1958
    signal = 10 + t / 2000 + periodic
    return Series(signal + NOISE * noise, "value", signal, season=Season(WEEK, "a week"))


def read_series(path: str, column: str | None) -> Series:
    """A column of a CSV file with a line of names, by its name; default: the last one.

    If another column has dates, the values are put in their order. Raises UserError for what
    `toolkit.tables` refuses, a missing column, and a cell that is no number, naming its line.
    """
    table = read_table(path)
    place = table.place(column)
    _check_dates(table, place, column)
    values = np.array(table.numbers(place))
    name = table.names[place]
    _check_scale(values, name, table)
    notes: list[str] = []
    found = times_of(table.names, table.rows, place)
    times: list[float] = []
    if found:
        order, notes = in_order(*found, table.lines)
        values = values[order]
        times = [time for row in order if found[1] and (time := found[0][row]) is not None]
    made = Series(values, name, notes=tuple(notes), unique=table.names.count(name) == 1)
    season = season_of(times, values[: made.cuts[0]]) if len(times) == len(values) else None
    return replace(made, season=season)


def _check_scale(values: np.ndarray, name: str, table: Table) -> None:
    """Raise UserError for values whose squares are more than a number can be, or nothing."""
    row = int(np.abs(values).argmax())
    if abs(values[row]) > LARGEST:
        where = f"{table.path} line {table.lines[row]}, column {name}"
        raise UserError(f"{where}: {values[row]:g} is too large to be squared; give the column in larger units")
    spread = float(np.abs(values - values[0]).max())
    if 0 < spread < SMALLEST:
        raise UserError(
            f"{table.path}, column {name}: the values differ by {spread:g} at most, too little to be squared; give the column"
            " in smaller units"
        )


def _check_dates(table: Table, place: int, column: str | None) -> None:
    """Raise UserError if the last column, taken by default, holds dates."""
    cells = [row[place].strip() for row in table.rows]
    if column is None and len(table.names) > 1 and dates_of(cells, table.names[place]):
        others = ", ".join(name for other, name in enumerate(table.names) if other != place)
        raise UserError(
            f"{table.path}: the last column, {table.names[place]}, holds dates; name another by --column: {others}"
        )


# --- targets and naive forecasts ------------------------------------------------------------------


def targets_at(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """The (N, H) values that follow each origin, which is the place of the first of them."""
    return values[origins[:, None] + np.arange(horizon)]


def persistence(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """The naive forecast: the value before each origin repeated, (N, H)."""
    return np.repeat(values[origins - 1, None], horizon, axis=1)


def seasonal_naive(values: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The seasonal naive forecast: the value one season before, or as many seasons as it takes to
    be known, (N, H).

    Hyndman and Athanasopoulos, "Forecasting: principles and practice", 2021, section 5.2.
    """
    ahead = np.arange(horizon)
    return values[origins[:, None] + ahead - season * (1 + ahead // season)]
