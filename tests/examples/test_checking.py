"""What `translate.py check` finds suspicious in data, what --skip-bad leaves out, and what a
training is expected to take.
"""

from dataclasses import replace

import pytest
import translate
from scripts import caller, refuser, unreported
from toolkit.checking import Expected, expect, report
from toolkit.console import UserError
from toolkit.corpus import Corpus
from toolkit.suspicions import KINDS, Place, find, sides_of, without
from toolkit.translation import Settings, load_corpus

call = caller(translate.main)
refused = refuser(call)

NOUNS = ("cat", "dog", "house", "river", "garden", "teacher", "window")
GOOD = [
    (f"The {one} sees the {other}.", f"Das {one} sieht das {other}.")
    for one in NOUNS
    for other in NOUNS
    if one != other
]
TINY = "--d-model 8 --heads 2 --layers 1 --d-ff 8 --vocab 300 --max-length 60 --max-tokens 300 --warmup 5 --epochs 1".split()


def corpus(*bad, validation=GOOD[:2], tests=GOOD[2:4]):
    return Corpus([*GOOD[4:], *bad], list(validation), {"test": list(tests)})


def found(*bad, **parts):
    """The kinds, and the numbers of the bad pairs from 1."""
    return {
        kind: [place.number - len(GOOD[4:]) for place in places] for kind, places in find(corpus(*bad, **parts)).items()
    }


# --- each kind ------------------------------------------------------------------------------------


def test_good_pairs_are_not_suspicious():
    assert found() == {}
    assert without(corpus()) == corpus()
    assert list(report(corpus(), "en", "de"))[-1] == "nothing suspicious"


SUSPICIOUS = {
    "copied": ("This is the same text.", "This is the same text."),
    "long": ("A long one. " * 100, "Ein langer. " * 100),
    "ratio": (
        "Yes, we can.",
        "Ja, das können wir, und wir werden es auch tun, so bald es geht, und noch viel mehr als das.",
    ),
    "replacement": ("A café here.", "Ein Caf\ufffd hier."),
    "mojibake": ("The door is open.", "Die TÃ¼r ist offen."),
    "quotes": ("He said no.", "Er sagte â€žneinâ€œ."),
    "control": ("A bell\x07 rings.", "Eine Glocke läutet."),
    "invisible": ("A soft hy\u00adphen.", "Ein weiches Zeichen."),
    "tag": ("A <b>bold</b> word.", "Ein fettes Wort."),
    "entity": ("Salt &amp; pepper.", "Salz und Pfeffer."),
    "script": ("A sentence of words.", "Предложение из слов."),
}
BROKEN, MARKUP = ("replacement", "mojibake", "quotes", "control"), ("tag", "entity")


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_each_kind_is_found(case):
    kind = "broken" if case in BROKEN else "markup" if case in MARKUP else case
    assert found(SUSPICIOUS[case]) == {kind: [1]}
    kept = without(corpus(SUSPICIOUS[case]))
    assert kept.train == GOOD[4:] + ([] if KINDS[kind].left_out else [SUSPICIOUS[case]])
    assert kept.bad == KINDS[kind].left_out


GENUINE = [
    ("Naïve café, 50 °C & more.", "Ein «naives» Café – „50 °C“, ja."),
    ("The year 1 < 2 > 0.", "Das Jahr 1 < 2 > 0."),
    ("OK!", "OK!"),  # a name or a cry may be the same
    ("Hi.", "Guten Tag."),
    ("A Greek π and α.", "Ein griechisches π und α."),
    ("À l'Âge d'or â.", "Zum Goldenen Âge Ã."),
]


@pytest.mark.parametrize("pair", GENUINE)
def test_what_people_write_is_not_suspicious(pair):
    assert found(pair) == {}


def test_pairs_beside_others():
    other = ("The cat sees the dog.", "Die Katze sieht den Hund.")
    assert found(GOOD[4], GOOD[4]) == {"repeated": [1, 2]}
    assert found(GOOD[0], GOOD[2]) == {"leak": [1, 2]}  # validated and tested by
    several = found(("A bird.", "Ein Vogel."), ("A bird.", "Der Vogel."))
    assert several == {"several": [2]}
    assert without(corpus(GOOD[4], GOOD[0], other)).train == GOOD[4:]
    assert without(corpus(tests=[("x <b>", "y")])).tests == {"test": [("x <b>", "y")]}  # as it is


ONE, OTHER, THIRD = (f"Here comes {what}." for what in ("a bird", "a whale", "the old fox"))


