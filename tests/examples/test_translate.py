"""The translation script from the command line: what it leaves, what it refuses, and that nothing
is lost.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import translate
from scripts import caller, refuser, unreported, write_parallel
from toolkit import bleu, translation
from toolkit.english_french import corpus
from toolkit.runlog import read_log
from toolkit.runs import Run, fresh
from toolkit.tokenizer import START, STOP
from toolkit.translation import Settings, Task, learn_tokenizer, load_corpus
from toolkit.translator import Translator

import minitensor as mt

ROOT = Path(__file__).resolve().parents[2]
TINY = "--d-model 16 --heads 2 --layers 1 --d-ff 32 --vocab 340 --max-tokens 200 --max-length 50 --dropout 0.1 --warmup 5".split()

call = caller(translate.main)
refused = refuser(call)
call_unreported = unreported(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of parallel files: 200 pairs to train on, 20 and 20."""
    made = corpus(seed=1, n_train=200, n_validation=20, n_test=20)
    splits = {"train": made.train, "val": made.validation, "test_small": made.unseen_sentences}
    return write_parallel(tmp_path_factory.mktemp("data"), ("en", "fr"), splits)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A trained run, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--source", "en", "--target", "fr", "--out", folder, *TINY, "--epochs", 2) == 0
    return folder


def weights_of(folder):
    return (folder / "weights.safetensors").read_bytes()


# --- what a run leaves ----------------------------------------------------------------------------


