"""The parts of a forecasting run: settings, training task, and forecasts.

A window is seen less its own mean and divided by its own deviation, and the forecast is brought
back (reversible instance normalisation; Kim et al. 2022, ICLR): a trend takes no part in what is
learned. The recurrent layer reads several values in a step, so that two weeks of hours are 14 steps
of a day (Lin et al. 2023, "SegRNN", arXiv:2308.11200).

Letters: N origins, W values of a window, F values of a step, H values of the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.recurrent import SequenceRegressor, SequenceRegressorConfig
from toolkit.console import UserError, counted
from toolkit.program import place
from toolkit.samples import Batch, Epoch, Samples
from toolkit.series import Series, targets_at
from toolkit.settings import SCHEDULES, Training, option

__all__ = ["Settings", "Task", "forecast", "linear", "make_model", "origins"]

ROWS = 512  # windows forecast from at a time
FLAT = 8 * np.finfo(float).eps  # deviation by the largest value, of a window that is one constant but for rounding


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters; the defaults suit hours with a daily and a weekly period."""

    lr: float = option(3e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(50, "updates of linear warm-up", least=1)
    epochs: int | None = option(20, "stop after so many passes over the data", least=1)
    cell: str = option("gru", "recurrent layer", choices=("rnn", "lstm", "gru"))
    season: int = option(
        168,
        "values after which the series repeats, for the naive seasonal forecast; by its dates, if it has any",
        least=1,
    )
    horizon: int = option(24, "values that are forecast at once", least=1)
    window: int = option(336, "values that a forecast is made from", least=2)
    step: int = option(24, "values that the recurrent layer reads in a step; a divisor of the window", least=1)
    hidden: int = option(64, "features of the states", least=1)
    layers: int = option(1, "recurrent layers", least=1, below=1000)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    batch: int = option(64, "windows in a batch", least=1)

    def __post_init__(self) -> None:
        """Also check that steps make up the window."""
        super().__post_init__()
        if self.window % self.step:
            raise UserError(f"--step {self.step} must divide --window {self.window}")


def make_model(settings: Settings, device: str) -> SequenceRegressor:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shape: dict[str, Any] = dict(hidden_size=s.hidden, n_layers=s.layers, dropout=s.dropout)
    return place(
        SequenceRegressor(SequenceRegressorConfig(cell=s.cell, n_features=s.step, horizon=s.horizon, **shape)), device
    )


def origins(first: int, last: int, settings: Settings) -> np.ndarray:
    """All places from ``first`` on whose forecast ends before ``last``, with enough values before
    them to forecast from.
    """
    return np.arange(max(first, settings.window, settings.season), last - settings.horizon + 1)


def _windows(values: np.ndarray, places: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows before each origin as (N, W / F, F), less their means and divided by their
    deviations, both (N, 1).
    """
    found = values[places[:, None] + np.arange(-settings.window, 0)]  # (N, W)
    mean, deviation = found.mean(axis=1, keepdims=True), found.std(axis=1, keepdims=True)
    flat = deviation <= FLAT * np.abs(found).max(axis=1, keepdims=True)
    deviation = np.where(flat, 1.0, deviation)
    shape = (len(places), settings.window // settings.step, settings.step)
    return ((found - mean) / deviation).reshape(shape).astype(np.float32), mean, deviation


class Task:
    """From each window of the first part of a series the values that follow it; validated by the
    part after that.
    """

    def __init__(self, series: Series, settings: Settings) -> None:
        self.settings = settings
        validation, test = series.cuts
        self.samples = self._samples(series, 0, validation)
        self.validation = self._samples(series, validation, test)
        self.model = make_model(settings, settings.device)

    def _samples(self, series: Series, first: int, last: int) -> Samples:
        s = self.settings
        places = origins(first, last, s)
        if not len(places):
            n = len(series.values)
            raise UserError(
                f"{counted(n, 'value')}, too few for --window {s.window}, --season {s.season}, --horizon {s.horizon}"
            )
        windows, mean, deviation = _windows(series.values, places, s)
        targets = ((targets_at(series.values, places, s.horizon) - mean) / deviation).astype(np.float32)
        return Samples({"windows": windows, "targets": targets}, s.batch, s.seed, tokens_each=s.horizon)

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.samples.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        """The squared error of each value."""
        windows, targets = (mt.asarray(batch[name], device=self.settings.device) for name in ("windows", "targets"))
        return self.model.loss(windows, targets, divide_by=divide_by)

    def validate(self) -> dict[str, float]:
        """The squared error of each value that is to validate by."""
        batches = self.validation.in_order()
        total = sum(self.loss(batch, 1).item() for batch in batches)
        return {"validation_loss": total / sum(batch.tokens for batch in batches)}


def linear(train: np.ndarray, values: np.ndarray, places: np.ndarray, settings: Settings) -> np.ndarray:
    """Forecasts (N, H) of ``values`` by the linear map that has the least squared error on what
    follows the windows of ``train``, the values of training.

    It sees what the network sees: windows less their mean, divided by their deviation; and a one.
    """

    def inputs(values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        windows, mean, deviation = _windows(values, where, settings)
        flat = windows.reshape(len(where), -1).astype(float)  # (N, W)
        return np.concatenate([flat, np.ones((len(where), 1))], axis=1), mean, deviation

    seen = origins(0, len(train), settings)
    x, mean, deviation = inputs(train, seen)
    weights = np.linalg.lstsq(x, (targets_at(train, seen, settings.horizon) - mean) / deviation, rcond=None)[0]
    x, mean, deviation = inputs(values, places)
    return x @ weights * deviation + mean


def forecast(model: SequenceRegressor, values: np.ndarray, places: np.ndarray, settings: Settings) -> np.ndarray:
    """The model's forecasts (N, H) from each origin."""
    device, made = model.output.weight.device, []
    for rows in np.split(places, range(ROWS, len(places), ROWS)):
        windows, mean, deviation = _windows(values, rows, settings)
        with mt.no_grad():
            made.append(model(mt.asarray(windows, device=device)).to("cpu").numpy() * deviation + mean)
    return np.concatenate(made)
