"""The pre-training script from the command line, on five short texts with words of their own."""

import contextlib
import dataclasses
import io
import json
import re

import masked_language_model
import numpy as np
import pytest
from scripts import unreported
from toolkit import console, topics
from toolkit.documents import load_documents
from toolkit.masked_language import Settings, Task
from toolkit.runlog import read_log
from toolkit.wordpieces import CLS, SEP, WordPieces

TOPICS = {
    "kitchen": ("cook baker child", "boils fries tastes", "soup rice bread"),
    "garden": ("gardener bee robin", "plants waters visits", "rose tree hedge"),
    "harbour": ("sailor captain gull", "paints moors follows", "boat ship anchor"),
    "school": ("teacher pupil class", "reads writes learns", "book poem lesson"),
    "forest": ("hunter wolf owl", "tracks chases sees", "deer hare mouse"),
}
SMALL = "--d-model 32 --heads 2 --layers 2 --d-ff 64 --vocab 300 --longest 32 --batch 16 --dropout 0".split()
LEARN = "--steps 400 --warmup 30 --lr 3e-3 --validate-every 200 --masked 0.2".split()


def call(*arguments):
    """The exit code of the script."""
    return console.run(lambda: masked_language_model.main([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder of topics, each with its own words."""
    folder = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(0)
    for topic, words in TOPICS.items():
        columns = [draw.choice(column.split(), 240) for column in words]
        lines = [f"The {subject} often {verb} the {thing}." for subject, verb, thing in zip(*columns)]
        (folder / f"{topic}.txt").write_text(" ".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    """The folder of a trained run, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        plan = dataclasses.replace(masked_language_model.FINE_TUNING, amounts=(2,), seeds=2, steps=20)
        patch.setattr(masked_language_model, "FINE_TUNING", plan)
        assert call("train", "--data", texts, "--out", folder, *SMALL, *LEARN) == 0
    return folder, printed.getvalue()


def shares(text, label):
    """The percentages in the line of ``printed`` that has ``label``."""
    line = next(line for line in text.splitlines() if label in line)
    return [float(share) for share in re.findall(r"([\d.]+)%", line)]


# --- claims ---------------------------------------------------------------------------------------


def test_words_and_next_passages_are_found_in_documents_held_out(trained):
    words, commonest = shares(trained[1], "masked words")
    assert words > commonest + 15
    related, majority = shares(trained[1], "next passage")
    assert related > 70 and majority < 60


def test_pretraining_beats_training_from_scratch(trained):
    assert shares(trained[1], "pre-trained")[0] > shares(trained[1], "from scratch")[0] + 5


def test_a_run_leaves_all_that_is_promised(trained):
    run, _ = trained
    for name in ("config.json", "tokenizer.json", "weights.safetensors", "log.jsonl"):
        assert (run / name).stat().st_size > 0, name
    for name in ("loss.png", "attention.png", "finetune.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]["masked"] == 0.2
    assert [r["step"] for r in read_log(run / "log.jsonl") if "next_accuracy" in r] == [200, 400]


def test_fill(trained, capsys):
    assert call("fill", "--run", trained[0], "--top", 3, "The [MASK] often boils the [MASK].") == 0
    text, *found = capsys.readouterr().out.splitlines()
    assert text == "The [MASK] often boils the [MASK]." and len(found) == 2
    subjects, things = (re.findall(r"(\S+) [\d.]+%", line) for line in found)
    assert len(subjects) == len(things) == 3
    assert subjects[0] in TOPICS["kitchen"][0].split() and things[0] in TOPICS["kitchen"][2].split()


def test_finetune_of_a_run(trained, capsys):
    assert call("finetune", "--run", trained[0], "--labels", 2, "--seeds", 1, "--steps", 3) == 0
    printed = capsys.readouterr().out
    assert "5 topics (" in printed and "labelled passages of each topic: 2" in printed
    assert len(shares(printed, "pre-trained")) == 2  # the mean, and the only repetition


# --- the same, whenever and wherever --------------------------------------------------------------


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(masked_language_model, "compare", lambda *_: None)
    short = [*SMALL, "--schedule", "constant", "--warmup", 2, "--validate-every", 3]
    assert unreported(call)("train", "--data", texts, "--out", tmp_path / "whole", *short, "--steps", 6) == 0
    assert unreported(call)("train", "--data", texts, "--out", tmp_path / "parts", *short, "--steps", 4) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 6) == 0
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_parts_of_a_batch_have_the_gradient_of_the_whole(texts):
    settings = Settings(d_model=16, heads=2, layers=1, d_ff=16, vocab=300, longest=32, batch=8, dropout=0.0)
    task = Task(load_documents(texts), None, settings)
    task.model.astype("float64")
    batch = task.epoch(0)[0]
    gradients = []
    for parts in ([batch], batch.split(3)):
        task.model.zero_grad()
        for part in parts:
            task.loss(part, batch.tokens).backward()
        gradients.append([parameter.grad.data.copy() for parameter in task.model.parameters()])
    for whole, added in zip(*gradients):
        np.testing.assert_allclose(added, whole, rtol=1e-9, atol=1e-12)


# --- fine-tuning ----------------------------------------------------------------------------------


def test_passages_are_whole_sentences_with_their_topic(texts):
    documents = load_documents(texts)
    pieces = WordPieces.learn([text for document in documents for text in document.sentences], 300)
    names = ["garden", "kitchen"]
    made = topics.passages(documents, names, pieces, 40, (CLS,), (SEP,))
    assert set(made["labels"].tolist()) == {0, 1}
    for ids, mask, label in zip(made["ids"], made["mask"], made["labels"]):
        assert ids[0] == CLS and ids[mask][-1] == SEP
        text = pieces.decode(ids[mask][1:-1].tolist())
        assert text.endswith(".") and any(word in text for word in TOPICS[names[label]][2].split())
    ours = " ".join(pieces.decode(row[mask][1:-1].tolist()) for row, mask in zip(made["ids"], made["mask"]))
    assert ours == " ".join(pieces.decode(pieces.encode(" ".join(d.sentences))) for d in documents if d.topic in names)
    few = topics.choose(made, 3, seed=1)
    assert np.bincount(few["labels"]).tolist() == [3, 3]
    assert not np.array_equal(few["ids"], topics.choose(made, 3, seed=2)["ids"])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fill", "no mask here"], "there is no [MASK]"),
        (["fill", "[MASK] " * 40], "the model allows 32"),
        (["fill", "--weights", "best", "--device", "tpu", "[MASK]"], "tpu"),
        (["finetune", "--data", "OTHER"], "not those that the run was pre-trained on"),
    ],
)
def test_bad_input_to_a_run(trained, texts, tmp_path, capsys, arguments, message):
    if "OTHER" in arguments:
        for path in texts.iterdir():
            (tmp_path / path.name).write_text(path.read_text(encoding="utf-8") + " The end.", encoding="utf-8")
        arguments = [str(tmp_path) if argument == "OTHER" else argument for argument in arguments]
    assert call(arguments[0], "--run", trained[0], *arguments[1:]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (["--heads", 5, "--d-model", 16], "--heads 5 must divide"),
        (["--vocab", 10], "too small"),
        (["--masked", 1], "--masked"),
        (["--data", "nowhere"], "nowhere"),
        (["--longest", 8], "--longest 8"),
    ],
)
def test_bad_options(texts, tmp_path, capsys, options, message):
    data = [] if "--data" in options else ["--data", texts]
    assert call("train", *data, "--out", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_one_topic_cannot_be_classified(texts, tmp_path, capsys, monkeypatch):
    file = texts / "garden.txt"
    monkeypatch.setattr("toolkit.documents.LENGTH", 5)
    assert call("train", "--data", file, "--out", tmp_path / "run", *SMALL, "--steps", 1, "--warmup", 1) == 0
    assert "fine-tuning" not in capsys.readouterr().out
    assert call("finetune", "--run", tmp_path / "run") == 2
    assert "two topics" in capsys.readouterr().err
