"""Products of ``mt.autocast`` on the fake device: numbers of 16 bits are multiplied as they are,
and results are the CPU's up to the order of the sum.
"""

import os

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.backend import namespace
from minitensor.backend.contraction import planned
from minitensor.nn.functional import cuda_attention
from tests.backend import emulator, fake_cublas, fake_device

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)
THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
TYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Of the greatest number. Halves keep 22 and 16 significant bits; the sum of float32 is as near.
NEAR = {"float16": 2e-6, "bfloat16": 3e-5}
attend = F.scaled_dot_product_attention


@pytest.fixture(scope="module", autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


def heads(x):
    """(B, T, H, K) as a view (B, H, T, K)."""
    return x.swapaxes(1, 2)


def mask_of(x, *shape):
    """A fixed mask beside ``x``; the first query, and the last key, are seen by nothing."""
    allowed = np.random.default_rng(3).random(shape) < 0.7
    allowed[..., 0, :] = allowed[..., -1] = False
    return mt.tensor(allowed, device=x.device)


# name: (function, shapes of the operands, types of the products: h of 16 bits, l of low halves, f)
FORWARD, PULLED = "hhl", "hlhhlhl"  # attention: Q K^T, P V; P^T g, g V^T, dS K, dS^T Q
CASES = {
    "matmul": (mt.matmul, [(3, 4), (4, 5)], "hhh"),
    "matmul of a stack by a matrix": (mt.matmul, [(2, 3, 4), (4, 5)], "hhh"),
    "matmul, axes repeated": (mt.matmul, [(2, 1, 3, 4), (5, 4, 6)], None),
    "matmul of transposed": (lambda x, y: x.mT @ y.mT, [(2, 4, 3), (5, 4)], "hhh"),
    "matmul of strided": (lambda x, y: x[::2, :, ::2] @ y[:, 1:], [(4, 3, 8), (4, 7)], "hhh"),
    "matmul without rows": (mt.matmul, [(2, 0, 4), (4, 5)], ""),
    "matmul of nothing": (mt.matmul, [(2, 3, 0), (2, 0, 5)], ""),
    "matmul by a vector": (mt.matmul, [(3, 4), (4,)], "f"),
    "tensordot": (lambda x, y: mt.tensordot(x, y, ([1, 0], [0, 1])), [(3, 4, 2), (4, 3, 5)], "hhh"),
    "einsum": (lambda x, y: mt.einsum("bij,bkj->bik", x, y), [(2, 3, 4), (2, 5, 4)], "hhh"),
    "einsum of heads": (lambda x, y: mt.einsum("bthk,bshk->hbts", x, y), [(2, 3, 2, 4), (2, 5, 2, 4)], None),
    "einsum by a row": (lambda x, y: mt.einsum("bij,bj->bi", x, y), [(2, 3, 4), (2, 4)], "hh"),
    "einsum without rows": (lambda x, y: mt.einsum("ij,jk->ki", x, y), [(0, 4), (4, 5)], ""),
    "einsum, a diagonal": (lambda x, y: mt.einsum("ii,ij->j", x, y), [(4, 4), (4, 5)], ""),
    "einsum of three": (lambda x, y, z: mt.einsum("ij,jk,kl->il", x, y, z), [(2, 3), (3, 4), (4, 2)], ""),
    "linear": (F.linear, [(2, 3, 5), (7, 5), (7,)], "hhh"),
    "conv2d": (F.conv2d, [(2, 3, 5, 5), (4, 3, 2, 2), (4,)], "hhh"),
    "attention": (attend, [(2, 3, 4), (2, 5, 4), (2, 5, 6)], FORWARD + PULLED),
    "attention of matrices": (attend, [(3, 4), (5, 4), (5, 6)], FORWARD + PULLED),
    "attention, axes repeated": (attend, [(2, 2, 3, 4), (5, 4), (2, 5, 6)], None),
    "attention of views": (lambda *x: attend(*map(heads, x)), [(2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 6)], None),
    "attention, a mask": (
        lambda q, k, v: attend(q, k, v, mask=mask_of(q, 2, 1, 3, 5)), [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6)], None,
    ),
    "attention, queries that see nothing": (
        lambda q, k, v: attend(q, k, v, is_causal=True), [(2, 5, 4), (2, 3, 4), (2, 3, 6)], FORWARD + PULLED,
    ),
    "attention, a bias": (
        lambda q, k, v, b: attend(q, k, v, bias=b), [(2, 3, 4), (2, 5, 4), (2, 5, 6), (3, 5)], FORWARD + PULLED,
    ),
    "attention, dropout": (
        lambda q, k, v: attend(q, k, v, dropout=0.3), [(2, 3, 4), (2, 5, 4), (2, 5, 6)], FORWARD + PULLED,
    ),
    "attention without keys": (attend, [(2, 3, 4), (2, 0, 4), (2, 0, 6)], ""),
    "packed attention": (lambda x: F.packed_attention(x, 2, is_causal=True), [(2, 4, 12)], FORWARD + PULLED),
    "packed attention, dropout": (lambda x: F.packed_attention(x, 2, dropout=0.2), [(2, 4, 12)], FORWARD + PULLED),
    # x W_ih of all steps, and behind it the steps and the biases in float32.
    "lstm": (lambda *a: F.lstm(*a)[0], [(2, 3, 4), (20, 4), (20, 5), (20,), (20,)], "hffffffhlhlff"),
    "gru, reversed": (
        lambda *a: F.gru(*a, reverse=True)[0], [(2, 3, 4), (15, 4), (15, 5), (15,), (15,)], "hffffffhlhlfff",
    ),
    "rnn with lengths": (
        lambda *a: F.rnn(*a, lengths=mt.tensor([3, 1], device=a[0].device))[0], [(2, 3, 4), (5, 4), (5, 5)], "hffffffhlhlf",
    ),
}  # fmt: skip


