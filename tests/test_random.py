"""Random numbers are a function of (seed, stream, counter); what they promise of their distributions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.random import Generator

DRAWS = {
    "words": lambda g: g.words(10),
    "halves": lambda g: g.halves((3, 5)),
    "uniform": lambda g: g.uniform((4, 3)).numpy(),
    "normal": lambda g: g.normal((7,)).numpy(),
    "integers": lambda g: g.integers(2, 9, (6,)).numpy(),
    "permutation": lambda g: g.permutation(11).numpy(),
    "bernoulli": lambda g: g.bernoulli(0.3, (5, 2)).numpy(),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_equal_state_gives_equal_numbers_and_another_state_others(draw):
    first = Generator(seed=7, stream=1, counter=5)
    again = Generator(*first.state)
    x = draw(first)
    np.testing.assert_array_equal(x, draw(again))
    assert first.state == again.state and first.counter > 5
    for other in (Generator(8, 1, 5), Generator(7, 2, 5), first):
        assert not np.array_equal(x, draw(other))


def test_words_are_those_of_philox():
    """The word stream of NumPy's Philox4x64-10 with the same key; a draw takes up where the last one's blocks ended."""
    generator = Generator(seed=3, stream=9)
    reference = np.random.Philox(key=np.array([3, 9], dtype=np.uint64), counter=np.full(4, 2**64 - 1, dtype=np.uint64))
    expected = reference.random_raw(20)
    np.testing.assert_array_equal(generator.words(6), expected[:6])
    np.testing.assert_array_equal(generator.words(4), expected[8:12])  # 6 words took two blocks of four


@given(seed=st.integers(0, 2**64 - 1), shape=st.lists(st.integers(0, 4), max_size=3).map(tuple))
def test_shapes_dtypes_and_ranges(seed, shape):
    g = Generator(seed)
    for dtype in (np.float32, np.float64):
        u = g.uniform(shape, -2.0, 3.0, dtype=dtype)
        assert u.shape == shape and u.dtype == dtype
        assert ((u.numpy() >= -2) & (u.numpy() < 3)).all()
        assert g.normal(shape, dtype=dtype).dtype == dtype
    i = g.integers(-3, 4, shape)
    assert i.shape == shape and ((i.numpy() >= -3) & (i.numpy() < 4)).all()


def test_distributions():
    """Moments within five standard errors of n = 200 000 numbers."""
    g, n = Generator(1), 200_000
    u, z = g.uniform((n,), dtype=np.float64).numpy(), g.normal((n,), mean=2.0, std=3.0, dtype=np.float64).numpy()
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5 and abs(u.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    assert abs(z.mean() - 2) < 5 * 3 / n**0.5 and abs(z.var() - 9) < 5 * 9 * (2 / n) ** 0.5
    assert abs(g.bernoulli(0.3, (n,)).numpy().mean() - 0.3) < 5 * (0.21 / n) ** 0.5
    counts = np.bincount(g.integers(10, shape=(n,)).numpy(), minlength=10)
    assert np.abs(counts - n / 10).max() < 5 * (n * 0.09) ** 0.5
    assert sorted(g.permutation(1000).numpy()) == list(range(1000))


def test_seed_decides_everything_that_the_library_draws():
    def everything():
        mt.random.seed(11)
        layer = mt.nn.Linear(4, 5)
        return layer.weight.numpy().copy(), F.dropout(mt.ones((8, 8)), 0.5).numpy(), mt.random.permutation(9).numpy()

    for a, b in zip(everything(), everything()):
        np.testing.assert_array_equal(a, b)


def test_dropout_keeps_the_share_and_the_mean():
    y = F.dropout(mt.ones((400, 500)), 0.3, generator=Generator(5)).numpy()
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.7)} or len(np.unique(y)) == 2
    assert abs((y == 0).mean() - 0.3) < 5 * (0.21 / y.size) ** 0.5
    x = mt.ones((3, 3))
    before = mt.random.default.state
    assert F.dropout(x, 0.3, training=False) is x and F.dropout(x, 0.0) is x
    assert mt.random.default.state == before  # what drops nothing draws nothing


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Generator(-1), "seed"),
        (lambda: Generator(0, stream=2**64), "stream"),
        (lambda: Generator(1.5), "seed"),
        (lambda: mt.random.integers(3, 3), "empty"),
        (lambda: mt.random.bernoulli(1.5), "p must be"),
        (lambda: F.dropout(mt.ones(3), 1.0), "below 1"),
        (lambda: F.dropout(mt.ones(3), -0.1), "dropout"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
