"""float16 and bfloat16 over the whole table: values and gradients are those of float64, rounded.

A function is given numbers of 16 bits, and the same numbers in float64. Its result may differ from
that of float64 by a rounding or two of its own type, by what a rounding of the inputs would change,
since functions written in several ops round in between, and by what float32, in which it is
computed, loses when large terms cancel::

    |narrow - exact| <= 2 eps |exact| + 2 max |f(x (1 + eps u)) - f(x)| + 1e-5 max |exact| + tiny

with u = +-1, drawn, and the smallest number tiny.
"""

import sys

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import is_floating

FIXED = {"ops.astype", "F.one_hot"}  # their results have a type of their own
FLOAT64, TYPES = np.dtype(np.float64), [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
DRAWS = hypothesis.settings(
    max_examples=3, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate]
)


def is_float(value):
    return isinstance(value, np.ndarray) and is_floating(value.dtype)


def plain(value):
    return np.asarray(value.data) if isinstance(value, mt.Tensor) else value


def shifted(values, eps, rng):
    """``values`` with every float moved by the relative step ``eps``, up or down."""
    return [np.asarray(v * (1 + eps * rng.choice([-1.0, 1.0], size=v.shape))) if is_float(v) else v for v in values]


def call(row, values, keywords, dtype, cotangents=None):
    """What the row's function gives for floats of ``dtype``, and the gradients if ``cotangents``
    are given: Tensors, or None.
    """
    mt.random.seed(0)
    keywords = {name: plain(value) for name, value in keywords.items()}
    keywords = {name: mt.tensor(value, dtype=dtype) if is_float(value) else value for name, value in keywords.items()}
    inputs = [mt.tensor(value, dtype=dtype) if is_float(value) else value for value in values]
    wanted = range(len(values)) if row.wanted is None else row.wanted
    leaves = [inputs[i].requires_grad_() for i in wanted if row.order and is_float(values[i])]
    outs = row.function(*inputs, **keywords)
    outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
    ends = [(out, mt.tensor(c, dtype=dtype)) for out, c in zip(outs, cotangents or ()) if out.requires_grad]
    return outs + (mt.grad([out for out, _ in ends], leaves, [c for _, c in ends], allow_unused=True) if ends else [])


def float64_of(found):
    return [None if one is None else np.asarray(one.data, dtype=float) for one in found]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE])
def test_sixteen_bits_are_float64_rounded(row, dtype):
    limits = ml_dtypes.finfo(dtype)
    eps, smallest, largest = float(limits.eps), float(limits.smallest_subnormal), float(limits.max)

    @DRAWS
    @hypothesis.given(row.cases, st.integers(0, 99))
    def check(case, seed):
        rng = np.random.default_rng(seed)
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        values = [plain(v) for v in case if not isinstance(v, dict)]
        values = [v.astype(dtype).astype(float) if is_float(v) else v for v in values]
        outs = call(row, values, keywords, FLOAT64)
        cotangents = [np.asarray(rng.normal(size=out.shape)).astype(dtype).astype(float) for out in outs]
        exact = float64_of(call(row, values, keywords, FLOAT64, cotangents))
        found = call(row, values, keywords, dtype, cotangents)
        for out, wide in zip(found, [] if str(row) in FIXED else outs):
            assert out.dtype == (dtype if is_floating(wide.dtype) else wide.dtype)
        near = [
            float64_of(call(row, shifted(values, eps, rng), keywords, FLOAT64, shifted(cotangents, eps, rng)))
            for _ in range(4)
        ]
        assert len(found) == len(exact)
        for k, (got, right) in enumerate(zip(float64_of(found), exact)):
            if right is None:
                assert got is None
                continue
            change = np.max([np.abs(one[k] - right) for one in near], axis=0)
            cancelled = 1e-5 * np.abs(right).max(initial=1.0)
            bound = 2 * eps * np.abs(right) + 2 * change + smallest + cancelled
            fits = np.abs(got - right) <= bound
            assert (fits | (np.isinf(got) & (np.abs(right) + bound > largest))).all(), (
                k,
                got[~fits],
                right[~fits],
                bound[~fits],
            )

    check()


