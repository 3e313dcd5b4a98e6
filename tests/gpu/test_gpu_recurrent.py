"""On a real GPU: recurrent layers as on the fake device, and at a size that people train."""

import numpy as np
import pytest

import minitensor as mt
from tests.backend import test_fake_recurrent as fake

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind, keywords", fake.NONLINEARITIES)
def test_kernels_equal_those_of_the_cpu(kind, keywords, reverse):
    fake.test_kernels_equal_those_of_the_cpu(kind, keywords, reverse)


def results(kind, dtype, device):
    """Outputs, final states and gradients of 64 sequences of 64 steps and 512 features, padded."""
    inputs = fake.inputs_of(kind, "ih hh", True, 64, 64, 512, 512, scale=512**-0.5)
    inputs = [mt.tensor(a.astype(dtype), device=device).requires_grad_() for a in inputs]
    lengths = 1 + np.arange(64) * 11 % 64
    ends = fake.layer_of(kind)(*inputs, lengths=lengths)
    seeds = [np.random.default_rng(i).normal(size=end.shape) for i, end in enumerate(ends)]
    gradients = mt.grad(ends, inputs, [mt.tensor(seed.astype(dtype), device=device) for seed in seeds])
    return [x.to("cpu").numpy() for x in (*ends, *gradients)]


@pytest.mark.parametrize("kind", fake.GATES)
def test_a_layer_of_512_features_in_float32(kind):
    first, again, exact = (
        results(kind, "float32", "cuda"),
        results(kind, "float32", "cuda"),
        results(kind, "float64", "cpu"),
    )
    for mine, same, right in zip(first, again, exact, strict=True):
        assert np.array_equal(mine, same)  # bit for bit
        assert np.abs(mine - right).max() <= 3e-5 * np.abs(right).max()
