"""The classifier script: what it claims at a small setting, its data, and what it refuses."""

import doctest
import json
import random
import re
from pathlib import Path

import languages
import numpy as np
import pytest
from scripts import caller, refuser, unreported
from toolkit import column_names, copies
from toolkit import labelled as labelled_module
from toolkit.console import UserError
from toolkit.labelled import NaiveBayes, read_labelled, syllables

TINY = "--d-model 8 --hidden 12 --epochs 12 --warmup 5 --lr 0.02 --dropout 0".split()

LETTERS = str.maketrans("0123456789", "abcdefghab")

call = caller(languages.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Words of the same letters: sorted, or turned around. Only their order tells which."""
    draw = random.Random(0)
    words = {"".join(sorted(draw.sample("abcdefgh", 5))) for _ in range(400)} | {
        "".join(sorted(draw.sample("abcdefgh", 4))) for _ in range(400)
    }
    path = tmp_path_factory.mktemp("data") / "words.tsv"
    path.write_text("".join(f"{word}\tup\n{word[::-1]}\tdown\n" for word in sorted(words)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY) == 0
    return folder


def test_it_learns_and_says_how_well(run, data, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^  (\S.*?) +(\d+) +(\d+\.\d) %$", printed, re.M)
    assert [name for name, _, _ in rows][:2] == ["network", "naive Bayes"] and rows[2][0].startswith("always ")
    total = len(read_labelled(data).test)
    assert f"right of {total} held-out texts" in printed
    for _, right, share in rows:
        assert float(share) == pytest.approx(100 * int(right) / total, abs=0.051)
    assert float(rows[0][2]) > 90 > float(rows[2][2])
    for name in ("confusion.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert json.loads((run / "labels.json").read_text(encoding="utf-8")) == ["down", "up"]


def test_classifying(run, capsys):
    capsys.readouterr()
    assert call("classify", "--run", run, "abdeg", "gedba") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("abdeg: up ") and second.startswith("gedba: down ")
    for text in ("abdeg", " \u3000abdeg\t"):  # blanks at either end are no part of it, as in a file
        assert call("classify", "--run", run, text) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other and one.startswith("abdeg: ")
    assert call("classify", "--run", run, "abd!eg", "z\u00e9") == 0
    captured = capsys.readouterr()
    passed, unseen = captured.out.splitlines()
    assert passed.removeprefix("abd!eg") == first.removeprefix("abdeg") and unseen.startswith("z\u00e9: ")
    assert captured.err == "note: the model has never seen '!' 'z' '\u00e9'; passed over in text 1 (and 1 more)\n"
    refused(capsys, "text 2 is empty", "classify", "--run", run, "abc", "")


def test_what_is_read_in_part_is_told(run, data, tmp_path, capsys):
    assert call("classify", "--run", run, "a" * 200, "a" * 201, "a" * 300) == 0
    assert (
        capsys.readouterr().err
        == "note: 200 characters are read of text 2 (and 1 more), and no more (see train --max-length)\n"
    )
    options = "--max-length 4 --d-model 4 --hidden 4 --steps 1".split()
    assert call("train", "--data", data, "--out", tmp_path / "run", *options) == 0
    captured = capsys.readouterr()
    assert re.search(r"; read \d+ to their first 4 characters alone$", captured.out, re.M)


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, tmp_path):
    arguments = "--data", data, *TINY, "--schedule", "constant", "--cell", "gru", "--pooling", "max"
    assert unreported(call)("train", *arguments, "--out", tmp_path / "parts", "--epochs", 1) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--epochs", 2) == 0
    assert unreported(call)("train", *arguments, "--out", tmp_path / "whole", "--epochs", 2) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]


def test_the_syllables_are_real_distinct_and_in_one_part_only():
    made = syllables()
    assert made.labels == ["Bamum", "Cree", "Ethiopic", "Korean", "Sumerian", "Yi"]
    texts = [text for part in (made.train, made.validation, made.test) for text, _ in part]
    assert len(texts) == len(set(texts)) > 2500 and all(text.isalpha() and text.islower() for text in texts)
    assert dict(made.train + made.validation + made.test)["bbuox"] == "Yi"
    assert len(made.test) == len(made.validation) == int(0.15 * len(texts))
    majority = max(np.mean([label == name for _, label in made.test]) for name in made.labels)
    guesses = NaiveBayes(made.train).classify(text for text, _ in made.test)
    assert majority < 0.5 and np.mean([a == b for a, (_, b) in zip(guesses, made.test)]) > 0.9


def test_naive_bayes_by_hand():
    model = NaiveBayes([("a", "x"), ("a", "x"), ("b", "y")])
    # 9 n-grams: a, b, newline, with their pairs and triples: P(x) P("a" | x) ... against P(y) P("a"
    # | y) ...
    assert model.classify(["a", "b", "z"]) == ["x", "y", "x"]


def test_bad_files(tmp_path, capsys):
    for text, message in (
        ("a text without a tab\n", "line 1 must be a text, a tab and a label"),
        ("a\tx\n\tx\n", "line 2 must be a text, a tab and a label"),
        ("a\tx\nb\tx\n", "2 different texts, too few"),
        ("".join(f"{n}\tx\n" for n in range(20)), "has 1 label; there is nothing to tell apart"),
    ):
        (tmp_path / "bad.tsv").write_text(text, encoding="utf-8")
        refused(capsys, message, "train", "--data", tmp_path / "bad.tsv", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_that_the_model_does_not_know(run, tmp_path, capsys):
    (tmp_path / "other.tsv").write_text(
        "".join(f"abc{i}de{i}\tsideways\ndcb{i}a\tup\n".translate(LETTERS) for i in range(8)), encoding="utf-8"
    )
    message = "the model knows no label 'sideways'; it tells apart: down, up"
    refused(capsys, message, "evaluate", "--run", run, "--data", tmp_path / "other.tsv")


def test_a_label_of_too_few_texts_is_named(tmp_path, capsys):
    def refuse(rows, message):
        (tmp_path / "few.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
        refused(capsys, message, "train", "--data", tmp_path / "few.tsv", "--out", tmp_path / "no")

    rows = [(f"word {i}", "ab"[i % 2]) for i in range(40)]
    held_out = next(text for text, _ in read_labelled_of(rows, tmp_path).test)
    rows = [(text, "rare" if text == held_out else label) for text, label in rows]
    refuse(
        rows, f"{tmp_path / 'few.tsv'}: the label 'rare' has 1 text, and with those held out none is left to train on"
    )
    swapped = [(label, text) for text, label in rows]
    refuse(swapped, "different texts, too few to hold some out; 7 are needed; it has 40 labels: if these are the texts")


def test_texts_that_differ_in_case_and_blanks_are_in_one_part(tmp_path):
    for module in (labelled_module, column_names, copies):
        assert doctest.testmod(module).failed == 0
    rows = [(form, "ab"[n % 2]) for n in range(20) for form in (f"Word {n}", f"word  {n}", f"WORD {n}")]
    made = read_labelled_of(rows, tmp_path)
    parts = [made.train, made.validation, made.test]
    assert [len(part) for part in parts] == [42, 9, 9]
    assert sum(len({text.casefold().replace("  ", " ") for text, _ in part}) for part in parts) == 20


def read_labelled_of(rows, folder):
    (folder / "rows.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return read_labelled(str(folder / "rows.tsv"))


def test_the_names_that_are_known_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "own-data.md").read_text(encoding="utf-8")
    kinds = {name: kind for name, kind in vars(column_names).items() if isinstance(kind, column_names.Kind)}
    assert len(kinds) == 11
    assert not [name for name, kind in kinds.items() if ", ".join(kind.words) not in page]


def labelled(path, rows):
    """A file of rows of cells."""
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [(f"{n} text", "even" if n % 2 == 0 else "odd") for n in range(40)]
WITH_IDS = [(f"s{n}", *row) for n, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (ROWS, False),
        ([("text", "label"), *ROWS], False),
        ([("label", "text"), *((label, text) for text, label in ROWS)], False),
        ([("Bemerkung", "Art"), *ROWS], True),
        ([("id", "text", "label"), *WITH_IDS], False),
        ([("class", "id", "sentence"), *((label, number, text) for number, text, label in WITH_IDS)], False),
        ([("text_id", "review", "Sentiment"), *WITH_IDS], False),
        ([("source", "tweet", "label"), *WITH_IDS], False),
        ([("comment", "label"), *ROWS], False),
    ],
)
def test_a_line_of_names_is_no_example(tmp_path, rows, told):
    made = read_labelled(labelled(tmp_path / "texts.tsv", rows))
    assert sorted(made.train + made.validation + made.test) == sorted(ROWS)
    assert ["line 1, Bemerkung: Art, is taken for names of the columns" in line for line in made.notes] == [True] * told


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (
            None,
            r"line 1 has 3 columns separated by tabs; it must be a text, a tab and a label \(or begin with a line of",
        ),
        (("Nr", "Text", "Art"), r"known are names of texts \(text, .*review, .*\) and of labels \(label, .*sentiment"),
        (("review", "text", "label"), "names several columns that could be the texts: review, text; keep one"),
        (("class", "text", "label"), "names several columns that could be the labels: class, label; keep one"),
        (("text", "label"), "line 2 has 3 columns separated by tabs, the line of names has 2"),
    ],
)
def test_columns_that_are_not_understood_are_refused(tmp_path, first, message):
    with pytest.raises(UserError, match=message):
        read_labelled(labelled(tmp_path / "texts.tsv", [first, *WITH_IDS] if first else WITH_IDS))


def test_all_of_another_file_is_judged(run, data, tmp_path, capsys):
    def judged(path):
        capsys.readouterr()
        assert call("evaluate", "--run", run, "--data", path) == 0
        return capsys.readouterr().out

    own = labelled(tmp_path / "own.tsv", [("text", "label"), ("abceg", "up"), ("gecba", "down"), ("ab?cg", "up")])
    assert "right of 3 texts of own.tsv:" in judged(own) and "naive Bayes" in judged(own)
    assert "right of 1 text of one.tsv:" in judged(labelled(tmp_path / "one.tsv", [("abceg", "up")]))
    moved = tmp_path / "moved.tsv"
    moved.write_bytes(data.read_bytes())
    assert f"right of {len(read_labelled(data).test)} held-out texts" in judged(moved)
    other = labelled(tmp_path / "other.tsv", [("abceg", "sideways"), ("gecba", "sideways")])
    refused(capsys, "the model knows no label 'sideways'", "evaluate", "--run", run, "--data", other)
