"""Sampling at every temperature above 0: probabilities are those of the formula, in the
limits too.
"""

import math

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.search import sample

PROBABILITIES = np.array([0.15, 0.5, 0.05, 0.3, 0.0])
WAYS = [{}, dict(top_k=2), dict(top_k=1), dict(top_p=0.6), dict(top_p=1.0), dict(top_k=3, top_p=0.99), dict(top_k=9)]


class Rows:
    """A state that knows nothing."""

    def reorder(self, rows):
        """Nothing to reorder."""


def drawn(temperature, dtype="float64", probabilities=PROBABILITIES, n=400, **how):
    """How often each token is drawn."""
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities).astype(dtype)
    tokens = sample(
        lambda ids, state: mt.tensor(np.tile(logs, (len(ids), 1))), Rows(), [0] * n, (), 1, temperature,
        generator=mt.random.Generator(7), **how,
    )  # fmt: skip
    return np.bincount(np.ravel(tokens), minlength=len(probabilities)) / n


@pytest.mark.parametrize("temperature", [5e-324, 1e-309, 1e-300, 1e-40, np.float32(1e-40), np.float16(6e-8), 1e-3])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_near_zero_the_most_probable_token_is_drawn(temperature, how, dtype):
    np.testing.assert_array_equal(drawn(temperature, dtype, n=40, **how), [0, 1, 0, 0, 0])


def test_near_zero_the_most_probable_tokens_share():
    found = drawn(1e-309, probabilities=np.array([0.4, 0.2, 0.4]))
    assert found[1] == 0 and abs(found[0] - 0.5) < 0.15


@pytest.mark.parametrize("temperature", [1e10, 1e300, 1.7e308])
@pytest.mark.parametrize(("how", "kept"), [({}, 4), (dict(top_k=2), 2), (dict(top_k=3, top_p=0.5), 2)])
def test_far_above_all_that_are_kept_and_possible_are_equal(temperature, how, kept):
    found = drawn(temperature, **how)
    assert (found > 0).sum() == kept and found[4] == 0
    np.testing.assert_allclose(found[found > 0], 1 / kept, atol=0.12)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (dict(temperature=math.inf), ValueError, "temperature must be a number above 0, got inf"),
        (dict(temperature=-0.0), ValueError, "temperature must be a number above 0, got -0.0"),
        (dict(temperature="1"), TypeError, "temperature must be a number, got '1'"),
        (dict(temperature=None), TypeError, "temperature must be a number, got None"),
        (dict(temperature=np.ones(2)), TypeError, "temperature must be a number, got array"),
        (dict(temperature=1, top_k=2.5), TypeError, "top_k must be an integer.*, got 2.5"),
        (dict(temperature=1, top_p="0.5"), TypeError, "top_p must be a number, got '0.5'"),
        (dict(temperature=1, top_p=math.nan), ValueError, "top_p must be above 0 and at most 1, got nan"),
    ],
)
def test_what_is_no_way_of_sampling(how, error, message):
    with pytest.raises(error, match=message):
        drawn(**how)


@pytest.mark.parametrize("probabilities", [[0.0, 0.0], [math.inf, 1.0]])
def test_models_without_a_token_to_draw(probabilities):
    with pytest.raises(FloatingPointError, match="log-probabilities are infinite"):
        drawn(1.0, probabilities=np.array(probabilities))


def test_generate_near_zero_is_greedy():
    mt.random.seed(0)
    model = GPT(GPTConfig(vocab_size=11, max_length=12, d_model=8, n_layers=1, n_heads=2)).eval()
    prompts = [[1, 2], [3], [4, 5, 6]]
    greedy = model.generate(prompts, 6)
    for temperature in (1e-309, 1e-300):
        for how in WAYS:
            assert model.generate(prompts, 6, temperature=temperature, **how) == greedy
    for temperature, error in ((math.inf, ValueError), (math.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="temperature must be"):
            model.generate(prompts, 6, temperature=temperature)
