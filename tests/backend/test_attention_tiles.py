"""Attention in tiles on the fake device: the CUDA text itself, run thread by thread, against the
CPU's attention.
"""

import math
import os

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.backend import namespace
from minitensor.nn.functional import cuda_attention
from tests.backend import emulator, fake_device
from tests.backend.attention_checks import CASES, biased, case, dropped, hidden_numbers, normal
from tests.backend.parity import check_parity

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)
THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
REALS = [("float64", 1e-10), ("float32", 1e-4)]
SOME = REALS if THOROUGH else REALS[:1]  # a tile has 32 rows in float64, 64 in float32: the latter takes longer


@pytest.fixture(scope="module", autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """Tiles for all lengths; the names of the kernels that run."""
    monkeypatch.setattr(cuda_attention, "LEAST", 1)
    kernels, names = namespace("cuda").kernels, []
    launch = type(kernels).launch

    def noting(self, name, *rest):
        names.append(name)
        launch(self, name, *rest)

    monkeypatch.setattr(type(kernels), "launch", noting)
    return names


BOTH = ["attention_tiles", "attention_tiles_queries", "attention_tiles_keys"]


@pytest.mark.parametrize("dtype, tolerance", SOME)
@pytest.mark.parametrize("name", CASES)
def test_tiles_equal_the_cpus_attention(name, dtype, tolerance, launched):
    inputs, keywords = case(name, 40 if dtype == "float64" else 70)
    check_parity(
        F.scaled_dot_product_attention, inputs, keywords, dtype=np.dtype(dtype), order=1, rtol=tolerance, atol=tolerance
    )
    assert launched == BOTH  # and no mask of dropout


def test_tiles_within_autocast_are_float32(launched):
    inputs, found = [x.astype("f") for x in case("causal", 40)[0]], []
    for place in ("cpu", "cuda"):
        x = [mt.tensor(a, device=place, requires_grad=True) for a in inputs]
        with mt.autocast("float16"):
            y = F.scaled_dot_product_attention(*x, is_causal=True)
        y.backward(mt.tensor(normal(*y.shape, seed=9), dtype="float16", device=place))
        found.append([part.to("cpu").astype("float64").numpy() for part in (y, *(a.grad for a in x))])
    assert launched == BOTH
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3)
    for mine, right in zip(found[1][1:], found[0][1:]):
        np.testing.assert_allclose(mine, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dropout", "mask of all"])
def test_no_result_depends_on_the_order_of_threads(name, launched):
    with emulator.backwards():
        test_tiles_equal_the_cpus_attention(name, "float64", 1e-10, launched)


def test_tiles_of_float32_equal_the_cpus_attention(launched):
    inputs, keywords = case("mask of all", 70)
    keywords["dropout"] = 0.2
    inputs = [x[:1, :1] for x in inputs]
    keywords["mask"] = keywords["mask"][:1, :1]
    check_parity(
        F.scaled_dot_product_attention, inputs, keywords, dtype=np.dtype("float32"), order=1, rtol=1e-4, atol=1e-4
    )
    assert launched == BOTH


@pytest.mark.parametrize("dtype, tolerance", SOME)
@pytest.mark.parametrize("shape", [(), (43,), (40, 1), (2, 1, 43), (2, 1, 40, 43)])
def test_a_bias_of_any_shape_gets_its_gradient(shape, dtype, tolerance, launched):
    inputs = [normal(2, 2, n, 4, seed=n) for n in (40, 43, 43)] + [normal(*shape, seed=9)]
    check_parity(biased, inputs, dtype=np.dtype(dtype), order=1, rtol=tolerance, atol=tolerance)
    assert launched == BOTH


@pytest.mark.parametrize("width", [33, 128] if THOROUGH else [33])
def test_wide_heads(width, launched):
    check_parity(F.packed_attention, [normal(1, 36, 3 * width)], {"n_heads": 1, "is_causal": True}, order=1)
    assert launched == BOTH


@pytest.mark.parametrize("shape", [(37, 4), (3, 37, 4), (2, 1, 37, 4)])
def test_axes_before_the_rows_are_broadcast(shape, launched):
    query = normal(2, 3, 34, 4)[(0,) * (4 - len(shape))]
    check_parity(F.scaled_dot_product_attention, [query, normal(*shape, seed=1), normal(*shape)], order=1)
    assert launched == BOTH


def test_heads_that_are_views_are_read_where_they_lie(launched):
    def heads(x, y):
        parts = x.reshape((2, 34, 3, 2, 4)).swapaxes(1, 3)  # (B, H, 3, T, K)
        return F.scaled_dot_product_attention(parts[:, :, 0], y.swapaxes(-1, -2), parts[:, :, 2])

    check_parity(heads, [normal(2, 34, 24), normal(2, 2, 4, 34, seed=1)], order=1)
    assert launched == BOTH


@pytest.mark.parametrize("dropout", [0.3, 1e-3])
@pytest.mark.parametrize("length", [32, 37])  # rows that begin with a block of random words, and that do not
@pytest.mark.parametrize("packed", [False, True])
def test_dropout_drops_what_it_drops_on_the_cpu(packed, length, dropout, launched):
    (here, state), (there, same) = (dropped(device, "float64", length, dropout, packed) for device in ("cpu", "cuda"))
    assert state == same and launched == BOTH[:1] and np.array_equal(here, there)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_hidden_reaches_nothing(number, launched):
    for mine, right in zip(hidden_numbers("cuda", number), hidden_numbers("cpu", number)):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, right, rtol=1e-10, atol=1e-12)
    assert launched == BOTH


