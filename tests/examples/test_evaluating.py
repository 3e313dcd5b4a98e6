"""What is said of a test set: the comparison of two systems, the tables of where one fails, and the
page.
"""

import math

import numpy as np
import pytest
from toolkit import bleu, breakdown
from toolkit.breakdown import Words, by_length, by_rarest_word, lines_of, words_found, worst
from toolkit.chance import STUDENT, sacrebleu_seed, student_interval
from toolkit.console import UserError
from toolkit.evaluating import advise_tokenisation, evaluation, mean_of_seeds, page
from toolkit.paired import compare, sign_test

PAIRS = [
    ("a cat", "une chatte grise"),
    ("a dog sleeps here", "un chien dort ici"),
    ("the grey dog and the cat sleep", "le chien gris et la chatte dorment"),
]
SAID = ["une chatte noire", "un chien dort ici", "le chien gris et la la dorment"]
REFERENCES = [f"here is sentence number {n} of a corpus that was made" for n in range(60)]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """A third of those that a user gets, which take most of the time."""
    monkeypatch.setattr(bleu, "resamples", lambda sentences: 300)


def spoilt(every):
    """Translations of which some are wrong."""
    return [text if n % every else "something else was said in this place" for n, text in enumerate(REFERENCES)]


# --- two systems ----------------------------------------------------------------------------------


def test_systems_that_say_the_same_do_not_differ():
    found = compare(spoilt(3), spoilt(3), REFERENCES, "en")
    assert found.p == {"bleu": 1, "bleu_tokenised": 1, "chrf": 1, "exact": 1} and found.differing == 0
    assert found.ours == found.theirs


@pytest.mark.parametrize("differing", [1, 2, 5])
def test_few_sentences_cannot_decide(differing):
    better = spoilt(3)
    for n in range(differing):
        better[3 * n] = REFERENCES[3 * n]
    found = compare(better, spoilt(3), REFERENCES, "en")
    assert found.ours.bleu.value > found.theirs.bleu.value and found.differing == differing
    assert all(p >= 2.0 ** (1 - differing) for p in found.p.values())
    assert found.p["exact"] == 2.0 ** (1 - differing)


def test_many_sentences_decide():
    found = compare(spoilt(10), spoilt(2), REFERENCES, "en")
    assert all(p < 0.01 for p in found.p.values())
    rows = found.table("b").rows
    assert [row[0] for row in rows] == ["BLEU", "BLEU, lower case", "chrF", "exact (%)"]
    assert rows[3][1].startswith("90.00 [") and rows[3][3] == "+40.00"
    turned = compare(spoilt(2), spoilt(10), REFERENCES, "en")
    assert turned.p["exact"] == found.p["exact"] and turned.ours == found.theirs


@pytest.mark.parametrize(("losses", "ways"), [(0, 2), (1, 10), (2, 16)])
def test_the_probability_is_the_share_of_all_exchanges_that_differ_as_much(losses, ways):
    """Four sentences, alike in length, of which one system or the other has each right: there are
    16 ways to exchange them.
    """
    ours, theirs = spoilt(3)[:10], spoilt(3)[:10]
    for n in range(4):
        (theirs if n < losses else ours)[3 * n] = REFERENCES[3 * n]
    found = compare(ours, theirs, REFERENCES[:10], "en").p
    assert [found[name] for name in ("bleu", "bleu_tokenised", "chrf")] == pytest.approx([ways / 16] * 3, abs=0.05)


def test_where_one_writes_lower_case_alone_capitals_do_not_count():
    proper = [text.title() for text in REFERENCES]
    found = compare(REFERENCES, proper, proper, "en", cased=False)
    assert found.ours.bleu.value < found.theirs.bleu.value and found.differing == 0
    table = found.table("b")
    assert [row[0] for row in table.rows] == ["BLEU, lower case"] and table.rows[0][3:] == ["+0.00", "1.0000"]
    assert table.title == "0 translations unlike those of b, in lower case, which one of the two writes alone"


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (3, 9), (9, 3), (40, 60), (2000, 2100)])
def test_the_sign_test_is_that_of_a_fair_coin(wins, losses):
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    assert sign_test(wins, losses) == (min(1.0, 2 * tail / 2**n) if n else 1.0)


