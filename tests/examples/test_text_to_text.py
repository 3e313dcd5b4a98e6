"""The tasks are what they say, a run of all of them from the command line, and what it refuses."""

import itertools
import json
import re

import numpy as np
import pytest
import text_to_text
from toolkit import console, text_tasks
from toolkit.answering import Settings, Task, exact_match, learn_tokenizer
from toolkit.corpus import Corpus
from toolkit.english_french import Dice, draw
from toolkit.english_french_grammar import Clause, NounPhrase
from toolkit.english_french_words import ADJECTIVES, NAMES, NOUNS, PRONOUNS, VERBS
from toolkit.places import mark, unmark
from toolkit.runlog import read_log
from toolkit.text_tasks import TASKS, corpus, negative, plural, task_of
from toolkit.trainer import Trainer

TINY = "--d-model 16 --heads 2 --layers 1 --d-ff 32 --vocab 400 --max-tokens 300 --warmup 2 --validate-every 4".split()


def call(*arguments):
    """The exit code of the script."""
    return console.run(lambda: text_to_text.main([str(argument) for argument in arguments]))


# --- the tasks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return corpus(seed=1, sizes=dict.fromkeys(TASKS, 400), held_out=40)


def test_numbers_are_right(made):
    for text, answer in made.train + made.validation:
        words = text.partition(":")[2].split()
        if task_of(text) == "add":
            assert answer == str(int(words[0]) + int(words[2])) and words[1] == "+" and len(words) == 3
        if task_of(text) == "sort":
            assert answer == " ".join(sorted(words, key=int)) and 2 <= len(words) <= 5


THE_MOUSE, A_MOUSE = (NounPhrase(word, NOUNS["mouse"]) for word in ("the", "a"))
BIG_APPLE = NounPhrase("a", NOUNS["apple"], adjectives=(ADJECTIVES["big"],))


@pytest.mark.parametrize(
    ("clause", "one", "many", "opposite"),
    [
        (
            Clause(PRONOUNS["he"], VERBS["see"], object=A_MOUSE),
            "He sees a mouse.",
            "They see some mice.",
            "He does not see a mouse.",
        ),
        (
            Clause(A_MOUSE.subject(), VERBS["eat"], "past", object=BIG_APPLE),
            "A mouse ate a big apple.",
            "Some mice ate some big apples.",
            "A mouse did not eat a big apple.",
        ),
        (
            Clause(PRONOUNS["I"], VERBS["be"], predicate=ADJECTIVES["tired"]),
            "I am tired.",
            "We are tired.",
            "I am not tired.",
        ),
        (
            Clause(NAMES["Marie"], VERBS["think"], that=Clause(BIG_APPLE.subject(), VERBS["fall"], "future")),
            "Marie thinks that a big apple is going to fall.",
            "Marie thinks that some big apples are going to fall.",
            "Marie does not think that a big apple is going to fall.",
        ),
        (
            Clause(PRONOUNS["they"], VERBS["eat"], object=NounPhrase("a", NOUNS["egg"], plural=True)),
            "They eat some eggs.",
            "They eat some eggs.",
            "They do not eat any eggs.",
        ),
        (
            Clause(PRONOUNS["she"], VERBS["love"], object=THE_MOUSE, question="do"),
            "Does she love the mouse?",
            "Do they love the mice?",
            None,
        ),
    ],
)
def test_sentences_change_as_english_does(clause, one, many, opposite):
    assert clause.english() == one
    assert plural(clause).english() == many
    assert opposite == (negative(clause).english() if negative(clause) else None)


def test_plural_of_a_plural_is_itself_and_what_is_negative_or_asked_has_no_negative():
    dice = Dice(3)
    for _ in range(500):
        clause = draw(dice)
        assert plural(plural(clause)).english() == plural(clause).english()
        opposite = negative(clause)
        assert (opposite is None) == bool(clause.negation or clause.question)
        assert opposite is None or negative(opposite) is None


def test_an_input_has_one_right_output_and_none_that_is_held_out_is_trained_on_in_another_order(made):
    everything = [*made.train, *made.validation, *(pair for pairs in made.tests.values() for pair in pairs)]
    assert len(dict(everything)) == len(everything) == 5 * (400 + 80)
    words = [tuple(sorted(text.split())) for text, _ in everything]
    assert len(set(words)) == len(words)


