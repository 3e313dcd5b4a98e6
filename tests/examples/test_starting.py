"""`train --start-from RUN`: what of the run is kept, what is new, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import translate
from scripts import caller, refuser, unreported, write_parallel
from toolkit.console import UserError
from toolkit.recipes import check_same_recipe
from toolkit.runs import Run
from toolkit.translation import Settings

import minitensor as mt

NOUNS = {"cats": "chats", "dogs": "chiens", "cars": "voitures", "trees": "arbres", "boats": "bateaux"}
COLOURS = {"red": "rouges", "golden": "dorés", "white": "blancs", "black": "noirs"}
PAIRS = [(f"{c} {w}", f"{v} {d}") for c, d in COLOURS.items() for w, v in NOUNS.items()]
OTHERS = [(source.upper(), target.upper()) for source, target in PAIRS]
SHAPE = "--layers 1 --d-model 8 --heads 2 --d-ff 16 --pre-norm --vocab 300 --max-length 20 --ff-dropout 0".split()
LEARN = "--lr 0.01 --warmup 2 --max-tokens 100 --steps 4 --validate-every 2".split()
HELD_STILL = "--lr 0 --steps 1 --max-tokens 100".split()

run_it = caller(translate.main)
call = unreported(run_it)  # the reports of tests of translations are not looked at here
refused = refuser(run_it)


def train(data, out, *more, languages=("en", "fr")):
    return "train", "--data", data, "--source", languages[0], "--target", languages[1], "--out", out, *more


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    splits = {"train": PAIRS[:15], "val": PAIRS[15:18], "test": PAIRS[18:]}
    return write_parallel(tmp_path_factory.mktemp("data"), ("en", "fr"), splits)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    splits = {"train": OTHERS[:15], "val": OTHERS[15:18], "test": OTHERS[18:]}
    return write_parallel(tmp_path_factory.mktemp("others"), ("en", "fr"), splits)


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """A trained run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert call(*train(data, folder, *SHAPE, *LEARN)) == 0
    return folder


def config(run):
    return json.loads((run / "config.json").read_text(encoding="utf-8"))


def weights(run):
    return mt.load(run / "weights.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)


def test_it_begins_with_the_weights_sub_words_and_shape_of_the_run(others, first, tmp_path, capsys):
    assert call(*train(others, tmp_path / "run", "--start-from", first, *HELD_STILL)) == 0
    assert same(weights(tmp_path / "run"), weights(first))
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    new, old = (config(run)["settings"] for run in (tmp_path / "run", first))
    kept = ["d_model", "layers", "d_ff", "heads", "pre_norm", "vocab", "max_length", "dropout", "ff_dropout"]
    assert [new[name] for name in kept] == [old[name] for name in kept]
    assert (new["schedule"], new["warmup"], new["epochs"], new["start_from"]) == ("cosine", 100, None, str(first))
    assert f"begins with {first}: " in capsys.readouterr().out


def test_what_is_learned_is_new(others, first, tmp_path):
    """The rate rises anew and Adam's moments are those of the new gradients: by any constant
    gradient its first step is as long as the rate.
    """
    given = (
        "--lr 0.001 --warmup 1 --schedule constant --steps 1 --max-tokens 100 --dropout 0 --label-smoothing 0".split()
    )
    assert call(*train(others, tmp_path / "run", "--start-from", first, *given)) == 0
    steps = [
        np.abs(new.numpy() - old.numpy()).max()
        for new, old in zip(weights(tmp_path / "run").values(), weights(first).values(), strict=True)
    ]
    assert max(steps) == pytest.approx(0.001, rel=1e-2)
    assert config(tmp_path / "run")["settings"]["dropout"] == 0.0


def test_a_run_of_it_is_resumed_whether_or_not_its_beginning_is_still_there(others, first, tmp_path, monkeypatch):
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(first, start)
    monkeypatch.chdir(tmp_path)
    assert call(*train(others, run, "--start-from", "start", *LEARN)) == 0
    done = (run / "weights.safetensors").read_bytes()
    monkeypatch.chdir(run)  # the path is kept whole
    shutil.rmtree(run / "checkpoints")  # as if it had been killed before the first checkpoint
    (run / "weights.safetensors").unlink()
    assert call("train", "--resume", "--out", run) == 0
    assert (run / "weights.safetensors").read_bytes() == done
    shutil.rmtree(start)
    assert call("train", "--resume", "--out", run) == 0
    assert (run / "weights.safetensors").read_bytes() == done


def test_what_the_weights_are_not_for_is_refused_before_a_folder_is_made(data, others, first, tmp_path, capsys):
    run = tmp_path / "run"
    usual = train(others, run, "--start-from", first)
    refused(capsys, "its weights are for --d-model 8, not 16; leave out --d-model", *usual, "--d-model", 16)
    refused(capsys, "its weights are for --arch transformer, not gru", *usual, "--arch", "gru")
    refused(capsys, "its weights are for --moses False, not True", *usual, "--moses")
    refused(capsys, "there is no run", *train(others, run, "--start-from", tmp_path / "none"))
    refused(capsys, "is not a run: it has no config.json", *train(others, run, "--start-from", tmp_path))
    turned = train(others, run, "--start-from", first, languages=("fr", "en"))
    refused(capsys, "that run translates en to fr, not fr to en", *turned)
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(first / name, untrained / name)
    refused(capsys, "has no trained weights yet", *train(others, run, "--start-from", untrained))
    assert not run.exists()
    its = (first / "weights.safetensors").read_bytes()
    refused(capsys, "is the folder of --out too", *train(others, first, "--start-from", f"{first}/.", "--force"))
    assert (first / "weights.safetensors").read_bytes() == its
    assert call(*usual, "--d-model", 8, *HELD_STILL) == 0  # what is said again is no contradiction
    refused(capsys, "--start-from cannot change", "train", "--resume", "--out", run, "--start-from", untrained)


def test_a_mean_of_runs_that_began_alike_says_so(others, first, tmp_path, capsys):
    seeds = [tmp_path / f"seed{seed}" for seed in (1, 2)]
    for seed, folder in enumerate(seeds):
        assert call(*train(others, folder, "--start-from", first, *HELD_STILL, "--seed", seed)) == 0
    first_seed, second = (Run.open(folder, "translate", Settings) for folder in seeds)
    check_same_recipe(first_seed, [second])
    assert f"2 of these runs began with {first}" in capsys.readouterr().err
    second.settings = dataclasses.replace(second.settings, start_from=None)
    with pytest.raises(UserError, match=r"seed2 was trained without --start-from, .*seed1 with --start-from a run"):
        check_same_recipe(first_seed, [second])
