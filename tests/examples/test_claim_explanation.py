"""Claim 14: attention, occlusion and gradients against a known alignment, and other attention."""

import copy

import numpy as np
import pytest
from claiming import run
from claims import explanation, naming, saliency
from claims.aligned import UNKNOWN, Corpus, Sentence, hideable, learn, recurrent, transformer
from claims.naming import LEFT_OUT, OCCLUSION
from claims.saliency import ATTENTION

import minitensor as mt
import minitensor.nn.functional as F


@pytest.fixture(scope="module", params=explanation.CELLS)
def trained(request):
    """A corpus, a model that has learnt a little of it, and three sentences in a batch."""
    corpus = Corpus(0, 200, 3)
    mt.random.seed(0)
    model = (recurrent if request.param == "gru" else transformer)(corpus, 8)
    learn(model, corpus, 15, 200, 1e-2, seed=0, hidden=0.1)
    return corpus, model.eval(), corpus.batch(corpus.test)


def test_explanation(tmp_path, capsys):
    numbers, words = run("explanation", tmp_path, capsys)
    assert list(numbers["models"]) == list(explanation.CELLS)
    for (one,) in numbers["models"].values():
        occlusion = one["measures"][OCCLUSION]
        assert one["counted"] > 0 and occlusion["rank"] == pytest.approx(1)
        assert occlusion["changed"] >= one["changed_any"]
    assert "too few to tell" in words


def log_probability(model, source, sentence, batch, n):
    """log P of the words of a sentence for a source (S,), of a row by itself."""
    count = len(sentence.french) + 1
    table = F.log_softmax(model(source[None], batch.target_in[n : n + 1, :count])).detach().numpy()[0]
    return table[np.arange(count), batch.target_out[n, :count]]


def test_occlusion_is_what_each_sentence_alone_loses(trained):
    corpus, model, batch = trained
    hidden, changed = saliency.hidden(model, batch)
    left_out, _ = saliency.left_out(model, batch)
    assert hidden.shape == changed.shape == (*batch.target_out.shape, batch.source.shape[1])
    for n, one in enumerate(corpus.test):
        source = batch.source[n][batch.source_mask[n]]  # with the end
        whole = log_probability(model, source, one, batch, n)
        for s in range(len(one.english)):
            other = source.copy()
            other[s] = UNKNOWN
            np.testing.assert_allclose(
                hidden[n, : len(whole), s], whole - log_probability(model, other, one, batch, n), atol=1e-4
            )
            np.testing.assert_allclose(
                left_out[n, : len(whole), s],
                whole - log_probability(model, np.delete(source, s), one, batch, n),
                atol=1e-4,
            )
        assert np.isnan(hidden[n, :, len(one.english) :]).all() and np.isfinite(hidden[n, :, : len(one.english)]).all()
    assert np.array_equal(np.isnan(hidden[:, 0]), ~hideable(batch))


def test_gradients_are_slopes(trained):
    corpus, model, batch = trained
    found = saliency.gradients(model, batch)
    n, t, s, step = 1, 2, 1, 0.05
    usual, seen = batch.source[n, s], model.source_embedding.weight.numpy().copy()

    def word(shift):
        def moved(module, args, output):
            change = np.zeros(output.shape, np.float32)
            change[n, s] = shift
            return output + mt.tensor(change)

        handle = model.source_embedding.register_forward_hook(moved)
        table = F.log_softmax(model(batch.source, batch.target_in, batch.source_mask)).detach().numpy()
        handle.remove()
        return table[n, t, batch.target_out[n, t]]

    slope = np.array([(word(step * axis) - word(-step * axis)) / (2 * step) for axis in np.eye(8)])
    assert found["gradient"][n, t, s] == pytest.approx(np.linalg.norm(slope), rel=0.02)
    x, norm = seen[usual], np.linalg.norm(slope)
    close = float(0.02 * norm * np.linalg.norm(x))
    assert found["gradient x input"][n, t, s] == pytest.approx(slope @ x, abs=close) and norm > 1e-5
    assert np.array_equal(model.source_embedding.weight.numpy(), seen)