# --- several seeds --------------------------------------------------------------------------------


def test_the_mean_of_seeds():
    table = mean_of_seeds({4: spoilt(2), 5: spoilt(3), 7: spoilt(4)}, REFERENCES, "en")
    assert table.title == "the mean of 3 trainings"
    assert list(table.columns) == ["", "seed 4", "seed 5", "seed 7", "mean", "95 % interval"]
    assert [row[0] for row in table.rows] == ["BLEU", "BLEU, lower case", "chrF", "exact (%)"]
    # 50, 66.67 and 75 %: a standard deviation of 12.73 over the root of 3, 4.303 times.
    assert table.rows[3][1:] == ["50.00", "66.67", "75.00", "63.89", "[32.27, 95.51]"]
    found = bleu.score(spoilt(4), REFERENCES, "en")
    assert table.rows[1][3] == f"{found.bleu_tokenised.value:.2f}"


def test_students_t_is_where_975_of_1000_are_below():
    """By the density, summed up to each of the table's values."""
    for freedom, t in enumerate(STUDENT, start=1):
        x = np.linspace(0, t, 20_001)
        scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
        density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        area = (density[1:] + density[:-1]).sum() / 2 * (x[1] - x[0])
        assert abs(0.5 + area - 0.975) < 4e-6  # t to four digits
    assert student_interval([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2 + 12.7062))
    assert student_interval([5.0] * 40) == (5, 5)
    with pytest.raises(ValueError, match="got 1 values"):
        student_interval([1.0])


# --- where it fails -------------------------------------------------------------------------------


def test_scores_by_length():
    table = by_length(lines_of(PAIRS, SAID), "en", "fr")
    assert [row[:2] for row in table.rows] == [["1 to 5", "2"], ["6 to 10", "1"]]
    assert [row[4] for row in table.rows] == ["50.0", "0.0"]
    assert table.rows[1][2] == f"{bleu.score(SAID[2:], [PAIRS[2][1]], 'fr').bleu.value:.1f}"


def test_a_group_without_long_references_is_marked():
    table = by_length(lines_of([*PAIRS, ("a cat", "une chatte")], [*SAID, "une chatte"]), "en", "fr")
    assert [row[2].endswith("*") for row in table.rows] == [False, False] and "eff" not in table.title
    table = by_length(lines_of([PAIRS[0], PAIRS[2]], [SAID[0], SAID[2]]), "en", "fr")
    assert [row[2].endswith("*") for row in table.rows] == [True, False]
    assert table.title == "by length of the sentence (*: no reference has 4 tokens, eff:yes)"


def test_what_is_written_in_lower_case_alone_is_judged_so():
    pairs = [("A dog sleeps here", "Un chien dort ici"), ("The grey dog sleeps", "Le chien gris dort là")]
    found = evaluation(
        "test", pairs, ["un chien dort ici", "le chien gris dort"], ("en", "fr"), lower=True, details=True
    )
    assert [line.number for line in found.worst] == [2] and found.worst[0].reference == "Le chien gris dort là"
    assert found.tables[0].title == "by length of the sentence, in lower case"
    assert found.tables[0].rows == [
        ["1 to 5", "2", f"{found.scores.bleu_tokenised.value:.1f}", found.tables[0].rows[0][3], "50.0"]
    ]
    assert b"only BLEU in lower case judges it" in page([found], "a run")


def test_scores_by_the_rarest_word():
    words = Words.of(["A cat and the dog.", "a cat, the dog sleeps here"], "en")
    table = by_rarest_word(lines_of(PAIRS, SAID), words, "fr")
    assert [row[:2] for row in table.rows] == [["0", "1"], ["1", "1"], ["2 to 9", "1"]]  # grey; sleeps; a cat
    assert [row[4] for row in table.rows] == ["0.0", "100.0", "0.0"]


