"""Claim 12: what heads look at, and what is lost without them, are held to computations by hand."""

import copy

import numpy as np
import pytest
from claiming import run
from claims import ablation, heads
from claims.aligned import Corpus, hideable, learn, score, transformer
from claims.heads import ALL

import minitensor as mt


@pytest.fixture(scope="module")
def trained():
    """A corpus, and a small model that has learnt a little of it."""
    corpus = Corpus(0, 200, 12)
    mt.random.seed(0)
    model = transformer(corpus, 8, n_heads=2, n_layers=1)
    learn(model, corpus, 15, 200, 1e-2, seed=0)
    return corpus, model.eval()


def test_heads(tmp_path, capsys):
    numbers, words = run("heads", tmp_path, capsys)
    settings = heads.Settings.quick()
    assert [one["n_heads"] for one in numbers["runs"]] == list(settings.heads)
    assert len({one["parameters"] for one in numbers["runs"]}) == 1  # equal in size, whatever the heads
    (one,) = heads.studied(numbers)
    assert [(head["path"], head["head"]) for head in one["heads"]] == [
        (layer["path"], number) for layer in one["layers"] for number in range(settings.studied)
    ]
    assert "too little was learnt" in words


def test_sentences_and_their_alignment():
    corpus, same, other = Corpus(0, 300, 50), Corpus(0, 300, 50), Corpus(1, 300, 50)
    assert corpus.train == same.train and corpus.test == same.test != other.test
    english = [one.english for one in corpus.train + corpus.test]
    assert len(set(english)) == len(english) == 350
    for one in corpus.train:
        assert len(one.english) == len(one.french) == len(one.needs) == len(one.kinds) <= 9
        assert sorted(needs[0] for needs in one.needs) == list(range(len(one.english)))  # a permutation
        assert one.kinds.count("verb") == 1 and one.kinds.count("noun") == one.kinds.count("determiner") == 2
        nouns = {place for place, kind in enumerate(one.kinds) if kind == "noun"}
        assert {one.needs[place][0] for place in nouns} == {needs[1] for needs in one.needs if len(needs) > 1} | {
            needs[0] for needs, kind in zip(one.needs, one.kinds) if kind == "noun"
        }


def test_the_alignment_translates():
    # A pair of words that are linked is met again and again, one that is not is met by chance.
    links = {
        "cats": {"chats"},
        "black": {"noir", "noire", "noirs", "noires"},
        "sees": {"voit"},
        "the": {"le", "la", "les", "l'"},
    }
    met = dict.fromkeys(links, 0)
    for one in Corpus(0, 600, 0).train:
        for french, needs in zip(one.french, one.needs):
            english = one.english[needs[0]]
            if english in links:
                met[english] += 1
                assert french in links[english], one
    assert min(met.values()) > 5


def test_batches_have_the_sentences_in_order():
    corpus = Corpus(0, 20, 10)
    batch = corpus.batch(corpus.test)
    for row, out, words, one in zip(batch.source, batch.target_out, hideable(batch), corpus.test):
        assert [corpus.words[id] for id in row[words]] == list(one.english)
        assert [corpus.words[id] for id in out[: len(one.french)]] == list(one.french)


def test_one_pass_says_what_greedy_search_would_write():
    corpus = Corpus(0, 8, 4)
    mt.random.seed(1)
    model = transformer(corpus, 16, n_heads=2, n_layers=1)
    learn(model, corpus, 60, 200, 2e-2, seed=0)
    model.eval()
    sentences = corpus.train + corpus.test
    batch = corpus.batch(sentences)
    written = model.generate(batch.source, mask=batch.source_mask)
    exact = [[corpus.words[id] for id in ids] == list(one.french) for ids, one in zip(written, sentences)]
    assert 0 < sum(exact) < len(exact)  # what was learnt by heart, and not what is new
    assert score(model, batch)["exact"] == pytest.approx(np.mean(exact))