@pytest.mark.parametrize("name", ["causal", "causal, fewer keys", "dropout"])
def test_what_lies_around_an_array_is_neither_read_nor_written(name, launched, monkeypatch):
    made, around = [], 1000

    def empty(shape, dtype):
        count = math.prod(shape)
        made.append(np.full(count + 2 * around, np.nan, dtype))
        return fake_device.ndarray(made[-1][around : around + count].reshape(shape))

    monkeypatch.setattr(namespace("cuda"), "empty", empty)
    test_tiles_equal_the_cpus_attention(name, "float64", 1e-10, launched)
    assert made and all(np.isnan(x[:around]).all() and np.isnan(x[-around:]).all() for x in made)


def test_nan_that_is_seen_stays():
    q, k, v = (normal(1, 1, 40, 4, seed=i) for i in range(3))
    k[0, 0, 35, 1] = np.nan
    with np.errstate(invalid="ignore"):
        check_parity(F.scaled_dot_product_attention, [q, k, v], {"is_causal": True}, order=0)


def test_scores_far_apart():
    q, k, v = (normal(1, 1, 40, 4, seed=i) for i in range(3))
    k[..., ::3, :] *= 1e3
    bias = np.where(np.arange(40) % 5 == 2, -np.inf, 0.0) - 1e4 * (np.arange(40) % 3)[:, None]  # rows far below 0
    check_parity(F.scaled_dot_product_attention, [q, k, v], {"bias": bias}, order=1)


def test_other_attention_takes_the_old_way(launched, monkeypatch):
    kernels = type(namespace("cuda").kernels)
    monkeypatch.setattr(kernels, "launch", lambda self, name, *rest: launched.append(name))  # and computes nothing
    x = mt.tensor(normal(1, 5, 3 * 129), device="cuda", requires_grad=True)
    F.packed_attention(x, 1).sum().backward()  # wider than WIDEST
    F.scaled_dot_product_attention(*(mt.ones((1, 1, 1, 5, 4), device="cuda"),) * 3)  # five axes
    F.packed_attention(x[:, :0, :12], 1)  # nothing
    monkeypatch.setattr(cuda_attention, "LEAST", 5 * 5 * 8 + 1)
    F.packed_attention(x[:, :, :12], 1)  # few
    assert "attention_forward" in launched and not set(launched) & set(BOTH)


def test_second_derivatives_are_those_of_the_definition():
    for dropout in (0.0, 0.4):
        check_parity(
            F.packed_attention, [normal(1, 6, 12)], {"n_heads": 2, "is_causal": True, "dropout": dropout}, order=2
        )


def test_no_array_of_all_scores_is_made(monkeypatch):
    xp, sizes = namespace("cuda"), []
    for name in ("empty", "zeros", "ones", "empty_like", "matmul", "where"):
        made = getattr(xp, name)

        def noting(*args, made=made, **keywords):
            out = made(*args, **keywords)
            sizes.append(out.size)
            return out

        monkeypatch.setattr(xp, name, noting)
    length = 150
    x = mt.tensor(normal(1, length, 12), device="cuda", requires_grad=True)
    F.packed_attention(x, 1, is_causal=True, dropout=0.1).sum().backward()
    assert sizes and max(sizes) <= 12 * length
