"""Claim 11: the source whose entropy is known, the fits, and that the conclusion follows the
numbers.
"""

import numpy as np
import pytest
from claiming import run
from claims import scale
from claims.markov import Counts, Source
from claims.powers import fit, fits, interval


def test_scale(tmp_path, capsys):
    numbers, words = run("scale", tmp_path, capsys)
    parameters, data = numbers["points"]["parameters"], numbers["points"]["data"]
    assert [point["size"] for point in data] == [256, 1024, 2048, numbers["tokens"]]
    assert parameters[1] == {"size": numbers["fixed"], "losses": data[-1]["losses"]}  # one training, in both
    for point in parameters + data:
        assert min(point["losses"]) > numbers["entropy"] and point["losses"][0] != point["losses"][1]
    assert scale.means(parameters)[0] > scale.means(parameters)[-1]
    assert (
        sorted(numbers["counting"], reverse=True) == numbers["counting"]
        and numbers["counting"][-1] > numbers["entropy"]
    )
    assert "From 256 to 2,560 tokens of data (10 times as many)" in words


# --- the source -----------------------------------------------------------------------------------


def test_the_source_is_stationary_and_its_entropy_the_loss_of_who_knows_it():
    source = Source(8, seed=0)
    np.testing.assert_allclose(source.next.sum(axis=-1), 1)
    np.testing.assert_allclose(np.einsum("ab,abc->bc", source.pairs, source.next), source.pairs, atol=1e-12)
    ids = source.draw(np.random.default_rng(0), 4000, 12)
    found = np.bincount((ids[:, -2] * 8 + ids[:, -1]), minlength=64).reshape(8, 8) / len(ids)
    np.testing.assert_allclose(found, source.pairs, atol=0.03)
    losses = -np.log(source.next[ids[:, :-2], ids[:, 1:-1], ids[:, 2:]])
    assert losses.mean() == pytest.approx(source.entropy, abs=5 * losses.std() / np.sqrt(losses.size))
    assert source.entropy < source.unigram < np.log(8)


def test_sequences_by_seed_and_part():
    settings = scale.Settings.quick()
    source = Source(settings.vocab_size, 0)
    drawn = [scale._sequences(source, 20, settings, 0, k, part) for k in range(2) for part in range(3)]
    assert len({ids.tobytes() for ids in drawn}) == 6
    assert np.array_equal(drawn[2], scale._sequences(Source(settings.vocab_size, 0), 20, settings, 0, 0, 2))


def test_counting_comes_to_the_entropy():
    source, generator = Source(5, seed=1), np.random.default_rng(0)
    counts = Counts(source.draw(generator, 6000, 12), 5)
    assert counts.loss(source.draw(generator, 4000, 12), 1.0) == pytest.approx(source.entropy, abs=0.02)
    few = Counts(np.array([[0, 1, 2]]), 3)
    # unigram (1/3 + counts) / 2; of 0 1: bigram and trigram are each (count + less context) / 2
    assert few.loss(np.array([[0, 1, 2]]), 1.0) == pytest.approx(-np.log(((2 / 3 + 1) / 2 + 1) / 2))
    assert few.loss(np.array([[2, 2, 1]]), 1.0) == pytest.approx(-np.log(1 / 6))


# --- the fits -------------------------------------------------------------------------------------


def test_a_law_is_found_again():
    sizes = np.repeat(np.geomspace(1e3, 1e5, 6), 2)
    losses = 1.7 + 40 * sizes**-0.4
    for floor in (1.7, None):
        law = fit(sizes, losses, floor)
        assert (law.floor, law.exponent) == pytest.approx((1.7, 0.4), abs=0.02)
        assert law.at(1e6) == pytest.approx(1.7 + 40 * 1e6**-0.4, abs=0.01)
    found = fits(sizes, losses + (sizes == sizes.max()), 1.7, 20, 0)  # the largest tells nothing of itself
    assert [law["predicted"] for law in found.values()] == pytest.approx(2 * [losses.min()], abs=0.01)
    noisy = 1.7 + 40 * sizes**-0.4 * np.exp(0.05 * np.random.default_rng(0).standard_normal(12))
    low, high = interval(sizes, noisy, 1.7, 100, np.random.default_rng(0))
    assert 0.3 < low < fit(sizes, noisy, 1.7).exponent < high < 0.5


def test_too_few_sizes():
    with pytest.raises(ValueError, match="a law takes 3 different sizes, got 2: measure at more"):
        fit(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 2.0]))


# --- telling --------------------------------------------------------------------------------------


def numbers_of(predicted, counting, floor=1.1, interval=(0.4, 0.6)):
    """A network of two sizes that comes to 1.5 nats where 1 is the least."""
    points = [{"size": 10, "losses": [2.0, 2.0]}, {"size": 1000, "losses": [1.4, 1.6]}]
    law = {"floor": floor, "scale": 3.0, "exponent": 0.5, "interval": interval}
    laws = {"known": law | {"predicted": predicted[0]}, "free": law | {"predicted": predicted[1]}}
    return {
        "entropy": 1.0, "unigram": 2.5, "tokens": 1000, "fixed": 10, "points": {"parameters": points, "data": points},
        "counting": [2.0, counting], "laws": {"parameters": laws, "data": laws},
    }  # fmt: skip


def test_conclusion_about_scale():
    words = scale.conclusion(numbers_of((1.55, 1.6), 1.8))
    assert "From 10 to 1,000 parameters (100 times as many) the loss falls from 2.000 to 1.500" in words
    assert "as A / N^a with an exponent of 0.50 (0.40 to 0.60)" in words and "at 1.100, 0.100 above the truth" in words
    assert (
        "an error of 10% of its loss above E with the known floor, of 20% with a free one: the law with the known floor"
        in words
    )
    assert words.endswith(
        "networks of 10 and 1,000 parameters to 1.500 and 1.500: with 10 and 1,000 parameters a network learns more from it."
    )
    words = scale.conclusion(numbers_of((1.9, 1.1), 1.3, floor=0.8))
    assert "0.200 below the truth" in words and "no law to rely on" in words
    assert words.endswith("counting learns most from it.")
    assert "the law with the known floor and with a free one holds" in scale.conclusion(numbers_of((1.5, 1.5), 1.3))
    flat = scale.conclusion(numbers_of((1.5, 1.5), 1.3, interval=(-0.02, 0.13)))
    assert "no law to rely on, since the exponent may be 0." in flat and "holds" not in flat