# --- sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_what_was_broadcast_used_often_or_tied_is_summed_in_float32(dtype):
    b = mt.zeros((2,), dtype=dtype, requires_grad=True)
    (mt.ones((4096, 2), dtype=dtype) + b).sum().backward()
    assert b.grad.dtype == dtype and b.grad.tolist() == [4096.0, 4096.0]
    x = mt.tensor(1.0, dtype=dtype, requires_grad=True)
    total = mt.stack([x * 1.0 for _ in range(3000)]).sum()
    total.backward(retain_graph=True)
    assert float(x.grad) == float(total) == float(np.asarray(3000.0).astype(dtype))
    for _ in range(9):
        total.backward(retain_graph=True)  # ten times 3000 in the leaf
    assert float(x.grad) == float(np.asarray(30_000.0).astype(dtype))
    tied = mt.ones((70_000,), dtype=dtype, requires_grad=True)
    tied.max().backward()
    assert float(tied.grad[0]) == float(np.asarray(1 / 70_000).astype(dtype))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_gradients_are_handed_out_in_the_type_of_the_tensor(dtype):
    x = mt.tensor([1.5, 2.0], dtype=dtype, requires_grad=True)
    seen, y = [], x * 2.0
    y.register_hook(lambda g: seen.append(g.dtype))
    y.retain_grad()
    (y * y).sum().backward()
    assert seen == [dtype] and y.grad.dtype == x.grad.dtype == dtype
    first = mt.grad((x * x * x).sum(), x, create_graph=True)
    second = mt.grad(first.sum(), x)
    assert first.dtype == second.dtype == dtype and second.tolist() == [9.0, 12.0]
    x.grad = mt.tensor([1.0, 2.0], dtype=dtype)
    assert x.grad.dtype == dtype and x.grad.tolist() == [1.0, 2.0]


# --- types ----------------------------------------------------------------------------------------


def test_bfloat16_by_its_name_at_every_door(tmp_path):
    made = [
        mt.tensor([1.5, 2.0], dtype="bfloat16"), mt.asarray([1.5, 2.0], dtype="bfloat16"), mt.full((2,), 1.5, dtype="bfloat16"),
        mt.zeros((2,), dtype="bfloat16"), mt.ones((2,), dtype="bfloat16"), mt.arange(2, dtype="bfloat16"),
        mt.eye(2, dtype="bfloat16"), mt.linspace(0, 1, 3, dtype="bfloat16"), mt.ones((2,)).astype("bfloat16"),
        mt.zeros_like(mt.ones((2,)), dtype="bfloat16"), mt.random.normal((2,), dtype="bfloat16"),
        mt.random.uniform((2,), dtype="bfloat16"), next(nn.Linear(2, 2).astype("bfloat16").parameters()),
        mt.asarray(np.ones(2, TYPES[1])),
    ]  # fmt: skip
    assert all(one.dtype == TYPES[1] for one in made)
    mt.save(tmp_path / "x", {"x": made[0]})
    assert mt.load(tmp_path / "x")["x"].dtype == TYPES[1] and mt.load(tmp_path / "x")["x"].tolist() == [1.5, 2.0]


def test_what_16_bits_become_beside_other_types():
    half, brain = (mt.ones((2,), dtype=dtype) for dtype in TYPES)
    for x in (half, brain):
        assert (x * 2.0).dtype == (3 - x).dtype == (x**2).dtype == mt.where(x > 0, x, 0.0).dtype == x.dtype
        assert (x * mt.ones((2,))).dtype == "float32" and (x * np.ones(2)).dtype == "float64"
        assert (x > 0).dtype == bool and mt.argmax(x).dtype == "int64" and mt.isfinite(x).dtype == bool
        assert (x * mt.tensor([True, False])).dtype == x.dtype
    assert (half * brain).dtype == "float32"


def test_types_that_are_none_are_listed(monkeypatch):
    for wrong in ("float8", "complex64", object, "U3", ml_dtypes.float8_e4m3fn):
        with pytest.raises(TypeError, match="float16, bfloat16, float32"):
            mt.ones((2,), dtype=wrong)
    with pytest.raises(TypeError, match="holds numbers or truth values"):
        mt.tensor(np.ones(2, ml_dtypes.float8_e4m3fn))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="pip install ml_dtypes"):
        mt.ones((2,), dtype="bfloat16")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool"])
def test_functions_of_floats_give_float32_for_integers(dtype):
    x = mt.tensor(np.array([1, 0, 1, 1]), dtype=dtype)
    wide = x.astype("float64")
    functions = (
        mt.exp, mt.sqrt, mt.sin, mt.tanh, mt.erf, mt.expm1, mt.arctan, mt.mean, mt.var, mt.std, mt.norm, mt.logsumexp,
        lambda x: mt.norm(x, ord=1), lambda x: mt.norm(x, ord=np.inf), lambda x: mt.logaddexp(x, x), lambda x: mt.divide(x, 3),
    )  # fmt: skip
    for function in functions:
        found = function(x)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found.data, function(wide).data, rtol=1e-6)


def test_integers_of_few_bits_do_not_wrap_in_functions_of_floats():
    x = mt.tensor(np.array([-128, 127], np.int8))
    np.testing.assert_allclose(
        [mt.norm(x).item(), mt.norm(x, ord=1).item(), mt.norm(x, ord=np.inf).item()], [180.3136, 255, 128], rtol=1e-6
    )
    assert mt.linalg.vector_norm(x, ord=3).item() == pytest.approx((128**3 + 127**3) ** (1 / 3))
    assert mt.linalg.matrix_norm(x[None], ord=np.inf).item() == 255.0
    assert mt.var(x).item() == 127.5**2 and mt.logsumexp(x).item() == 127.0
    assert mt.exp(mt.tensor(np.array([12], np.uint8))).item() == pytest.approx(162754.79)
    assert mt.exp(True).dtype == "float32"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "uint32", "bool"])
