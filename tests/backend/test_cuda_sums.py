"""Sums, norms and updates of many arrays by CUDA kernels, run in the emulator: equal to NumPy's,
for sizes around those of their blocks.
"""

import copy
import math
import pickle

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim
from minitensor.backend import cuda_sums, namespace
from tests.backend import emulator, fake_device
from tests.backend.parity import check_parity

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


@pytest.fixture(scope="module", autouse=True)
def xp():
    """The namespace of the fake device."""
    with fake_device.installed():
        yield namespace("cuda")


@pytest.fixture
def launched(xp, monkeypatch):
    """The names of the kernels that are launched, in order."""
    names, launch = [], xp.kernels.launch
    monkeypatch.setattr(xp.kernels, "launch", lambda name, *rest: names.append(name) or launch(name, *rest))
    return names


def whole(*shape, seed=0, dtype=np.float64):
    """Whole numbers, of which every order has the same sum."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


# --- sums over leading axes -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (300, 1), (66_000, 2), (2100, 33), (40, 4096), (9, 1030), (5000, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_summed_whatever_their_length(xp, shape, dtype):
    x = whole(*shape, dtype=dtype)
    assert np.array_equal(cuda_sums.column_sums(xp, fake_device.ndarray(x)).array, x.sum(axis=0))


@pytest.mark.parametrize("axis", [0, -3, (0, 1), (1, 0), (-3,), 1, 2, None, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_any_axes_are_numpys(xp, axis, keepdims):
    x = whole(6, 5, 4)
    for view in (lambda a: a, lambda a: a.T, lambda a: a[:, ::2], lambda a: a.swapaxes(0, 1), lambda a: a[:0]):
        made = xp.sum(view(fake_device.ndarray(x)), axis=axis, keepdims=keepdims)
        right = np.sum(view(x), axis=axis, keepdims=keepdims)
        assert made.dtype == right.dtype and made.shape == right.shape
        assert np.array_equal(made.array, right)


def test_rules_and_ops_sum_tall_arrays_by_the_kernel(launched):
    x = whole(200, 90, seed=1)
    for function, inputs in (
        (lambda x: mt.sum(x, axis=0), [x]),
        (lambda x, b: x + b, [x, whole(90)]),
        (lambda x, b: x * b, [x, whole(1, 90)]),
        (F.linear, [x[:, :3], whole(90, 3), whole(90)]),
    ):
        launched.clear()
        check_parity(function, inputs, order=1)
        assert "column_sums" in launched
    check_parity(lambda x: mt.sum(x, axis=0, dtype="float64"), [x], dtype=np.float32, order=1)


# --- sums over runs of equal ids ------------------------------------------------------------------

RUNS = {
    "all equal": np.full(3000, 2),
    "a run of padding": np.concatenate([np.zeros(200, int), np.arange(90) % 7, np.zeros(71, int)]),
    "whole pieces": np.repeat(np.arange(5), 32),
    "over the edges": np.repeat(np.arange(6), [31, 2, 64, 1, 33, 30]),
    "each once": np.arange(7),
    "one": np.array([3]),
    "random": np.random.default_rng(0).integers(0, 7, 500),
}


@pytest.mark.parametrize("ids", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("width", [1, 3, 33, 130])
def test_runs_of_equal_ids_are_summed_in_pieces(xp, ids, width):
    values, out = whole(len(ids), width, seed=2), whole(7, width)
    right, device = out.copy(), fake_device.ndarray(out.copy())
    np.add.at(right, ids, values)
    xp.add_at(device, fake_device.ndarray(ids), fake_device.ndarray(values))
    assert np.array_equal(device.array, right)


def test_ids_outside_the_table_write_nowhere(xp):
    ids = np.sort(np.repeat([-9, 1, 4, 7], [40, 5, 70, 90]))
    out, right = fake_device.ndarray(np.zeros((5, 3))), np.zeros((5, 3))
    values, inside = whole(len(ids), 3), (ids >= 0) & (ids < 5)
    np.add.at(right, ids[inside], values[inside])
    cuda_sums.add_runs(xp, out, *map(fake_device.ndarray, (ids, np.arange(len(ids)), values)))
    assert np.array_equal(out.array, right)


def test_a_sum_of_many_small_numbers_keeps_its_digits(xp):
    ids, values = np.zeros(20_000, int), np.full((20_000, 1), 0.1, np.float32)
    out = fake_device.ndarray(np.zeros((1, 1), np.float32))
    xp.add_at(out, fake_device.ndarray(ids), fake_device.ndarray(values))
    np.testing.assert_allclose(out.array, 2000, rtol=1e-5)  # one after the other they lose two digits more


# --- cross-entropy --------------------------------------------------------------------------------


def test_cross_entropy_goes_back_twice_and_to_the_second_order():
    rng = np.random.default_rng(0)
    logits, targets, weight = rng.standard_normal((6, 40)), np.array([0, 8, -100, 3, 39, 1]), rng.random(40)
    for keywords in ({}, {"label_smoothing": 0.2}):
        check_parity(lambda x, w: F.cross_entropy(x, targets_on(x), w, **keywords), [logits, weight])  # noqa: B023
        x = mt.tensor(logits, device="cuda", requires_grad=True)
        losses = F.cross_entropy(x, mt.tensor(targets, device="cuda"), reduction="none", **keywords)
        first = mt.grad(losses, x, mt.ones((6,), dtype="float64", device="cuda"), retain_graph=True)
        again = mt.grad(losses, x, mt.full((6,), 3.0, dtype="float64", device="cuda"))
        np.testing.assert_allclose(again.to("cpu").data, 3 * first.to("cpu").data, rtol=1e-12)
        assert not first.to("cpu").data[2].any()


def targets_on(x):
    """Targets on the device of ``x``."""
    return mt.tensor(np.array([0, 8, -100, 3, 39, 1]), device=x.device)


# --- the norm -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30, 0.0, 3e38, math.inf, math.nan])
@pytest.mark.parametrize("sizes", [(5000, 3), (1,)])
def test_clipping_by_the_norm_is_the_cpus(size, sizes, dtype, launched):
    rng = np.random.default_rng(0)
    gradients = [rng.uniform(-1, 1, n) * size for n in sizes]
    if len(sizes) > 1:
        gradients[1][:] = 0
    made = []
    for device in ("cpu", "cuda"):
        parameters = [mt.zeros((n,), dtype=dtype, device=device, requires_grad=True) for n in sizes]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = mt.tensor(gradient.astype(dtype), device=device)
        with np.errstate(all="ignore"):
            norm = optim.clip_grad_norm_(parameters, 0.5)
        assert norm.shape == () and norm.dtype == dtype and norm.device.startswith(device)
        made.append([norm.to("cpu").data, *(parameter.grad.to("cpu").data for parameter in parameters)])
    assert launched.count("norm_and_scale") == 1
    for mine, right in zip(made[1], made[0]):
        np.testing.assert_allclose(mine, right, rtol=2e-6 if dtype == "float32" else 1e-13)


def test_a_norm_over_two_types_takes_each_by_itself(launched):
    parameters = [mt.zeros((3,), dtype=dtype, device="cuda", requires_grad=True) for dtype in ("float32", "float64")]
    for parameter in parameters:
        parameter.grad = mt.full((3,), 1e30, dtype=parameter.dtype, device="cuda")
    assert optim.clip_grad_norm_(parameters, 1.0).item() == pytest.approx(math.sqrt(6) * 1e30)
    assert parameters[0].grad.tolist() == pytest.approx([1 / math.sqrt(6)] * 3)
    assert launched.count("norm_and_scale") == 2


# --- averages of weights --------------------------------------------------------------------------

SHAPES = [(3, 5), (), (7,), (0, 2), (600, 2)]


def leaves(device, dtype="float64", seed=0):
    """Parameters of ``SHAPES``, with gradients."""
    rng = np.random.default_rng(seed)
    made = [mt.tensor(rng.standard_normal(s).astype(dtype), device=device, requires_grad=True) for s in SHAPES]
    for parameter in made:
        parameter.grad = mt.tensor(rng.standard_normal(parameter.shape).astype(dtype), device=device)
    return made


@pytest.mark.parametrize("warmup", [False, True])
def test_averages_are_moved_in_one_launch(warmup, launched):
    made = []
    for device in ("cpu", "cuda"):
        parameters = leaves(device)
        optimizer, ema = optim.SGD(parameters, lr=0.1), optim.EMA(parameters, decay=0.9, warmup=warmup)
        for _ in range(3):
            optimizer.step()
            ema.update()
        ema = pickle.loads(pickle.dumps(ema)) if device == "cpu" else copy.copy(ema)
        ema.load_state_dict(ema.state_dict())
        ema.update()
        made.append([average.to("cpu").data for average in ema.state_dict()["averages"]])
    assert launched == ["averages"] * 4
    for mine, right in zip(made[1], made[0]):
        np.testing.assert_allclose(mine, right, rtol=1e-13)


def test_averages_follow_parameters_of_two_types_and_views():
    values = [np.arange(6.0), np.arange(6.0, dtype=np.float32), np.arange(6, dtype=np.float16)]
    parameters = [mt.tensor(value, device="cuda", requires_grad=True) for value in values]
    ema = optim.EMA(parameters, decay=0.5)
    parameters[0]._array = fake_device.ndarray(np.arange(12.0)[::2])
    for parameter in parameters[1:]:
        parameter.assign(parameter * 2.0)
    ema.update()
    assert [list(average.array) for average in ema.averages] == [[1.5 * i for i in range(6)]] * 3
    assert [average.dtype for average in ema.averages] == ["float64", "float32", "float32"]


# --- Adafactor ------------------------------------------------------------------------------------

MATRICES = [
    (3, 5),
    (),
    (7,),
    (260, 34),
    (0, 2),
    (2, 3, 4, 5),
    (33, 1),
    (1, 70),
    (90,),
]  # 260: two chunks of rows, 34: two strips


def adapted(device, dtype, **settings):
    """Weights, and the state, after two steps of Adafactor."""
    rng = np.random.default_rng(0)
    parameters = [mt.tensor(rng.standard_normal(s).astype(dtype), device=device, requires_grad=True) for s in MATRICES]
    optimizer = optim.Adafactor(parameters, **settings)
    for step in range(2):
        for i, parameter in enumerate(parameters):
            gradient = rng.standard_normal(parameter.shape).astype(dtype)
            parameter.grad = None if step == 1 and i == 3 else mt.tensor(gradient, device=device)
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
    state = [entry[name] for entry in optimizer.state_dict()["state"].values() for name in entry if name != "step"]
    return [value.to("cpu").data for value in [*parameters, *state]]


OTHERS = {"lr": 0.3, "weight_decay": 0.1, "eps": (1e-3, 0.5), "d": 2.0}


@pytest.mark.parametrize(
    "dtype, settings, tolerance", [("float64", OTHERS, 1e-12), ("float32", {}, 2e-5), ("float16", OTHERS, 2e-3)]
)
def test_adafactor_equals_the_cpus(settings, dtype, tolerance):
    for mine, right in zip(adapted("cuda", dtype, **settings), adapted("cpu", dtype, **settings), strict=True):
        np.testing.assert_allclose(mine, right, rtol=tolerance, atol=tolerance)


def test_adafactor_makes_seven_launches_a_step(launched):
    optim.Adafactor(leaves("cuda")[:3]).step()
    assert len(launched) == 7
    with_nan = leaves("cuda")[:3]
    with_nan[2].grad = mt.full((7,), math.nan, dtype="float64", device="cuda")
    optim.Adafactor(with_nan).step()
    assert np.isnan(with_nan[2].to("cpu").data).all() and np.isfinite(with_nan[0].to("cpu").data).all()


def test_adafactor_of_vectors_alone():
    for device in ("cuda", "cpu"):
        x = mt.tensor([1.0, -2.0], device=device, requires_grad=True)
        x.grad = mt.tensor([0.5, 0.5], device=device)
        optim.Adafactor([x], lr=0.1).step()
        assert x.tolist() == pytest.approx([1 - 0.1 * math.sqrt(2.5), -2 - 0.1 * math.sqrt(2.5)], rel=1e-5)


# --- memory ---------------------------------------------------------------------------------------


def test_flat_arrays_are_made_on_the_device_and_adam_takes_no_scratch(monkeypatch):
    from minitensor.optim import flat

    monkeypatch.setattr(flat, "move", None)  # what uploads
    parameters = [mt.ones((n,), device="cuda", requires_grad=True) for n in (15, 2)]
    (buffer,) = optim.Adam(parameters)._buffers
    assert buffer.scratch == [] and not buffer.state["exp_avg"].array.any()
    assert len(optim.Adam([mt.ones((2,), requires_grad=True)])._buffers[0].scratch) == 2


# --- precision of products ------------------------------------------------------------------------


def test_products_of_float32_in_tf32_and_back():
    from minitensor.backend import cublas

    def at_work():
        return mt.backend.matmul_precision(), cublas._precision(np.dtype(np.float32))[0]

    assert at_work() == ("float32", 68)
    with mt.backend.matmul_precision("tf32"):
        assert at_work() == ("tf32", 77)
        assert cublas._precision(np.dtype(np.float64))[0] == 70
        with mt.backend.matmul_precision("float32"):
            assert at_work() == ("float32", 68)
        assert at_work() == ("tf32", 77)
    assert at_work() == ("float32", 68)
    mt.backend.matmul_precision("tf32")
    assert at_work() == ("tf32", 77)
    mt.backend.matmul_precision("float32")


def test_precision_is_refused_where_it_would_do_nothing(monkeypatch):
    with pytest.raises(ValueError, match='must be "float32" or "tf32", got \'fast\''):
        mt.backend.matmul_precision("fast")
    monkeypatch.setattr(fake_device.Device, "compute_capability", "75")
    with pytest.raises(RuntimeError, match=r"compute capability 8.0; it has 7.5"):
        mt.backend.matmul_precision("tf32")