def results(function, shapes, dtype, place):
    """The value and the gradients in float64, and a letter for each product."""
    rng = np.random.default_rng(0)
    inputs = [mt.tensor(rng.standard_normal(s).astype("f"), device=place, requires_grad=True) for s in shapes]
    mt.random.seed(5)
    fake_cublas.TYPES.clear()
    with mt.autocast(dtype):
        y = function(*inputs)
    g = np.random.default_rng(1).standard_normal(y.shape).astype("f")
    y.backward(mt.tensor(g, device=place).astype(dtype))
    letters = [("l" if add else "h") if given == dtype else given[0] for given, _, _, add in fake_cublas.TYPES]
    assert y.dtype == TYPES[dtype] and all(x.grad.dtype == np.float32 for x in inputs)
    return [v.to("cpu").astype("float64").numpy() for v in (y, *(x.grad for x in inputs))], "".join(letters)


EACH = [(name, dtype) for i, name in enumerate(CASES) for dtype in (TYPES if THOROUGH else [list(TYPES)[i % 2]])]


@pytest.mark.parametrize("name, dtype", EACH)
def test_products_are_the_cpus(name, dtype):
    function, shapes, expected = CASES[name]
    here, _ = results(function, shapes, dtype, "cpu")
    there, letters = results(function, shapes, dtype, "cuda")
    assert set(letters) <= {"h", "l"} if expected is None else letters == expected
    eps = float(ml_dtypes.finfo(TYPES[dtype]).eps)
    np.testing.assert_allclose(there[0], here[0], rtol=eps)  # the last bit of 16
    for mine, right in zip(there[1:], here[1:]):
        np.testing.assert_allclose(mine, right, rtol=0, atol=NEAR[dtype] * np.abs(right).max(initial=0))


