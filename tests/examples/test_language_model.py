"""The language model script: what it leaves, what it writes, what it claims at a small setting, and
what it refuses.
"""

import math
import re

import language_model
import pytest
from scripts import caller, refuser, unreported
from toolkit.language import Settings, Task, Writer
from toolkit.runs import Run
from toolkit.text import learn_vocabulary, split_text

TINY = "--d-model 8 --hidden 16 --window 16 --batch 8 --dropout 0 --steps 60 --warmup 5 --lr 0.02 --validate-every 30".split()
TEXT = "the dog sees the cat, and the cat sees the dog.\n" * 80

call = caller(language_model.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY) == 0
    return folder


def test_it_learns_a_text_and_says_how_well(run, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    nats, perplexity, bits = map(float, re.search(r"loss (\S+) nats.*perplexity (\S+), (\S+) bits", printed).groups())
    assert nats < 1.2  # log(17) = 2.83 before training
    assert perplexity == pytest.approx(math.exp(nats), abs=2e-3) and bits == pytest.approx(nats / math.log(2), rel=0.02)
    for name in ("config.json", "vocabulary.json", "weights.safetensors", "log.jsonl", "loss.png"):
        assert (run / name).stat().st_size > 0


def test_generating(run, capsys):
    capsys.readouterr()

    def written(*arguments):
        assert call("generate", "--run", run, "--prompt", "the", "--length", 20, *arguments) == 0
        return capsys.readouterr().out

    drawn, greedy = written(), written("--temperature", 0)
    assert drawn.startswith("the") and len(drawn) == 3 + 20 + 1
    assert written() == drawn and written("--seed", 1) != drawn  # the seed decides
    assert written("--top-k", 1) == greedy and written("--temperature", 1, "--top-p", 1e-9) == greedy
    assert len(written("--beam", 3)) == 24


@pytest.mark.parametrize("arch", ["rnn", "gru"])
def test_other_cells_and_subwords(data, tmp_path, arch, capsys):
    arguments = ["--arch", arch, "--tokens", "bpe", "--vocab", 280, "--steps", 3]
    assert call("train", "--data", data, "--out", tmp_path / "run", *TINY, *arguments) == 0
    assert "275 different ones" in capsys.readouterr().out
    assert call("generate", "--run", tmp_path / "run", "--prompt", "the dog", "--length", 5) == 0
    assert capsys.readouterr().out.startswith("the dog")


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, tmp_path):
    arguments = "--data", data, *TINY, "--schedule", "constant", "--dropout", 0.2
    assert unreported(call)("train", *arguments, "--out", tmp_path / "parts", "--steps", 3) == 0
    (tmp_path / "parts" / "vocabulary.json").unlink()  # as if killed between two files
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 6) == 0
    assert unreported(call)("train", *arguments, "--out", tmp_path / "whole", "--steps", 6) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]


def test_the_validation_loss_is_that_of_the_text_read_as_a_whole(run):
    writer = Writer(Run.open(run, "language-model", Settings))
    # one reader, who carries the state from the first window to the second
    held_out = split_text(TEXT)[1][: 16 * 2 - 1]
    ids = writer.vocabulary.encode(held_out)
    whole = writer.model.loss([ids[:-1]], [ids[1:]]).item()
    assert writer.loss(held_out)[0] == pytest.approx(whole, rel=1e-5)


def test_the_held_out_part_is_not_trained_on():
    settings = Settings(hidden=8, window=16, steps=1)
    vocabulary = learn_vocabulary("characters", TEXT, 0)
    task = Task(TEXT, vocabulary, settings)
    train, held_out = split_text(TEXT)
    assert vocabulary.decode(task.windows.ids) == train and vocabulary.decode(task.validation) == held_out


def test_bad_input(run, data, tmp_path, capsys):
    train = "train", "--out", tmp_path / "run", "--data"
    refused(capsys, "cannot read", *train, tmp_path / "nothing.txt")
    (tmp_path / "short.txt").write_text("a short text", encoding="utf-8")
    refused(capsys, "a text of 11 tokens is too short for a window of 16", *train, tmp_path / "short.txt", *TINY)
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    refused(capsys, "is not UTF-8", *train, tmp_path / "bad.txt")
    refused(capsys, "a vocabulary of 10 is too small", *train, data, *TINY, "--tokens", "bpe", "--vocab", 10)
    assert not (tmp_path / "run").exists()
    generate = "generate", "--run", run, "--prompt"
    refused(capsys, "character 1, 'Z', is not in the vocabulary", *generate, "Z")
    refused(capsys, "the prompt is empty", *generate, "")
    refused(capsys, "beam search neither samples nor streams", *generate, "the", "--beam", 2, "--temperature", 1)
    for temperature in (-1, "nan"):
        with pytest.raises(SystemExit):
            call(*generate, "the", "--temperature", temperature)
        assert "argument --temperature: " in capsys.readouterr().err
    (tmp_path / "one.txt").write_text("t", encoding="utf-8")
    moved = tmp_path / "moved.txt"
    moved.write_bytes(data.read_bytes())
    losses = []
    for options in ((), ("--data", moved)):  # the run's own text keeps to its held-out part, moved or not
        assert call("evaluate", "--run", run, *options) == 0
        losses.append(capsys.readouterr().out)
    assert losses[0] == losses[1]
    refused(capsys, "holds nothing to predict", "evaluate", "--run", run, "--data", tmp_path / "one.txt")


def test_what_is_refused_is_not_begun(run, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    refused(
        capsys,
        "is empty; there is nothing to learn",
        "train",
        "--data",
        tmp_path / "empty.txt",
        "--out",
        tmp_path / "a",
    )
    refused(capsys, "--tokens characters has no --vocab", "train", "--vocab", 50, "--out", tmp_path / "a")
    capsys.readouterr()
    assert call("generate", "--run", run, "--prompt", "the \u00e9") == 2
    assert capsys.readouterr().out == ""  # nor the prompt, which is not one
