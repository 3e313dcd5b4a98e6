"""On a real GPU: attention in tiles, its memory, and how long it takes beside attention whole."""

import gc
import time

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.backend import namespace
from minitensor.nn.functional import cuda_attention
from tests.backend.attention_checks import CASES, biased, case, dropped, hidden_numbers, normal
from tests.backend.parity import check_parity

pytestmark = pytest.mark.gpu
REALS = [("float64", 1e-9), ("float32", 2e-4)]
NEVER = 1 << 60


@pytest.mark.parametrize("dtype, tolerance", REALS)
@pytest.mark.parametrize("name", CASES)
def test_tiles_equal_the_cpus_attention(name, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(cuda_attention, "LEAST", 1)
    inputs, keywords = case(name, 257)
    check_parity(
        F.scaled_dot_product_attention, inputs, keywords, dtype=np.dtype(dtype), order=1, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("dtype, tolerance", REALS)
@pytest.mark.parametrize("width", [64, 128])
def test_long_packed_attention(width, dtype, tolerance):
    keywords = {"n_heads": 2, "is_causal": True, "dropout": 0.1}
    inputs = [normal(2, 1024, 6 * width)]
    check_parity(F.packed_attention, inputs, keywords, dtype=np.dtype(dtype), order=1, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(300,), (2, 1, 300), (2, 270, 300)])
def test_a_bias_gets_its_gradient(shape):
    inputs = [normal(1, 2, n, 16, seed=n) for n in (270, 300, 300)] + [normal(*shape, seed=9)]
    check_parity(biased, inputs, dtype=np.dtype("float32"), order=1, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("dropout", [0.3, 1e-3])
@pytest.mark.parametrize("length", [101, 128])
def test_dropout_drops_what_it_drops_on_the_cpu(length, dropout, monkeypatch):
    monkeypatch.setattr(cuda_attention, "LEAST", 1)
    for dtype in ("float32", "float64"):
        (here, state), (there, same) = (dropped(device, dtype, length, dropout) for device in ("cpu", "cuda"))
        assert state == same and np.array_equal(here, there)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_hidden_reaches_nothing(number):
    for mine, right in zip(hidden_numbers("cuda", number, length=300), hidden_numbers("cpu", number, length=300)):
        np.testing.assert_allclose(mine, right, rtol=1e-9, atol=1e-10)


def step(x, heads, **keywords):
    """Attention forward and backward: ``(output, gradient)``."""
    y = F.packed_attention(x, heads, is_causal=True, dropout=0.1, **keywords)
    return y, mt.grad(y, [x], mt.ones(y.shape, dtype=y.dtype, device=x.device))[0]


def test_the_same_bits_each_time():
    x = mt.tensor(normal(2, 700, 3 * 128), dtype="float32", device="cuda", requires_grad=True)
    results = []
    for _ in range(3):
        mt.random.seed(2)
        results.append([part.to("cpu").numpy() for part in step(x, 2)])
    assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


def reserved(length):
    """Bytes that a step makes CuPy's pool reserve."""
    pool = pytest.importorskip("cupy").get_default_memory_pool()
    x = mt.tensor(normal(1, length, 3 * 64), dtype="float32", device="cuda", requires_grad=True)
    gc.collect()
    pool.free_all_blocks()
    before = pool.total_bytes()
    step(x, 1)
    return pool.total_bytes() - before


def test_memory_is_linear_in_the_length(monkeypatch):
    monkeypatch.setattr(cuda_attention, "LEAST", 1)
    reserved(512)  # kernels and what cuBLAS needs
    short, long = reserved(2048), reserved(4096)
    print(f"\nattention in tiles reserves {short / 2**20:.1f} MiB for 2048 positions, {long / 2**20:.1f} for 4096")
    assert long < 2.6 * short and long < 4096 * 4096


@pytest.mark.parametrize(
    "batch, heads, length, width", [(64, 6, 256, 64), (16, 12, 1024, 64), (4, 12, 4096, 64), (8, 16, 1024, 128)]
)
def test_how_long_it_takes(batch, heads, length, width, monkeypatch):
    x = mt.tensor(normal(batch, length, 3 * heads * width), dtype="float32", device="cuda", requires_grad=True)
    synchronize, said = namespace("cuda").synchronize, []
    for way, least in (("tiles", 1), ("whole", NEVER)):
        monkeypatch.setattr(cuda_attention, "LEAST", least)
        times = []
        for _ in range(7):
            synchronize()
            start = time.perf_counter()
            step(x, heads)
            synchronize()
            times.append(time.perf_counter() - start)
        said.append(f"{way} {1e3 * min(times[2:]):.2f} ms")
    print(
        f"\nattention forward and backward, B {batch} H {heads} T {length} K {width}, causal, dropout: {', '.join(said)}"
    )