@pytest.mark.parametrize("dtype", TYPES)
def test_calls_are_those_of_float32(dtype):
    """Transposes, sizes and counts of the calls, of stacks that lie in any way."""
    from minitensor.backend import cublas

    rng, lies = np.random.default_rng(2), []
    for shape, axes in [((6, 3, 4), (0, 1, 2)), ((6, 4, 3), (0, 2, 1)), ((3, 6, 4), (1, 0, 2)), ((4, 3, 6), (2, 1, 0))]:
        lies.append(rng.integers(-3, 4, shape).astype("f").transpose(axes))
    for a in lies:
        for b in (x.swapaxes(1, 2) for x in lies):
            made = []
            for kind in (np.float32, TYPES[dtype]):
                fake_cublas.CALLS.clear()
                operands = [fake_device.ndarray(np.asarray(x, order="K").astype(kind, order="K")) for x in (a, b)]
                made.append((cublas.product(*operands).array.tolist(), list(fake_cublas.CALLS)))
            assert made[0] == made[1] and made[0][0] == (a @ b).tolist()


def test_tf32_is_not_asked_of_16_bits():
    x = mt.tensor(np.random.default_rng(0).standard_normal((3, 4)).astype("f"), device="cuda")
    with mt.backend.matmul_precision("tf32"), mt.autocast("float16"):
        y = x @ x.mT  # cuBLAS refuses that, and so does the fake
    assert y.dtype == np.float16


# --- halves ---------------------------------------------------------------------------------------

ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 65519.9, 65520.0, 1e30, 3.4e38, 2049.0]
ODD += [6e-8, 2.9e-8, 2.98e-8, 1e-7, 6.1e-5, 1e-42]


@pytest.mark.parametrize("dtype", TYPES)
def test_halves_are_what_rounding_leaves(dtype):
    rng, kernels = np.random.default_rng(0), namespace("cuda").kernels
    bits = rng.integers(0, 1 << 32, 40_000 if THOROUGH else 4000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate(
        [np.float32(ODD), bits, rng.standard_normal(999).astype("f"), rng.uniform(-1e-5, 1e-5, 999).astype("f")]
    )
    found = kernels.halves(fake_device.ndarray(x), TYPES[dtype])
    high, low = found.high.array, found.low.array
    with np.errstate(all="ignore"):
        right = x.astype(TYPES[dtype])
    nan, finite = np.isnan(x), np.isfinite(right.astype("f"))
    assert np.array_equal(high[~nan].view(np.uint16), right[~nan].view(np.uint16)) and np.isnan(high[nan]).all()
    assert not low[~finite].astype("f").any()
    x, high, low = (part[finite].astype("d") for part in (x, high, low))
    digits, least, factor = (2.0**-22, 2.0**-36, 2048) if dtype == "float16" else (2.0**-16, 1e-40, 1)
    assert (np.abs(high + low / factor - x) <= digits * np.abs(x) + least).all()


def test_what_is_too_great_in_float16_is_infinite_and_no_nan():
    kernels = namespace("cuda").kernels
    x, ones = (
        fake_device.ndarray(np.float32([[1e6, 1.0], [2.0, 3.0]])),
        fake_device.ndarray(np.ones((2, 1), np.float16)),
    )
    assert kernels.product(kernels.halves(x, np.dtype(np.float16)), ones).array.tolist() == [[np.inf], [5.0]]


# --- einsum as a product --------------------------------------------------------------------------


@settings(max_examples=300 if THOROUGH else 30)
@given(st.data())
def test_an_einsum_of_two_is_a_product(data):
    kinds = [data.draw(st.integers(low, 2)) for low in (0, 0, 0, 1)]
    letters = iter(data.draw(st.permutations("abcdefgh")))
    stack, rows, columns, summed = ["".join(next(letters) for _ in range(count)) for count in kinds]
    terms = ["".join(data.draw(st.permutations(sorted(t)))) for t in (stack + rows + summed, stack + columns + summed)]
    output = "".join(data.draw(st.permutations(sorted(stack + rows + columns))))
    lengths = {c: data.draw(st.integers(1, 3)) for c in "abcdefgh"}
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, [lengths[c] for c in term]).astype("f") for term in terms)
    equation = f"{','.join(terms)}->{output}"
    assert (planned(equation, a.shape, b.shape) is None) == (not rows and not columns)
    made = namespace("cuda").einsum(equation, fake_device.ndarray(a), fake_device.ndarray(b))
    assert np.array_equal(made.array, np.einsum(equation, a, b)) and made.shape == tuple(lengths[c] for c in output)