def places(train=(), validation=(), **tests):
    """Where what is found of these sources and their translations is, by kind."""
    made = {name: [(text, f"{text} (de)") for text in texts] for name, texts in tests.items()}
    parts = ([*own, *((text, f"{text} (de)") for text in texts)] for own, texts in ((GOOD, train), ((), validation)))
    return find(Corpus(*parts, made))


def test_parts_that_share_sentences():
    """Not training alone: validation with the tests, the tests with each other, and case aside."""
    assert places(validation=[ONE], test=[OTHER]) == {}
    assert places(validation=[ONE, OTHER], test=[THIRD, OTHER]) == {"shared": [Place("validation", 2)]}
    assert places(validation=[ONE], test=[OTHER], test_2=[THIRD, OTHER.upper()]) == {"shared": [Place("test", 1)]}
    found = places(train=[ONE.upper(), OTHER.lower(), THIRD], validation=[ONE], test=[OTHER.replace(" ", "  ")])
    n = len(GOOD)
    assert found == {"case": [Place("train", n + 1), Place("train", n + 2)]}
    assert places(train=[ONE], validation=[ONE, ONE], test=[OTHER, THIRD, OTHER]) == {
        "repeated": [Place("validation", 2), Place("test", 3)],
        "leak": [Place("train", n + 1)],
    }
    one = (ONE, "Hier kommt ein Vogel.")
    kept = without(Corpus([*GOOD[4:], (ONE.upper(), one[1])], [one, one, GOOD[0]], {"test": [GOOD[0]]}))
    assert (kept.train, kept.validation, kept.tests) == (GOOD[4:], [one], {"test": [GOOD[0]]})


@pytest.mark.parametrize("text", ["有三只红色的猫。", "ฉันไม่รู้ครับ"])
def test_a_copy_without_blanks(text):
    few = [("猫在树下。", "Neko."), ("狗在河边睡着了。", "Inu ga neru.")] if text.startswith("有") else []
    bad = Corpus([*few, (text, text)], [], {})
    assert Place("train", len(few) + 1) in find(bad)["copied"]
    assert "copied" not in find(Corpus([("北京市。", "北京市。"), ("Hôtel-Dieu", "Hôtel-Dieu")], [], {}))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_other_language(part):
    """Words tell: of a pair the wrong way round, and of a translation that is no translation."""
    nouns = "Hund", "Wolf", "Fuchs", "Vogel", "Baum"
    right = [(f"The {a} never sees that {b}.", f"Der {a} sieht niemals den {b}.") for a in nouns for b in nouns]
    swapped, left = right[7][::-1], (right[8][0], "The cat never sees that tree.")
    parts = {"train": [*right], "validation": right[:1], "test": right[1:2]}
    parts[part] = [*parts[part], swapped, left]
    found = find(Corpus(parts["train"], parts["validation"], {"test": parts["test"]}))
    start = len(parts[part]) - 1
    assert found["swapped"] == [Place(part, start), Place(part, start + 1)]
    assert not KINDS["swapped"].left_out


def test_held_out_pairs_are_looked_at_too():
    bad = SUSPICIOUS["script"]
    places = find(corpus(validation=[GOOD[0], bad], tests=[bad]))["script"]
    assert places == [Place("validation", 2), Place("test", 1)]
    assert without(corpus(validation=[GOOD[0], bad])).validation == [GOOD[0]]


def test_nothing_left_is_refused():
    with pytest.raises(UserError, match="none is left without suspicion"):
        without(corpus(validation=[SUSPICIOUS["tag"]]))


def test_sides_are_described():
    latin, chinese = sides_of([("a cat", "有三只红色的猫"), ("three red cats", "猫"), ("a b c d", "红色的")])
    assert (latin.script, latin.shortest, latin.middle, latin.longest) == ("Latin", 2, 3, 4)
    assert (chinese.script, chinese.shortest, chinese.middle, chinese.longest) == ("Chinese or Japanese", 1, 3, 7)
    assert [side.script for side in sides_of([("1, 2", "три")])] == ["Latin", "Cyrillic"]


# --- what a training takes ------------------------------------------------------------------------


