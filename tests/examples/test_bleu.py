"""Scores: both kinds of BLEU and chrF against what their tools give, their intervals, and the
preparation of Multi30k.
"""

import unicodedata

import numpy as np
import pytest
from toolkit import bleu
from toolkit.bleu import moses, score, tokenisation

REFERENCES = ["Zwei junge Männer sind im Freien.", "Ein Mädchen klettert ins Haus.", "Der Mann trägt einen blauen Hut."]
CLOSE = ["zwei junge Männer sind im Freien .", "Ein Mädchen klettert ins Haus.", "Der Mann trägt einen roten Hut."]


def values(scores):
    """BLEU, BLEU of tokens, chrF, exact, in per cent."""
    return [scores.bleu.value, scores.bleu_tokenised.value, scores.chrf.value, scores.exact.value]


def test_the_right_translation_has_full_marks():
    scores = score(REFERENCES, REFERENCES, "de")
    assert values(scores) == pytest.approx([100] * 4)
    assert "tok:13a" in scores.bleu.how and "case:mixed" in scores.bleu.how


def test_the_two_kinds_differ_in_case():
    scores = score(CLOSE[:2], REFERENCES[:2], "de")
    assert scores.bleu_tokenised.value == pytest.approx(100)
    assert scores.bleu.value < 100
    assert scores.exact.value == 50


def test_figures_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    scores = score(CLOSE, REFERENCES, "de")
    assert scores.bleu.value == sacrebleu.corpus_bleu(CLOSE, [REFERENCES]).score
    lower = (
        [text.lower().replace(".", " .") for text in REFERENCES],
        [text.lower().replace(".", " .") for text in CLOSE],
    )
    assert scores.bleu_tokenised.value == pytest.approx(
        sacrebleu.corpus_bleu(lower[1], [lower[0]], tokenize="none", force=True).score
    )
    assert str(scores).count("\n") == 3


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("fr", "L'homme s’assoit «ici», n'est-ce pas ?", "l' homme s' assoit \" ici \" , n' est-ce pas ?"),
        ("de", "Der Mann (20) sagt: „Ja!“ & geht.", 'der mann ( 20 ) sagt : " ja ! " & geht .'),
        ("en", "The dog's well-kept toy…", "the dog 's well-kept toy ..."),
    ],
)
def test_moses_tokens(language, text, tokens):
    assert moses(language)(text) == tokens


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="got 1 translations for 2 references"):
        score(["a"], ["a", "b"], "de")
    with pytest.raises(ValueError, match="got 0 translations"):
        score([], [], "de")


CHINESE = ["有三只红色的猫。", "他们在花园里玩耍，很高兴。"]
WRONG = ["没三只红色的猫。", "他们在花园里玩耍，很高兴。"]
UNSPACED = {
    "zh": (CHINESE, WRONG, "zh"),
    "zh-Hans": (CHINESE, WRONG, "zh"),
    "mandarin in its own script": (CHINESE, WRONG, "zh"),
    "th": (["แมวสามตัวอยู่ที่นี่"], ["แมวสองตัวอยู่ที่นี่"], "char"),
    "km": (["ឆ្មាបីក្បាល"], ["ឆ្មាពីរក្បាល"], "char"),
    "ja": (["赤い猫が三匹います。"], ["赤い犬が三匹います。"], "char"),
}


@pytest.mark.parametrize("language", UNSPACED)
def test_without_blanks_between_words_it_is_of_characters_as_sacrebleu_has_it(language, monkeypatch):
    sacrebleu = pytest.importorskip("sacrebleu")
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: False)
    references, translations, how = UNSPACED[language]
    scores = score(translations, references, language)
    expected = sacrebleu.corpus_bleu(translations, [references], tokenize=how).score
    assert scores.bleu.value == scores.bleu_tokenised.value == expected and 30 < expected < 100
    assert f"tok:{how}" in scores.bleu.how and f"lower-cased, tok:{how}" in str(scores)
    assert score(references, references, language).bleu.value == pytest.approx(100)


def test_words_of_japanese_where_they_can_be_found(monkeypatch):
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: True)
    assert tokenisation(["赤い猫が三匹います。"], "ja") == tokenisation(["赤い猫が三匹います。"], "xx") == "ja-mecab"
    assert tokenisation(["猫"], "jpn") == "ja-mecab" and tokenisation(["猫"], "xx") == "zh"


