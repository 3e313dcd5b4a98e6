"""Summaries: made minutes and their rule, docstrings, ROUGE-L, and the script."""

import doctest
import re

import pytest
import summaries
from scripts import caller, refuser
from toolkit import docstrings, plans, rouge
from toolkit.docstrings import MOST_WORDS, docstring_corpus, first_and_rest
from toolkit.documents import SENTENCE
from toolkit.english_french import Dice
from toolkit.plans import HELD_OUT, PLANS, VALUES, corpus, draw, summary, traits
from toolkit.rouge import rouge_l
from toolkit.summarizing import baselines, best_sentence

call = caller(summaries.main)
refused = refuser(call)

TINY = "--d-model 8 --hidden 8 --vocab 300 --max-tokens 400 --warmup 5 --lr 0.02".split()


@pytest.mark.parametrize("module", [docstrings, plans, rouge])
def test_the_examples_in_the_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


# --- ROUGE-L --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "reference", "score"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4),  # Lin 2004, section 3.1
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("the gunman police killed", "police killed the gunman", 2 / 4),
        # By hand: 5 words, "the quick brown ... jumps ... the", of 8 and of 9.
        ("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog", 10 / 17),
        ("A b.", "a, B", 1.0),
        ("Собака спит.", "собака спит", 1.0),
        ("猫が寝る。", "犬が寝る", 3 / 4),
        ("cafe\u0301", "café", 1.0),
        ("...", "a", 0.0),
        ("", "", 0.0),
    ],
)
def test_rouge_l_is_that_of_the_paper(found, reference, score):
    assert rouge_l(found, reference) == rouge_l(reference, found) == pytest.approx(score)


# --- the made minutes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("The fair is on Monday.", "The fair is on Monday."),
        ("The fair is on Monday. The fair was moved to Friday.", "The fair is on Friday."),
        ("The fair is not on Monday but on Sunday.", "The fair is on Sunday."),
        ("The fair was moved to the hall. The fair was moved to Friday.", "The fair is on Friday in the hall."),
        ("The fair is in the hall. Not Ben but Anna leads the fair.", "The fair is in the hall, led by Anna."),
        ("Ben leads the fair. Anna takes over the fair.", "The fair is led by Anna."),
        ("Last year the fair was on Monday. Ben leads the fair.", "The fair is led by Ben."),
        ("Ben leads the fair. Emma would like Hugo to lead the fair.", "The fair is led by Ben."),
        ("Ben leads the race. The fair is on Monday. The race is called off.", "The fair is on Monday."),
        ("The fair is on Monday. The fair is called off. Ben came late.", "The fair is called off."),
        ("Ben leads the fair. By the way, Emma leads the race.", "The fair is led by Ben."),
        ("The tea was cold.", "Nothing is known of the fair."),
    ],
)
def test_the_rule(told, wanted):
    assert summary(f"We met about the fair. {told}") == wanted


def test_what_does_not_open_as_minutes_is_refused():
    with pytest.raises(ValueError, match="must be such as 'We met about the {plan}.', not 'The tea was cold.'"):
        summary("The tea was cold. Ben leads the fair.")


def test_what_makes_minutes_hard():
    told = "We met about the fair. Ben leads the fair. "
    assert traits(told) == ["0 changes"]
    assert traits(told + "Emma takes over the fair.") == ["1 change"]
    assert traits(told + "Emma takes over the fair. " * 5) == ["3 changes or more"]
    assert traits(told + "The fair is called off.") == ["called off"]


