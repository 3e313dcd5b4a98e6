"""On a real GPU: sums, norms and updates of many arrays at sizes that the emulator would take too
long for, and TF32.
"""

import math

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim
from minitensor.backend import namespace
from tests.backend.parity import check_parity
from tests.backend.test_cuda_sums import OTHERS, SHAPES, adapted, leaves, whole

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "shape", [(70_000, 384), (1_000_000, 1), (200_000, 7), (65_536, 33), (3000, 4096), (16_384, 1152), (20, 50_257)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_summed_whatever_their_length(shape, dtype):
    xp, x = namespace("cuda"), whole(*shape, dtype=dtype)
    there = xp.asarray(x)
    assert np.array_equal(xp.sum(there, axis=0).get(), x.sum(axis=0))
    noise = xp.asarray(np.random.default_rng(0).standard_normal(shape).astype(dtype))
    first, second = xp.sum(noise, axis=0).get(), xp.sum(noise, axis=0).get()
    assert np.array_equal(first, second)
    scale = math.sqrt(shape[0])
    np.testing.assert_allclose(
        first, noise.get().sum(axis=0, dtype=np.float64), atol=scale * (1e-4 if dtype == np.float32 else 1e-12)
    )


@pytest.mark.parametrize("width", [1, 3, 64, 384, 4096])
def test_one_long_run_of_equal_ids_and_many_short_ones(width):
    xp, rng = namespace("cuda"), np.random.default_rng(0)
    long = 100_000 if width < 1000 else 10_000
    ids = rng.permutation(np.concatenate([np.full(long, 3), rng.integers(0, 50_257, 20_000), np.zeros(5000, int)]))
    values = rng.integers(-9, 10, (len(ids), width)).astype(np.float32)
    right = np.zeros((50_257, width), np.float32)
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
    right[ids[order][starts]] = np.add.reduceat(values[order], starts, axis=0)
    out = xp.zeros(right.shape, dtype=np.float32)
    xp.add_at(out, xp.asarray(ids), xp.asarray(values))
    assert np.array_equal(out.get(), right)


@pytest.mark.parametrize("keywords", [{}, {"label_smoothing": 0.1}])
def test_cross_entropy_of_50_257_classes(keywords):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((40, 50_257)) * 4, rng.integers(0, 50_257, 40)
    targets[3] = -100
    check_parity(lambda x, t: F.cross_entropy(x, t, **keywords), [logits, targets], order=1, rtol=1e-9, atol=1e-12)
    x = mt.tensor(logits.astype(np.float32), device="cuda", requires_grad=True)
    loss = F.cross_entropy(x, mt.tensor(targets, device="cuda"), **keywords)
    first = mt.grad(loss, x, retain_graph=True)
    assert np.array_equal(first.to("cpu").data, mt.grad(loss, x).to("cpu").data)


@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
def test_the_norm_of_many_gradients(size):
    rng = np.random.default_rng(0)
    parameters = [mt.zeros((n,), device="cuda", requires_grad=True) for n in (5_000_000, 3, 70_001)]
    gradients = [rng.standard_normal(parameter.size).astype(np.float32) for parameter in parameters]
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = mt.tensor(gradient * np.float32(size), device="cuda")
    right = math.sqrt(sum(np.square(gradient, dtype=np.float64).sum() for gradient in gradients))
    assert optim.clip_grad_norm_(parameters, 1.0).item() == pytest.approx(right * size, rel=1e-6)
    if size > 1:
        np.testing.assert_allclose(parameters[0].grad.to("cpu").data, gradients[0] / right, rtol=1e-5)


@pytest.mark.parametrize("settings, dtype, tolerance", [({}, "float32", 1e-4), (OTHERS, "float64", 1e-11)])
def test_adafactor_equals_the_cpus(settings, dtype, tolerance):
    for mine, right in zip(adapted("cuda", dtype, **settings), adapted("cpu", dtype, **settings), strict=True):
        np.testing.assert_allclose(mine, right, rtol=tolerance, atol=tolerance)


def test_averages_of_weights_equal_the_cpus():
    made = []
    for device in ("cpu", "cuda"):
        parameters = leaves(device)
        optimizer, ema = optim.Adam(parameters, lr=0.1), optim.EMA(parameters, decay=0.9)
        for _ in range(3):
            optimizer.step()
            ema.update()
        made.append([average.to("cpu").data for average in ema.state_dict()["averages"]])
    assert len(made[0]) == len(SHAPES)
    for mine, right in zip(made[1], made[0]):
        np.testing.assert_allclose(mine, right, rtol=1e-10)


@pytest.mark.parametrize("shape", [(256, 256), (3, 256, 256), (2, 3, 256, 256)])
def test_tf32_rounds_the_factors_to_ten_bits(shape):
    step = 2.0**-13
    x = mt.full(shape, 1 + step, device="cuda")
    exact, rounded = 256 * (1 + step) ** 2, 256.0
    with mt.backend.matmul_precision("float32"):
        np.testing.assert_allclose((x @ x).to("cpu").data, exact, rtol=1e-6)
        with mt.backend.matmul_precision("tf32"):
            np.testing.assert_allclose((x @ x).to("cpu").data, rounded, rtol=1e-6)
            wide = x.astype("float64")
            np.testing.assert_allclose((wide @ wide).to("cpu").data, exact, rtol=1e-12)
        np.testing.assert_allclose((x @ x).to("cpu").data, exact, rtol=1e-6)