def test_a_task_is_the_same_with_and_without_others():
    alone = corpus(sizes={"sort": 50}, held_out=5)
    both = corpus(sizes={"add": 30, "sort": 50}, held_out=5)
    assert alone.tests["sort"] == both.tests["sort"] and set(alone.train) <= set(both.train)
    assert list(both.tests) == ["add", "sort"]
    assert corpus(seed=1, sizes={"sort": 50}, held_out=5).train != alone.train
    assert alone.train[0] == ("sort: 58 90 68 92", "58 68 90 92")  # on every machine


def test_more_than_there_is_is_an_error(monkeypatch):
    monkeypatch.setattr(text_tasks, "SUM", 10)
    assert len(corpus(sizes={"add": 55}, held_out=0).train) == 55
    with pytest.raises(ValueError, match="'add' has no 56 different inputs"):
        corpus(sizes={"add": 56}, held_out=0)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("478 + 85", "4₂7₁8₀ + 8₁5₀"),
        ("0", "0₀"),
        ("no. 7b", "no. 7₀b"),
        ("12345678901", "12₉3₈4₇5₆6₅7₄8₃9₂0₁1₀"),
        ("", ""),
    ],
)
def test_digits_carry_their_place(text, marked):
    assert mark(text) == marked and unmark(marked) == text


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of pairs of two tasks."""
    pairs = corpus(sizes={"sort": 100, "add": 100}, held_out=0).train
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with hardly any training, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY, "--steps", 8) == 0
    return folder


def test_a_run_leaves_what_is_promised(run):
    names = "config.json tokenizer.json tasks.json weights.safetensors log.jsonl loss.png attention.png".split()
    for name in names:
        assert (run / name).stat().st_size > 0, name
    assert sorted(json.loads((run / "tasks.json").read_text(encoding="utf-8"))) == ["add", "sort"]
    validations = [record for record in read_log(run / "log.jsonl") if "validation_loss" in record]
    assert [record["step"] for record in validations] == [4, 8]
    assert all(0 <= record[name] <= 1 for record in validations for name in ("add", "sort"))


def test_answers_scores_and_a_picture(run, tmp_path, capsys):
    capsys.readouterr()
    assert call("answer", "--run", run, "sort: 3 1 2", "add: 4 + 5", "\u3000 add: 4 + 5 ", "--beam", 2) == 0
    _, one, other = capsys.readouterr().out.splitlines()
    assert one == other  # blanks at either end are no part of a text
    assert call("evaluate", "--run", run) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "exact match" in line]
    assert len(lines) == 2 and all(line.endswith("unseen inputs") for line in lines)
    assert call("attention", "--run", run, "add: 4 + 5", "--output", tmp_path / "a.png") == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["answer", "multiply: 3 4"], r"text 1 'multiply: 3 4' starts with none of the tasks"),
        (["answer", "sort: 3 1", "sort:"], r"text 2 'sort:' starts with none"),
        (["answer", "sort: " + "1 " * 100], "text 1 has"),
        (["attention", "add: 1 + 1", "--output", "no/such/folder.png"], "cannot draw"),
        (["evaluate", "--data", "no-such-file"], "does not exist"),
    ],
)
def test_bad_input(run, capsys, arguments, message):
    command, *rest = arguments
    assert call(command, "--run", run, *rest) == 2
    assert message in capsys.readouterr().err


def test_all_of_another_file_is_answered(run, tmp_path, capsys):
    (tmp_path / "own.tsv").write_text(
        "sort: 3 2\t2 3\nadd: 1 + 1\t2\n" + "sort: 5 4 " + "6 " * 60 + "\t4 5\n", encoding="utf-8"
    )
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--data", tmp_path / "own.tsv") == 0
    captured = capsys.readouterr()
    assert re.search(r"^sort: exact match .* of 1 inputs of own\.tsv; left out 1 of more than", captured.out, re.M)
    assert re.search(r"^add: exact match .* of 1 inputs of own\.tsv$", captured.out, re.M)


def test_columns_by_their_names_and_copies(tmp_path):
    path, rows = tmp_path / "pairs.tsv", [f"add: {n} + 1\t{n + 1}" for n in (*range(40), 7, 7)]
    path.write_text(
        "\n".join(["id\tQuestion\tanswer", *(f"{n}\t{row}" for n, row in enumerate(rows))]), encoding="utf-8"
    )
    (loaded, whole) = (
        load({"path": str(path), "without": []})
        for load in (text_to_text.TextToText().load, text_to_text.TextToText().load_whole)
    )
    pairs = [*loaded.train, *loaded.validation, *loaded.tests["add"]]
    assert sorted(pairs) == sorted(whole.tests["add"]) == sorted(tuple(row.split("\t")) for row in rows)
    told = f"{path}: of 42 inputs 2 repeat others; "
    assert text_to_text.TextToText().notes(loaded) == (f"{told}copies stay in one part, and all are kept",)
    assert text_to_text.TextToText().notes(whole) == (f"{told}all are kept",)


def test_bad_data(tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{i} {i + 1}\t{i}\n" for i in range(40)), encoding="utf-8")
    assert call("train", "--data", path, "--out", tmp_path / "run", *TINY) == 2
    assert "an input without the name of its task" in capsys.readouterr().err
    assert call("train", "--out", tmp_path / "run", "--heads", 3) == 2
    assert "--heads 3 must divide --d-model 128" in capsys.readouterr().err
    path.write_text("".join(f"copy: {i}\t{i}\n" for i in range(40)), encoding="utf-8")
    assert call("train", "--data", path, "--out", tmp_path / "run", *TINY, "--pretrain-steps", 3) == 2
    assert "no text has the 8 tokens" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- training -------------------------------------------------------------------------------------

SMALL = dict(d_model=16, heads=2, layers=1, d_ff=32, vocab=400, max_tokens=300, warmup=2, validate_every=None)


def task_with(made, **changes):
    settings = Settings(**{**SMALL, **changes})
    return Task(made, learn_tokenizer(made, settings), settings)


def test_pretraining_comes_first_and_its_batches_give_back_the_texts(made):
    task = task_with(made, pretrain_steps=5, steps=8)
    batches = [task.epoch(0)[step] for step in range(7)]
    lowest = task.tokenizer.vocab_size  # the first id that is a sentinel
    assert [bool((batch.source >= lowest).any()) for batch in batches] == [True] * 5 + [False] * 2
    texts = {tuple(text) for text in task.texts}
    for batch in batches[:5]:
        for source, mask, target in zip(batch.source, batch.source_mask, batch.target_out, strict=True):
            inputs, targets = source[mask][:-1], target[target > 0][:-1]  # without the stop token
            assert tuple(task.corrupt.restore(inputs.tolist(), targets.tolist())) in texts
    np.testing.assert_array_equal(task_with(made, pretrain_steps=5, steps=8).epoch(0)[3].source, batches[3].source)


def test_a_resumed_run_ends_as_one_that_was_not_interrupted_also_within_pretraining(tmp_path):
    made = corpus(sizes={"sort": 60, "plural": 60}, held_out=4)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = task_with(made, pretrain_steps=4, steps=7)
    Trainer(whole, whole.settings, tmp_path / "whole").run()
    for steps in (3, 7):  # the second goes on from the checkpoint of the first
        part = task_with(made, pretrain_steps=4, steps=7)
        trainer = Trainer(part, part.settings, tmp_path / "parts")
        trainer.last_step = steps
        trainer.run()
    for (name, one), (_, other) in zip(whole.model.named_parameters(), part.model.named_parameters(), strict=True):
        np.testing.assert_array_equal(one.data, other.data, err_msg=name)


def test_a_small_model_learns_to_sort_three_digits(made, tmp_path):
    """The claim at its smallest: nearly all unseen inputs are answered to the letter, in a few
    seconds.
    """
    digits = list(itertools.product("0123456789", repeat=3))
    pairs = [(f"sort: {' '.join(three)}", " ".join(sorted(three))) for three in digits]
    held_out = pairs[::13]
    seen = [pair for pair in pairs if pair not in held_out]
    little = Corpus(seen, held_out, {"sort": held_out})
    task = task_with(little, d_model=32, d_ff=64, steps=200, lr=1e-2, warmup=20, max_tokens=1000, validate_every=200)
    Trainer(task, task.settings, tmp_path).run()
    assert exact_match(task.answerer, held_out)[0] >= 0.9
