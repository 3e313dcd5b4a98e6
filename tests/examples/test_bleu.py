"""Scores: both kinds of BLEU against what their tools give, and the preparation of Multi30k."""

import unicodedata

import pytest
from toolkit import bleu
from toolkit.bleu import moses, score, tokenisation

REFERENCES = ["Zwei junge Männer sind im Freien.", "Ein Mädchen klettert ins Haus.", "Der Mann trägt einen blauen Hut."]
CLOSE = ["zwei junge Männer sind im Freien .", "Ein Mädchen klettert ins Haus.", "Der Mann trägt einen roten Hut."]


def test_the_right_translation_has_full_marks():
    scores = score(REFERENCES, REFERENCES, "de")
    assert (scores.bleu, scores.bleu_tokenised, scores.exact) == pytest.approx((100, 100, 100))
    assert "tok:13a" in scores.signature and "case:mixed" in scores.signature


def test_the_two_kinds_differ_in_case():
    scores = score(CLOSE[:2], REFERENCES[:2], "de")
    assert scores.bleu_tokenised == pytest.approx(100)
    assert scores.bleu < 100
    assert scores.exact == 50


def test_figures_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    scores = score(CLOSE, REFERENCES, "de")
    assert scores.bleu == sacrebleu.corpus_bleu(CLOSE, [REFERENCES]).score
    lower = (
        [text.lower().replace(".", " .") for text in REFERENCES],
        [text.lower().replace(".", " .") for text in CLOSE],
    )
    assert scores.bleu_tokenised == pytest.approx(
        sacrebleu.corpus_bleu(lower[1], [lower[0]], tokenize="none", force=True).score
    )
    assert str(scores).count("\n") == 2


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
    monkeypatch.setattr(bleu, "_has_mecab", lambda: False)
    references, translations, how = UNSPACED[language]
    scores = score(translations, references, language)
    expected = sacrebleu.corpus_bleu(translations, [references], tokenize=how).score
    assert scores.bleu == scores.bleu_tokenised == expected and 30 < expected < 100
    assert f"tok:{how}" in scores.signature and f"lower-cased, tok:{how}" in str(scores)
    assert score(references, references, language).bleu == pytest.approx(100)


def test_words_of_japanese_where_they_can_be_found(monkeypatch):
    monkeypatch.setattr(bleu, "_has_mecab", lambda: True)
    assert tokenisation(["赤い猫が三匹います。"], "ja") == tokenisation(["赤い猫が三匹います。"], "xx") == "ja-mecab"
    assert tokenisation(["猫"], "jpn") == "ja-mecab" and tokenisation(["猫"], "xx") == "zh"


SPACED = {
    "de": "Drei rote Katzen.",
    "ko": "빨간 고양이 세 마리.",
    "ru": "Три красные кошки.",
    "ar": "ثلاث قطط",
    "hi": "तीन बिल्लियाँ",
}


@pytest.mark.parametrize("language", SPACED)
def test_with_blanks_between_words_it_is_of_words(language):
    assert tokenisation([SPACED[language], "猫"], language) == "13a"


@pytest.mark.parametrize("text", ["chats rouges", "oui", "猫", "!", "trois chats rouges"])
@pytest.mark.parametrize("language", ["fr", "zh"])
def test_what_is_right_has_full_marks_however_short(text, language):
    scores = score([text] * 2, [text] * 2, language)
    assert (scores.bleu, scores.bleu_tokenised, scores.exact) == pytest.approx((100, 100, 100))


def test_short_translations_of_short_references_differ_by_what_is_right():
    scores = score(["chats rouges", "chat noir"], ["chats rouges", "chat blanc"], "fr")
    assert 20 < scores.bleu < 80 and "eff:yes" in scores.signature
    # the usual figure, if there is one
    assert "eff:no" in score(["chats"] * 2, ["chats", "il y a des chats"], "fr").signature


def test_equivalent_texts_are_equal():
    decomposed = [unicodedata.normalize("NFD", text) for text in REFERENCES]
    for ours, theirs in ((REFERENCES, decomposed), (decomposed, REFERENCES)):
        scores = score(ours, theirs, "de")
        assert (scores.bleu, scores.bleu_tokenised, scores.exact) == pytest.approx((100, 100, 100))