def test_a_model_without_a_head_computed_by_hand(trained):
    _, model = trained
    before = copy.deepcopy(model.state_dict())
    x = mt.random.normal((2, 5, 8))
    path = "encoder.layers.0.attention"
    attention = ablation.attentions(model)[path]
    mean = np.arange(8.0).reshape(2, 4)
    q, k, v = (
        part.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3)
        for part in np.split(attention.qkv(x).detach().numpy(), 3, axis=-1)
    )
    scores = q @ k.swapaxes(-1, -2) / 2
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    said = weights @ v  # (B, H, T, K)
    out, bias = attention.out.weight.detach().numpy(), attention.out.bias.detach().numpy()

    def through(first, second):
        return first @ out[:, :4].T + second @ out[:, 4:].T + bias

    def of(*how):
        return ablation.attentions(ablation.without(model, *how))[path](x).detach().numpy()

    np.testing.assert_allclose(of({}), through(said[:, 0], said[:, 1]), atol=1e-5)
    np.testing.assert_allclose(of({path: [0]}), through(0 * said[:, 0], said[:, 1]), atol=1e-5)
    np.testing.assert_allclose(of({path: [0, 1]}), np.broadcast_to(bias, (2, 5, 8)), atol=1e-6)
    np.testing.assert_allclose(of({path: [1]}, {path: mean}), through(said[:, 0], mean[1]), atol=1e-5)
    assert all(np.array_equal(value.numpy(), before[name].numpy()) for name, value in model.state_dict().items())


def test_looks_are_those_of_the_model(trained):
    corpus, model = trained
    batch = corpus.batch(corpus.test)
    seen = ablation.looks(model, batch)
    maps = model.attention_maps(batch.source, batch.target_in, batch.source_mask)
    names = {"encoder.0.self": "encoder.layers.0.attention", "decoder.0.cross": "decoder.layers.0.cross_attention"}
    for name, path in names.items():
        np.testing.assert_allclose(seen[path].weights, maps[name].numpy(), atol=1e-6)
    own = seen["decoder.layers.0.self_attention"].weights
    assert np.all(np.triu(own[0, 0], 1) == 0) and own.shape[1:] == (2, *[batch.target_in.shape[1]] * 2)
    for path, look in seen.items():  # what the heads say, through the projection behind them, is the layer's output
        assert look.real.sum() == (batch.source_mask if path.startswith("encoder") else batch.target_out != 0).sum()
        rows = look.output.transpose(0, 2, 1, 3)[look.real]
        np.testing.assert_allclose(look.means, rows.mean(axis=0), atol=1e-6)


def test_habits_of_heads_made_by_hand():
    corpus = Corpus(0, 20, 4)
    sentences = corpus.test
    batch = corpus.batch(sentences)
    real = batch.target_out != 0
    shape = (len(sentences), real.shape[1], batch.source.shape[1])
    aligned, back = np.full(shape, 0.0), np.full(shape, 0.0)
    for n, one in enumerate(sentences):
        for t in range(shape[1]):
            aligned[n, t, one.needs[t][0] if t < len(one.french) else len(one.english)] = 1
            back[n, t, max(0, t - 1)] = 1
    even = np.full(shape, 1 / shape[2])
    look = ablation.Looks(np.stack([aligned, back, even], axis=1), np.zeros((*shape, 1)), real)
    by_link, by_place, none = ablation.habits("decoder.layers.0.cross_attention", look, sentences)
    assert by_link["translated"] == by_link["sharpness"] == by_place["previous"] == 1
    assert by_link["entropy"] == pytest.approx(0, abs=1e-6) and none["entropy"] == pytest.approx(np.log(shape[2]))
    assert by_place["translated"] < 0.5 and none["translated"] == none["same"] == pytest.approx(1 / shape[2])
    assert ablation.does({"habits": by_link}) == "translated" and ablation.does({"habits": by_place}) == "previous"
    assert ablation.does({"habits": none}) == "elsewhere"


# --- the conclusion -------------------------------------------------------------------------------