def test_words_by_how_often_training_has_them():
    words = Words.of(["le chien dort", "le chien", *["la chatte"] * 10], "fr")
    rows = {row[0]: row[1:] for row in words_found(lines_of(PAIRS, SAID), words).rows}
    assert rows["10 to 99"] == ["3", "66.7", "3", "66.7"]  # chatte twice and la; chatte and two la said
    assert rows["2 to 9"] == ["3", "100.0", "3", "100.0"]  # le chien chien
    assert rows["1"] == ["1", "100.0", "1", "100.0"]  # dort
    assert rows["0"] == ["7", "85.7", "7", "85.7"]  # grise, not noire; une un ici gris et dorment


def test_the_worst_sentences_come_first_and_are_wrong():
    found = worst(lines_of(PAIRS, SAID), 5)
    assert [line.number for line in found] == [1, 3] and found[0].chrf < found[1].chrf < 100
    assert len(worst(lines_of(PAIRS, SAID), 1)) == 1


@pytest.mark.parametrize(
    ("value", "name"), [(0, "0"), (1, "1"), (2, "2 to 9"), (999, "100 to 999"), (1000, "more than 999")]
)
def test_names_of_groups(value, name):
    assert breakdown._ranges(breakdown.COUNTS)[breakdown._place(value, breakdown.COUNTS)] == name


def test_chinese_is_counted_by_characters():
    pairs = [("red cat", "红色的猫")]
    words = Words.of(["红色的狗"], "zh")
    rows = {row[0]: row[1:] for row in words_found(lines_of(pairs, ["红色的狗"]), words).rows}
    assert rows == {"0": ["1", "0.0", "0", ""], "1": ["3", "100.0", "4", "75.0"]}


# --- as text and as a page ------------------------------------------------------------------------


def judged(**how):
    words = Words.of([source for source, _ in PAIRS], "en"), Words.of([target for _, target in PAIRS], "fr")
    return evaluation("test, 3 sentences", PAIRS, SAID, ("en", "fr"), details=True, words=words, **how)


def test_it_is_told_in_short_and_whole(capsys):
    found = judged(against=("b", [target for _, target in PAIRS]))
    found.tell(details=False)
    short = capsys.readouterr().out
    assert (
        short.startswith("test, 3 sentences:\nBLEU ")
        and "translations unlike those of b" in short
        and "rarest" not in short
    )
    found.tell()
    whole = capsys.readouterr().out
    assert whole.startswith(short.split("\n\n")[0]) and "rarest word" in whole
    assert "  1: a cat\n    = une chatte noire\n    reference: une chatte grise\n" in whole


def test_the_page_stands_alone_and_says_what_is_there_as_text():
    pairs = [("<b>a</b> & b", "<i>x</i>")]
    found = evaluation("one <test>", pairs, ["<script>alert(1)</script>"], ("en", "fr"), details=True)
    text = page([judged(), found], "what it is worth").decode("utf-8")
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "one &lt;test&gt;" in text
    assert text.count("<h2>") == 2 and "by length of the sentence" in text and 'dir="auto">une chatte noire' in text


def test_missing_tokenisers_are_named(monkeypatch, capsys):
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: False)
    for language, text, said in (("ko", "빨간 고양이", "[ko]"), ("ja", "赤い猫", "[ja]"), ("fr", "un chat", "")):
        advise_tokenisation([text], language)
        told = capsys.readouterr().err
        assert f'pip install "sacrebleu{said}"' in told if said else not told


@pytest.mark.parametrize("seed", ["abc", "1.5", "-1", ""])
def test_a_seed_that_sacrebleu_cannot_read_is_named(monkeypatch, seed):
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(UserError, match=f"the environment has SACREBLEU_SEED={seed}; it must be a whole number"):
        sacrebleu_seed()


def test_seeds_that_sacrebleu_reads(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    sacrebleu_seed()
    for seed in ("none", "0", "12345"):
        monkeypatch.setenv("SACREBLEU_SEED", seed)
        sacrebleu_seed()
        assert bleu.score(SAID, [pair[1] for pair in PAIRS], "fr", intervals=True).bleu.interval
