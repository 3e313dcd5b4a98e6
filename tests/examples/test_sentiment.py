"""The classifier of words: what it claims at a small setting, its tokens, and what it refuses."""

import json
import random
import re

import numpy as np
import pytest
import sentiment
from scripts import caller, refuser, unreported
from toolkit import reviews as made_reviews
from toolkit.classification import Task, probabilities
from toolkit.console import UserError
from toolkit.judging import draw_reading, shares_by_kind
from toolkit.labelled import Labelled, NaiveBayes
from toolkit.words import Words, word_ngrams

TINY = "--d-model 8 --hidden 12 --epochs 12 --lr 0.02 --warmup 5 --dropout 0".split()
TINY_BERT = (
    "--arch bert --d-model 16 --heads 2 --layers 1 --epochs 8 --lr 0.01 --warmup 5 --dropout 0 --batch 8".split()
)

call = caller(sentiment.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Who chases whom: the same words under both labels, in another order."""
    draw = random.Random(0)
    rows = set()
    for _ in range(400):
        adjectives = draw.sample(["old", "big", "shy", "fat", "red", "wet", "thin"], 2)
        first = draw.choice([0, 1])
        names = [f"the {adjectives[n]} {('cat', 'dog')[first ^ n]}" for n in (0, 1)]
        rows.add(f"{names[0].capitalize()} chases {names[1]}{draw.choice('.!')}\t{('cat', 'dog')[first]}\n")
    path = tmp_path_factory.mktemp("data") / "chases.tsv"
    path.write_text("".join(sorted(rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=[TINY, TINY_BERT], ids=["recurrent", "bert"])
def run(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *request.param) == 0
    return folder


def test_it_learns_an_order_that_words_do_not_tell(run, capsys):
    capsys.readouterr()
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    rows = {name: float(share) for name, share in re.findall(r"^  (\S.*?) +\d+ +(\d+\.\d) %$", printed, re.M)}
    assert list(rows)[:3] == ["network", "naive Bayes", "naive Bayes, pairs"]
    assert rows["network"] > 95 and rows["naive Bayes"] < 70 and "right in %" not in printed
    for name in ("confusion.png", "reading.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert not (run / "kinds.png").exists()  # no kinds are known of a file


def test_classifying_and_reading_word_by_word(run, tmp_path, capsys):
    text = "The old cat chases the shy dog."
    capsys.readouterr()
    assert call("classify", "--run", run, text, "Old pangolins!") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{text}: cat ") and "Old pangolins!: " in captured.out
    assert captured.err == "note: the model has never seen 'pangolins'; passed over in text 2\n"
    assert call("read", "--run", run, text, "--output", tmp_path / "read.png") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["The", "old", "cat", "chases", "the", "shy", "dog", "."]
    assert lines[-1].split()[1:] == captured.out.splitlines()[0].removeprefix(text + ": ").split(",")[0].split()
    assert last == f"see {tmp_path / 'read.png'}" and (tmp_path / "read.png").read_bytes()[:4] == b"\x89PNG"
    refused(capsys, "text 1 is empty", "read", "--run", run, " ")
    assert call("classify", "--run", run, "pangolin armadillo") == 0  # no word of it is known
    assert capsys.readouterr().out.startswith("pangolin armadillo: ")


def test_the_made_reviews_are_reported_by_kind(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sentiment, "reviews", lambda: made_reviews.reviews((64, 16, 16)))
    assert call("train", "--out", tmp_path / "run", "--steps", 2, "--d-model", 4, "--hidden", 4) == 0
    printed = capsys.readouterr().out
    for name in ("right of 16 held-out texts:", "right of 16 held-out texts, unseen combinations:"):
        assert name in printed
    tables = re.findall(
        r"^(.*), right in %:\n  kind +network  naive Bayes  naive Bayes, pairs\n((?:  .*\n)+)", printed, re.M
    )
    assert [name for name, _ in tables] == ["unseen texts", "unseen combinations"]
    for _, table in tables:
        assert [line.split()[0] for line in table.splitlines()] == [*made_reviews.KINDS, "all"]
    assert (tmp_path / "run" / "kinds.png").read_bytes()[:4] == b"\x89PNG"


def test_shares_by_kind_by_hand():
    pairs = [("a", "x"), ("b", "y"), ("c", "y"), ("d", "x")]
    kinds = {"a": "short", "b": "short", "c": "long", "d": "long", "e": "short"}
    found = shares_by_kind(pairs, {"one": "xyxx", "two": "yyyy"}, kinds)
    assert found == {"one": {"short": 1, "long": 0.5, "all": 0.75}, "two": {"short": 0.5, "long": 0.5, "all": 0.5}}


def test_a_picture_of_three_labels(tmp_path):
    path = draw_reading(
        ["a", "$b$"], np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]), ["x", "y", "z$"], tmp_path / "p.png"
    )
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_naive_bayes_on_words_and_on_pairs():
    pairs = [("a b", "x"), ("b a", "y"), ("a b", "x"), ("b a", "y")]
    assert NaiveBayes(pairs, word_ngrams(2)).classify(["a b", "b a"]) == ["x", "y"]
    words = NaiveBayes([*pairs, ("c", "y")], word_ngrams(1))
    # P(x) 2/5 P(a | x) P(b | x) (3/7)**2 against P(y) 3/5 (3/8)**2: the order counts for nothing.
    assert words.classify(["a b", "b a", "c"]) == ["y", "y", "y"]


def test_words_are_numbered_by_how_frequent_they_are(tmp_path):
    words = Words.of(["The cat. The dog", "a CAT"], most=4)
    assert words.words == ["cat", "the", ".", "a"] and words.vocab_size == 4
    words.save(tmp_path / "v.json")
    assert Words.load(tmp_path / "v.json").numbers == words.numbers
    for text in ('{"characters": "ab"}', '{"words": []}', '{"words": [1]}', "[]"):
        (tmp_path / "bad.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="damaged or not a vocabulary of words"):
            Words.load(tmp_path / "bad.json")


def test_options_of_the_other_architecture_are_refused(data, tmp_path, capsys):
    for options, message in (
        (["--arch", "bert", "--cell", "gru"], "--arch bert has no --cell"),
        (["--heads", "2"], "--arch recurrent has no --heads"),
        (["--arch", "bert", "--d-model", "10"], "--heads 4 must divide --d-model 10"),
    ):
        refused(capsys, message, "train", "--data", data, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arch", ["recurrent", "bert"])
def test_texts_without_a_known_word_count_in_the_validation(arch):
    """They are told, and flatter no figure: the loss is of what the model says of all texts."""
    texts = Labelled([("a b", "x"), ("b", "y"), ("c", "x")], [("b a", "x"), ("c", "y"), ("d e", "y")], [])
    settings = sentiment.Settings(arch=arch, d_model=8)
    task = Task(texts, Words(["a", "b"]), settings)
    model, words = task.model.eval(), task.vocabulary
    head = model.output if arch == "recurrent" else model.bert.classifier
    head.bias.assign(np.array([1, -1], np.float32))
    shares = probabilities(model, [text for text, _ in texts.validation], words, settings)
    wanted = -np.log(shares[range(3), [0, 1, 1]]).mean()
    assert task.validate()["validation_loss"] == pytest.approx(wanted, rel=1e-5)
    assert (
        sentiment.Sentiment()
        .sizes(task)
        .startswith("2 texts to train on, 3 to validate by (2 of them without any of the known words), 2 labels, ")
    )
    assert sentiment.Sentiment().sizes(task).endswith("; left out 1 to train on, without any of the known words")


def test_files_of_a_person(tmp_path, capsys):
    """Texts of which some have no known word, in UTF-8 with a mark, CR LF, and a line of names."""
    rows = [f"{'good' if n % 2 else 'bad'} n{n}\t{n % 2}" for n in range(60)]
    path = tmp_path / "own.tsv"
    path.write_bytes(
        ("text\tlabel\r\n" + "\r\n".join([*rows, *(f"only{n}\t1" for n in range(20))])).encode("utf-8-sig")
    )
    assert call("train", "--data", path, "--out", tmp_path / "run", *TINY[:4], "--epochs", 2, "--vocab", 30) == 0
    captured = capsys.readouterr()
    assert "texts to train on" in captured.out and "the model has never seen" in captured.err
    vocabulary = json.loads((tmp_path / "run" / "vocabulary.json").read_text(encoding="utf-8"))
    assert len(vocabulary["words"]) == 30 and vocabulary["words"][:2] in (["bad", "good"], ["good", "bad"])
    copies = tmp_path / "copies.tsv"
    copies.write_text("".join([*(f"{row}\n" for row in rows * 2), f"{rows[0].upper()}\n"]), encoding="utf-8")
    told = f"note: {copies}: of 121 texts 61 repeat others; "
    assert unreported(call)("train", "--data", copies, "--out", tmp_path / "copied", *TINY[:4], "--steps", 1) == 0
    assert f"{told}copies stay in one part, and those with the same text and label, 60, are" in capsys.readouterr().err
    assert call("evaluate", "--run", tmp_path / "run", "--data", copies) == 0
    assert capsys.readouterr().err.count(f"{told}those with the same text and label, 60, are left out\n") == 1
    path.write_text("".join(f"word{n}\t{n % 2}\n" for n in range(40)), encoding="utf-8")
    message = "none of 6 texts to validate by has any of the words that are known from training; give more texts"
    refused(capsys, message, "train", "--data", path, "--out", tmp_path / "none", *TINY[:4])
