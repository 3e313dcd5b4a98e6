"""Span corruption: nothing is lost, the numbers are those of the paper, and the same text is always
cut alike.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.spans import SpanCorruption

lengths = st.integers(2, 200)


@given(lengths, st.floats(0.01, 0.99), st.floats(1.0, 10.0), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_inputs_and_targets_make_up_the_text(length, density, mean_length, seed, index):
    corrupt = SpanCorruption(999, 100, density, mean_length, seed)
    ids = np.random.default_rng(index).integers(0, 900, length).tolist()
    inputs, targets = corrupt(ids, 3, index)
    assert corrupt.restore(inputs, targets) == ids
    tokens, spans = corrupt.counts(length)
    sentinels = [999 - i for i in range(spans)]
    assert [token for token in inputs if token > 899] == sentinels
    assert [token for token in targets if token > 899] == [*sentinels, 999 - spans]  # the last one ends the targets
    assert len(inputs) == length - tokens + spans and len(targets) == tokens + spans + 1
    assert all(one < 900 or other < 900 for one, other in zip(inputs, inputs[1:]))  # no two spans touch


def test_share_and_length_of_spans():
    corrupt = SpanCorruption(999)
    assert corrupt.counts(512) == (77, 26)  # 15 % in spans of 3, as in the paper
    assert corrupt.counts(11) == (2, 1)
    assert corrupt.counts(2) == (1, 1)


def test_depends_on_seed_epoch_and_index_alone():
    ids = list(range(60))
    same = [SpanCorruption(999, seed=1)(ids, 2, 3) for _ in range(2)]
    assert same[0] == same[1]
    others = [
        SpanCorruption(999, seed=seed)(ids, epoch, index) for seed, epoch, index in ((2, 2, 3), (1, 3, 3), (1, 2, 4))
    ]
    assert all(other != same[0] for other in others)
    assert same[0][1] == [999, 22, 998, 42, 43, 44, 45, 46, 997, 48, 49, 50, 996]  # on every machine


def test_tokens_are_left_out_about_equally_often_but_for_those_at_the_ends():
    corrupt, gone = SpanCorruption(999), np.zeros(40)
    for index in range(2000):
        gone[[token for token in corrupt(range(40), 0, index)[1] if token < 40]] += 1
    assert gone.sum() == 2000 * 6
    inside = gone[3:-3] / gone.mean()
    assert gone.min() > 0 and inside.min() > 0.8 and inside.max() < 1.25


def test_what_does_not_fit_is_an_error():
    corrupt = SpanCorruption(99, 10)
    with pytest.raises(ValueError, match="a text of 1 tokens is too short"):
        corrupt([5], 0, 0)
    with pytest.raises(ValueError, match=r"the inputs have the sentinels \[98\], the targets \[99\]"):
        corrupt.restore([1, 98, 2], [99, 5])
    with pytest.raises(ValueError, match="do not start with a sentinel"):
        corrupt.restore([1, 99, 2], [5, 99])
    with pytest.raises(ValueError, match="0 < density < 1"):
        SpanCorruption(99, density=1.0)
