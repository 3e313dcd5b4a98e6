"""BERT by itself: padding, heads, losses, and what it refuses."""

import json

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT, IGNORED, BERTConfig
from minitensor.testing import gradcheck

SIZES = dict(vocab_size=30, d_model=12, n_layers=2, n_heads=3, d_ff=20, max_length=10, init_std=0.3)
TOLERANCE = dict(rtol=1e-10, atol=1e-12)
rng = np.random.default_rng(0)


def make(**changes):
    mt.random.seed(0)
    return BERT(BERTConfig(**{**SIZES, **changes})).astype("float64").eval()


@pytest.fixture(scope="module")
def model():
    return make(mlm_head=True, nsp_head=True, n_classes=3)


@pytest.fixture(scope="module")
def batch():
    mask = np.arange(8) < np.array([[8], [5], [3]])
    ids = np.where(mask, rng.integers(1, 30, mask.shape), 0)
    return ids, mask, np.where(mask, np.arange(8) >= 2, 0)


# --- what it computes -----------------------------------------------------------------------------


def test_padding_does_not_matter(model, batch):
    ids, mask, segments = batch
    hidden = model(ids, mask, segments)
    other = model(np.where(mask, ids, 7), mask, np.where(mask, segments, 1))
    np.testing.assert_allclose(hidden.data[mask], other.data[mask], **TOLERANCE)
    for how in ("mean", "cls"):
        np.testing.assert_allclose(
            model.pool(ids, mask, segments, how).data,
            model.pool(np.where(mask, ids, 7), mask, segments, how).data,
            **TOLERANCE,
        )


def test_batched_equals_single(model, batch):
    ids, mask, segments = batch
    hidden, vectors = model(*batch), model.pool(*batch)
    for row, length in enumerate(mask.sum(axis=1)):
        alone = ids[row : row + 1, :length], None, segments[row : row + 1, :length]
        np.testing.assert_allclose(model(*alone).data[0], hidden.data[row, :length], **TOLERANCE)
        np.testing.assert_allclose(model.pool(*alone).data[0], vectors.data[row], **TOLERANCE)
        np.testing.assert_allclose(vectors.data[row], hidden.data[row, :length].mean(axis=0), **TOLERANCE)


def test_both_sides_order_and_segments_matter(model):
    ids = np.array([[3, 4, 5, 6]])
    hidden = model(ids).data
    later, swapped = model(np.array([[3, 4, 5, 9]])).data, model(np.array([[4, 3, 5, 6]])).data
    assert not np.allclose(hidden[:, 0], later[:, 0])  # what comes later is seen
    assert not np.allclose(hidden[:, 3], swapped[:, 3])
    assert not np.allclose(hidden, model(ids, segments=np.array([[0, 0, 1, 1]])).data)


def test_attention_sums_to_one_over_real_tokens(model, batch):
    hidden, seen = model(*batch, need_weights=True)
    np.testing.assert_allclose(hidden.data[batch[1]], model(*batch).data[batch[1]], **TOLERANCE)
    assert [weights.shape for weights in seen] == [(3, 3, 8, 8)] * 2
    for weights in seen:
        np.testing.assert_allclose(weights.data.sum(axis=-1)[:, 0][batch[1]], 1)
        assert not weights.data[1, :, :, 5:].any()


def test_dropout_is_for_training_alone(batch):
    model = make(dropout=0.5, attention_dropout=0.0)
    np.testing.assert_array_equal(model(*batch).data, model(*batch).data)
    model.train()
    assert not np.allclose(model(*batch).data, model(*batch).data)
    # The paper has none there.
    assert {layer.feed_forward.dropout.p for layer in model.encoder.layers} == {0.0}


@pytest.mark.parametrize(("classifier", "hidden"), [(0.9, 0.0), (0.0, 0.5), (None, 0.5)])
def test_the_classifier_has_a_dropout_of_its_own(tmp_path, batch, classifier, hidden):
    make(n_classes=3, dropout=hidden, attention_dropout=0.0, classifier_dropout=classifier).save_pretrained(tmp_path)
    model = BERT.from_pretrained(tmp_path).train()
    assert model.config.classifier_dropout == classifier
    assert model.classifier_dropout.p == (hidden if classifier is None else classifier)
    states = mt.asarray(rng.normal(size=(3, 8, 12)))
    once, twice = (model.class_logits(states).data for _ in range(2))
    assert np.allclose(once, twice) == (classifier == 0)


def test_sizes_are_those_published():
    for name, millions in (("bert-tiny", 4.4), ("bert-mini", 11.2), ("all-MiniLM-L6-v2", 22.7)):
        with nn.init.skipped():
            assert round(BERT(BERTConfig.preset(name)).num_parameters() / 1e6, 1) == millions
    assert BERTConfig.preset("bert-base-uncased") == BERTConfig()
    assert BERTConfig.preset("bert-large-uncased", dropout=0.0).n_layers == 24


# --- losses ---------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_its_parts(model, batch):
    words = np.where(batch[1] & (rng.random((3, 8)) < 0.5), 4, IGNORED)
    words[0, 0] = 9
    targets = dict(words=words, unrelated=np.array([0, 1, 1]), labels=np.array([2, 0, 1]))
    parts = [model.loss(*batch, **{name: target}).item() for name, target in targets.items()]
    assert model.loss(*batch, **targets).item() == pytest.approx(sum(parts), rel=1e-12)
    logits = model.word_logits(model(*batch)).data
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    places = np.argwhere(words != IGNORED)
    assert parts[0] == pytest.approx(-np.mean([log_p[b, t, words[b, t]] for b, t in places]), rel=1e-12)