def test_a_run_leaves_all_that_is_promised(run):
    for name in ("config.json", "tokenizer.json", "weights.safetensors", "log.jsonl", "loss.png", "attention.png"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "loss.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["settings"]["d_model"] == 16 and config["data"]["target"] == "fr"
    log = read_log(run / "log.jsonl")
    # Of so few pairs validations are a hundred updates apart, and the end has one.
    assert [record["epoch"] for record in log if "validation_loss" in record] == [2]
    assert "result" in log[-1]


def test_translate_sentences_and_files_alike(run, tmp_path, capsys):
    sentences = ["The dog sleeps.", "We see a house, and they do not."]
    assert call("translate", "--run", run, *sentences) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 2
    (tmp_path / "in.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    assert call("translate", "--run", run, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.txt") == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == printed
    assert call("translate", "--run", run, "--beam", 3, "--length-penalty", 1, *sentences) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_translations_do_not_depend_on_their_company(run):
    translator = Translator(Run.open(run, "translate", Settings))
    sentences = [pair[0] for pair in corpus(seed=2, n_train=5, n_validation=0, n_test=0).train]
    for beam in (1, 3):
        together = translator.translate(sentences, beam=beam)
        assert together == [translator.translate([sentence], beam=beam)[0] for sentence in sentences]


def test_evaluate(run, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    assert "test_small, 20 sentences" in printed and "tok:13a" in printed and "exact" in printed
    assert call("evaluate", "--run", run, "--split", "validation", "--beam", 2, "--weights", "best") == 0
    assert "validation, 20 sentences" in capsys.readouterr().out


def test_evaluate_tells_where_it_fails_and_compares(run, data, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert call("evaluate", "--run", run, "--against", run, "--details", "--page", path) == 0
    printed = capsys.readouterr().out
    assert "BLEU 0" in printed and "(nrefs:1|bs:1000|" in printed and "chrF" in printed
    assert "0 translations unlike" in printed and printed.count("1.0000") == 4
    assert "by the rarest word" in printed and "the worst sentences" in printed and printed.endswith(f"{path}\n")
    assert b"by length of the sentence" in path.read_bytes()
    refused(capsys, "must end in .html", "evaluate", "--run", run, "--page", tmp_path / "page.txt")
    refused(capsys, "there is no folder", "evaluate", "--run", run, "--page", tmp_path / "no" / "page.html")


def test_only_runs_of_the_same_languages_are_compared(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["data"]["source"] = "de"
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = "translates de to fr, "
    refused(capsys, said, "evaluate", "--run", run, "--against", other)


def test_what_makes_two_runs_unlike_is_said(run, data, tmp_path, capsys, monkeypatch):
    """One with --moses is compared in lower case alone, and tests that the other has seen are
    counted.
    """
    monkeypatch.setattr(bleu, "resamples", lambda count: 2)
    other, pairs = tmp_path / "other", tmp_path / "pairs.tsv"
    shutil.copytree(run, other)
    seen = (data / "test_small.en").read_text(encoding="utf-8").splitlines()[:1]
    lines = [*seen, *(f"Sentence {n}." for n in range(60))]
    pairs.write_text("".join(f"{line}\tPhrase.\n" for line in lines), encoding="utf-8")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["data"] |= {"path": str(pairs), "fingerprint": "another"}
    config["settings"]["moses"] = True
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr(Translator, "translate", lambda self, sentences, **how: [one.upper() for one in sentences])
    assert call("evaluate", "--run", run, "--against", other) == 0
    told = capsys.readouterr()
    assert f"note: {other} was trained with --moses and writes lower case alone, {run} does not" in told.err
    assert f"{other} was trained on 1" in told.err
    table = " ".join(told.out.split("\n\n")[1].split())
    assert "in lower case, which one" in table and "BLEU, lower case" in table and "chrF" not in table


def like(run, folder, **settings):
    """A copy of a run, its weights too, of other settings."""
    shutil.copytree(run, folder)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["settings"] |= settings
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_the_mean_of_several_seeds(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bleu, "resamples", lambda count: 2)
    seeds = [like(run, tmp_path / f"seed{seed}", seed=seed) for seed in (11, 12)]
    page = tmp_path / "page.html"
    assert call("evaluate", "--run", run, "--also", *seeds, "--page", page) == 0
    printed = capsys.readouterr().out
    exact = re.search(r"exact (\S+) %", printed)[1]
    words = " ".join(printed.split())
    assert "the mean of 3 trainings" in words and "seed 11 seed 12 mean 95 % interval" in words
    assert f"exact (%) {exact} {exact} {exact} {exact}" in words
    assert b"95 % interval" in page.read_bytes() and b", of seed 0</h3>" in page.read_bytes()
    assert call("evaluate", "--run", run, "--also", seeds[0], "--also", seeds[1]) == 0
    assert "the mean of 3 trainings" in capsys.readouterr().out
    refused(capsys, "give one or the other", "evaluate", "--run", run, "--also", *seeds, "--against", run)
    refused(capsys, "have the same seed", "evaluate", "--run", run, "--also", seeds[0], seeds[0])
    refused(capsys, f"{run} and {run} have the same seed", "evaluate", "--run", run, "--also", run)
    other = like(run, tmp_path / "other", seed=13, lr=0.5)
    refused(capsys, "trained with --lr 0.5, ", "evaluate", "--run", run, "--also", seeds[0], other)
    for name, value, said in (("moses", True, "with --moses, "), ("patience", 3, "without --patience: ")):
        unlike = like(run, tmp_path / name, seed=13, **{name: value})
        refused(capsys, said, "evaluate", "--run", run, "--also", unlike)
    for name, said in (("fingerprint", "on other data than"), ("target", "--target another, ")):
        config = json.loads((seeds[0] / "config.json").read_text(encoding="utf-8"))
        config["data"][name] = "another"
        (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
        refused(capsys, said, "evaluate", "--run", run, "--also", other)


def test_a_mean_is_of_runs_that_came_to_their_end(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bleu, "resamples", lambda count: 2)
    other = like(run, tmp_path / "other", seed=11, hidden=8)  # a Transformer has no such states
    with open(other / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 7000}\n')
    assert call("evaluate", "--run", run, "--also", other) == 0
    told = capsys.readouterr()
    assert "the mean of 2 trainings" in told.out
    assert "note: these runs ended after unlike numbers of updates" in told.err and f"{other} after 7,000\n" in told.err
    (other / "weights.safetensors").unlink()
    for weights in ("result", "best"):
        said = (
            f"{other} has no result, weights.safetensors, since its training was interrupted: go on by train --resume"
        )
        refused(capsys, said, "evaluate", "--run", run, "--weights", weights, "--also", other)


def test_scores_are_sums_over_the_steps(run):
    """Of given translations, of greedy ones and of a beam: what the model answers step by step."""
    translator = Translator(Run.open(run, "translate", Settings))
    model, tokenizer = translator.model, translator.tokenizer

    def by_steps(source_ids, target_ids):
        state = model.start(mt.asarray([[*source_ids, STOP]]))
        total, token = 0.0, START
        for following in target_ids:
            total += model.step(np.array([token]), state).numpy()[0, following].item()
            token = following
        return total

    source, target = "The dog sleeps.", "Le chien dort."
    ids = tokenizer.encode_batch([source, target])
    model.eval()
    with mt.no_grad():
        expected = by_steps(ids[0], [*ids[1], STOP])
        ((value, tokens),) = translator.score([(source, target)])
        assert value == pytest.approx(expected, abs=1e-4) and tokens == len(ids[1]) + 1
        together = translator.score([("A cat.", "Un chat."), (source, target), ("We see a house.", "Oui.")])
        assert together[1][0] == pytest.approx(value, abs=1e-4)
        found = model.generate(mt.asarray([[*ids[0], STOP]]), 50, beam_size=3, n_best=3)[0]
        lines = translator.translate([source], beam=3, n_best=3, scores=True)
        for line, hypothesis in zip(lines, found, strict=True):
            score, text = line.split("\t")
            ends = [*hypothesis, STOP][:50]  # one that was cut off has no end
            assert float(score) == pytest.approx(by_steps(ids[0], ends), abs=2e-3)
            assert text == translator.tokenizer.decode(hypothesis)


def test_scores_on_the_command_line(run, data, tmp_path, capsys):
    assert call("score", "--run", run, "The dog sleeps.", "Le chien dort.", "A cat.", "Un chat.") == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert [row[2:] for row in rows] == [["The dog sleeps.", "Le chien dort."], ["A cat.", "Un chat."]]
    assert all(float(row[0]) < 0 and int(row[1]) > 1 for row in rows) and "nats a token" in captured.err
    assert call("score", "--run", run, "--data", data, "--split", "test_small") == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 20 and "note: test_small: log-probability -" in captured.err
    assert call("translate", "--run", run, "--scores", "--n-best", 2, "--beam", 2, "--skip-blank", "A cat.", " ") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split("\t")[0]) < 0 for line in lines[:2]] == [True] * 2 and lines[2:] == ["\t", "\t"]
    for said, arguments in (
        ("in turns", ()), ("in turns", ("a", "b", "--data", data)), ("no translation after it", ("a", "b", "c")),
        ("--split names", ("a", "b", "--split", "test")), ("the translation of pair 1 is empty", ("a", " ")),
        ("there is no split 'x'", ("--data", data, "--split", "x")),
    ):  # fmt: skip
        refused(capsys, said, "score", "--run", run, *arguments)


def test_a_sentence_is_explained_on_a_page(run, tmp_path, capsys):
    assert call("explain", "--run", run, "The dog sleeps.", "--out", tmp_path / "a.html", "--beam", "3") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Transformer, translation: The d") and printed.endswith(f"{tmp_path / 'a.html'}\n")
    assert "Attention " in printed and "occlusion" in printed
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!DOCTYPE html>")
    translator = Translator(Run.open(run, "translate", Settings))
    seen = translator.explain("The dog sleeps.")
    ids = [step.id for step in seen.steps]
    assert translator.tokenizer.decode(ids) == translator.translate(["The dog sleeps."])[0]
    refused(capsys, "there is no folder", "explain", "--run", run, "hello", "--out", tmp_path / "no" / "a.html")
    refused(capsys, "is empty", "explain", "--run", run, " ", "--out", tmp_path / "b.html")
    refused(capsys, "must end in .html", "explain", "--run", run, "hello", "--out", tmp_path / "c.txt")


def test_attention_sums_to_one(run, tmp_path, capsys):
    assert call("attention", "--run", run, "The dog sleeps.", "--output", tmp_path / "a.png") == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    maps, source, target = Translator(Run.open(run, "translate", Settings)).attention("The dog sleeps.")
    assert list(maps) == ["decoder.0.cross"] and maps["decoder.0.cross"].shape == (2, len(target), len(source))
    np.testing.assert_allclose(maps["decoder.0.cross"].sum(axis=-1), 1, rtol=1e-5)


def test_force_replaces_a_run_and_nothing_else(data, tmp_path):
    arguments = [
        "train",
        "--data",
        data,
        "--source",
        "en",
        "--target",
        "fr",
        "--out",
        tmp_path / "run",
        *TINY,
        "--steps",
        2,
    ]
    assert call_unreported(*arguments) == 0
    before = weights_of(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine", encoding="utf-8")
    assert call_unreported(*arguments, "--force", "--seed", 1) == 0
    assert weights_of(tmp_path / "run") != before
    assert (tmp_path / "run" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_killed_run_goes_on_bit_for_bit(data, tmp_path):
    arguments = ["train", "--data", data, "--source", "en", "--target", "fr", *TINY, "--epochs", 3, "--average", 2]
    assert call_unreported(*arguments, "--out", tmp_path / "whole") == 0
    command = [sys.executable, str(ROOT / "examples/translate.py"), *map(str, arguments), "--save-every", "0"]
    killed = subprocess.Popen(
        [*command, "--out", str(tmp_path / "parts")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = tmp_path / "parts" / "checkpoints" / "last.safetensors"
    for _ in range(600):
        if last.exists():
            break
        time.sleep(0.05)
    killed.kill()
    assert killed.wait() == (-signal.SIGKILL if os.name == "posix" else 1)
    assert mt.load(last)["position"]["step"] < len(read_log(tmp_path / "whole" / "log.jsonl")) * 10
    assert call_unreported("train", "--resume", "--out", tmp_path / "parts") == 0
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no Ctrl-C for a single process")
def test_ctrl_c_says_how_to_go_on(data, tmp_path):
    arguments = [
        "train",
        "--data",
        data,
        "--source",
        "en",
        "--target",
        "fr",
        *TINY,
        "--epochs",
        1000,
        "--out",
        tmp_path / "run",
    ]
    command = [sys.executable, str(ROOT / "examples/translate.py"), *map(str, arguments), "--save-every", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    for _ in range(600):
        if (tmp_path / "run" / "checkpoints" / "last.safetensors").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"train --resume --out {tmp_path / 'run'}" in out and "Traceback" not in errors
    assert call("translate", "--run", tmp_path / "run", "The dog sleeps.") == 0  # with the weights so far


# --- recurrent architectures ----------------------------------------------------------------------

SMALL = (
    "--d-model 16 --hidden 12 --layers 1 --vocab 340 --max-tokens 200 --max-length 30 --dropout 0.1 --warmup 5".split()
)
LANGUAGES = ["--source", "en", "--target", "fr"]


@pytest.mark.parametrize(
    "options", [("rnn", "additive"), ("lstm", "dot", "--input-feeding", "--layers", 2), ("gru", "none")]
)
def test_every_architecture_does_all_that_the_script_does(options, data, tmp_path, capsys):
    arch, attention, *more = options
    folder = tmp_path / "run"
    train = [
        "train",
        "--data",
        data,
        *LANGUAGES,
        "--out",
        folder,
        *SMALL,
        "--arch",
        arch,
        "--attention",
        attention,
        *more,
    ]
    assert call(*train, "--steps", 4) == 0
    whole = weights_of(folder)
    assert (folder / "attention.png").exists() == (attention != "none")
    assert call_unreported(*train, "--steps", 2, "--force") == 0
    assert call_unreported("train", "--resume", "--out", folder, "--steps", 4) == 0
    assert weights_of(folder) == whole  # in two parts as in one
    capsys.readouterr()
    assert call("translate", "--run", folder, "--beam", 3, "The dog sleeps.", "We see a house.") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert call("evaluate", "--run", folder) == 0
    if attention == "none":
        refused(capsys, "trained with --attention none", "attention", "--run", folder, "The dog sleeps.")
    else:
        assert call("attention", "--run", folder, "The dog sleeps.", "--output", tmp_path / "a.png") == 0
        maps, source, target = Translator(Run.open(folder, "translate", Settings)).attention("The dog sleeps.")
        assert source == ["The", "dog", "sleeps", ".", "<stop>"] and list(maps) == ["decoder.0.cross"]
        (weights,) = maps.values()
        assert weights.shape == (1, len(target), len(source))
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "gru", "--heads", 2], "--arch gru has no --heads"),
        (["--arch", "lstm", "--pre-norm"], "--arch lstm has no --pre-norm"),
        (["--attention", "dot"], "--arch transformer has no --attention"),
        (["--arch", "transformer", "--input-feeding"], "--arch transformer has no --input-feeding"),
    ],
)
def test_options_of_the_other_architecture_are_refused(data, tmp_path, capsys, arguments, message):
    refused(capsys, message, "train", "--data", data, *LANGUAGES, "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


def test_unknown_architectures_are_refused(capsys):
    for option, choices in (
        ("--arch", ("rnn", "lstm", "gru", "transformer")),
        ("--attention", ("none", "additive", "dot")),
    ):
        with pytest.raises(SystemExit):
            call("train", option, "mamba")
        error = capsys.readouterr().err
        assert f"argument {option}: invalid choice: 'mamba'" in error and all(choice in error for choice in choices)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_recurrent_networks_with_attention_learn_french(arch, tmp_path, capsys):
    assert call("train", "--arch", arch, "--attention", "additive", "--out", tmp_path / "run") == 0
    printed = capsys.readouterr().out
    exact = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("exact")]
    assert exact[0] >= 95


# --- the embedded corpus --------------------------------------------------------------------------


def test_no_arguments_train_on_the_embedded_corpus(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = corpus(seed=0, n_train=300, n_validation=20, n_test=12)
    monkeypatch.setattr(translation.english_french, "corpus", lambda: small)
    changes = dict(d_model=16, heads=2, layers=1, d_ff=32, vocab=300, max_tokens=200, steps=3, warmup=2)
    monkeypatch.setattr(translation, "EMBEDDED", {**translation.EMBEDDED, **changes})
    assert call() == 0
    printed = capsys.readouterr().out
    assert "unseen_sentences, 12 sentences" in printed and "unseen_combinations, 12 sentences" in printed
    assert printed.count("\n    = ") == 10
    assert call("translate", "--run", "runs/en-fr", "How are you?") == 0
    assert call_unreported() == 0  # a second one does not touch the first
    assert sorted(path.name for path in Path("runs").iterdir()) == ["en-fr", "en-fr-2"]
    assert fresh(Path("runs/en-fr")) == Path("runs/en-fr-3")


@pytest.mark.slow
def test_the_main_job_learns_french(tmp_path, capsys):
    assert call("train", "--out", tmp_path / "run") == 0
    printed = capsys.readouterr().out
    exact = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("exact")]
    assert exact[0] >= 98.5 and exact[1] >= 97


# --- bad input ------------------------------------------------------------------------------------


def spoilt(data, tmp_path, name, content):
    """A copy of the data with one file changed."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.fr", b"un\n\ndeux\n", "train.fr line 2 is empty"),
        ("train.fr", b"un\n", "has 200 lines and "),
        ("train.fr", "été\n".encode("latin-1"), "is not UTF-8"),
        (
            "test_small.en",
            (b"word " * 120 + b"\n") * 20,
            "test_small: 20 sentences, each of more than the 49 tokens",
        ),
    ],
)
def test_bad_files_are_refused_before_a_folder_is_made(data, tmp_path, capsys, name, content, message):
    folder = spoilt(data, tmp_path, name, content)
    arguments = ["train", "--data", folder, "--source", "en", "--target", "fr", "--out", tmp_path / "run", *TINY]
    refused(capsys, message, *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "de"], "has no language 'de'; there are: en, fr"),
        (["--lr", "-1"], "--lr -1.0: it must be at least 0"),
        (["--dropout", "1"], "--dropout 1.0: it must be below 1"),
        (["--heads", "3"], "--heads 3 must divide --d-model 16"),
        (["--vocab", "10"], "a vocabulary of 10 is too small"),
        (["--max-length", "3"], "test_small: 20 sentences, each of more than the 2"),
        (["--max-tokens", "3"], "200 pairs, each of more than the 2 tokens"),
        (["--device", "tpu"], "--device tpu: unknown device"),
    ],
)
def test_bad_options_are_refused_before_a_folder_is_made(data, tmp_path, capsys, arguments, message):
    usual = [
        "train",
        "--data",
        data,
        "--source",
        "en",
        "--target",
        "fr",
        "--out",
        tmp_path / "run",
        *TINY,
        "--minutes",
        1,
    ]
    refused(capsys, message, *usual, *arguments)
    assert not (tmp_path / "run").exists()


def test_missing_things(run, data, tmp_path, capsys, monkeypatch):
    languages = ["--source", "en", "--target", "fr", "--out", tmp_path / "a"]
    refused(capsys, "nowhere does not exist", "train", "--data", "nowhere", *languages)
    refused(capsys, "--data needs --source and --target", "train", "--data", data, "--out", tmp_path / "a")
    refused(capsys, "there is no run", "train", "--resume", "--out", tmp_path / "nothing")
    refused(capsys, "--resume needs the folder", "train", "--resume")
    refused(capsys, "there is no run", "translate", "--run", tmp_path / "nothing", "hello")
    refused(capsys, "is not a run: it has no config.json", "translate", "--run", data, "hello")
    refused(capsys, "cannot read", "translate", "--run", run, "--input", tmp_path / "nothing.txt")
    monkeypatch.setattr("sys.stdin", None)
    refused(capsys, "give sentences to translate", "translate", "--run", run)
    splits = "there is no split 'test_2016'; there are: validation, test_small"
    refused(capsys, splits, "evaluate", "--run", run, "--split", "test_2016")
    refused(capsys, "cannot draw", "attention", "--run", run, "hello", "--output", tmp_path / "no" / "a.png")
    refused(capsys, "there is no folder", "translate", "--run", run, "hello", "--output", tmp_path / "no" / "a.txt")
    (tmp_path / "in.txt").write_text("hello\n", encoding="utf-8")
    same = "--input", tmp_path / "in.txt", "--output", tmp_path / "in.txt"
    refused(capsys, "is the file to translate", "translate", "--run", run, *same)
    assert (tmp_path / "in.txt").read_text(encoding="utf-8") == "hello\n"


def test_bad_sentences(run, tmp_path, capsys):
    refused(capsys, "sentence 2 is empty", "translate", "--run", run, "hello", "  ")
    refused(capsys, "the model allows 49", "translate", "--run", run, "word " * 120)
    (tmp_path / "in.txt").write_bytes(b"fine\n\nfine\n")
    refused(capsys, "in.txt line 2 is empty; remove it", "translate", "--run", run, "--input", tmp_path / "in.txt")
    (tmp_path / "in.txt").write_bytes(b"fine\n\xff\n")
    refused(
        capsys, "in.txt line 2, byte 1: 0xff is not UTF-8", "translate", "--run", run, "--input", tmp_path / "in.txt"
    )


def test_a_run_is_never_overwritten_unasked(run, data, tmp_path, capsys):
    before = weights_of(run)
    usual = ["train", "--data", data, "--source", "en", "--target", "fr", *TINY, "--steps", 1, "--out"]
    refused(capsys, "holds a run already; go on with it by --resume", *usual, run)
    assert weights_of(run) == before
    refused(capsys, "is not empty and not a run", *usual, data)
    refused(capsys, "is not empty and not a run", *usual, data, "--force")
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused(capsys, "is a file", *usual, tmp_path / "file")


def test_what_resuming_refuses(run, data, tmp_path, capsys):
    before = weights_of(run)
    refused(capsys, "--d-model cannot change", "train", "--resume", "--out", run, "--d-model", 32)
    refused(capsys, "leave out --force", "train", "--resume", "--force", "--out", run)
    refused(capsys, "leave out --force", "train", "--resume", "--source", "fr", "--target", "en", "--out", run)
    folder = spoilt(data, tmp_path, "val.fr", (data / "val.en").read_bytes())
    refused(capsys, "is not what the run has been trained on", "train", "--resume", "--out", run, "--data", folder)
    assert weights_of(run) == before


def altered(run, tmp_path, **changes):
    """A copy of the run with another configuration."""
    folder = tmp_path / "altered"
    folder.mkdir()
    for name in ("tokenizer.json", "weights.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    config = {**json.loads((run / "config.json").read_text(encoding="utf-8")), **changes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_runs_of_other_versions(run, tmp_path, capsys):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    cases = [
        ({"format": 99}, "is a run in format 99, and this program reads format 1; open it with the version"),
        ({"program": "chess"}, "is a run of 'chess', and this program is 'translate'\n"),
        (
            {"program": "text-to-text", "format": 0},
            "of 'text-to-text', and this program is 'translate'; open it by examples/text_to_text.py",
        ),
        ({"settings": {**settings, "spin": 3}}, "written by another version of this program (it differs in: spin)"),
        ({"settings": {**settings, "d_ff": 64}}, "do not fit its configuration"),
    ]
    for number, (changes, message) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        refused(capsys, message, "translate", "--run", altered(run, tmp_path / str(number), **changes), "hello")


def test_damaged_runs(run, tmp_path, capsys):
    folder = altered(run, tmp_path)
    (folder / "weights.safetensors").write_bytes(weights_of(run)[:-7])
    refused(capsys, "damaged", "translate", "--run", folder, "hello")
    (folder / "weights.safetensors").unlink()
    refused(capsys, "has no trained weights yet; go on by: train --resume", "translate", "--run", folder, "hello")
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace('"layers": 1', '"layers": "1"'), encoding="utf-8")
    refused(capsys, "has been changed and does not fit", "translate", "--run", folder, "hello")
    (folder / "config.json").write_text("{", encoding="utf-8")
    refused(capsys, "config.json is damaged", "translate", "--run", folder, "hello")


# --- parts ----------------------------------------------------------------------------------------


def test_pairs_too_long_to_train_on_are_left_out_and_told(data, tmp_path, capsys):
    folder = spoilt(
        data, tmp_path, "train.en", b"word " * 120 + b"\n" + (data / "train.en").read_bytes().split(b"\n", 1)[1]
    )
    usual = [
        "train",
        "--data",
        folder,
        "--source",
        "en",
        "--target",
        "fr",
        *TINY,
        "--steps",
        1,
        "--out",
        tmp_path / "run",
    ]
    assert call_unreported(*usual) == 0
    assert "left out 1 pair of more than 50 tokens" in capsys.readouterr().out


def test_a_file_of_tab_separated_pairs(data, tmp_path, capsys):
    lines = zip(
        (data / "train.en").read_text("utf-8").splitlines(), (data / "train.fr").read_text("utf-8").splitlines()
    )
    (tmp_path / "pairs.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in lines), encoding="utf-8")
    usual = ["--source", "en", "--target", "fr", *TINY, "--steps", 1, "--out", tmp_path / "run"]
    assert call("train", "--data", tmp_path / "pairs.tsv", *usual) == 0
    assert "test, 10 sentences" in capsys.readouterr().out


def test_validation_loss_is_per_token_and_leaves_the_random_state(data):
    settings = Settings(d_model=16, heads=2, layers=1, d_ff=32, vocab=300, max_tokens=200, label_smoothing=0.1)
    pairs = load_corpus(str(data), "en", "fr")
    task = Task(pairs, learn_tokenizer(pairs, settings), settings)
    task.model.eval()
    before = mt.random.default.state
    value = task.validate()["validation_loss"]
    assert mt.random.default.state == before
    whole = task.validation.batch(np.arange(len(task.validation)))
    assert value == pytest.approx(task.loss(whole, whole.tokens).item(), rel=1e-5)
    assert 4 < value < 8  # near log(300) before training