def test_layers_and_losses_of_integers_are_those_of_floats(dtype):
    few = np.array([1, 0, 1, 1]) if dtype == "bool" else np.array([1, 2, np.iinfo(dtype).min, np.iinfo(dtype).max])
    x = mt.tensor(few.astype(dtype))
    ends = mt.tensor(np.array([0, 1, 1, 0]).astype(dtype))
    kernel = (1, 1, 2, 2)
    functions = (
        F.softplus, F.silu, F.elu, lambda x: F.mse_loss(x, mt.flip(x)), lambda x: F.l1_loss(mt.flip(x), x),
        lambda x: F.huber_loss(x, mt.flip(x)), lambda x: F.binary_cross_entropy_with_logits(x, ends.astype(x.dtype)),
        lambda x: F.binary_cross_entropy_with_logits(mt.tensor([1.0, -2.0, 0.5, 3.0]), ends.astype(x.dtype)),
        lambda x: F.kl_div(x, ends.astype(x.dtype)), lambda x: F.linear(x, x.reshape((1, 4))),
        lambda x: F.conv2d(x.reshape(kernel), x.reshape(kernel)),
    )  # fmt: skip
    for function in functions:
        found = function(x)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found.data, function(x.astype("float64")).data, rtol=1e-5, atol=1e-38)


@pytest.mark.parametrize(
    "call",
    [lambda x: x + 300, lambda x: -1 * x, lambda x: x**-1, lambda x: mt.maximum(x, 300), lambda x: mt.clip(x, 0, 300)],
)
def test_numbers_that_an_integer_type_cannot_hold(call):
    with pytest.raises(ValueError, match=r"\w+\(.*uint8.*out of bounds.*write the number as a float"):
        call(mt.tensor(np.array([1], np.uint8)))


# --- optimisers -----------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda w: optim.SGD(w, lr=1.0),
    "momentum": lambda w: optim.SGD(w, lr=1e-4, momentum=0.9, weight_decay=0.1),
    "adam": lambda w: optim.Adam(w, lr=1e-4),
    "adamw": lambda w: optim.AdamW(w, lr=1e-4),
    "rmsprop": lambda w: optim.RMSprop(w, lr=1e-4),
    "adafactor": lambda w: optim.Adafactor(w, lr=1e-4),
}


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_of_16_bits_are_float32_ones_rounded(name, dtype):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4)).astype(dtype)
    narrow, wide = nn.Parameter(start), nn.Parameter(start.astype(np.float32))
    a, b = OPTIMIZERS[name]([narrow]), OPTIMIZERS[name]([wide])
    for step in range(30):
        gradient = (1e-4 * rng.normal(size=(3, 4))).astype(dtype)
        narrow.grad, wide.grad = mt.tensor(gradient), mt.tensor(gradient.astype(np.float32))
        a.step(), b.step()
        if step == 15:
            saved, a = a.state_dict(), OPTIMIZERS[name]([narrow])
            a.load_state_dict(saved)
        np.testing.assert_array_equal(narrow.data, wide.data.astype(dtype))
    assert (narrow.data != start).any()
    narrow.assign(0.5)  # the master follows
    narrow.grad = mt.zeros((3, 4), dtype=dtype)
    OPTIMIZERS["sgd"]([narrow]).step()
    assert (narrow.data == 0.5).all()


def test_a_master_follows_what_is_written_to_its_parameter():
    w = nn.Parameter(np.ones(2, np.float16))
    optimizer = optim.SGD([w], lr=1e-4)
    for _ in range(3):
        w.grad = mt.ones((2,), dtype="float16")
        optimizer.step()
    w.assign(2.0)
    optimizer.step()
    assert w.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(optimizer.state_dict()["state"]["0"]["master"].data, 2.0 - 1e-4, rtol=1e-6)


def test_averages_of_16_bits_are_kept_in_float32():
    w = nn.Parameter(np.ones(1, np.float16))
    ema = optim.EMA([w], decay=0.999)
    w.assign(2.0)
    for _ in range(1000):
        ema.update()
    with ema.applied():
        assert w.dtype == "float16" and float(w[0]) == pytest.approx(2 - 0.999**1000, abs=1e-3)


def test_clipping_of_16_bits():
    w = nn.Parameter(np.zeros(2, np.float16))
    (w * mt.tensor([300.0, 400.0])).sum().backward()
    assert float(optim.clip_grad_norm_([w], 1.0)) == 500.0
    np.testing.assert_allclose(w.grad.data, [0.6, 0.8], rtol=1e-3)
    optim.clip_grad_value_([w], 0.7)
    np.testing.assert_allclose(w.grad.data, [0.6, 0.7], rtol=1e-3)
