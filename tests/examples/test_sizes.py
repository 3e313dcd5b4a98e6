"""Settings that follow from the number of pairs: of a file of 20 pairs, and of two million."""

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
    made = [
        Settings(arch=arch, **suited(pairs, {"arch": arch}))
        for pairs in (1, 20, 999, 1_000, 9_999, 29_000, 300_000, 999_999, 2_000_000)
    ]
    assert [s.vocab for s in made] == sorted(s.vocab for s in made)
    assert made[5] == Settings(arch=made[5].arch)  # Multi30k's are the defaults
    assert said(made[0]).startswith("up to 1,000 sub-words") and "1 epoch" not in said(made[-1])


def test_twenty_pairs_train(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert learned("train", "--data", data, *LANGUAGES, "--steps", "2", "--d-model", "16", "--out", run) == 0
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    # What is given wins, the rest follows from the number of pairs.
    assert [settings[name] for name in ("steps", "d_model")] == [2, 16]
    assert [settings[name] for name in ("vocab", "layers", "max_tokens", "warmup")] == [1000, 2, 1024, 1]
    assert learned("train", "--resume", "--out", run) == 0
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"] == settings


def test_another_end_takes_the_place_of_the_updates(data, tmp_path):
    run = tmp_path / "run"
    assert learned("train", "--data", data, *LANGUAGES, "--epochs", "1", "--d-model", "16", "--out", run) == 0
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["epochs"], settings["steps"], settings["schedule"]) == (1, None, "cosine")


def test_a_nearer_end_has_a_shorter_warm_up():
    assert [suited(20, {"steps": steps})["warmup"] for steps in (2, 150, 1200, 9000)] == [1, 25, 200, 200]
    assert [suited(900, {"epochs": epochs})["warmup"] for epochs in (1, 50, 500)] == [2, 141, 200]
    assert "warmup" not in suited(29_000, {"steps": 10}) and suited(20, {})["warmup"] == 200


def test_check_tells_the_same(data, capsys):
    assert call("check", "--data", data, *LANGUAGES, "--arch", "gru", "--hidden", "8", "--d-model", "8") == 0
    printed = capsys.readouterr().out
    assert (
        "settings: up to 1,000 sub-words, 1 + 1 layers of 8, dropout 0.3, batches of 1,024 positions, 50 epochs"
        in printed
    )
