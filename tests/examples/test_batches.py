"""Batches: every sentence once an epoch, within the limit, in an order that is a function of (seed,
epoch).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.batches import Batches, check_lengths, drop_long, pad_sources
from toolkit.console import UserError
from toolkit.tokenizer import PAD, START, STOP

sentences = st.lists(st.integers(3, 50), max_size=9)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=40)
limits = st.integers(10, 60)  # positions of a batch; the longest sentence takes ten with its STOP
seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 1000)


def unpack(batch):
    """The rows of a batch as pairs of lists without special tokens, checked on the way."""
    pairs = []
    rows = zip(batch.source, batch.source_mask, batch.target_in, batch.target_out, strict=True)
    for source, mask, target_in, target_out in rows:
        real = source[mask].tolist()
        length = int((target_out != PAD).sum())
        assert mask[: len(real)].all() and (source[~mask] == PAD).all()
        assert real[-1] == STOP and target_out[length - 1] == STOP and target_in[0] == START
        assert target_in[1:length].tolist() == target_out[: length - 1].tolist()
        assert (target_in[length:] == PAD).all() and (target_out[length:] == PAD).all()
        pairs.append((real[:-1], target_out[: length - 1].tolist()))
    return pairs


@given(corpus=corpora, limit=limits, seed=seeds, epoch=epochs)
def test_each_epoch_has_every_sentence_once_within_the_limit(corpus, limit, seed, epoch):
    batches = Batches(*zip(*corpus, strict=True), max_tokens=limit, seed=seed)
    assert len(batches) == len(corpus)
    seen = []
    for batch in batches.epoch(epoch):
        assert {array.dtype for array in (batch.source, batch.target_in, batch.target_out)} == {np.dtype(np.int32)}
        assert batch.source_mask.dtype == bool
        assert batch.target_in.shape == batch.target_out.shape
        assert max(batch.source.size, batch.target_out.size) <= limit
        assert batch.tokens == (batch.target_out != PAD).sum()
        assert unpack(batch) == [corpus[index] for index in batch.indices]
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(len(corpus)))


@given(corpus=corpora, limit=limits, seed=seeds, epoch=epochs, start=st.integers(0, 40))
def test_the_order_is_a_function_of_seed_and_epoch(corpus, limit, seed, epoch, start):
    def make():
        return Batches(*zip(*corpus, strict=True), max_tokens=limit, seed=seed)

    whole, other = make().epoch(epoch), make()
    list(other.epoch(epoch + 1))  # what came before does not matter
    assert len(other.epoch(0)) == len(whole)
    resumed = other.epoch(epoch)[start:]
    assert [batch.indices.tolist() for batch in resumed] == [batch.indices.tolist() for batch in list(whole)[start:]]


def test_seeds_and_epochs_differ():
    ids = [[3] * (n % 7) for n in range(200)]
    orders = {
        tuple(index for batch in Batches(ids, ids, 64, seed).epoch(epoch) for index in batch.indices.tolist())
        for seed in (0, 1, 2**63, 2**63 + 1, 2**64 - 1)  # the large ones are neighbours, which float64 would merge
        for epoch in range(3)
    }
    assert len(orders) == 15


def test_the_order_does_not_change_between_releases():
    ids = [[3] * (n % 5) for n in range(12)]
    assert [group.tolist() for group in Batches(ids, ids, 12, seed=7).epoch(3).groups] == [
        [9, 4],
        [5, 0, 10, 6, 1],
        [3, 8],
        [11, 2, 7],
    ]


@given(corpus=corpora, limit=limits, parts=st.integers(1, 50))
def test_micro_batches_lose_nothing(corpus, limit, parts):
    for batch in Batches(*zip(*corpus, strict=True), max_tokens=limit, seed=0).epoch(0):
        micro = batch.split(parts)
        sizes = [len(part.indices) for part in micro]
        assert len(micro) == min(parts, len(batch.indices))
        assert max(sizes) - min(sizes) <= 1
        assert sum(part.tokens for part in micro) == batch.tokens
        for name in ("indices", "source", "source_mask", "target_in", "target_out"):
            joined = np.concatenate([getattr(part, name) for part in micro])
            np.testing.assert_array_equal(joined, getattr(batch, name))


def test_little_padding_and_even_batches():
    generator = np.random.Generator(np.random.Philox(1))
    source = [[3] * length for length in generator.integers(5, 40, 5000)]
    target = [
        [3] * max(1, len(ids) + shift) for ids, shift in zip(source, generator.integers(-4, 5, 5000), strict=True)
    ]
    batches = list(Batches(source, target, 2048, seed=0).epoch(0))
    assert np.mean([batch.source_mask.mean() for batch in batches]) > 0.85
    assert np.mean([batch.tokens / batch.target_out.size for batch in batches]) > 0.97
    assert min(batch.tokens for batch in batches) > 2048 / 3  # the last batch, too


def test_sources_to_translate_look_as_in_training():
    corpus = [[5, 6], [7], []]
    source, mask = pad_sources(corpus)
    (batch,) = Batches(corpus, corpus, 100, seed=0).epoch(0)
    np.testing.assert_array_equal(batch.source, source[batch.indices])
    np.testing.assert_array_equal(batch.source_mask, mask[batch.indices])
    assert source.tolist() == [[5, 6, STOP], [7, STOP, PAD], [STOP, PAD, PAD]]


def test_bad_input_is_explained():
    with pytest.raises(UserError, match="a sentence has 5 tokens, a batch only 4; allow larger batches"):
        Batches([[3] * 4], [[3]], max_tokens=4, seed=0)
    for seed in (-1, 2**64):
        with pytest.raises(UserError, match=f"the seed is {seed}; write a number from 0"):
            Batches([[3]], [[3]], max_tokens=9, seed=seed)
    with pytest.raises(ValueError, match="1 source and 2 target sentences"):
        Batches([[3]], [[3], [3]], max_tokens=9, seed=0)
    with pytest.raises(ValueError, match="0 source"):
        Batches([], [], max_tokens=9, seed=0)
    with pytest.raises(ValueError, match="cannot be cut into 0 parts"):
        Batches([[3]], [[3]], 9, seed=0).epoch(0)[0].split(0)


def test_long_sentences_are_refused_or_dropped_and_counted():
    ids = [[3], [3] * 9, [3] * 4]
    check_lengths(ids, 10, "in.txt line")
    with pytest.raises(UserError, match=r"in\.txt line 2 has 9 tokens, the model allows 8"):
        check_lengths(ids, 9, "in.txt line")
    assert drop_long(ids, [[4], [4], [4] * 7], 8) == ([[3], [3] * 4], [[4], [4] * 7], 1)
    with pytest.raises(UserError, match="3 pairs, each of more than the 0 tokens"):
        drop_long(ids, ids, 1)


def test_sources_may_be_features():
    """They have no STOP, and come back as they are."""
    sounds = [np.full((length, 2), length + 0.5, np.float32) for length in (3, 5, 4)]
    batches = Batches(sounds, [[7], [8, 9], [7, 7]], max_tokens=20, seed=0)
    (batch,) = batches.epoch(0)
    assert batch.source.shape == (3, 5, 2) and batch.source.dtype == np.float32 and batch.tokens == 8
    for index, sound, mask in zip(batch.indices, batch.source, batch.source_mask):
        np.testing.assert_array_equal(sound[mask], sounds[index])
        assert not sound[~mask].any()
    source, mask = pad_sources(sounds[:2])
    assert source.shape == (2, 5, 2) and mask.sum(axis=1).tolist() == [3, 5]