def made(sharp, lost, counts=((1, (0.99, 0.99)), (4, (0.99, 0.98))), whole=0.99, idle=None):
    """Numbers of heads of three kinds, and of trainings with several numbers of heads."""
    paths = ["encoder.layers.0.attention", "decoder.layers.0.self_attention", "decoder.layers.0.cross_attention"]
    parts = [
        {
            "path": path,
            "head": number,
            "habits": {"first": 0.2, "sharpness": x, "entropy": 1.0}
            | ({"translated": x} if path.endswith("cross_attention") else {}),
            "zero": {"loss": 0.1 + y, "exact": whole - y},
            "mean": {"loss": 0.1 + y, "exact": whole - y},
        }
        for path, xs, ys in zip(paths, sharp, lost)
        for number, (x, y) in enumerate(zip(xs, ys))
    ]  # fmt: skip
    scored = {"loss": 0.1, "exact": whole}
    runs = [
        {"n_heads": n, "parameters": 9, "losses": [1.0] * 12, "learnt": None, "whole": {"loss": 0.1, "exact": value}}
        for n, values in counts
        for value in values
    ]
    layers = [{"path": path, "alone": [scored, scored], "none": {"loss": 3, "exact": 0.1}} for path in paths]
    if idle is not None:
        layers[idle]["none"] = scored
    runs[-1] |= {"whole": scored, "heads": parts, "layers": layers}
    return {"studied": 4, "n_test": 9, "runs": runs}


RISING = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
HIGHER, HIGHEST = [x + 0.1 for x in RISING], [x + 0.2 for x in RISING]


def test_conclusion_about_heads():
    words = heads.conclusion(made((RISING,) * 3, (RISING,) * 3))
    assert "heads that look more sharply are missed more, of every kind" in words
    assert (
        "3 of 24 heads (of 1 trainings) can be removed" in words
        and "left, without all heads of encoder 1 10%." in words
    )
    assert "to the translated word in 2; 22 look elsewhere" in words  # above one half, and not at it
    assert (
        "in every training: none. Removed one by one, the heads add 8.40 nats in all, removed by whole layers 8.70"
        in words
    )
    assert "those of a layer hardly stand in for one another." in words
    words = heads.conclusion(made((RISING,) * 3, (RISING, RISING, [0.0] * 8), idle=2))
    assert "in every training: cross 1." in words
    assert words.endswith("more heads give no more here than two trainings of the same differ by.")
    words = heads.conclusion(made((RISING,) * 3, (RISING[::-1],) * 3))
    assert "heads that look more sharply are missed less." in words
    words = heads.conclusion(
        made((RISING, RISING, RISING), (RISING, RISING[::-1], [0, 0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4]))
    )
    assert "the one does not tell the other here" in words
    low, high = [x / 100 for x in RISING], [0.9 + x / 100 for x in RISING]
    words = heads.conclusion(made((low, high, high), (low, high[::-1], high[::-1])))
    assert "missed more; within a kind this is sure of encoder alone." in words
    assert "by whole layers 8.70: those of a layer hardly stand in" in words
    few = [x / 1000 for x in RISING]
    assert "by whole layers 8.70: those of a layer stand in for one another." in heads.conclusion(
        made((few,) * 3, (few,) * 3)
    )
    assert heads.correlations(made((RISING,) * 3, ([0.0] * 8,) * 3))[ALL] == (None, 24)
    assert "cannot be compared" in heads.conclusion(made((RISING,) * 3, ([0.0] * 8,) * 3))


def test_conclusion_about_the_number_of_heads():
    few, many = (1, (0.92, 0.93)), (8, (0.99, 0.99))
    words = heads.conclusion(made((RISING,) * 3, (RISING,) * 3, (few, many)))
    assert "are exact in 92.5% with 1 and 99.0% with 8 heads: 8 are best, 1 worst, and further apart" in words
    words = heads.conclusion(made((RISING,) * 3, (RISING,) * 3, ((1, (0.1,)), (2, (0.3,))), whole=0.3))
    assert words == "30% of new sentences are translated exactly: too little was learnt to tell what heads do."