def test_losses_of_parts_add_up(model, batch):
    words = np.where(batch[1], 4, IGNORED)
    targets = dict(words=words, unrelated=np.array([0, 1, 1]))
    whole = model.loss(*batch, **targets).item()
    counts = dict(divide_by=(int((words != IGNORED).sum()), 3))
    parts = [
        model.loss(*(x[rows] for x in batch), **{name: target[rows] for name, target in targets.items()}, **counts)
        for rows in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part.item() for part in parts) == pytest.approx(whole, rel=1e-12)


def test_a_batch_without_masked_words_has_no_loss(model, batch):
    assert model.loss(*batch, words=np.full((3, 8), IGNORED)).item() == 0.0


def test_gradients(batch):
    model = make(n_layers=1, mlm_head=True, nsp_head=True)
    words = np.where(np.arange(8) == 1, 5, IGNORED) * np.ones((3, 1), int)
    parameters = list(model.parameters())
    assert gradcheck(lambda *_: model.loss(*batch, words=words, unrelated=np.array([1, 0, 1])), parameters)


# --- heads and files ------------------------------------------------------------------------------


def test_a_head_that_is_missing_says_how_to_get_it(batch):
    model = make(pooler=False)
    hidden = model(*batch)
    for call, wanted in (
        (model.pooled, "pooler=True"),
        (model.word_logits, "mlm_head=True"),
        (model.next_logits, "nsp_head=True"),
        (model.class_logits, "n_classes"),
    ):
        with pytest.raises(ValueError, match=wanted):
            call(hidden)
    with pytest.raises(ValueError, match="need the pooler"):
        BERTConfig(pooler=False, n_classes=2)


def test_a_classifier_starts_from_the_weights_that_are_there(model, batch):
    made = model.with_classifier(5).eval()
    np.testing.assert_array_equal(made(*batch).data, model(*batch).data)
    np.testing.assert_array_equal(made.pooled(made(*batch)).data, model.pooled(model(*batch)).data)
    assert made.class_logits(made(*batch)).shape == (3, 5)
    assert made.mlm is None and made.nsp is None
    made.words.weight.assign(mt.zeros(made.words.weight.shape))
    assert model.words.weight.data.any()  # its own copy


def test_heads_may_be_asked_for_and_left_out(tmp_path, batch):
    model = make(mlm_head=True)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="classifier"):
        assert BERT.from_pretrained(tmp_path, n_classes=2).class_logits(model(*batch)).shape == (3, 2)
    bare = BERT.from_pretrained(tmp_path, mlm_head=False)
    assert bare.mlm is None
    np.testing.assert_array_equal(bare(*batch).data, model(*batch).data)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(model_type="gpt2"), "gpt2"),
        (dict(position_embedding_type="relative_key"), "relative_key"),
        (dict(is_decoder=True), "is_decoder"),
        (dict(hidden_act="swish2"), "swish2"),
        (dict(num_hidden_layers=3), "missing: bert.encoder.layer.2"),
        (dict(num_hidden_layers=1), "unexpected: bert.encoder.layer.1"),
        (dict(vocab_size=31), "word_embeddings.weight has shape"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, change, message):
    make().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        BERT.from_pretrained(tmp_path)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(ids=np.ones(4, int)), ValueError, r"\(sequences, positions\)"),
        (dict(ids=np.ones((1, 11), int)), ValueError, "10 positions, the sequence needs 11"),
        (dict(ids=np.full((1, 4), 30)), IndexError, "30"),
        (dict(ids=np.full((1, 4), -1)), IndexError, "-1"),
        (dict(ids=np.ones((2, 4), int), mask=np.ones((2, 3), bool)), ValueError, r"mask, \(2, 3\)"),
        (dict(ids=np.ones((2, 4), int), mask=np.ones((2, 4))), ValueError, "boolean"),
        (dict(ids=np.ones((2, 4), int), segments=np.ones((4,), int)), ValueError, r"segments \(4,\)"),
        (dict(ids=np.ones((2, 4), int), segments=np.full((2, 4), 2)), IndexError, "2"),
    ],
)
def test_bad_input(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model(**arguments)


def test_bad_targets(model, batch):
    with pytest.raises(ValueError, match="needs targets"):
        model.loss(*batch)
    with pytest.raises(ValueError, match=r"words \(3, 7\)"):
        model.loss(*batch, words=np.full((3, 7), 4))
    with pytest.raises(ValueError, match='"mean" or "cls"'):
        model.pool(*batch, how="max")
    with pytest.raises(ValueError, match="bert-huge.*bert-base-uncased"):
        BERTConfig.preset("bert-huge")


def test_attention_maps_and_masks():
    model = make(attention_dropout=0.5).train()
    ids = np.array([[1, 5, 6, 2], [1, 5, 2, 0]])
    maps = model.attention_maps(ids, ids != 0)
    assert model.training and list(maps) == [f"encoder.{i}.self" for i in range(model.config.n_layers)]
    for weights in maps.values():
        np.testing.assert_allclose(weights.data.sum(-1), 1, rtol=1e-5)
        assert not weights.data[1, :, :, 3].any()
    with pytest.raises(ValueError, match="write mask != 0 for one of 0 and 1"):
        model(ids, (ids != 0).astype(int))


def test_a_configuration_goes_through_json():
    config = BERTConfig.preset("bert-tiny", n_classes=3)
    assert BERTConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_dropouts_are_probabilities(value):
    with pytest.raises(ValueError, match="BERTConfig: attention_dropout must be a number from 0 to 1, got"):
        make(attention_dropout=value)
