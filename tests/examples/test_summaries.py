"""Summaries: made minutes and their rule, docstrings, ROUGE-L, and the script."""

import doctest
import re

import numpy as np
import pytest
import summaries
from scripts import caller, refuser
from toolkit import consensus, docstrings, plans, rouge, translator
from toolkit import sentences as ends
from toolkit.chance import mean_interval
from toolkit.consensus import most_alike
from toolkit.docstrings import MOST_WORDS, docstring_corpus, first_and_rest
from toolkit.english_french import Dice
from toolkit.plans import HELD_OUT, PLANS, VALUES, corpus, draw, summary, traits
from toolkit.rouge import first_words, rouge_l, rouge_n, rouge_of_beginnings
from toolkit.sentences import sentences
from toolkit.summarizing import LEAD, baselines, best_sentence
from toolkit.summary_report import ROUGE, _print_verdicts

call = caller(summaries.main)
refused = refuser(call)

TINY = "--d-model 8 --hidden 8 --vocab 300 --max-tokens 400 --warmup 5 --lr 0.02 --samples 3".split()


@pytest.mark.parametrize("module", [consensus, docstrings, ends, plans, rouge])
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
        words = (set(re.findall(r"\w+", sentence)) for sentence in sentences(text))
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
        told = sentences(draw(dice))
        plan = told[0][len("We met about the ") : -1]
        off = [i for i, sentence in enumerate(told) if sentence == f"The {plan} is called off."]
        of_it = [i for i, sentence in enumerate(told) if sentence.startswith(f"The {plan} is")]
        assert not off or off == [max(of_it)]  # nothing is told of it afterwards
        for sentence in told:
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
    validation = [("Return it now.", "Return it"), ("Stop now all.", "Stop now all"), ("Wait a bit.", "Wait a")]
    found = baselines(train, validation, made=False)
    assert list(found) == ["first sentence (lead-1)", "first 2 words (lead)", "one summary for all"]
    assert found["first 2 words (lead)"]("It's cold.") == "It's"
    assert found["first sentence (lead-1)"]("It is cold. Stop.") == "It is cold."
    assert found["one summary for all"]("any") in (train[0][1], train[1][1])
    rule = baselines([], [], made=True)
    assert list(rule) == ["first sentence (lead-1)", "the rule (known best)"]
    assert rule["the rule (known best)"]("We met about the fair. Ben leads the fair.") == "The fair is led by Ben."
    assert best_sentence("It is cold. Stop it now.", "Stop it.") == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            'It returns x. the rest. Élan! "Oh?" (so.) Done',
            ["It returns x.", "the rest.", "Élan!", '"Oh?"', "(so.)", "Done"],
        ),
        ("See e.g. this, i.e. 3.5 of Dr. Ito, fig. 2 etc. and file.txt. End.", 2),
        ("At 5 p.m. we met J. Smith at 6 p.m. The end.", ["At 5 p.m. we met J. Smith at 6 p.m.", "The end."]),
        ("Привет. Как дела? всё, т.е. много.", ["Привет.", "Как дела?", "всё, т.е. много."]),
        ("猫が寝る。犬が「寝る。」と言う！終", ["猫が寝る。", "犬が「寝る。」と言う！", "終"]),
        ("أين هو؟ هنا. نعم", ["أين هو؟", "هنا.", "نعم"]),
        ("यह है। वह भी।", ["यह है।", "वह भी।"]),
        (
            "One line\ngoes on\n\nA paragraph\n- an item\n2. another. More",
            ["One line\ngoes on", "A paragraph", "- an item", "2. another.", "More"],
        ),
        ("Wait... what?! Yes", ["Wait...", "what?!", "Yes"]),
        (" \n", []),
    ],
)
def test_where_sentences_end(text, found):
    made = sentences(text)
    assert made == found or len(made) == found
    assert "".join("".join(made).split()) == "".join(text.split())


def test_other_rouge_by_hand():
    assert rouge_n("a b b c", "b b a", 1) == pytest.approx(2 * 3 / 7)  # a and twice b
    assert rouge_n("a b b c", "b b a", 2) == pytest.approx(2 * 1 / 5)  # b b
    assert rouge_n("a", "a", 2) == rouge_n("", "a", 1) == 0
    text, wanted = "The old cat, it sleeps here.", "the cat sleeps"
    assert rouge_of_beginnings(text, wanted, 8) == [rouge_l(first_words(text, n), wanted) for n in range(1, 9)]
    assert first_words("猫が寝る。", 2) == "猫が" and first_words("a b.", 5) == "a b."


