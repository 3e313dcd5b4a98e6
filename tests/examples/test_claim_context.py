"""Claim 9: the states of a word in context, and the sentences that they are read in."""

import numpy as np
import pytest
from claiming import run
from claims import context
from claims.probes import Reader, fit_probe
from claims.senses import (
    COUNTRIES,
    IDS,
    LANGUAGES,
    NEW,
    PAD,
    PEOPLE,
    SENSES,
    WORDS,
    Texts,
    country_texts,
    other_sentences,
    padded,
    point_sentences,
)

import minitensor as mt

# --- the claim ------------------------------------------------------------------------------------


def test_context(tmp_path, capsys):
    numbers, words = run("context", tmp_path, capsys)
    (found,) = numbers["runs"]
    for network in ("untrained", "trained"):
        assert [found[network]["point"][kind][0] for kind in ("unseen", "new")] == [0.5, 0.5]  # one vector for all
        assert max(found[network]["point"]["unseen"]) > 0.7  # random layers carry context too
        assert len(found[network]["attention"]["unseen"]) == numbers["layers"]
    assert max(found["trained"]["point"]["new"]) > 0.7
    assert words.startswith('The table has one vector for "point", by which 50% of its uses are told apart.')


def numbers_of(point, country, attention=(0.5, 0.5), head=(0.5, 0.5), other=(0.5, 0.5, 0.5)):
    """Two layers; untrained probes are right in 90 % of unseen sentences, in half of the rest."""
    half = {"unseen": [0.5] * 3, "new": [0.5] * 3, "combination": [0.5] * 3}
    trained = {
        "point": {"unseen": [0.5, 1.0, 0.9], "new": point},
        "country": {"unseen": country, "combination": other},
        "attention": {"unseen": attention, "combination": attention},
        "head": {"unseen": head, "combination": head},
        "language": {"unseen": 1.0, "combination": 0.7},
    }
    untrained = {name: half for name in trained} | {"language": {"unseen": 0.5, "combination": 0.5}}
    untrained["point"] = {"unseen": [0.5, 0.9, 0.8], "new": [0.5, 0.6, 0.4]}
    untrained |= {name: {kind: [0.5] * 2 for kind in half} for name in ("attention", "head")}
    return {"layers": 2, "runs": [{"trained": trained, "untrained": untrained}]}


def test_conclusion_about_context():
    found = numbers_of([0.5, 0.8, 0.95], [0.5, 0.6, 0.97], (0.5, 0.7), (0.5, 0.96), (0.5, 0.4, 0.8))
    words = context.conclusion(found)
    assert "tells 100% of unseen sentences, and of a network that was never trained 90%, since random layers" in words
    assert "it is 95% against 60%: there the trained one knows what kind of noun it is." in words
    assert "in at least 90% by 1 of 1 trained networks, first behind layer 2 (untrained 50% at most)" in words
    assert "takes 96% of its attention to the two from the right one: it shows what is meant in 1 of 1. With" in words
    assert words.endswith("never together in training it is 80% (untrained 50%).")
    words = context.conclusion(numbers_of([0.5, 0.6, 0.65], [0.5, 0.95, 0.9], (0.5, 0.7)))
    assert "65% against 60%: so training adds nothing here." in words
    assert "first behind layer 1 (untrained" in words and "takes 50% of its" in words and "meant in 0 of 1." in words
    two = numbers_of([0.5, 0.8, 0.95], [0.5, 0.6, 0.7])
    two["runs"] += found["runs"]
    assert "by 1 of 2 trained networks, first behind layer 2 (" in context.conclusion(two)
    words = context.conclusion(numbers_of([0.5, 0.8, 0.95], [0.5, 0.6, 0.7]))
    assert words.endswith(
        '"that country" is told by no layer in 90%: 70% at most, 50% untrained. The networks have not learnt to find it.'
    )
    rows = context.tables(found)[0].rows
    assert rows[3] == ("point: nouns never beside it, trained", "50% (50%)", "80% (80%)", "95% (95%)")


# --- sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["training", "unseen", "new"])
def test_the_noun_alone_tells_the_sense(kind):
    made = point_sentences(np.random.default_rng(0), 300, kind)
    before = ([], [])
    for row, place, label, text in zip(made.ids, made.place, made.labels, made.told()):
        words = text.split()
        assert WORDS[row[place]] == "point" and words[place] == "point" and words.count("point") == 1
        known = SENSES[label][-NEW:] if kind == "new" else SENSES[label][:-NEW]
        assert words[place - 1] in known and words[place + 1 : place + 3] == ["at", "the"]
        before[label].append(" ".join(words[: place - 1]))
    assert set(before[0]) == set(before[1])  # what stands before the noun says nothing
    assert sorted(made.labels) == [0] * 150 + [1] * 150


