"""`train --start-from RUN`: what of the run is kept, what is new, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import translate
from phrases import PAIRS, same, train, write_parts
from scripts import caller, refuser, unreported, write_parallel
from toolkit.console import UserError
from toolkit.corpus import Corpus
from toolkit.recipes import check_same_recipe
from toolkit.runlog import read_log
from toolkit.runs import Run
from toolkit.translation import Settings

import minitensor as mt

OTHERS = [(source.upper(), target.upper()) for source, target in PAIRS]
SHAPE = "--layers 1 --d-model 8 --heads 2 --d-ff 16 --pre-norm --vocab 300 --max-length 20 --dropout 0.2".split()
SHAPE += (
    "--attention-dropout 0.1 --ff-dropout 0 --label-smoothing 0.05 --r-drop 0.5 --bpe-dropout 0.1 --beta2 0.95".split()
)
LEARN = "--lr 0.01 --schedule constant --warmup 2 --max-tokens 100 --steps 4 --validate-every 2".split()
HELD_STILL = "--lr 0 --steps 1 --max-tokens 100".split()

run_it = caller(translate.main)
call = unreported(run_it)  # the reports of tests of translations are not looked at here
refused = refuser(run_it)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("data"), PAIRS)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("others"), OTHERS)


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


def test_it_begins_with_the_weights_sub_words_and_shape_of_the_run(others, first, tmp_path, capsys):
    assert call(*train(others, tmp_path / "run", "--start-from", first, *HELD_STILL)) == 0
    assert same(weights(tmp_path / "run"), weights(first))
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    new, old = (config(run)["settings"] for run in (tmp_path / "run", first))
    anew = {"lr", "schedule", "warmup", "steps", "validate_every", "average", "start_from"}
    assert {name for name in new if new[name] != old[name]} == anew
    assert (new["schedule"], new["warmup"], new["epochs"], new["start_from"]) == ("cosine", 1, None, str(first))
    assert f"begins with {first}: " in capsys.readouterr().out


def test_by_default_the_rate_falls_over_ten_epochs(others, first, tmp_path):
    assert call(*train(others, tmp_path / "run", "--start-from", first)) == 0
    settings = config(tmp_path / "run")["settings"]
    assert (settings["lr"], settings["epochs"], settings["steps"]) == (1e-3, 10, None)
    log = read_log(tmp_path / "run" / "log.jsonl")
    rates = [record["lr"] for record in log if "lr" in record]
    assert log[-1]["epoch"] == 10 and len(rates) >= 2 and rates[-1] < 0.2 * rates[0] < 1e-3


@pytest.mark.parametrize(
    ("pairs", "given", "warmup"),
    [(30_000, {}, 100), (200, {}, 1), (30_000, {"steps": 60}, 10), (30_000, {"epochs": 1}, 24)],
)
def test_the_warm_up_is_no_more_than_a_sixth(data, first, pairs, given, warmup):
    loaded = {"fr": Corpus([("a", "b")] * pairs, [], {})}
    given = {"start_from": str(first), "max_tokens": 4096, **given}
    about = {"path": str(data), "source": "en", "target": "fr"}
    assert translate.Translate().chosen(about, given, loaded).warmup == warmup


def test_a_recurrent_run_keeps_its_own(others, tmp_path, capsys):
    shape = "--arch gru --attention dot --input-feeding --layers 1 --hidden 6 --d-model 8 --vocab 300 --max-length 20".split()
    first, run = tmp_path / "first", tmp_path / "run"
    assert call(*train(others, first, *shape, *LEARN)) == 0
    refused(
        capsys,
        "a run of --arch gru, has no --ff-dropout",
        *train(others, run, "--start-from", first, "--ff-dropout", 0.5),
    )
    both = train(others, run, "--start-from", first, "--arch", "gru", "--ff-dropout", 0.5)
    refused(capsys, "a run of --arch gru, has no --ff-dropout", *both)
    about = {"path": str(others), "source": "en", "target": "fr"}
    assert translate.Translate().presets(about, {"start_from": str(first)})["lr"] == 3e-4
    assert call(*train(others, run, "--start-from", first, *HELD_STILL, "--max-length", 30)) == 0
    assert same(weights(run), weights(first))
    assert [config(run)["settings"][name] for name in ("hidden", "attention", "max_length")] == [6, "dot", 30]


def test_several_targets_are_the_same_ones_in_any_order(tmp_path, capsys):
    columns = [(source, target, target[::-1]) for source, target in PAIRS]
    splits = {"train": columns[:15], "val": columns[15:18], "test": columns[18:]}
    (tmp_path / "data").mkdir()
    data = write_parallel(tmp_path / "data", ("en", "fr", "de"), splits)
    first = tmp_path / "first"
    assert call(*train(data, first, *SHAPE, *LEARN, languages=("en", "fr,de"))) == 0
    for targets in ("fr", "fra,deu"):
        usual = train(data, tmp_path / "no", "--start-from", first, languages=("en", targets))
        said = f"trained with --source en --target fr,de, and its weights are not for --source en --target {targets}"
        refused(capsys, said, *usual)
    assert call(*train(data, tmp_path / "run", "--start-from", first, *HELD_STILL, languages=("en", "de,fr"))) == 0
    assert same(weights(tmp_path / "run"), weights(first))


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


def test_a_run_of_it_is_resumed_whatever_became_of_its_beginning(others, first, tmp_path, monkeypatch, capsys):
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(first, start)
    monkeypatch.chdir(tmp_path)
    assert call(*train(others, run, "--start-from", "start", *LEARN)) == 0
    done = (run / "weights.safetensors").read_bytes()
    assert same(mt.load(run / "start.safetensors"), weights(first))
    shutil.rmtree(start)
    assert call("train", "--resume", "--out", run, "--start-from", "start") == 0  # what is said again
    assert (run / "weights.safetensors").read_bytes() == done
    shutil.rmtree(run / "checkpoints")  # as if it had been killed before the first checkpoint
    (run / "weights.safetensors").unlink()
    monkeypatch.chdir(run)
    assert call("train", "--resume", "--out", run) == 0
    assert (run / "weights.safetensors").read_bytes() == done
    assert same(mt.load(run / "start.safetensors"), weights(first))
    shutil.rmtree(run / "checkpoints")
    for name in ("weights", "start"):
        (run / f"{name}.safetensors").unlink()
    refused(capsys, "was stopped before it had kept the weights that it began with", "train", "--resume", "--out", run)


def test_it_begins_with_the_best_weights_so_far_of_a_run_that_was_interrupted(others, first, tmp_path, capsys):
    shutil.copytree(first, tmp_path / "start")
    (tmp_path / "start" / "weights.safetensors").unlink()
    assert call(*train(others, tmp_path / "run", "--start-from", tmp_path / "start", *HELD_STILL)) == 0
    assert "these are its best weights so far" in capsys.readouterr().err
    assert same(weights(tmp_path / "run"), mt.load(first / "checkpoints" / "best.safetensors"))


def test_check_cuts_words_as_training_will(others, first, capsys):
    """By the sub-words of the beginning, which have no capitals."""
    usual = ["--data", others, "--source", "en", "--target", "fr", "--max-tokens", 12]
    refused(capsys, "15 pairs, each of more than the 11 tokens", "check", *usual, "--start-from", first)
    assert run_it("check", *usual, *SHAPE) == 0


def test_tests_that_the_beginning_has_seen_are_told(data, first, tmp_path, capsys):
    """Of the pairs that the first run was trained on; the second run's own tests are these."""
    splits = {"train": OTHERS[:15], "val": OTHERS[15:18], "test": PAIRS[:4]}
    (tmp_path / "seen").mkdir()
    seen = write_parallel(tmp_path / "seen", ("en", "fr"), splits)
    said = f"of 4 inputs to be tested by, {first} was trained on 4"
    assert run_it(*train(seen, tmp_path / "run", "--start-from", first, *HELD_STILL)) == 0
    assert said in capsys.readouterr().err
    assert run_it("evaluate", "--run", tmp_path / "run") == 0
    assert said in capsys.readouterr().err


