"""Settings that follow from the number of pairs: of a file of 20 pairs, and of two million."""

import dataclasses
import itertools
import json

import pytest
import translate
from scripts import caller, unreported
from toolkit.sizes import SIZES, said, suited
from toolkit.translation import Settings

NUMBERS, NOUNS, COLOURS = ("two", "three", "ten"), ("cats", "stars", "cars"), ("red", "blue", "old")
PAIRS = [(f"{a} {b} {c}", f"{c} {b} {a}") for a, b, c in itertools.product(NUMBERS, COLOURS, NOUNS)][:20]
LANGUAGES = "--source", "en", "--target", "xx"

call = caller(translate.main)
learned = unreported(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    return path


@pytest.mark.parametrize("arch", ["transformer", "gru"])
def test_each_number_of_pairs_has_settings_that_hold(arch):
    bounds = [size.below for size in SIZES]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf")
    given = Settings(arch=arch)
    numbers = (1, 20, 999, 1_000, 9_999, 29_000, 300_000, 999_999, 2_000_000)
    made = [dataclasses.replace(given, **{"epochs": None} | suited(pairs, {"arch": arch})) for pairs in numbers]
    assert [s.vocab for s in made] == sorted(s.vocab for s in made)
    assert made[5] == given  # Multi30k's are the defaults


def test_a_width_that_is_given_has_heads_that_divide_it():
    for width, heads in ((128, 8), (104, 8), (100, None)):
        assert suited(2_000_000, {"d_model": width}).get("heads") == heads


def test_all_ends_are_told():
    told = said(20, Settings(epochs=1, steps=1, minutes=1.0, patience=2))
    assert told.startswith("settings for 20 pairs, but for what is given: up to 10,000 sub-words, 4 + 4 layers of 128")
    assert told.endswith(", at most 1 epoch or 1 update or 1 minute or 2 validations without a better loss")


def test_twenty_pairs_train(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert learned("train", "--data", data, *LANGUAGES, "--steps", "2", "--d-model", "16", "--out", run) == 0
    named, told = capsys.readouterr().out.splitlines()[:2]
    assert told == (
        "settings for 18 pairs, but for what is given: up to 1,000 sub-words, 2 + 2 layers of 16, dropout 0.3, batches of"
        " 1,024 positions, rate 0.003 (cosine, 1 update of warm-up), at most 2 updates"
    )
    assert named.startswith(f"{run}: 18 pairs")
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    # What is given wins, the rest follows from the number of pairs.
    assert [settings[name] for name in ("steps", "d_model")] == [2, 16]
    assert [settings[name] for name in ("vocab", "layers", "max_tokens", "warmup")] == [1000, 2, 1024, 1]
    assert learned("train", "--resume", "--out", run) == 0
    assert "settings for" not in capsys.readouterr().out  # a resumed run has those it began with
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"] == settings


def test_another_end_takes_the_place_of_the_updates(data, tmp_path):
    run = tmp_path / "run"
    assert learned("train", "--data", data, *LANGUAGES, "--epochs", "1", "--d-model", "16", "--out", run) == 0
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["epochs"], settings["steps"], settings["schedule"]) == (1, None, "cosine")


def test_minutes_end_the_updates_that_the_number_of_pairs_has(data, tmp_path, capsys):
    """With --schedule cosine as without: it falls over these updates."""
    for schedule in ([], ["--schedule", "cosine"]):
        run = tmp_path / f"run{len(schedule)}"
        how = *schedule, "--minutes", "0", "--d-model", "16", "--out", run
        assert learned("train", "--data", data, *LANGUAGES, *how) == 0
        assert capsys.readouterr().out.splitlines()[1].endswith(", at most 1,200 updates or 0 minutes")
        settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
        assert [settings[name] for name in ("schedule", "steps", "epochs", "minutes")] == ["cosine", 1200, None, 0.0]
    recurrent = "--arch", "gru", "--schedule", "cosine", "--minutes", "1", "--out", tmp_path / "gru"
    assert call("train", "--data", data, *LANGUAGES, *recurrent) == 2  # its default has no number of updates
    assert "--schedule cosine ends at a known update; give --steps or --epochs" in capsys.readouterr().err
    assert not (tmp_path / "gru").exists()


def test_a_nearer_end_has_a_shorter_warm_up():
    assert [suited(20, {"steps": steps})["warmup"] for steps in (2, 150, 1200, 9000)] == [1, 25, 200, 200]
    assert [suited(900, {"epochs": epochs})["warmup"] for epochs in (1, 50, 500)] == [2, 141, 200]
    assert "warmup" not in suited(29_000, {"steps": 10}) and suited(20, {})["warmup"] == 200


def test_check_tells_the_same(data, capsys):
    assert call("check", "--data", data, *LANGUAGES, "--arch", "gru", "--hidden", "8", "--d-model", "8") == 0
    printed = capsys.readouterr().out
    assert (
        "what is given: up to 1,000 sub-words, 1 + 1 layers of 8, dropout 0.3, batches of 1,024 positions, rate 0.0012"
        " (inverse-sqrt, 300 updates of warm-up), at most 50 epochs\n" in printed
    )
