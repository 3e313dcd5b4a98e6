"""The forecast script: what it claims at a small setting, its data, and what it refuses."""

import json
import re
import shutil
import sys
from datetime import datetime
from types import ModuleType, SimpleNamespace

import forecast
import numpy as np
import pytest
from scripts import caller, refuser, unreported
from toolkit.console import UserError
from toolkit.forecasting import _windows, linear
from toolkit.measured import read_measured
from toolkit.seasons import Season, season_of
from toolkit.series import NOISE, make_series, persistence, read_series, seasonal_naive, targets_at

TINY = "--window 48 --season 24 --step 12 --horizon 6 --hidden 16 --epochs 20 --warmup 5 --lr 0.01 --batch 32".split()

call = caller(forecast.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A wave of period 24 with noise, the second column of three."""
    t = np.arange(1200)
    values = 50 + 10 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(0).normal(0, 2, t.size)
    path = tmp_path_factory.mktemp("data") / "wave.csv"
    path.write_text(
        "time,load,other\n" + "".join(f"{i},{value:.3f},{i}\n" for i, value in zip(t, values)), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--column", "load", "--out", folder, *TINY) == 0
    return folder


def table(printed):
    """The MSE of each forecast that is printed."""
    return {name: float(mse) for name, mse in re.findall(r"^  (\w[\w ]*?) +(\d\S*) +\d\S*$", printed, re.M)}


def test_the_network_beats_the_naive_forecasts_and_comes_near_the_noise(run, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    errors = table(printed)
    assert errors.keys() == {"network", "linear", "a season ago", "the last value"}
    assert errors["network"] < 0.75 * errors["a season ago"] < errors["the last value"]
    assert 0.7 * 4 < errors["network"] < 1.5 * 4  # the noise has variance 4
    said = float(re.search(r"squared error is (\S+) % below that of a season ago", printed)[1])
    assert said == pytest.approx(100 * (1 - errors["network"] / errors["a season ago"]), abs=0.1)
    for name in ("forecast.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"


def test_predicting_what_follows(run, data, tmp_path, capsys):
    capsys.readouterr()
    assert call("predict", "--run", run) == 0
    values = [float(line) for line in capsys.readouterr().out.split()]
    expected = 50 + 10 * np.sin(2 * np.pi * np.arange(1200, 1206) / 24)
    assert len(values) == 6 and np.abs(values - expected).max() < 4
    lines = data.read_text(encoding="utf-8").splitlines()[:13]  # twelve values, the window has 48
    (tmp_path / "short.csv").write_text("\n".join(lines), encoding="utf-8")
    refused(
        capsys, "12 values, too few to forecast from; 48", "predict", "--run", run, "--data", tmp_path / "short.csv"
    )


def test_other_data_are_not_called_held_out(run, data, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        forecast, "_report", lambda run, series, model, what, train: told.append((run.picture("a.png").name, what))
    )
    other = tmp_path / "other.csv"
    other.write_text(data.read_text(encoding="utf-8") + "1200,50,1200\n", encoding="utf-8")
    for path in (data, other):
        assert call("evaluate", "--run", run, "--data", path) == 0
    assert told == [
        ("a.png", forecast.HELD_OUT),
        ("a-of-other.csv.png", f"the last fifth of {other}, of which the training may have seen some"),
    ]


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, run, tmp_path):
    arguments = "--data", data, "--column", "load", "--out", tmp_path / "parts", *TINY, "--schedule", "constant"
    assert unreported(call)("train", *arguments, "--epochs", 1) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--epochs", 3) == 0
    assert unreported(call)("train", *arguments, "--epochs", 3, "--out", tmp_path / "whole") == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]


def test_the_made_series_is_a_signal_and_white_noise():
    series = make_series()
    noise = series.values - series.signal
    assert noise.std() == pytest.approx(NOISE, rel=0.03) and abs(noise.mean()) < 0.03
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03
    t = np.arange(168, len(noise))
    # but for the trend, weekly
    np.testing.assert_allclose(series.signal[t] - series.signal[t - 168], 168 / 2000, atol=1e-9)
    np.testing.assert_array_equal(make_series().values, series.values)
    assert not np.array_equal(make_series(1).values, series.values)


def test_the_held_out_end_is_neither_trained_on_nor_validated_by(monkeypatch, tmp_path):
    series = make_series()
    settings = forecast.Settings()
    loaded = forecast.Forecast().make_task(series, settings, None)
    changed = series.values.copy()
    changed[series.cuts[1] :] = 0
    other = forecast.Forecast().make_task(forecast.Series(changed, "value"), settings, None)
    for ours, theirs in ((loaded.samples, other.samples), (loaded.validation, other.validation)):
        for name in ("windows", "targets"):
            np.testing.assert_array_equal(ours.whole[name], theirs.whole[name])
    assert forecast._held_out(series, settings)[0] == series.cuts[1]


def test_naive_forecasts():
    values = np.arange(20.0)
    origins = np.array([10, 12])
    np.testing.assert_array_equal(targets_at(values, origins, 3), [[10, 11, 12], [12, 13, 14]])
    np.testing.assert_array_equal(persistence(values, origins, 2), [[9, 9], [11, 11]])
    np.testing.assert_array_equal(seasonal_naive(values, origins, 3, 7), [[3, 4, 5], [5, 6, 7]])
    # never from the future
    np.testing.assert_array_equal(seasonal_naive(values, np.array([10]), 5, 2), [[8, 9, 8, 9, 8]])


def test_bad_input_is_refused_before_a_folder_is_made(data, tmp_path, capsys):
    def train(message, *arguments):
        refused(capsys, message, "train", "--out", tmp_path / "run", *arguments)

    train("has no column 'x'; there are: time, load, other", "--data", data, "--column", "x")
    train("--column is for a CSV file", "--column", "load")
    train("cannot read", "--data", tmp_path / "nothing.csv")
    train("--step 5 must divide --window 48", *TINY, "--step", 5)
    for text, message in (
        ("a\n", "holds no values"),
        ("a,b\n1,2\n3,\n", "line 3, column b: '' is not a number"),
        ("a\n1\nnan\n", "line 3, column a: 'nan' is not a number"),
        ("a\n" + "1\n" * 100, "100 values, too few for --window 336"),
    ):
        (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
        train(message, "--data", tmp_path / "bad.csv")
    assert not (tmp_path / "run").exists()


def test_a_constant_series_is_forecast_as_it_is(tmp_path, capsys):
    (tmp_path / "flat.csv").write_text("a\n" + "7\n" * 400, encoding="utf-8")
    assert call("train", "--data", tmp_path / "flat.csv", "--out", tmp_path / "run", *TINY, "--epochs", 1) == 0
    assert np.isfinite(table(capsys.readouterr().out)["network"])
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["data"]["column"] == "a"
    assert read_series(tmp_path / "flat.csv", None).values.tolist() == [7.0] * 400


DAY = 86_400.0
MONTHS = [(datetime(1990 + i // 12, 1 + i % 12, 1) - datetime(1970, 1, 1)).total_seconds() for i in range(120)]


@pytest.mark.parametrize(
    ("times", "period", "season"),
    [
        (MONTHS, 12, (12, "a year, by the dates")),
        (MONTHS[::3], 4, (4, "a year, by the dates")),
        (DAY * np.arange(120), 7, (7, "a week, by the dates")),
        ([DAY * i for i in range(120) if i % 7 not in (2, 3)], 5, (5, "a week of 5 days, by the dates")),
        (7 * DAY * np.arange(200), 52, (52, "a year, by the dates")),
        (DAY / 24 * np.arange(400), 24, (24, "a day, by the dates")),
        (DAY / 24 * np.arange(400), 168, (168, "a week, by the dates")),
        (DAY / 24 * np.arange(300), 168, (24, "a day, by the dates")),  # two weeks are not there
        (DAY / 96 * np.arange(400), 96, (96, "a day, by the dates")),
        (365 * DAY * np.arange(40), 1, (1, "years have none, by the dates")),
        (DAY * 5 / 24 * np.arange(99), 1, None),
        (DAY * np.zeros(9), 1, None),
    ],
)
def test_the_season_that_dates_tell(times, period, season):
    values = np.sin(2 * np.pi * np.arange(len(times)) / period)
    assert season_of(times, values) == (season and Season(*season))


def test_a_run_says_which_season_it_uses(tmp_path):
    def told(rows, **given):
        (tmp_path / "a.csv").write_text("\n".join(["date,sales", *rows]), encoding="utf-8")
        program, data = forecast.Forecast(), {"path": str(tmp_path / "a.csv"), "column": None, "series": None}
        loaded = program.load(data)
        return program.told(data, loaded, program.chosen(data, given, loaded))

    dated = [f"{1900 + i // 12}-{1 + i % 12:02},{i % 12}" for i in range(240)]
    assert told(dated) == "a season is 12 values: a year, by the dates"
    assert told(dated, season=24) == "a season is 24 values, as --season says; a year, by the dates, has 12"
    undated = [f"shop {i},{i % 12}" for i in range(240)]
    assert told(undated).startswith(
        "a season is assumed to be 168 values, since no dates tell how long it is; give --s"
    )
    assert told(undated, season=12) == "a season is 12 values, as --season says"


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_scale_of_a_series_does_not_matter(scale):
    settings = forecast.Settings(window=24, season=12, step=12, horizon=6)
    values = np.sin(np.arange(100) / 3) + np.arange(100) / 30
    windows, mean, deviation = _windows(values, np.array([40, 60]), settings)
    scaled = _windows(scale * values, np.array([40, 60]), settings)
    for ours, theirs, factor in zip(scaled, (windows, mean, deviation), (1, scale, scale), strict=True):
        np.testing.assert_allclose(ours, factor * theirs, rtol=1e-5)
    assert _windows(np.full(50, 0.1), np.array([40]), settings)[2] == 1  # a constant, but for rounding


def test_numbers_have_the_digits_that_tell_them_apart(tmp_path):
    shown = [forecast._figure(value) for value in (0.246019, 6.42711, 12345.6, 3.2e-9, 0.0, 1e200)]
    assert shown == ["0.24602", "6.4271", "12346", "3.2000e-09", "0.0000", "1.0000e+200"]
    assert [forecast._digits(np.array(pair)) for pair in ([10, 13], [1e9, 1e9 + 1e-4], [0.1, 0.1])] == [6, 17, 6]
    for values, message in (
        ((1, 2e200), "line 3, column a: 2e\\+200 is too large to be squared"),
        ((1e-200, 0), "too little"),
    ):
        (tmp_path / "a.csv").write_text("a\n" + "".join(f"{value}\n" for value in values), encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_series(str(tmp_path / "a.csv"), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.0126\n1,0.02\n", "begins with numbers"),
        ("a,b\n1,2\n\n3,4\n", "line 3, column b: '' is not a number; the line is blank: remove it, or fill it in"),
        ("a,b\n1,2\n1,2\n3,x\n", "line 4, column b: 'x' is not a number; write one there, or remove line 4"),
        ("a,b\n1,2\n3,-inf\n", "line 3, column b: '-inf' is not a number; write one there, or remove line 3"),
        ("a,b\n1,1e999\n", "line 2, column b: '1e999' is not a number; write one there, or remove line 2"),
        ("a,b\n1,x\n3,y\n", "line 2, column b: 'x' is not a number; name another column by --column"),
    ],
)
def test_series_with_holes_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_series(str(tmp_path / "a.csv"), None)


def test_names_that_occur_twice(tmp_path):
    (tmp_path / "a.csv").write_text("load,load\n1,10\n2,20\n", encoding="utf-8")
    assert read_series(str(tmp_path / "a.csv"), None).values.tolist() == [10, 20]
    with pytest.raises(UserError, match="several columns 'load'"):
        read_series(str(tmp_path / "a.csv"), "load")


def test_only_lf_and_cr_lf_end_a_row(tmp_path):
    notes = ["a\u0085b", "a\u2028b", "a\rb", '"a\nb"', "a\x0cb"]
    rows = "".join(f"{number},{note}\r\n" for number, note in enumerate(notes))
    (tmp_path / "notes.csv").write_bytes(("value,note\r\n" + rows).encode())
    assert read_series(str(tmp_path / "notes.csv"), "value").values.tolist() == [0, 1, 2, 3, 4]


def predictions(capsys, *arguments):
    """What ``predict`` prints, and what it says on stderr."""
    capsys.readouterr()
    assert call("predict", *arguments) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_run_keeps_the_name_of_its_column(tmp_path, capsys):
    rows = [(f"2020-01-{1 + i // 24:02} {i % 24:02}:00", i % 7) for i in range(400)]
    (tmp_path / "old.csv").write_text(
        "date,value\n" + "".join(f"{date},{value}\n" for date, value in rows), encoding="utf-8"
    )
    (tmp_path / "new.csv").write_text(
        "date,value,price\n" + "".join(f"{date},{value},9\n" for date, value in rows), encoding="utf-8"
    )
    (tmp_path / "other.csv").write_text(
        "date,load,price\n" + "".join(f"{date},{value},9\n" for date, value in rows), encoding="utf-8"
    )
    run = tmp_path / "run"
    assert unreported(call)("train", "--data", tmp_path / "old.csv", "--out", run, *TINY, "--epochs", 1) == 0
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["data"]["column"] == "value"
    expected = predictions(capsys, "--run", run)
    assert predictions(capsys, "--run", run, "--data", tmp_path / "new.csv") == expected
    other = tmp_path / "other.csv"
    for command in ("predict", "evaluate"):
        refused(capsys, "has no column 'value'; there are: date, load, price", command, "--run", run, "--data", other)
    (tmp_path / "back.csv").write_text(
        "date,value\n" + "".join(f"{date},{value}\n" for date, value in reversed(rows)), encoding="utf-8"
    )
    out, told = predictions(capsys, "--run", run, "--data", tmp_path / "back.csv")
    assert out == expected[0] and told.startswith("note: ") and "its dates go backwards" in told
    (tmp_path / "twins.csv").write_text("value,value\n" + "1,2\n" * 400, encoding="utf-8")
    refused(
        capsys, "several columns 'value'", "train", "--data", tmp_path / "twins.csv", "--out", tmp_path / "a", *TINY
    )


def test_the_linear_map_is_found_where_there_is_one():
    """A wave is a linear function of its last values, whatever its mean and deviation."""
    settings = forecast.Settings(window=24, season=12, step=12, horizon=6)
    values = 50 + 10 * np.sin(2 * np.pi * np.arange(200) / 12 + 0.3)
    places = np.arange(150, 190)
    assert np.allclose(linear(values[:100], values, places, settings), targets_at(values, places, 6))
    changed = np.where(np.arange(200) < 130, values, 3 * values)  # of which the fit sees nothing
    assert np.allclose(linear(values[:100], changed, places[10:], settings), targets_at(changed, places[10:], 6))


def test_the_linear_map_is_that_of_the_training(run, data, tmp_path, monkeypatch, capsys):
    """Also on another series, of which the network, too, has learnt nothing."""
    fitted = []
    monkeypatch.setattr(forecast, "linear", lambda train, values, *_: fitted.append((train, values)) or 0.0)
    monkeypatch.setattr(forecast, "_draw", lambda *_: None)
    other, own = tmp_path / "other.csv", tmp_path / "own"
    series = read_series(str(data), "load")
    other.write_text("\n".join(["load", *map(str, series.values[::-1])]), encoding="utf-8")
    assert call("evaluate", "--run", run, "--data", other) == 0
    ((train, values),) = fitted
    np.testing.assert_array_equal(train, series.values[: series.cuts[0]])
    np.testing.assert_array_equal(values, series.values[::-1])
    assert "that of the linear map" in capsys.readouterr().out
    shutil.copytree(run, own)
    config = (own / "config.json").read_text(encoding="utf-8")
    (own / "config.json").write_text(config.replace("wave.csv", "gone.csv"), encoding="utf-8")
    assert call("evaluate", "--run", own, "--data", other) == 0
    captured = capsys.readouterr()
    assert (
        "note: the linear map is left out" in captured.err and "the linear map" not in captured.out and len(fitted) == 1
    )


class Table:
    """What is asked of a table of pandas."""

    def __init__(self, **columns):
        self.columns = columns

    def drop(self, columns):
        return Table(**{name: column for name, column in self.columns.items() if name != columns})

    def to_numpy(self, dtype):
        return np.array(list(self.columns.values()), dtype=dtype).T


@pytest.fixture
def statsmodels(monkeypatch):
    """A library that carries two short series."""
    wave = 300 + np.sin(2 * np.pi * np.arange(900) / 52)
    wave[[3, 4, 700]] = np.nan
    tables = {"co2": Table(co2=wave), "elnino": Table(YEAR=[1950, 1951], JAN=[1, 3], FEB=[2, 4])}
    library = ModuleType("statsmodels.datasets")
    for name, table in tables.items():
        setattr(library, name, SimpleNamespace(load_pandas=lambda table=table: SimpleNamespace(data=table)))
    monkeypatch.setitem(sys.modules, "statsmodels", ModuleType("statsmodels"))
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", library)


def test_measured_series(statsmodels):
    assert read_measured("elnino").values.tolist() == [1, 2, 3, 4]  # January, February, of the next year
    series = read_measured("co2")
    assert series.notes == ("3 of 900 values missing, and filled in on a line",)
    wave = 300 + np.sin(2 * np.pi * np.array([2, 5]) / 52)
    assert np.allclose(series.values[2:6], np.linspace(*wave, 4)) and np.isfinite(series.values).all()


def test_a_run_of_a_measured_series(statsmodels, tmp_path, capsys):
    small = "--hidden", 8, "--epochs", 1
    assert call("train", "--series", "co2", "--out", tmp_path / "run", *small) == 0
    captured = capsys.readouterr()
    assert {"network", "linear", "a season ago"} <= table(captured.out).keys()
    assert "note: co2: 3 of 900 values missing" in captured.err
    settings = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["season"], settings["epochs"]) == (52, 1)
    assert call("evaluate", "--run", tmp_path / "run") == 0
    refused(capsys, "leave out one of them", "train", "--series", "co2", "--data", "x.csv", "--out", tmp_path / "b")


def test_a_missing_library_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    message = 'the library statsmodels is not installed; install it by: pip install "minitensor-autograd[series]"'
    refused(capsys, message, "train", "--series", "elnino", "--out", tmp_path / "run")