def test_words_of_korean_where_they_can_be_found(monkeypatch):
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: True)
    assert tokenisation(["빨간 고양이 세 마리."], "ko") == tokenisation(["빨간 고양이 세 마리."], "xx") == "ko-mecab"
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: False)
    assert tokenisation(["빨간 고양이 세 마리."], "kor") == "13a"


SPACED = {
    "de": "Drei rote Katzen.",
    "ko": "빨간 고양이 세 마리.",
    "ru": "Три красные кошки.",
    "ar": "ثلاث قطط",
    "hi": "तीन बिल्लियाँ",
}


@pytest.mark.parametrize("language", SPACED)
def test_with_blanks_between_words_it_is_of_words(language, monkeypatch):
    monkeypatch.setattr(bleu, "_has", lambda tokeniser: False)
    assert tokenisation([SPACED[language], "猫"], language) == "13a"


@pytest.mark.parametrize("text", ["chats rouges", "oui", "猫", "!", "trois chats rouges"])
@pytest.mark.parametrize("language", ["fr", "zh"])
def test_what_is_right_has_full_marks_however_short(text, language):
    scores = score([text] * 2, [text] * 2, language)
    assert values(scores) == pytest.approx([100] * 4)


def test_short_translations_of_short_references_differ_by_what_is_right():
    scores = score(["chats rouges", "chat noir"], ["chats rouges", "chat blanc"], "fr")
    assert 20 < scores.bleu.value < 80 and "eff:yes" in scores.bleu.how
    # the usual figure, if there is one
    assert "eff:no" in score(["chats"] * 2, ["chats", "il y a des chats"], "fr").bleu.how


def test_equivalent_texts_are_equal():
    decomposed = [unicodedata.normalize("NFD", text) for text in REFERENCES]
    for ours, theirs in ((REFERENCES, decomposed), (decomposed, REFERENCES)):
        scores = score(ours, theirs, "de")
        assert values(scores) == pytest.approx([100] * 4)


def test_chrf_is_that_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    found = score(CLOSE, REFERENCES, "de").chrf
    assert found.value == sacrebleu.corpus_chrf(CLOSE, [REFERENCES]).score
    assert found.how.startswith("nrefs:1|case:mixed|") and found.how.endswith("|norm:NFC")


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_hold_the_figure_and_shrink_with_the_sentences():
    texts = [f"sentence number {n} of a made corpus" for n in range(400)]
    ours = [text if n % 3 else "a wrong one of some words" for n, text in enumerate(texts)]
    few, many = score(ours[:100], texts[:100], "en", intervals=True), score(ours, texts, "en", intervals=True)
    for one, other in zip((few.bleu, few.chrf, few.exact), (many.bleu, many.chrf, many.exact), strict=True):
        for found in (one, other):
            assert 0 <= found.interval[0] < found.value < found.interval[1] <= 100
        assert np.diff(other.interval)[0] == pytest.approx(np.diff(one.interval)[0] / 2, rel=0.2)
    assert "bs:1000|seed:" in many.bleu.how and f"exact {many.exact.value:.2f} % [" in str(many)
    assert score(ours, texts, "en").bleu.interval is None and "[" not in str(score(ours, texts, "en"))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0, 27.75), (10, 10, 72.25, 100), (81, 263, 25.53, 36.62)]
)
def test_the_interval_of_a_share_is_wilsons(right, n, low, high):
    """The last: Newcombe 1998, table I, method 3."""
    found = score(["a"] * right + ["b"] * (n - right), ["a"] * n, "en", intervals=True).exact
    assert found.interval == pytest.approx((low, high), abs=0.01)


def test_a_single_sentence_has_no_interval():
    scores = score(CLOSE[:1], REFERENCES[:1], "de", intervals=True)
    assert scores.bleu.interval is None and "[" not in str(scores).split("exact")[0]


def test_a_large_test_set_is_drawn_less_often():
    assert [bleu.resamples(n) for n in (1, 1000, 5000, 20_000, 10**6)] == [1000, 1000, 1000, 250, 100]