def test_other_attention(trained):
    corpus, model, batch = trained
    usual = saliency.replay(model, batch)
    with mt.no_grad():
        table = F.softmax(model(batch.source, batch.target_in, batch.source_mask)).numpy()
    real = batch.target_out != 0
    np.testing.assert_allclose(usual[real], table[real], atol=1e-5)
    np.testing.assert_allclose(saliency.replay(model, batch, lambda keys: keys)[real], table[real], atol=1e-5)
    even = saliency.replay(model, batch, saliency.evenly)
    # Equal weights by other means: nothing is asked of the keys.
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if hasattr(module, "score"):
            module.score.assign(np.zeros(module.score.shape))
    for path, module in changed.named_modules():
        if path.endswith("cross_attention"):
            for parameter in (module.qkv.weight, module.qkv.bias):
                value = parameter.numpy().copy()
                value[:8] = 0  # of the queries
                parameter.assign(value)
    np.testing.assert_allclose(even[real], saliency.replay(changed, batch)[real], atol=1e-5)
    assert np.abs(even - usual).max() > 3e-5  # far above rounding, which is 1e-9 of such probabilities


def test_permuted_keys_permute_the_weights(trained):
    corpus, model, batch = trained
    change = saliency.permuted(batch, np.random.default_rng(3))
    length = batch.source.shape[1]
    order = change(mt.tensor(np.tile(np.arange(length)[:, None], (3, 1, 2)))).numpy()[..., 0]  # (N, S)
    for row, mask in zip(order, batch.source_mask):
        assert sorted(row[mask]) == list(range(mask.sum())) and list(row[~mask]) == list(range(mask.sum(), length))
    assert any(list(row) != list(range(length)) for row in order)
    by_heads = mt.tensor(np.random.default_rng(0).standard_normal((3, 2, length, 4)))
    moved = change(by_heads).numpy()
    for n in range(3):
        np.testing.assert_array_equal(moved[n], by_heads.numpy()[n][:, order[n]])


def test_hidden_words_are_hidden_in_training():
    corpus = Corpus(0, 60, 3)
    seen = []

    class Spy:
        """What a model is given."""

        def loss(self, source, *others):
            seen.append(source.copy())
            raise StopIteration

        def parameters(self):
            return [mt.nn.Parameter(mt.tensor([1.0]))]

    for share in (0.0, 0.5, 1.0):
        with pytest.raises(StopIteration):
            learn(Spy(), corpus, 1, 400, 1e-2, seed=0, hidden=share)
    none, some, everything = seen
    words = none > UNKNOWN
    assert not (none == UNKNOWN).any() and (everything[words] == UNKNOWN).all()
    assert 0.3 < (some[words] == UNKNOWN).mean() < 0.7
    assert np.array_equal(some[~words], none[~words]) and np.array_equal(everything[~words], none[~words])


# --- what is named --------------------------------------------------------------------------------

ONE = Sentence(
    ("my", "sad", "aunts", "see", "the", "trees"),
    ("mes", "tantes", "tristes", "voient", "les", "arbres"),
    ((0, 2), (2,), (1, 2), (3, 2), (4, 5), (5,)),
    ("determiner", "noun", "adjective", "verb", "determiner", "noun"),
)


def scores_of(*rows):
    """Scores (1, 7, 7), each row of which names one place, then another."""
    scores = np.zeros((1, 7, 7))
    scores[0, :, 6] = 9  # the end, which is no word
    for t, (first, second) in enumerate(rows):
        scores[0, t, first], scores[0, t, second] = 2, 1
    return scores


def test_what_is_named_is_compared_with_the_alignment():
    right = np.ones((1, 7), dtype=bool)
    scores = scores_of((0, 2), (2, 0), (2, 1), (3, 0), (4, 1), (0, 5))
    places = naming.named(scores, [ONE])
    assert places.tolist() == [[0, 2, 2, 3, 4, 0, -1]]
    assert naming.hits(places, [ONE], right) == pytest.approx((4 / 6, 5 / 6))
    assert naming.hits(places, [ONE], right, "adjective") == (0, 1) and naming.hits(places, [ONE], right, "verb") == (
        1,
        1,
    )
    assert naming.hits(places, [ONE], right, naming.MOVED) == (0.5, 1)
    assert naming.hits(places, [ONE], ~right) == (0, 0)
    assert naming.agreeing(scores, [ONE], right) == pytest.approx(2 / 3)
    found = naming.references([ONE], right)
    assert found["chance"] == pytest.approx((1 / 6, (2 + 1 + 2 + 2 + 2 + 1) / 36))
    assert found["diagonal"] == pytest.approx((4 / 6, 5 / 6))  # the adjective needs its noun, whose place it took
    right[0, 0] = False
    assert naming.hits(places, [ONE], right) == pytest.approx((3 / 5, 4 / 5))