def test_the_parts_of_the_minutes_share_nothing():
    made = corpus(n_train=900, n_validation=30, n_test=40)
    assert made == corpus(n_train=900, n_validation=30, n_test=40)
    assert made.train[:5] != corpus(seed=1, n_train=5, n_validation=1, n_test=1).train
    parts = [made.train, made.validation, *made.tests.values()]
    texts = [text for pairs in parts for text, _ in pairs]
    assert len(set(texts)) == len(texts) == 900 + 30 + 3 * 40

    def brought_together(text):
        words = (set(re.findall(r"\w+", sentence)) for sentence in SENTENCE.split(text))
        return {pair for found in words for pair in HELD_OUT if found.issuperset(pair)}

    trained = [text for text, _ in (*made.train, *made.validation)]
    assert not any(map(brought_together, trained))
    assert all(brought_together(wanted) for _, wanted in made.tests["unseen_combinations"])
    assert not any(brought_together(text) for text, _ in made.tests["longer_texts"])
    # Each plan, day, place and person by itself is known.
    known = set(re.findall(r"\w+", " ".join(trained)))
    assert known.issuperset({*PLANS, *(value for values in VALUES.values() for value in values)})
    assert len(HELD_OUT) == 24
    lengths = {name: sum(len(text.split()) for text, _ in pairs) for name, pairs in made.tests.items()}
    assert lengths["longer_texts"] > 1.3 * lengths["unseen_texts"]


def test_minutes_read_as_they_should():
    dice = Dice(4)
    for _ in range(300):
        sentences = SENTENCE.split(draw(dice))
        plan = sentences[0][len("We met about the ") : -1]
        off = [i for i, sentence in enumerate(sentences) if sentence == f"The {plan} is called off."]
        told = [i for i, sentence in enumerate(sentences) if sentence.startswith(f"The {plan} is")]
        assert not off or off == [max(told)]  # nothing is told of it afterwards
        for sentence in sentences:
            others = {other for other in PLANS if other != plan and f"the {other}" in sentence.lower()}
            assert bool(others) == sentence.startswith("By the way, ")
            if found := re.search(r"[Nn]ot (?:on |in the )?(\w+) but (?:on |in the )?(\w+)", sentence):
                assert found[1] != found[2]


# --- docstrings -----------------------------------------------------------------------------------


def test_first_sentences_and_the_rest():
    assert first_and_rest("Return the sum. The numbers\n  are added\nin their order.\n\n====  ====\n\nMore of it.") == (
        "The numbers are added in their order. More of it.",
        "Return the sum.",
    )
    assert first_and_rest("Return the sum.") is None  # nothing is left
    assert first_and_rest("Return the sum.\n\nToo short a text.") is None
    assert first_and_rest("") is first_and_rest("Sum. The numbers are added in their order.") is None
    assert first_and_rest("word " * 40 + ". The numbers are added in their order.") is None
    text, _ = first_and_rest("Return the sum. " + "Many words. " * 100)
    assert len(text.split()) == MOST_WORDS


def test_the_docstrings_of_the_library(monkeypatch):
    long = "This is what it does with all of them, "
    library = {
        f"module{i}": [f"Do the thing number {i} {j}.\n\n{i} {j}: {long}one by one." for j in range(4)]
        for i in range(40)
    }
    library["copy"] = [*library["module3"], "Do the thing, number 7 2!\n\nSomething else is said of it here."]
    monkeypatch.setattr(docstrings, "library_docstrings", lambda: library)
    monkeypatch.setattr(docstrings, "help_topics", lambda: {"help(x)": "Head\n****\n\nThe first of all. " + long})
    made = docstring_corpus()
    parts = [made.train, made.validation, made.tests["unseen_packages"]]
    assert sum(map(len, parts)) == 40 * 4 + 1  # no copies
    assert ("This is what it does with all of them,", "The first of all.") in [pair for part in parts for pair in part]
    packages = [{wanted.split()[4] for _, wanted in part if "number" in wanted} for part in parts]
    assert not packages[0] & packages[1] and not packages[0] & packages[2] and not packages[1] & packages[2]
    assert len(parts[0]) > 5 * len(parts[1]) and 24 <= len(parts[2]) < 30


# --- baselines ------------------------------------------------------------------------------------