def test_what_the_weights_are_not_for_is_refused_before_a_folder_is_made(data, others, first, tmp_path, capsys):
    run = tmp_path / "run"
    usual = train(others, run, "--start-from", first)
    refused(capsys, "of a training with --d-model 8; leave out --d-model", *usual, "--d-model", 16)
    refused(capsys, "of a training with --arch transformer; leave out --arch", *usual, "--arch", "gru")
    refused(capsys, "of a training with --no-moses; leave out --moses", *usual, "--moses")
    refused(capsys, "of a training with --pre-norm; leave out --no-pre-norm", *usual, "--no-pre-norm")
    refused(capsys, "of a training with --vocab 300; leave out --vocab", *usual, "--vocab", 310)
    refused(capsys, "a run of --arch transformer, has no --hidden", *usual, "--hidden", 256)
    refused(capsys, "--start-from needs the folder of a trained run", *train(others, run, "--start-from", ""))
    refused(capsys, "there is no run", *train(others, run, "--start-from", tmp_path / "none"))
    refused(capsys, "is not a run: it has no config.json", *train(others, run, "--start-from", tmp_path))
    turned = train(others, run, "--start-from", first, languages=("fr", "en"))
    refused(capsys, "its weights are not for --source fr --target en", *turned)
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(first / name, untrained / name)
    refused(capsys, "has no trained weights yet", *train(others, run, "--start-from", untrained))
    assert not run.exists()
    its = (first / "weights.safetensors").read_bytes()
    refused(capsys, "is the folder of --out too", *train(others, first, "--start-from", f"{first}/.", "--force"))
    assert (first / "weights.safetensors").read_bytes() == its
    assert (
        call(*usual, "--d-model", 8, "--decoder-layers", 1, *HELD_STILL) == 0
    )  # what is said again is no contradiction
    refused(capsys, "--start-from cannot change", "train", "--resume", "--out", run, "--start-from", untrained)


def test_a_mean_of_runs_that_began_alike_says_so(others, first, tmp_path, capsys):
    seeds = [tmp_path / f"seed{seed}" for seed in (1, 2)]
    for seed, folder in enumerate(seeds):
        assert call(*train(others, folder, "--start-from", first, *HELD_STILL, "--seed", seed)) == 0
    first_seed, second = (Run.open(folder, "translate", Settings) for folder in seeds)
    check_same_recipe(first_seed, [second])
    assert f"2 of these runs began with {first}" in capsys.readouterr().err
    other = tmp_path / "other"
    assert call(*train(others, other, *SHAPE, *LEARN[2:], "--lr", 0.02)) == 0
    second.settings = dataclasses.replace(second.settings, start_from=str(other))
    with pytest.raises(UserError, match=r"other was trained on other data than .*first"):
        check_same_recipe(first_seed, [second])
    second.settings = dataclasses.replace(second.settings, start_from=str(tmp_path / "gone"))
    check_same_recipe(first_seed, [second])
    assert "gone, which" in capsys.readouterr().err
    second.settings = dataclasses.replace(second.settings, start_from=None)
    with pytest.raises(UserError, match=r"seed2 was trained without --start-from, .*seed1 with --start-from a run"):
        check_same_recipe(first_seed, [second])
