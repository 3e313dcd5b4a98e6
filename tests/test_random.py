"""Random numbers are a function of (seed, stream, counter); what they promise of their
distributions.
"""

import copy
import pickle

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
    """The word stream of NumPy's Philox4x64-10 with the same key; a draw starts where the last
    one's blocks ended.
    """
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
        (lambda: F.dropout(mt.ones(3), 1.1), "from 0 to 1"),
        (lambda: F.dropout(mt.ones(3), -0.1), "dropout"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_permutation_of_rows_is_a_shuffled_copy_that_carries_the_gradient():
    g, rows = Generator(3), np.arange(24.0).reshape(6, 4)
    before = rows.copy()
    order = Generator(*g.state).permutation(6).numpy()
    for same in (rows, rows.tolist(), mt.tensor(rows)):
        g.state = (3, 0, 0)
        np.testing.assert_array_equal(g.permutation(same).numpy(), before[order])
    np.testing.assert_array_equal(rows, before)
    assert sorted(mt.random.permutation(np.array([10, 20, 30])).tolist()) == [10, 20, 30]
    assert sorted(mt.random.permutation(range(5)).tolist()) == [0, 1, 2, 3, 4]
    x, weights = mt.tensor(rows, requires_grad=True), np.arange(6.0)[:, None]
    g.state = (3, 0, 0)
    (g.permutation(x) * weights).sum().backward()
    expected = np.empty((6, 4))
    expected[order] = weights
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    assert mt.random.permutation(0).shape == (0,) and mt.random.permutation(np.zeros((0, 3))).shape == (0, 3)


NUMBERS = {
    "python": lambda x: x,
    "numpy": np.float64,
    "array": np.array,
    "tensor": lambda x: mt.tensor(x, dtype="float64"),
}


@pytest.mark.parametrize("as_given", NUMBERS.values(), ids=NUMBERS)
def test_numbers_of_any_type_give_what_pythons_give(as_given):
    def draws(n):
        g, size = Generator(1), n(3.0) if n is not NUMBERS["python"] else 3
        size = mt.tensor(3) if isinstance(size, mt.Tensor) else np.int64(3)
        return [
            g.normal((size,), mean=n(1.0), std=n(0.5)),
            g.uniform(size, low=n(-1.0), high=n(2.0)),
            g.bernoulli(n(0.5), [size, 2]),
            g.integers(size, 9, size),
            g.permutation(size),
        ]

    for a, b in zip(draws(as_given), draws(lambda x: x)):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


wanted = mt.tensor(0.5, requires_grad=True)


@pytest.mark.parametrize(
    ("draw", "kind", "message"),
    [
        (lambda g: g.normal((2,), mean=wanted), TypeError, "normal: mean .*carries no gradient.*item"),
        (lambda g: g.normal((2,), std=-1.0), ValueError, "normal: std must be"),
        (lambda g: g.normal((2,), std=float("nan")), ValueError, "std"),
        (lambda g: g.normal((2,), mean="1"), TypeError, "mean must be a number, got '1'"),
        (lambda g: g.normal((2,), mean=[1.0, 2.0]), TypeError, "mean"),
        (lambda g: g.normal(-2), ValueError, "shape"),
        (lambda g: g.normal((2, 1.5)), ValueError, "shape"),
        (lambda g: g.normal("ab"), TypeError, "shape"),
        (lambda g: g.normal((2,), dtype="int32"), TypeError, "floating"),
        (lambda g: g.normal((2,), dtype="what"), TypeError, "no dtype 'what'"),
        (lambda g: g.normal((2,), device="tpu"), ValueError, "unknown device"),
        (lambda g: g.uniform((2,), low=wanted), TypeError, "uniform: low"),
        (lambda g: g.uniform((2,), 2.0, 1.0), ValueError, "no range"),
        (lambda g: g.uniform((2,), 0.0, float("inf")), ValueError, "high"),
        (lambda g: g.uniform((2,), -3e38, 3e38), ValueError, "no range of float32"),
        (lambda g: g.uniform((2,), 0.0, 1e5, dtype="float16"), ValueError, "no range of float16"),
        (lambda g: g.integers(0.5), ValueError, "integers: high must be"),
        (lambda g: g.integers("a"), TypeError, "high"),
        (lambda g: g.integers(True), TypeError, "high"),
        (lambda g: g.integers(0, 300, dtype="int8"), ValueError, "does not fit int8"),
        (lambda g: g.integers(0, 3, dtype="float32"), TypeError, "integers"),
        (lambda g: g.permutation(-1), ValueError, "permutation: n must be"),
        (lambda g: g.permutation(2.5), ValueError, "n must be"),
        (lambda g: g.permutation(None), TypeError, "n must be"),
        (lambda g: g.permutation("abc"), TypeError, "n must be"),
        (lambda g: g.permutation(["a", "b"]), TypeError, "numbers"),
        (lambda g: g.permutation({1, 2}), TypeError, "n must be"),
        (lambda g: g.bernoulli(float("nan")), ValueError, "p must be"),
        (lambda g: g.bernoulli(wanted), TypeError, "bernoulli: p"),
        (lambda g: g.bernoulli([0.5]), TypeError, "bernoulli: p"),
        (lambda g: g.words(-1), ValueError, "count"),
        (lambda g: g.words(np.array([1, 2])), TypeError, "count"),
        (lambda g: setattr(g, "state", (1, 2)), ValueError, "seed, stream, counter"),
        (lambda g: setattr(g, "state", None), ValueError, "seed, stream, counter"),
        (lambda g: setattr(g, "state", (1.5, 0, 0)), ValueError, "seed"),
        (lambda g: setattr(g, "state", ("1", 0, 0)), TypeError, "seed"),
    ],
)
def test_odd_arguments_are_refused_and_the_generator_lives_on(draw, kind, message):
    g = Generator(4)
    with pytest.raises(kind, match=message):
        draw(g)
    assert g.state == (4, 0, 0) and all(type(part) is int for part in g.state)
    assert g.uniform((2,)).shape == (2,)


def test_state_of_numpy_numbers_and_tensors_becomes_plain():
    for g in (Generator(np.uint64(2), np.int32(1), mt.tensor(3)), Generator()):
        g.state = np.array([2, 1, 3])
        assert g.state == (2, 1, 3) and all(type(part) is int for part in g.state)
    mt.random.seed(np.int64(5))
    assert mt.random.default.state == (5, 0, 0)
    for copied in (copy.copy(g), copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert copied.state == (2, 1, 3) and copied is not g
        copied.words(4)
        assert g.state == (2, 1, 3)


def test_the_ends_of_integer_ranges_and_narrow_floats():
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max + 1
    x = Generator(1).integers(low, high, (1000,)).numpy()
    assert (x < 0).mean() == pytest.approx(0.5, abs=0.08)
    assert Generator(1).integers(0, 2**64, (4,), dtype="uint64").dtype == np.uint64
    x = Generator(1).integers(-128, 128, (2000,), dtype="int8").numpy()
    assert x.min() == -128 and x.max() == 127
    for dtype in ("float16", "float32"):
        x = Generator(2).uniform((200_000,), 1.0, 2.0, dtype=dtype)
        assert x.dtype == dtype and x.numpy().min() >= 1 and x.numpy().max() < 2
    assert Generator(2).uniform((3,), 1.5, 1.5).tolist() == [1.5] * 3


def test_the_parts_of_a_generator_stay_plain_integers():
    generator = mt.random.Generator(1)
    generator.counter = np.int64(3)
    assert generator.state == (1, 0, 3) and type(generator.counter) is int
    for name, value, error in (("seed", 2.5, ValueError), ("stream", "a", TypeError), ("counter", -1, ValueError)):
        with pytest.raises(error, match=f"a generator: {name} must be an integer"):
            setattr(generator, name, value)
    assert generator.state == (1, 0, 3)
