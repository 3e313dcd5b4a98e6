"""How many values of a series make a season, from the dates of its rows.

Steps shorter than a day have a season of a day or of a week, days one of a week, and longer steps
one of a year: 24 or 168 hours, 7 days (5 if there are working days alone), 52 weeks, 12 months, 4
quarters. Hyndman and Athanasopoulos, "Forecasting: principles and practice", 2021, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Season", "season_of"]

DAY, WEEK, YEAR = 86_400.0, 7 * 86_400.0, 365.25 * 86_400  # seconds
EXACT, ABOUT = 0.005, 0.02  # how far a season may be from a whole number of steps; months are unequal
ALIKE, ROUNDING = 1.01, 1e-12  # of two errors, a share of the least; and what is but rounding, of the variance
BY = ", by the dates"
NEAR = 0.1  # how far a step may be from a day, on which clocks may change


@dataclass(frozen=True)
class Season:
    """The number of values after which a series may repeat, and what that is: "a week, by the
    dates".
    """

    values: int
    words: str


def season_of(times: Sequence[float], values: np.ndarray) -> Season | None:
    """The season of values (T,) to train on, at ``times`` in seconds since a Thursday such as
    1970-01-01, in order; None if these do not tell it.

    Of a day and a week it is that after which the values differ less, by their squares, and the day
    if they do not. Two seasons must be there. What goes by years has none: each value is a season.
    """
    steps = np.diff(times)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    if not usual:
        return None
    if usual > YEAR * (0.5 + ABOUT):
        return Season(1, "years have none, by the dates")
    if abs(usual - DAY) <= NEAR * DAY:
        weekdays = len({int(time // DAY) % 7 for time in times})
        found = [Season(weekdays, ("a week" if weekdays == 7 else f"a week of {weekdays} days") + BY)]
    elif usual < DAY:
        found = [*_whole(DAY / usual, "a day", EXACT), *_whole(WEEK / usual, "a week", EXACT)]
    else:
        found = _whole(YEAR / usual, "a year", ABOUT)
    found = [season for season in found if 2 * season.values <= len(values)]
    first = max((season.values for season in found), default=0)

    def differ(season: Season) -> float:
        return float(np.mean((values[first:] - values[first - season.values : -season.values]) ** 2))

    errors = [differ(season) for season in found]
    limit = ALIKE * min(errors, default=0.0) + ROUNDING * float(values.var())
    return next((season for season, error in zip(found, errors, strict=True) if error <= limit), None)


def _whole(count: float, words: str, tolerance: float) -> list[Season]:
    """The season, if it is about a whole number of steps, and several."""
    values = round(count)
    return [Season(values, words + BY)] if values > 1 and abs(count - values) <= tolerance * count else []
