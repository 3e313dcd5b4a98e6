"""Shuffled batches that are found again by their number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.samples import Batch, Epoch, Samples, cut, random_words


def samples(n=10, batch_size=4, seed=3):
    return Samples({"x": np.arange(n), "y": np.arange(n)[:, None] * 2}, batch_size, seed, tokens_each=5)


def test_an_epoch_has_every_sample_once_and_rows_stay_together():
    epoch = samples().epoch(0)
    assert [len(batch) for batch in epoch] == [4, 4, 2] and [batch.tokens for batch in epoch] == [20, 20, 10]
    x = np.concatenate([batch["x"] for batch in epoch])
    assert sorted(x) == list(range(10)) and list(x) != list(range(10))
    np.testing.assert_array_equal(np.concatenate([batch["y"] for batch in epoch])[:, 0], 2 * x)


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, number):
        return [batch["x"].tolist() for batch in samples(seed=seed).epoch(number)]

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 2) and order(3, 1) != order(4, 1)
    assert order(0, 0) == [[0, 2, 9, 1], [8, 5, 4, 3], [6, 7]]  # written down: the same on every machine
    assert random_words(2**64 - 1, 0, 1).dtype == np.uint64


def test_a_slice_of_an_epoch_goes_on_there():
    epoch = samples().epoch(2)
    rest = epoch[1:]
    assert isinstance(rest, Epoch) and len(rest) == 2
    assert rest[0]["x"].tolist() == epoch[1]["x"].tolist()
    assert [batch["x"].tolist() for batch in samples().in_order()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@given(st.integers(0, 40), st.integers(1, 50))
def test_parts_make_up_the_whole(n, parts):
    pieces = [np.arange(n)[rows] for rows in cut(n, parts)]
    assert np.concatenate([*pieces, []]).tolist() == list(range(n))
    assert len(pieces) == min(n, parts) and all(len(piece) for piece in pieces)
    assert max(map(len, pieces), default=0) - min(map(len, pieces), default=0) <= 1


def test_micro_batches_add_up_to_the_batch():
    parts = Batch({"x": np.arange(7)}, tokens_each=2).split(3)
    assert [part["x"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5, 6]]
    assert sum(part.tokens for part in parts) == 14


def test_what_is_refused():
    with pytest.raises(ValueError, match="cannot be cut into 0 parts"):
        Batch({"x": np.arange(7)}).split(0)
    with pytest.raises(ValueError, match="'x': 3, 'y': 2"):
        Samples({"x": np.zeros(3), "y": np.zeros(2)}, 4)
    with pytest.raises(ValueError, match="at least one"):
        Samples({"x": np.zeros(0)}, 4)