def test_the_text_that_is_the_most_like_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = [" ".join(rng.choice(list("abcde"), rng.integers(0, 7))) + "." for _ in range(rng.integers(1, 9))]
        means = [np.mean([rouge_l(one, other) for other in drawn]) for one in drawn]
        assert means[most_alike(drawn)] == pytest.approx(max(means), abs=1e-12)


def test_what_is_no_more_than_chance_is_called_so(capsys):
    differences = np.random.default_rng(0).normal(0.1, 1, 400)
    low, high = mean_interval(differences)
    assert (low, high) == mean_interval(differences)
    assert low == pytest.approx(differences.mean() - 1.96 / 20, abs=0.02)  # of the normal distribution
    assert high == pytest.approx(differences.mean() + 1.96 / 20, abs=0.02)

    def verdict(network, lead):
        values = {"network": network, "lead": lead, "the rule (known best)": [1.0] * len(lead)}
        _print_verdicts("texts", {method: dict.fromkeys(ROUGE, np.array(found)) for method, found in values.items()})
        head, *lines = capsys.readouterr().out.splitlines()
        assert head.startswith("texts: the network against the best simple method")
        assert [line.split()[0] for line in lines] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
        return " ".join(lines[-1].split()[1:])

    zeros = [0.0] * 20
    assert verdict([0.5] * 20, zeros) == "50.0 above lead (+50.0 to +50.0): more than chance"
    assert verdict([0.5, 0, 0, 0.4] * 5, [0, 0.5, 0.4, 0] * 5).endswith("): no more than chance")
    assert verdict([0.5] * 5, zeros[:5]).endswith("): too few texts to tell")  # so few fall alike too often
    assert verdict(zeros, [0.1] * 20) == "10.0 below lead (-10.0 to -10.0): more than chance"


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
    assert re.search(r"^test, mean in % +ROUGE-1 +ROUGE-2 +ROUGE-L +exact$", printed, re.M)
    rows = {name: cells.split() for name, cells in re.findall(r"^  (\S.*?) {2,}((?:\d+\.\d *)+)$", printed, re.M)}
    words = next(name for name in rows if name.endswith("(lead)"))
    assert list(rows) == ["network", LEAD, words, "one summary for all", "best sentence, if known"]
    assert float(rows[LEAD][2]) <= float(rows["best sentence, if known"][0])
    assert re.search(
        r"^  ROUGE-2 +\d+\.\d (above|below) .* \([+-]\S+ to [+-]\S+\): too few texts to tell$", printed, re.M
    )
    for name in ("summaries.png", "attention.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    (run / "summaries.png").write_bytes(b"own")
    (tmp_path / "other.tsv").write_text("text\tsummary\nBen leads the fair. It rains.\tBen leads.\n", encoding="utf-8")
    assert call("evaluate", "--run", run, "--data", tmp_path / "other.tsv") == 0
    captured = capsys.readouterr()
    assert "texts of other.tsv: 1 text\n" in captured.out and "one summary for all" in captured.out
    assert (run / "summaries.png").read_bytes() == b"own"  # which others do not replace
    assert str(run / "summaries-of-other.tsv.png") in captured.out
    assert (run / "summaries-of-other.tsv.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("names", ["article\thighlights", "Inhalt\tKurzfassung", ""])
def test_a_line_of_names_is_no_example_and_copies_are_kept(tmp_path, names):
    path = tmp_path / "texts.tsv"
    rows = [f"Number {n} was late again, and the others had to wait.\tNumber {n} was late.\n" for n in range(40)]
    path.write_text("".join([f"{names}\n", *rows, rows[0]]), encoding="utf-8")
    made = summaries.Summaries().load({"path": str(path)})
    pairs = [
        f"{text}\t{wanted}\n" for part in (made.train, made.validation, made.tests["test"]) for text, wanted in part
    ]
    assert sorted(pairs) == sorted([*rows, rows[0]])
    *told, kept = made.notes
    assert kept == f"{path}: of 41 texts 1 repeats another; copies stay in one part, and all are kept"
    taken = (
        f"{path} line 1, Inhalt: Kurzfassung, is taken for names of the columns; almost all other lines are far longer"
    )
    assert told == [taken] * names.startswith("Inhalt")


def test_summarizing(run, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("Ben leads the fair.\nIt rains.\n", encoding="utf-8")
    capsys.readouterr()
    assert call("summarize", "--run", run, "--input", tmp_path / "texts.txt") == 0
    lines = capsys.readouterr().out
    assert call("summarize", "--run", run, "Ben leads\nthe fair.", "It rains.") == 0
    assert capsys.readouterr().out == lines and lines.count("\n") == 2
    assert call("attention", "--run", run, "Ben leads the fair.", "--output", tmp_path / "look.png") == 0
    assert (tmp_path / "look.png").read_bytes()[:4] == b"\x89PNG"


def test_a_text_gets_the_same_drawn_summary_alone_as_among_others(run, capsys):
    def summaries(*arguments):
        capsys.readouterr()
        assert call("summarize", "--run", run, *arguments) == 0
        return capsys.readouterr().out.splitlines()

    texts = ["Ben leads the fair.", "It rains."]
    assert summaries(*texts) == [*summaries(texts[0]), *summaries(texts[1])] == summaries(*texts, "--samples", 3)
    greedy = summaries(*texts, "--samples", 1)
    assert greedy == summaries(*texts, "--beam", 1) == summaries(*texts, "--temperature", 0.01)


def test_drawings_in_several_parts_are_the_same_and_tell_how_long_they_take(run, capsys, monkeypatch):
    texts = [f"Ben leads the fair on day {n}." for n in range(7)]

    def summaries():
        assert call("summarize", "--run", run, *texts) == 0
        return capsys.readouterr()

    capsys.readouterr()
    whole = summaries()
    assert "outputs are drawn" not in whole.err
    monkeypatch.setattr(translator, "ROWS", 7)  # two texts of three outputs at a time
    monkeypatch.setattr(translator, "TIMED", 3)
    monkeypatch.setattr(translator, "PATIENCE", -1.0)
    parts = summaries()
    assert parts.out == whole.out
    assert parts.err.count("note: 3 outputs are drawn for each of 7: about 0 minutes") == 1


def test_what_is_refused(run, data, tmp_path, capsys):
    refused(capsys, "give texts to summarise, or a file of them", "summarize", "--run", run)
    refused(capsys, "text 2 is empty; there is nothing to summarise", "summarize", "--run", run, "It rains.", " ")
    refused(capsys, "tokens, the model allows 99; shorten it, or train with", "summarize", "--run", run, "word " * 200)
    write = "summarize", "--run", run, "It rains."
    refused(capsys, "--beam searches, --samples and --temperature draw", *write, "--beam", 2, "--samples", 4)
    refused(capsys, "--temperature is of drawn summaries", *write, "--samples", 1, "--temperature", 0.5)
    refused(capsys, "--docstrings takes those of this Python", "train", "--docstrings", "--data", data)
    refused(capsys, "--copy copies what the attention looks at", "train", "--copy", "--attention", "none")
    refused(capsys, "--arch gru has no --heads", "train", "--heads", 4)
    refused(capsys, "--arch transformer has no --copy", "train", "--arch", "transformer", "--copy")
    for text, message in (
        ("one text without a summary\n", "line 1 has 1 column separated by tabs; it must be text<TAB>summary"),
        ("a\tb\n\n\tc\n", "line 3 is without a text; write it, or remove the line"),
        ("a\tb\nc\t \n", "line 2 is without its summary"),
        ("\na\tb\tc\n", "line 2 has 3 columns separated by tabs; it must be text<TAB>summary (or begin with a line of"),
        ("a\tb\n\na\tb\tc\n", "line 3 has 3 columns separated by tabs, line 1 has 2; it must be text<TAB>summary"),
        ("id\ttext\tsummary\n1\ta\tb\n\n", "1 different text, too few"),
        ("", "holds no text"),
        (b"caf\xe9\tb\n", "UTF-8"),
        ("id\tQuelle\tsummary\n1\ta\tb\n", "known are names of texts (text, sentence, review, tweet, article, "),
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