def test_ranks_and_differences():
    right = np.ones((1, 7), dtype=bool)
    right[0, 6] = False
    scores = np.tile(np.arange(7.0), (1, 7, 1))
    assert naming.ranks(scores, 2 * scores, [ONE], right) == pytest.approx(1)
    assert naming.ranks(scores, -scores, [ONE], right) == pytest.approx(-1)
    assert naming.ranks(0 * scores, scores, [ONE], right) is None
    usual = np.tile([0.7, 0.2, 0.1], (1, 7, 1))
    turned, same, half = usual[..., ::-1], usual, np.tile([0.5, 0.4, 0.1], (1, 7, 1))
    found = saliency.difference([turned, half, same], usual, right)
    assert found == {"variation": pytest.approx(0.2), "changed": pytest.approx(1 / 3)}  # the median of 0.6, 0.2 and 0
    assert saliency.difference([turned], usual, right & False) == {"variation": 0, "changed": 0}


def test_the_example_is_where_the_two_differ_most():
    right = np.ones((1, 7), dtype=bool)
    right[0, 6] = False
    weights = scores_of(*[(s, 5 - s) for s in range(6)])
    effects = weights.copy()
    assert naming.example(None, [ONE], right, weights, effects) is None
    effects[0, 1, 3], effects[0, 4, 2] = 3, 7
    one = naming.example(None, [ONE], right, weights, effects)
    assert one["word"] == "les" and one["looked"] == {"word": "the", "weight": 2, "cost": 2}
    assert one["needed"] == {"word": "aunts", "weight": 0, "cost": 7}


# --- the conclusion -------------------------------------------------------------------------------


def made(attention, occlusion, permuted=0.8, words=0.99, rank=0.6, example=None):
    """Numbers of one training of each model."""

    def measure(hit, changed):
        kinds = dict.fromkeys((*explanation.KINDS, naming.MOVED), (hit, hit))
        return {"hits": (hit, 1.0), "by_kind": kinds, "agreeing": hit / 2, "rank": rank, "changed": changed}

    measures = {ATTENTION: measure(attention, 0.5), OCCLUSION: measure(occlusion, 0.6)}
    measures |= {LEFT_OUT: measure(occlusion, 0.4), "gradient": measure(0.2, 0.3)}
    one = {
        "exact": 0.9,
        "words": words,
        "counted": 7,
        "references": {"chance": (0.1, 0.2), "diagonal": (0.7, 0.8)},
        "measures": measures,
        "changed_any": 0.14,
        "even": {"variation": 0.1, "changed": 0.2},
        "permuted": {"variation": 0.3, "changed": permuted},
        "example": example,
    }
    return {"models": {cell: [one, one] for cell in explanation.CELLS}}


def test_conclusion_about_explanation():
    words = explanation.conclusion(made(0.99, 0.9))
    assert "one translated for 99% of the words, the word dearest to hide for 90%" in words
    assert "correlate by 0.60, two ways of occlusion by 0.60" in words and "10 points more, any one 14%" in words
    assert "do not leave the output" in words and words.endswith("Attention and occlusion always name the same word.")
    assert (
        "So no measure finds the alignment better than attention, by the best of its rows, in the GRU with attention and the"
        " Transformer." in words
    )
    example = {"english": "the cat", "french": "le chat", "word": "le"}
    example |= {
        "looked": {"word": "the", "weight": 0.9, "cost": 1.0},
        "needed": {"word": "cat", "weight": 0.1, "cost": 3.0},
    }
    words = explanation.conclusion(made(0.5, 0.9, permuted=0.1, rank=None, example=example))
    assert "So attention is not the best guide in the GRU with attention and the Transformer." in words
    assert "mostly leave the output" in words and "cannot be compared with occlusion by ranks" in words
    assert 'looks most at "the" (90%), and hiding that costs 1.00 nats; hiding "cat" (10%) costs 3.00.' in words
    assert "too few to tell" in explanation.conclusion(made(0.9, 0.9, words=0.3))
    mixed = made(0.99, 0.9)
    mixed["models"]["transformer"] = made(0.5, 0.9)["models"]["transformer"]
    words = explanation.conclusion(mixed)
    assert "in the GRU with attention, but one does in the Transformer." in words


def test_the_mean_of_trainings():
    runs = [
        {"a": 1.0, "b": {"hits": (0.5, 1.0)}, "c": None, "name": "x", "example": 1},
        {"a": 2.0, "b": {"hits": (0.7, 0.0)}, "c": 3.0, "name": "y", "example": 2},
    ]
    assert explanation.averaged(runs) == {"a": 1.5, "b": {"hits": [0.6, 0.5]}, "c": 3.0, "name": "x"}