def test_simple_methods_by_hand():
    train = [("x", "Return the sum of two numbers."), ("y", "Return the product of two numbers."), ("z", "Stop.")]
    found = baselines(train, made=False)
    assert list(found) == ["first sentence (lead-1)", "one summary for all"]
    assert found["first sentence (lead-1)"]("It is cold. Stop.") == "It is cold."
    assert found["one summary for all"]("any") in (train[0][1], train[1][1])
    rule = baselines([], made=True)
    assert list(rule) == ["first sentence (lead-1)", "the rule (known best)"]
    assert rule["the rule (known best)"]("We met about the fair. Ben leads the fair.") == "The fair is led by Ben."
    assert best_sentence("It is cold. Stop it now.", "Stop it.") == pytest.approx(4 / 5)


# --- the script -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    dice = Dice(2)
    texts = dict.fromkeys(draw(dice, extra=range(1)) for _ in range(60))
    path = tmp_path_factory.mktemp("data") / "texts.tsv"
    path.write_text("".join(f"{text}\t{summary(text)}\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY, "--steps", 12, "--max-length", 100) == 0
    return folder


def test_it_says_how_well(run, data, tmp_path, capsys):
    capsys.readouterr()
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^  (\S.*?) {2,}(\d[\d.]*(?: \([\d.]+\))?)$", printed, re.M))
    assert list(rows) == [
        *("network", "first sentence (lead-1)", "one summary for all", "best sentence, if known"),
    ]
    assert float(rows["first sentence (lead-1)"].split()[0]) <= float(rows["best sentence, if known"])
    for name in ("summaries.png", "attention.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    (run / "summaries.png").write_bytes(b"own")
    (tmp_path / "other.tsv").write_text("text\tsummary\nBen leads the fair. It rains.\tBen leads.\n", encoding="utf-8")
    assert call("evaluate", "--run", run, "--data", tmp_path / "other.tsv") == 0
    captured = capsys.readouterr()
    assert "test: 1 text\n" in captured.out and "one summary for all" not in captured.out
    assert (run / "summaries.png").read_bytes() == b"own"  # which others do not replace
    assert str(run / "summaries-of-other.tsv.png") in captured.out
    assert (run / "summaries-of-other.tsv.png").read_bytes()[:4] == b"\x89PNG"


def test_summarizing(run, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("Ben leads the fair.\nIt rains.\n", encoding="utf-8")
    capsys.readouterr()
    assert call("summarize", "--run", run, "--input", tmp_path / "texts.txt") == 0
    lines = capsys.readouterr().out
    assert call("summarize", "--run", run, "Ben leads\nthe fair.", "It rains.") == 0
    assert capsys.readouterr().out == lines and lines.count("\n") == 2
    assert call("attention", "--run", run, "Ben leads the fair.", "--output", tmp_path / "look.png") == 0
    assert (tmp_path / "look.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_refused(run, data, tmp_path, capsys):
    refused(capsys, "give texts to summarise, or a file of them", "summarize", "--run", run)
    refused(capsys, "text 2 is empty", "summarize", "--run", run, "It rains.", " ")
    refused(capsys, "tokens", "summarize", "--run", run, "word " * 200)
    refused(capsys, "--docstrings takes those of this Python", "train", "--docstrings", "--data", data)
    refused(capsys, "--copy copies what the attention looks at", "train", "--copy", "--attention", "none")
    refused(capsys, "--arch gru has no --heads", "train", "--heads", 4)
    refused(capsys, "--arch transformer has no --copy", "train", "--arch", "transformer", "--copy")
    for text, message in (
        ("one text without a summary\n", "tabs"),
        ("a\tb\n\tc\n", "line 2"),
        ("a\tb\tc\td\n", "columns"),
        ("a\tb\n", "too few"),
        ("", "holds no"),
        (b"caf\xe9\tb\n", "UTF-8"),
    ):
        (tmp_path / "bad.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
        refused(capsys, message, "train", "--data", tmp_path / "bad.tsv")


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, tmp_path):
    arguments = "--data", data, *TINY, "--schedule", "constant", "--max-length", 100
    assert call("train", *arguments, "--out", tmp_path / "parts", "--steps", 2) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 4) == 0
    assert call("train", *arguments, "--out", tmp_path / "whole", "--steps", 4) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]
