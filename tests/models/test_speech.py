"""The listener: what it reads, that padding does not matter, and that it learns to write down."""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.speech import Listener, ListenerConfig

SHAPE = dict(vocab_size=7, n_features=3, d_model=6, hidden_size=5, dropout=0.0, max_length=12)


def listener(**named):
    mt.random.seed(0)
    return Listener(ListenerConfig(**{**SHAPE, "stack": 4, **named}))


def sounds(batch=2, length=10):
    return np.random.default_rng(0).standard_normal((batch, length, 3)).astype(np.float32)


def test_moments_are_read_in_groups():
    model, x = listener(), sounds()
    vectors, mask = model._read(mt.asarray(x), None)
    filled = np.concatenate([x, np.zeros((2, 2, 3), np.float32)], axis=1)
    weight, bias = model.source_embedding.weight.numpy(), model.source_embedding.bias.numpy()
    for group in range(3):
        read = filled[:, 4 * group : 4 * group + 4].reshape(2, 12) @ weight.T + bias
        np.testing.assert_allclose(vectors.numpy()[:, group], np.maximum(read, 0), rtol=1e-5, atol=1e-6)
    assert vectors.shape == (2, 3, 6) and mask is None
    real = np.arange(10) < np.array([[10], [5]])
    assert model._read(mt.asarray(x), mt.asarray(real))[1].numpy().tolist() == [[True] * 3, [True, True, False]]


def test_an_utterance_is_heard_alone_as_among_longer_ones():
    model, x = listener(), sounds()
    model.eval()
    target = np.array([[1, 3, 4], [1, 5, 6]])
    x[1, 5:] = np.nan
    mask = np.arange(10) < np.array([[10], [5]])
    together = model(x, target, mask).numpy()
    alone = model(x[1:, :5], target[1:]).numpy()
    np.testing.assert_allclose(together[1:], alone, rtol=1e-5, atol=1e-6)
    weights = model.attention_maps(x, target, mask)["decoder.0.cross"].numpy()
    assert weights.shape == (2, 1, 3, 3) and not weights[1, :, :, 2].any()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert model.generate(x, 5, mask=mask)[1] == model.generate(x[1:, :5], 5)[0]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_learns_what_each_group_of_moments_says(cell):
    """Each word is a direction of three features that lasts for eight moments."""
    model = listener(cell=cell, hidden_size=16, d_model=12)
    optimizer = mt.optim.Adam(model.parameters(), lr=0.02)
    rng = np.random.default_rng(1)

    def drawn(count):
        words = rng.integers(0, 3, (count, 3))
        x = np.repeat(np.eye(3, dtype=np.float32)[words], 8, axis=1)
        return x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), words + 3

    for _ in range(50):
        x, words = drawn(16)
        first, last = np.full((16, 1), 1), np.full((16, 1), 2)
        loss = model.loss(x, np.concatenate([first, words], 1), np.concatenate([words, last], 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, words = drawn(40)
    found = model.generate(x, 8)
    assert np.mean([ids == row.tolist() for ids, row in zip(found, words)]) > 0.9


def test_what_is_refused():
    model = listener()
    target = np.array([[1, 3]])
    for x in (np.zeros((1, 8, 4), np.float32), np.zeros((1, 8), np.float32)):
        for call in (lambda x: model(x, target), model.generate, lambda x: model.attention_maps(x, target)):
            with pytest.raises(ValueError, match=r"must be \(sequences, positions, 3 features\), got shape"):
                call(x)
    with pytest.raises(ValueError, match="2 source sentences but 1 target"):
        model(sounds(), target)
    with pytest.raises(ValueError, match="the mask of a source must be True at its first"):
        model(sounds(1), target, np.arange(10)[None] > 3)
    with pytest.raises(ValueError, match="stack must be at least 1, got 0"):
        ListenerConfig(**SHAPE, stack=0)
    with pytest.raises(ValueError, match="share_embeddings"):
        ListenerConfig(**SHAPE, share_embeddings=True)
