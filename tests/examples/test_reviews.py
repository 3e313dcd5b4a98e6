"""The made reviews: what they come to by hand, what is held out, and that words tell nothing."""

import doctest
from collections import Counter

import pytest
from toolkit import reviews as module
from toolkit import words
from toolkit.english_french import Dice
from toolkit.labelled import NaiveBayes
from toolkit.review_grammar import Both, Claim, Contrast, Hearsay, Review
from toolkit.review_words import ADJECTIVES, DOMAINS, MILD, NEGATED, PLAIN, STRONG, Frame
from toolkit.reviews import KINDS, UNSEEN, draw, reviews
from toolkit.words import word_ngrams, words_of

WAS, WAS_NOT = Frame("{it} was {so}", +1), Frame("{it} was not {so}", -1)
A_LITTLE, UTTERLY = Frame("{it} was a little {so}", +1, MILD), Frame("{it} was not {so} at all", -1, STRONG)


def claim(frame, part, praises):
    return Claim(frame, part, ("good", "bad"), praises)


SAID = "they say {claim}. {verdict}"
BED, LOBBY = claim(WAS_NOT, "the bed", True), claim(WAS, "the lobby", True)


@pytest.mark.parametrize(
    ("judgement", "text", "label"),
    [
        (LOBBY, "The lobby was good.", "positive"),
        (BED, "The bed was not good.", "negative"),
        (claim(WAS_NOT, "the bed", False), "The bed was not bad.", "positive"),
        (Contrast("{minor}, but {main}", BED, LOBBY), "The bed was not good, but the lobby was good.", "positive"),
        (Contrast("{main}, although {minor}", BED, LOBBY), "The lobby was good, although the bed was not good.", "positive"),
        (
            Both("{first}. {second}", claim(A_LITTLE, "the bed", False), claim(UTTERLY, "the lobby", False)),
            "The bed was a little bad. The lobby was not bad at all.",
            "positive",
        ),
        (Hearsay(SAID, BED, False, "I disagree"), "They say the bed was not good. I disagree.", "positive"),
        (Hearsay(SAID, BED, True, "I agree"), "They say the bed was not good. I agree.", "negative"),
    ],
)  # fmt: skip
def test_what_judgements_come_to(judgement, text, label):
    review = Review("kind", judgement)
    assert (review.text, review.label) == (text, label)
    around = Review("kind", judgement, "we came at noon", "it rained")
    assert around.text == f"We came at noon. {text} It rained." and around.label == label


@pytest.fixture(scope="module")
def made():
    return reviews((2000, 160, 320))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == doctest.testmod(words).failed == 0


def test_they_are_the_same_each_time_and_another_seed_has_others(made):
    assert reviews((2000, 160, 320)) == made
    assert reviews((20, 16, 16), seed=1).train != reviews((20, 16, 16)).train


def test_no_text_is_in_two_parts_or_has_two_labels(made):
    parts = [made.train, made.validation, made.test, made.others[UNSEEN]]
    assert [len(part) for part in parts] == [2000, 160, 320, 320]
    texts = [text for part in parts for text, _ in part]
    assert len(set(texts)) == len(texts)
    assert made.labels == ["negative", "positive"]
    for part in parts:
        assert Counter(label for _, label in part) == dict.fromkeys(made.labels, len(part) // 2)
    assert made.kinds.keys() == {text for part in parts[2:] for text, _ in part}
    assert Counter(made.kinds.values()) == dict.fromkeys(KINDS, 80)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unseen", [False, True])
def test_a_review_is_what_was_asked_for(kind, unseen):
    dice = Dice(1)
    for good in (True, False) * 60:
        review = draw(dice, kind, good, unseen)
        assert (review.kind, review.judgement.good) == (kind, good)
        assert [held_out(one) for one in claims(review.judgement) if one is not review.judgement.decisive] == [
            False
        ] * (len(claims(review.judgement)) - 1)
        assert held_out(review.judgement.decisive) == unseen
        parts = [one.part for one in claims(review.judgement)]
        assert len(set(parts)) == len(parts)


def claims(judgement):
    """All claims of a judgement."""
    if isinstance(judgement, Claim):
        return [judgement]
    inner = [value for value in vars(judgement).values() if hasattr(value, "words")]
    return [one for value in inner for one in claims(value)]


def held_out(one):
    return (one.frame, one.pair) in {
        held for domain in DOMAINS for held in module._combinations((one.frame,), domain, True)
    }


def test_what_is_held_out_is_known_in_other_combinations():
    for domain in DOMAINS:
        for frame in module.FRAMES:
            kept = module._combinations((frame,), domain, False)
            assert len(kept) >= len(domain.adjectives) - 2
        for pair in domain.adjectives:
            frames = [frame for frame, other in module._combinations(module.FRAMES, domain, False) if other == pair]
            assert len(frames) > len(module.FRAMES) / 2
    both_sides = [{pair[side] for pair in ADJECTIVES} for side in (0, 1)]
    assert not both_sides[0] & both_sides[1] and len(both_sides[0] | both_sides[1]) == 2 * len(ADJECTIVES)


def test_the_strengths_and_sides_that_are_asked_for_exist():
    for frames, sign in ((PLAIN, 1), (NEGATED, -1)):
        assert {frame.sign for frame in frames} == {sign}
        assert {frame.strength for frame in frames} == {1, 2, 3}


def test_words_tell_nothing_and_pairs_of_them_little():
    whole = reviews((3000, 16, 400))
    texts, truth = zip(*whole.test + whole.others[UNSEEN])
    for longest, most in ((1, 0.58), (2, 0.65)):
        found = NaiveBayes(whole.train, word_ngrams(longest)).classify(texts)
        assert 0.35 < sum(a == b for a, b in zip(found, truth)) / len(truth) < most
    counts = {label: Counter() for label in whole.labels}
    for text, label in whole.train:
        counts[label].update(set(words_of(text)))
    for word in ("not", "good", "bad", "nobody", "but", "although", "disagree"):
        a, b = (counts[label][word] for label in whole.labels)
        assert abs(a - b) < 4 * (a + b) ** 0.5  # what chance leaves