def test_no_pair_of_noun_and_target_is_trained_and_tested():
    def pairs(kind):
        made = point_sentences(np.random.default_rng(1), 800, kind)
        return {(row[place - 1], row[place + 3]) for row, place in zip(made.ids.tolist(), made.place)}

    trained, unseen = pairs("training"), pairs("unseen")
    nouns = 2 * (len(SENSES[0]) - NEW)
    assert not trained & unseen and len(unseen) == nouns * 2 and len(trained) == nouns * 6


def test_every_noun_is_told_elsewhere():
    made = other_sentences(np.random.default_rng(0), 600)
    assert IDS["point"] not in made and {IDS[noun] for nouns in SENSES for noun in nouns} <= set(made.ravel())


def facts(texts):
    """Person, country, person, country, who is named again, of each text."""
    return [[*words[0:4:3], *words[5:9:3], words[10]] for words in map(str.split, texts.told())]


def test_that_country_is_of_the_person_named_again():
    for kind in ("training", "unseen", "combination"):
        made = country_texts(np.random.default_rng(0), 400, kind)
        for (a, c, b, d, who), text, place, label, other in zip(
            facts(made), made.told(), made.place, made.labels, made.others
        ):
            words = text.split()
            assert a != b and c != d and words[place - 1 : place + 1] == ["that", "country"]
            assert {a: c, b: d}[who] == COUNTRIES[label] and {a: d, b: c}[who] == COUNTRIES[other]
            assert words[place + 1] == LANGUAGES[label]
            new = [PEOPLE.index(x) == COUNTRIES.index(y) for x, y in ((a, c), (b, d))]
            assert new == ([who == a, who == b] if kind == "combination" else [False, False])
        assert 0.4 < np.mean([fact[0] == fact[4] for fact in facts(made)]) < 0.6


def test_no_four_are_trained_and_tested():
    found = {
        kind: {tuple(fact[:4]) for fact in facts(country_texts(np.random.default_rng(2), 4000, kind))}
        for kind in ("training", "unseen", "combination")
    }
    assert not found["training"] & (found["unseen"] | found["combination"])
    assert len(found["training"]) > 1000 and len(found["unseen"]) > 300


# --- reading --------------------------------------------------------------------------------------


def test_a_probe_finds_what_is_linear_and_nothing_else():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 5))
    x[:, 4] = 3  # a feature that never changes
    labels = (x[:, 0] > 0.3).astype(int)
    probe = fit_probe(x[:300], labels[:300], 2)
    assert (probe(x[300:]).argmax(axis=1) == labels[300:]).mean() > 0.9
    one = np.ones((100, 5))
    texts = Texts(one[:, :1], labels[:100], np.arange(100) % 2, 1 - np.arange(100) % 2)
    assert context._right(fit_probe(one, texts.labels, 2)(one), texts) == 0.5


def test_states_are_those_of_the_word_and_know_nothing_of_what_follows():
    mt.random.seed(0)
    network = Reader(8, 2)
    ids = padded(["the needle point at the wall .", "today the boys point at the map and wait ."])
    texts = Texts(ids, np.array([2, 3]), np.array([0, 1]), np.array([1, 0]))
    states, weights = network.states(texts)
    vector = network.embedding.weight.numpy()[IDS["point"]]
    assert len(states) == 3 and len(weights) == 2 and (states[0] == vector).all()
    last = network.body.norm(mt.asarray(states[-1])) if network.body.norm else mt.asarray(states[-1])
    np.testing.assert_allclose(network.output(last).numpy(), network(ids).numpy()[[0, 1], [2, 3]], rtol=1e-5, atol=1e-6)
    changed = ids.copy()
    changed[:, 4:] = PAD
    for one, other in zip(states, network.states(Texts(changed, texts.place, texts.labels, texts.others))[0]):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights[0].sum(axis=-1), 1, rtol=1e-5)


def test_attention_to_either_country():
    made = country_texts(np.random.default_rng(0), 3, "training")
    weights = np.zeros((3, 2, made.ids.shape[1]))
    for row, label, other, ids in zip(weights, made.labels, made.others, made.ids.tolist()):
        row[0, ids.index(IDS[COUNTRIES[label]])] = 0.6
        row[1, ids.index(IDS[COUNTRIES[other]])] = 0.3
    right, wrong = context.attention_to(weights, made)
    np.testing.assert_allclose([right, wrong], [[0.6, 0], [0, 0.3]])
