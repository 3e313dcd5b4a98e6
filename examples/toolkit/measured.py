"""Measured series that the library statsmodels carries, without a download.

co2     carbon dioxide in the air over Mauna Loa, ppm, weekly, 1958 to 2001 (Keeling and Whorf)
elnino  the sea's temperature in El Nino's region 1+2, Celsius, monthly, 1950 to 2010 (NOAA)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.console import require
from toolkit.seasons import Season
from toolkit.series import Series

__all__ = ["MEASURED", "read_measured"]

# What suits each, in the place of the defaults: a season is a year, and a step of the network a
# quarter of it, or the whole.
MEASURED: dict[str, dict[str, Any]] = {
    "co2": {"season": 52, "window": 104, "step": 13, "horizon": 13, "epochs": 60},
    "elnino": {"season": 12, "window": 60, "step": 12, "horizon": 6, "epochs": 60},
}


def read_measured(name: str) -> Series:
    """The series of this name. What is missing in it is filled in on a straight line between its
    neighbours; the notes say how much.

    Raises UserError if statsmodels is not installed.
    """
    require("statsmodels", "series")
    table = getattr(require("statsmodels.datasets", "series"), name).load_pandas().data
    if name == "elnino":  # a row a year, a column a month
        table = table.drop(columns="YEAR")
    values = table.to_numpy(dtype=float).ravel()
    known = ~np.isnan(values)
    places = np.arange(len(values))
    notes = [] if known.all() else [f"{(~known).sum():,} of {len(values):,} values missing, and filled in on a line"]
    season = Season(MEASURED[name]["season"], "a year")
    return Series(np.interp(places, places[known], values[known]), name, notes=tuple(notes), season=season)
