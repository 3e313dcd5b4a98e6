"""Scores: both kinds of BLEU against what their tools give, and the preparation of Multi30k."""

import pytest
from toolkit.bleu import moses, score

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