@pytest.mark.parametrize("equation", ["ii,ij->j", "ij,jk->i", "ij,kl->ik", "ij,ij->i", "i,j->ij", "ij,jk->iik"])
def test_other_einsums_are_no_product(equation):
    assert planned(equation, *[(3,) * len(term) for term in equation.partition("->")[0].split(",")]) is None


def test_an_axis_of_length_1_that_is_repeated_is_no_product():
    assert planned("bij,bjk->bik", (1, 2, 3), (4, 3, 5)) is None


# --- graphs, and who looks at ops -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*TYPES, None] if THOROUGH else ["float16"])
def test_products_in_a_graph(dtype):
    weight = mt.tensor(np.random.default_rng(0).standard_normal((4, 4)).astype("f"), device="cuda", requires_grad=True)

    def step(x):
        weight.grad = None
        with mt.autocast(dtype or "float16", enabled=dtype is not None):
            y = mt.asarray(x, device="cuda") @ weight  # a stack by a matrix
            y = mt.einsum("bij,bkj->bik", y, y) @ y
        loss = (y.astype("float32") * 0.01).sum()
        loss.backward()
        return loss, weight.grad

    graph, found = mt.cuda_graph(step, warmup=1), []
    for function in (step, graph):
        rng = np.random.default_rng(1)
        for _ in range(4):
            loss, gradient = function(rng.standard_normal((2, 3, 4)).astype("f"))
            found.append((loss.item(), gradient.to("cpu").numpy().tolist()))
    assert graph.captured == 1 and graph.replayed == 2 and found[:4] == found[4:]


@pytest.mark.parametrize("name", ["matmul", "einsum", "attention, a bias", "lstm"])
def test_looking_at_ops_changes_nothing(name):
    function, shapes, _ = CASES[name]
    plain, letters = results(function, shapes, "float16", "cuda")
    with mt.detect_anomaly():
        watched, same = results(function, shapes, "float16", "cuda")
    assert same.startswith(letters[:1]) and all(np.array_equal(a, b) for a, b in zip(plain, watched))


def test_a_recorded_gradient_is_the_cpus():
    found = []
    for place in ("cpu", "cuda"):
        rng = np.random.default_rng(0)
        x, w = (
            mt.tensor(rng.standard_normal(s).astype("f"), device=place, requires_grad=True) for s in [(3, 4), (4, 4)]
        )
        with mt.autocast("float16"):
            y = mt.einsum("ij,jk->ik", x @ w, w)
        first = mt.grad((y.astype("float32") ** 2).sum(), x, create_graph=True)
        found.append(mt.grad((first * first).sum(), w).to("cpu").numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-4 * np.abs(found[0]).max())


def test_where_memory_asks_for_tiles_attention_is_float32(monkeypatch):
    """Which kernels run is asked alone: those in tiles take long to compile."""
    asked = []
    monkeypatch.setattr(cuda_attention, "LEAST", 1)
    monkeypatch.setattr(cuda_attention, "separate", lambda xp, q, *rest: asked.append(q.dtype))
    monkeypatch.setattr(cuda_attention, "packed", lambda xp, qkv, *rest: asked.append(qkv.dtype))
    for name in ("attention", "packed attention"):
        function, shapes, _ = CASES[name]
        here, _ = results(function, shapes, "float16", "cpu")
        there, letters = results(function, shapes, "float16", "cuda")
        assert set(letters) == {"f"}
        for mine, right in zip(there, here):
            np.testing.assert_allclose(mine, right, rtol=1e-3, atol=1e-5)
    assert asked == [np.float32] * 2
