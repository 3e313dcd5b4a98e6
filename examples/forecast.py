#!/usr/bin/env python3
"""Forecast a time series with a recurrent network, and compare it with naive forecasts.

    python examples/forecast.py            train on a made series of hours, show what came of it
    python examples/forecast.py train --series co2            (or elnino; they take statsmodels)
    python examples/forecast.py train --data load.csv --column megawatts --out runs/load
    python examples/forecast.py train --resume --out runs/load
    python examples/forecast.py evaluate --run runs/load
    python examples/forecast.py predict --run runs/load --data newer.csv

A CSV file has a line of names, commas between its columns, and numbers with a point. If a column
has dates, the values are put in their order, and unequal steps are reported. The run keeps the name
of its column, and looks for that in newer data.

The last fifth of the series is held out, and from each hour of it the next day is forecast: by the
network, by the linear map of the least squared error on the windows of training, as the value a
season ago, and as the last value. How long a season is follows from the dates, or is given by
--season. The noise of the made series is known, and with it the error of a perfect forecast. The
run folder holds config.json, weights.safetensors, log.jsonl, loss.png, forecast.png, and
checkpoints/.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from toolkit import console
from toolkit.console import UserError, counted, note
from toolkit.forecasting import Settings, Task, forecast, linear, make_model, origins
from toolkit.measured import MEASURED, read_measured
from toolkit.other_data import trained_on
from toolkit.plots import GREY, SCORE, TRAIN, VALIDATION, empty_figure, literal, save_figure
from toolkit.program import Data, Program, digest, load_weights
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.series import Series, make_series, persistence, read_series, seasonal_naive, targets_at

from minitensor.models.recurrent import SequenceRegressor

NETWORK, SEASONAL, LAST, NOISE = "network", "a season ago", "the last value", "noise alone"
LINEAR = "linear"
HELD_OUT = "the held-out end of the series"
DRAWN = 7  # forecasts in the picture, one after the other


class Forecast(Program):
    """Train on the first part of a series; report the errors on its end beside those of naive
    forecasts.
    """

    name, settings = "forecast", Settings
    files = ("forecast.png",)
    data_help = "CSV file with a line of names (a made series)"
    loss_label = "squared error (of a window of deviation 1)"

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--column", type=composed, metavar="NAME", help="column of the CSV file (its last one)")
        parser.add_argument("--series", choices=tuple(MEASURED), help="a measured series, in the place of the made one")

    def describe(self, options: argparse.Namespace) -> Data:
        """The column, which only a file has several of, and the name of a measured series."""
        if options.column and options.data is None:
            raise UserError("--column is for a CSV file; give it by --data")
        if options.series and options.data is not None:
            raise UserError("--series and --data are two series to train on; leave out one of them")
        return {"column": options.column, "series": options.series}

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit a measured series."""
        return MEASURED[data["series"]] if data["series"] else {}

    def suited(self, data: Data, loaded: Series, given: Data) -> Data:
        """The season that the dates tell."""
        return {"season": loaded.season.values} if loaded.season else {}

    def told(self, data: Data, loaded: Series, settings: Settings) -> str:
        """How long a season is, and where that comes from."""
        return _season(loaded, settings)

    def run_name(self, data: Data) -> str:
        """With the name of a measured series."""
        return f"{self.name}-{data['series']}" if data["series"] else self.name

    def load(self, data: Data) -> Series:
        if data["path"] is not None:
            series, source = read_series(data["path"], data["column"]), data["path"]
        elif data["series"]:
            series, source = read_measured(data["series"]), data["series"]
        else:
            return make_series()
        for line in series.notes:
            note(f"{source}: {line}")
        return series

    def identify(self, loaded: Series) -> Data:
        """The name of the column, by which it is found again in other data. Raises UserError if two
        columns have it.
        """
        if not loaded.unique:
            raise UserError(f"the data have several columns {loaded.name!r}; give each a different name")
        return {"column": loaded.name}

    def fingerprint(self, loaded: Series) -> str:
        return digest([loaded.values.tobytes()])

    def make_task(self, loaded: Series, settings: Settings, run: Run | None) -> Task:
        """What follows each window."""
        _held_out(loaded, settings)  # raises for a series that is too short, before training
        return Task(loaded, settings)

    def sizes(self, task: Task) -> str:
        return (
            f"{len(task.samples):,} windows to train on, {len(task.validation):,} to validate by, {super().sizes(task)}"
        )

    def report(self, run: Run, loaded: Series, task: Task) -> None:
        """The table of errors, and a picture."""
        _report(run, loaded, task.model, HELD_OUT, loaded)
        print(f"see {run.path('loss.png')}; what follows the end of the series:")
        print(f"  {self.advice('predict', {'--run': run.folder})}")

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "the errors on the end of the series, beside those of naive forecasts")
        made.add_argument(
            "--data", type=console.path, metavar="PATH", help="where the series is now, if elsewhere than in training"
        )
        made = add("predict", self.predict, "what follows the end of the series")
        made.add_argument(
            "--data", type=console.path, metavar="PATH", help="another series, such as the same with newer values"
        )

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the table of errors, and draw the picture."""
        run, series, model = self._trained(options)
        own = self.fingerprint(series) == run.about["data"]["fingerprint"]
        other = options.data or run.about["data"]["path"]
        print(_season(series, run.settings))
        what = HELD_OUT if own else f"the last fifth of {other}, of which the training may have seen some"
        train = series if own else trained_on(self, run)
        if train is None:
            note(
                f"the linear map is left out: what {run.folder} was trained on, to which it is fitted, is gone or changed"
            )
        _report(run if own else run.tested_on(other), series, model, what, train)

    def predict(self, options: argparse.Namespace) -> None:
        """Print the values that follow, one a line."""
        run, series, model = self._trained(options)
        if len(series.values) < run.settings.window:
            raise UserError(
                f"{counted(len(series.values), 'value')}, too few to forecast from; {run.settings.window} are needed"
            )
        digits = _digits(series.values)
        for value in forecast(model, series.values, np.array([len(series.values)]), run.settings)[0]:
            print(f"{value:.{digits}g}")

    def _trained(self, options: argparse.Namespace) -> tuple[Run, Series, SequenceRegressor]:
        run, device = self.open(options)
        model = make_model(run.settings, device)
        load_weights(model, run, options.weights)
        return run, self.load_again(run, options.data), model


def _held_out(series: Series, settings: Settings) -> np.ndarray:
    """The places in the last part of a series from which forecasts are made."""
    found = origins(series.cuts[1], len(series.values), settings)
    if not len(found):
        s = settings
        given = f"--window {s.window}, --season {s.season}, --horizon {s.horizon}"
        raise UserError(f"{counted(len(series.values), 'value')}, too few for {given}: none is left to report on")
    return found


def _season(series: Series, settings: Settings) -> str:
    """How long a season is, and where that comes from."""
    s, told = settings.season, series.season
    if told and told.values == s:
        return f"a season is {counted(s, 'value')}: {told.words}"
    if told:
        return f"a season is {counted(s, 'value')}, as --season says; {told.words}, has {told.values:,}"
    if s == Settings.season:
        return f"a season is assumed to be {counted(s, 'value')}, since no dates tell how long it is; give --season"
    return f"a season is {counted(s, 'value')}, as --season says"


def _digits(values: np.ndarray) -> int:
    """Significant digits that tell the values of a series apart: from 6 to 17, all of a float."""
    largest, spread = float(np.abs(values).max()), float(np.ptp(values))
    return min(17, max(6, 4 + math.ceil(math.log10(largest / spread)))) if spread else 6


def _figure(value: float) -> str:
    """A number of five significant digits: 0.24602, 6.4271, 1.0386e-09."""
    return f"{value:#.5g}".rstrip(".")


def _report(run: Run, series: Series, model: SequenceRegressor, what: str, train: Series | None) -> None:
    """Print the errors of all forecasts on ``what``, the end of the series, and draw some.

    train: the series of the training, to which the linear map is fitted too; None if it is gone.
    """
    s, values = run.settings, series.values
    places = _held_out(series, s)
    made = {
        NETWORK: forecast(model, values, places, s),
        **({LINEAR: linear(train.values[: train.cuts[0]], values, places, s)} if train else {}),
        SEASONAL: seasonal_naive(values, places, s.horizon, s.season),
        LAST: persistence(values, places, s.horizon),
    }
    truth = targets_at(values, places, s.horizon)
    if series.signal is not None:  # the errors of a forecast that knows the signal
        made[NOISE] = targets_at(series.signal, places, s.horizon)
    squared = {name: float(np.mean((found - truth) ** 2)) for name, found in made.items()}
    print(f"{len(places):,} forecasts of {s.horizon} values each, all from {what}:")
    print(f"  {'forecast':16}{'MSE':>12}{'MAE':>12}")
    for name, found in made.items():
        print(f"  {name:16}{_figure(squared[name]):>12}{_figure(float(np.mean(np.abs(found - truth)))):>12}")
    for other, words in ((SEASONAL, SEASONAL), (LINEAR, "the linear map")):
        if squared.get(other):
            saved = 100 * (1 - squared[NETWORK] / squared[other])
            side = "below" if saved >= 0 else "above"
            print(f"the network's squared error is {abs(saved):.1f} % {side} that of {words}")
    _draw(series, s, places, made, truth, run.picture("forecast.png"))
    print(f"see {run.picture('forecast.png')}")


def _draw(series: Series, settings: Settings, places: np.ndarray, made: dict[str, Any], truth: Any, path: Path) -> None:
    """Draw the last forecasts that do not overlap, beside what came, and the errors by the
    distance.
    """
    s, colours = settings, {NETWORK: VALIDATION, LINEAR: "#3a8a5f", SEASONAL: SCORE, LAST: TRAIN, NOISE: GREY}
    figure = empty_figure(11, 4.5)
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    rows = np.arange(len(places))[:: -s.horizon][:DRAWN][::-1]
    shown = np.arange(int(places[rows[0]]), int(places[rows[-1]]) + s.horizon)
    left.plot(shown, series.values[shown], color="#222222", linewidth=0, marker=".", markersize=3, label="what came")
    for name in (SEASONAL, NETWORK):
        left.plot(shown, made[name][rows].reshape(-1), color=colours[name], linewidth=1.4, label=f"forecast: {name}")
    for place in places[rows]:
        left.axvline(place, color="#dddddd", linewidth=0.8, zorder=0)
    left.set(xlabel=f"time; a forecast starts at each line, {s.horizon} values ahead", ylabel=literal(series.name))
    ahead = 1 + np.arange(s.horizon)
    for name, found in made.items():
        right.plot(ahead, np.mean((found - truth) ** 2, axis=0), color=colours[name], label=name)
    right.set(xlabel="values ahead", ylabel="mean squared error", yscale="log")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


main = Forecast().main

if __name__ == "__main__":
    sys.exit(console.run(main))