def test_expected_time_and_memory():
    settings = Settings(d_model=8, heads=2, layers=1, d_ff=8, vocab=300, max_length=60, max_tokens=300, epochs=3)
    made = expect({"de": corpus(("word " * 80, "Wort"))}, settings)
    assert made.updates == 3 * -(-made.updates // 3) and made.updates > 3 and 0 < made.seconds < 5
    assert made.memory > 4 * 4 * made.parameters and made.too_long == 1  # weights, gradients, two moments
    timed = expect({"de": corpus()}, Settings(**{**vars(settings), "epochs": None, "minutes": 1.0}))
    assert (timed.updates, timed.minutes) == (None, 1.0)
    assert expect({"de": corpus()}, Settings(**{**vars(settings), "steps": 2})).updates == 2  # before 3 epochs


def test_expected_in_words():
    assert str(Expected(1000, 100, 36.0, 2_500_000_000, 3)).splitlines() == [
        "expected: 1,000 parameters, about 2.5 GB of memory besides Python and the data;",
        "  100 updates of about 36 s on this machine, 60.0 minutes in all; validation comes to that",
        "  about 3 pairs longer than --max-length or --max-tokens, to be left out",
    ]
    assert "10.0 hours" in str(Expected(1, 1000, 36.0, 1, 0)) and "50 seconds in" in str(Expected(1, 100, 0.5, 1, 0))
    timed = Expected(1, 1200, 2.0, 1, 0, minutes=1.0), Expected(1, None, 2.0, 1, 0, minutes=0.5)
    assert [str(one).splitlines()[1] for one in timed] == [
        "  about 30 of 1,200 updates of about 2 s on this machine in 1 minute, less what validation takes of them",
        "  about 15 updates of about 2 s on this machine in 0.5 minutes, less what validation takes of them",
    ]
    assert "1,200 updates of about 2 s on this machine, 40.0 minutes in all;" in str(replace(timed[0], minutes=50.0))
    assert "memory not told" in str(Expected(1, None, 0.5, None, 0)) and "in all" not in str(Expected(1, None, 1, 1, 0))


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """A file with what is wrong in each way: lines 1 to 38 are good."""
    lines = ["id\ten\tde", *(f"s{n}\t{one}\t{other}" for n, (one, other) in enumerate(GOOD))]
    lines += ["s90\tA <b>bold</b> word.\tEin fettes Wort.", "s91\tOne cell too few.", "s92\t \tEin Satz.", ""]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_check(pairs, capsys):
    languages = "--data", pairs, "--source", "en", "--target", "de"
    assert call("check", *languages, *TINY) == 0
    printed = capsys.readouterr().out
    for said in (
        "en: column 2, Latin, 5 to 5 words, half of the texts up to 5; such as: The cat sees the dog.",
        "de: column 3, Latin, ",
        "lines with more or fewer columns than the others: 1; not used",
        "pairs with a blank side: 2; not used",
        "pairs with tags or entities, such as <b> and &amp;: 1\n",
        "A <b>bold</b> word. = Ein fettes Wort.",
        "train --skip-bad leaves these out",
        "expected: ",
    ):
        assert said in printed, said
    refused(capsys, "--data needs --source and --target", "check", "--data", pairs)


def test_training_without_what_is_bad(pairs, tmp_path, capsys):
    languages = "--data", pairs, "--source", "en", "--target", "de"
    refused(capsys, "line 47 is empty", "train", *languages)
    refused(capsys, "has 2 columns", "train", *languages, "--skip-blank")
    assert (
        unreported(call)("train", *languages, "--skip-bad", "--schedule", "constant", "--out", tmp_path / "run", *TINY)
        == 0
    )
    printed = capsys.readouterr().out
    assert (
        "left out 2 pairs with a blank side; left out 1 pair with other columns; left out 1 pair found suspicious"
        in printed
    )
    assert unreported(call)("train", "--resume", "--out", tmp_path / "run", "--epochs", 2) == 0
    refused(capsys, "--skip-bad is for --data", "train", "--skip-bad")


def test_what_is_left_out_of_a_test_is_told(pairs, tmp_path, capsys):
    languages = "--data", pairs, "--source", "en", "--target", "de"
    assert (
        unreported(call)("train", *languages, "--skip-bad", "--out", tmp_path / "run", *TINY, "--max-length", 100) == 0
    )
    other = tmp_path / "other.tsv"
    other.write_text("A cat.\tEine Katze.\nA dog.\t\nA\tb\tc\nA house.\tEin Haus.\n", encoding="utf-8")
    capsys.readouterr()
    assert call("score", "--run", tmp_path / "run", "--data", other) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "left out 1 pair with a blank side" in captured.err and "left out 1 pair with other columns" in captured.err


def test_loading_whole_keeps_what_is_suspicious(pairs):
    whole = load_corpus(str(pairs), "en", "de", skip_bad=True, whole=True)
    assert len(whole.tests["test"]) == len(GOOD) + 1 and whole.ragged == 1
