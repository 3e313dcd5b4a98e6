"""Mixed precision: what runs in 16 bits and what does not, what comes back, and how nearly a run in
16 bits follows one in float32.
"""

import copy
import functools
import os
import pickle
import threading
import warnings

import ml_dtypes
import numpy as np
import pytest
from precision import MODELS, curve

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.engine.autocast import FLOAT32, PRODUCTS
from minitensor.engine.fused import FUSED
from minitensor.engine.mode import current_mode
from minitensor.engine.op import OPS

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
TYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
RNG = np.random.default_rng(0)
# The loss of each update against that of float32, relative to the first loss; measured over 30
# updates: at most 0.0049 and 0.0136, for ViT and the Transformer, and at most 0.0001 and 0.0025 for
# the recurrent models.
BOUNDS = {"float16": 0.01, "bfloat16": 0.04}


def normal(*shape):
    return RNG.standard_normal(shape).astype("float32")


def leaf(*shape):
    return mt.tensor(normal(*shape), requires_grad=True)


@pytest.fixture(params=TYPES)
def dtype(request):
    return TYPES[request.param]


# --- which types ----------------------------------------------------------------------------------


def test_the_lists_name_ops_that_there_are():
    known = set(OPS) | set(FUSED)
    assert set(PRODUCTS) | set(FLOAT32) <= known and not set(PRODUCTS) & set(FLOAT32)
    shown = mt.autocast_ops()
    assert {"matmul", "linear", "scaled_dot_product_attention"} <= set(shown["16 bits"])
    assert {"softmax", "layer_norm", "rms_norm", "cross_entropy", "sum", "exp"} <= set(shown["float32"])


def rounded(x, dtype):
    return mt.tensor(np.asarray(x.data).astype(dtype).astype("float32"), requires_grad=True)


CALLS = {
    "matmul": (lambda x, y: x @ y, [(3, 4, 5), (5, 6)]),
    "matmul of a row": (lambda x, y: x @ y, [(5,), (2, 5, 6)]),
    "einsum": (lambda x, y: mt.einsum("ij,kj->ik", x, y), [(3, 4), (5, 4)]),
    "vecdot": (mt.vecdot, [(3, 4), (3, 4)]),
    "tensordot": (lambda x, y: mt.tensordot(x, y, 1), [(3, 4), (4, 2)]),
    "linear": (F.linear, [(2, 3, 4), (5, 4), (5,)]),
    "conv2d": (F.conv2d, [(2, 3, 5, 5), (4, 3, 2, 2), (4,)]),
    "attention": (F.scaled_dot_product_attention, [(2, 3, 4), (2, 5, 4), (2, 5, 6)]),
    "packed": (lambda x: F.packed_attention(x, 2, is_causal=True), [(2, 4, 12)]),
    "rnn": (lambda *a: F.rnn(*a)[0], [(2, 3, 4), (5, 4), (5, 5), (5,), (5,)]),
    "lstm": (lambda *a: F.lstm(*a)[0], [(2, 3, 4), (20, 4), (20, 5), (20,), (20,)]),
    "gru": (lambda *a: F.gru(*a)[0], [(2, 3, 4), (15, 4), (15, 5), (15,), (15,)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_products_are_those_of_rounded_operands(name, dtype):
    """Values and gradients are those of float32, bit for bit, of operands and a cotangent rounded
    to 16 bits.
    """
    function, shapes = CALLS[name]
    inputs = [leaf(*shape) for shape in shapes]
    same = [rounded(x, dtype) for x in inputs]
    with mt.autocast(dtype):
        y = function(*inputs)
    exact = function(*same)
    assert y.dtype == dtype and np.array_equal(y.data, exact.data.astype(dtype))
    g = normal(*y.shape)
    y.backward(mt.tensor(g.astype(dtype)))
    exact.backward(mt.tensor(g.astype(dtype).astype("float32")))
    for x, z in zip(inputs, same):
        assert x.grad.dtype == np.float32 and np.array_equal(x.grad.data, z.grad.data)


def test_the_gradient_of_a_product_is_rounded_before_it_is_pulled_back(dtype):
    x, w = leaf(3, 4), leaf(5, 4)
    g = normal(3, 5) * 1e-3
    with mt.autocast(dtype):
        y = F.linear(x, w)
    y.astype("float32").backward(mt.tensor(g))
    taken = g.astype(dtype).astype("float32")
    assert not np.array_equal(taken, g)
    assert np.array_equal(w.grad.data, taken.T @ rounded(x, dtype).data)


FLOATS = {
    "softmax": F.softmax, "log_softmax": F.log_softmax, "layer_norm": F.layer_norm, "rms_norm": F.rms_norm, "sum": mt.sum,
    "mean": mt.mean, "var": mt.var, "std": mt.std, "exp": lambda x: mt.exp(-x * x), "log": lambda x: mt.log(x * x + 1.0),
    "power": lambda x: x**2, "square": mt.square, "sqrt": lambda x: mt.sqrt(x * x), "logsumexp": mt.logsumexp,
    "cumsum": lambda x: mt.cumsum(x, axis=0), "norm": mt.linalg.norm, "softplus": F.softplus,
    "cross_entropy": lambda x: F.cross_entropy(x, np.array([1, 0, 3])), "mse_loss": lambda x: F.mse_loss(x, mt.zeros_like(x)),
    "kl_div": lambda x: F.kl_div(F.log_softmax(x), F.softmax(x)), "huber_loss": lambda x: F.huber_loss(x, mt.zeros_like(x)),
    "l1_loss": lambda x: F.l1_loss(x, mt.zeros_like(x)),
    "nll_loss": lambda x: F.nll_loss(x, np.array([1, 0, 3])),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy_with_logits(x, mt.zeros_like(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_what_stays_in_float32(name, dtype):
    x = mt.tensor(normal(3, 4).astype(dtype))
    with mt.autocast(dtype):
        y = FLOATS[name](x)
    assert y.dtype == np.float32
    assert FLOATS[name](x).dtype == dtype  # outside, as ever


def test_the_wider_of_two_types_wins_elsewhere(dtype):
    narrow, wide, double = (mt.tensor(normal(3, 3).astype(t)) for t in (dtype, "float32", "float64"))
    with mt.autocast(dtype):
        assert (narrow + narrow).dtype == dtype and (narrow * wide).dtype == np.float32
        assert mt.concat([narrow, wide]).dtype == np.float32 and mt.maximum(narrow, 0.0).dtype == dtype
        assert F.gelu(narrow).dtype == dtype and F.gelu(wide).dtype == np.float32
        assert (double @ double).dtype == np.float64 and np.array_equal((double @ wide).data, double.data @ wide.data)
        assert mt.sum(double).dtype == np.float64 and F.softmax(double).dtype == np.float64
        assert (wide @ np.ones((3, 2), "float32")).dtype == dtype  # raw arrays, and lists of tensors
        assert mt.matmul([wide[0], wide[1]], wide).dtype == dtype
        assert (mt.arange(3) @ mt.arange(3)).dtype == np.int64
        other = TYPES["bfloat16" if dtype == TYPES["float16"] else "float16"]
        assert (wide.astype(other) @ wide).dtype == dtype


def test_dropout_within_attention_keeps_its_factor(dtype):
    q = leaf(2, 3, 4)
    with mt.autocast(dtype):
        y = F.scaled_dot_product_attention(q, q, mt.ones((2, 3, 1)), dropout=0.1, generator=mt.random.Generator(3))
    again = F.scaled_dot_product_attention(
        *(rounded(q, dtype),) * 2, mt.ones((2, 3, 1)), dropout=0.1, generator=mt.random.Generator(3)
    )
    assert y.dtype == dtype and np.array_equal(y.data, again.data.astype(dtype))


def test_what_is_added_to_scores_is_not_rounded(dtype):
    q, bias = leaf(2, 3, 4), mt.tensor([[0.0, -1e9, 1.0 + 2.0**-12]] * 3, requires_grad=True)
    with mt.autocast(dtype):
        y = F.scaled_dot_product_attention(q, q, q, bias=bias)
    again = F.scaled_dot_product_attention(*(rounded(q, dtype),) * 3, bias=bias)
    assert y.dtype == dtype and np.array_equal(y.data, again.data.astype(dtype))
    y.sum().backward()
    assert bias.grad.dtype == np.float32 and np.isfinite(bias.grad.data).all()


# --- the block ------------------------------------------------------------------------------------


def test_the_block_holds_where_it_stands(dtype):
    x, seen = leaf(2, 2), {}

    def look(name):
        seen[name] = (x @ x).dtype

    with mt.autocast(dtype):
        thread = threading.Thread(target=look, args=("thread",))
        thread.start()
        thread.join()
        look("inside")
        with mt.autocast(enabled=False):
            look("off")
            with mt.autocast("float16"):
                look("on again")
        with mt.no_grad():
            look("no_grad")
            assert not (x @ x).requires_grad
    look("outside")
    assert seen == {
        "thread": np.float32, "inside": dtype, "off": np.float32, "on again": np.float16, "no_grad": dtype, "outside": np.float32,
    }  # fmt: skip
    assert mt.autocast(dtype)(lambda: (x @ x).dtype)() == dtype and current_mode.get().autocast is None


def test_what_autocast_refuses():
    for wrong in ("float32", "float64", None, "int8", int):
        with pytest.raises(TypeError, match="bfloat16"):
            mt.autocast(wrong)
    with pytest.raises(TypeError, match="enabled"):
        mt.autocast("float16", enabled="no")


def test_backward_anywhere_and_a_step_within_the_block(dtype):
    """Nothing is kept between calls: a weight written to within the block counts at once."""
    w = leaf(3, 3)
    optimizer = optim.SGD([w], lr=0.5)
    grads = []
    with mt.autocast(dtype):
        for _ in range(2):
            y = mt.ones((1, 3)) @ w
            assert np.array_equal(y.data, (np.ones((1, 3), "f") @ rounded(w, dtype).data).astype(dtype))
            y.sum().backward()
            grads.append(w.grad.data.copy())
            optimizer.step()
            optimizer.zero_grad()
        y = (mt.ones((1, 3)) @ w).sum()
    y.backward()
    assert w.dtype == np.float32 and np.array_equal(grads[0], grads[1]) and np.array_equal(w.grad.data, grads[0])


def block(x, w, v):
    return F.softmax(F.linear(F.gelu(F.linear(x, w)), v))


def test_recomputed_values_have_the_types_of_the_first_run(dtype):
    found, given = [], [normal(*shape) for shape in [(2, 3), (4, 3), (3, 4)]]
    for run in (block, functools.partial(mt.checkpoint, block)):
        values = [mt.tensor(value, requires_grad=True) for value in given]
        with mt.autocast(dtype):
            y = run(*values)
        with mt.autocast("float16"):  # another mode at the time of backward
            (y * mt.arange(3)).sum().backward()
        found.append([y.data, *(x.grad.data for x in values)])
    assert all(np.array_equal(a, b) for a, b in zip(*found))


def second_order(x, w, v):
    (g,) = mt.grad((block(x, w, v) ** 2).sum(), [w], create_graph=True)
    return mt.grad((g * g).sum(), [x, w, v])


def test_derivatives_of_derivatives(dtype):
    values = leaf(2, 3), leaf(4, 3), leaf(3, 4)
    with mt.autocast(dtype):
        found = second_order(*values)
    for got, exact in zip(found, second_order(*values)):
        assert got.dtype == np.float32
        assert np.abs(got.data - exact.data).max() <= 0.1 * np.abs(exact.data).max()


def test_transforms(dtype):
    x, w, v = leaf(5, 2, 3), leaf(4, 3), leaf(3, 4)
    with mt.autocast(dtype):
        mapped = mt.vmap(block, in_axes=(0, None, None))(x, w, v)
        each = mt.stack([block(one, w, v) for one in x])
        assert mapped.dtype == each.dtype == np.float32 and np.abs(mapped.data - each.data).max() < 0.01
        heads = mt.vmap(lambda q: F.scaled_dot_product_attention(q, q, q))(x)
        assert heads.dtype == dtype
        out, pull = mt.vjp(block, x[0], w, v)
        rows = pull(mt.ones(out.shape) * mt.arange(3))
        out, column = mt.jvp(block, (x[0], w, v), (x[0], w, v))
    y = block(x[0], w, v)
    exact = mt.grad((y * mt.arange(3)).sum(), [w])[0]
    assert rows[1].dtype == np.float32 and np.abs(rows[1].data - exact.data).max() < 0.05
    slope = mt.jvp(block, (x[0], w, v), (x[0], w, v))[1]
    assert column.dtype == np.float32 and np.abs(column.data - slope.data).max() < 0.05


def test_profiles_and_traces_see_the_casts():
    x, w = leaf(2, 3), leaf(4, 3)
    with mt.autocast("float16"), mt.profile() as profile, mt.backward_trace():
        F.linear(x, w).sum().backward()
    assert "astype" in str(profile) and x.grad.dtype == np.float32


# --- overflow -------------------------------------------------------------------------------------


def test_small_gradients_are_lost_without_a_scale_and_kept_with_one():
    for scale, kept in ((1.0, False), (1024.0, True)):
        w, scaler = mt.tensor([[2.0]], requires_grad=True), optim.GradScaler(scale)
        with mt.autocast("float16"):
            loss = (mt.ones((1, 1)) @ w).sum() * 1e-8
        optimizer = optim.SGD([w], lr=1.0)
        scaler.scale(loss).backward()
        assert scaler.unscale_(optimizer)
        assert (w.grad.item() > 0) is kept
        if kept:
            assert w.grad.item() == pytest.approx(1e-8, rel=2e-3)  # 16 bits, and fewer of so small a number


def overflowing(scale=2.0**14, **named):
    """A parameter, and a loss whose gradient fits float16 up to a scale of 2048."""
    w = mt.tensor([[1.0], [2.0]], requires_grad=True)
    optimizer, scaler = optim.Adam([w], lr=0.5), optim.GradScaler(scale, **named)

    def loss():
        with mt.autocast("float16"):
            return (mt.ones((1, 2)) @ w).sum() * 20.0

    return w, optimizer, scaler, loss


def test_an_overflow_skips_the_step_and_lowers_the_scale():
    w, optimizer, scaler, loss = overflowing(growth_interval=2)
    before, told = w.data.copy(), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8):
            scaler.scale(loss()).backward()
            told.append(scaler.step(optimizer))
            if not any(told):
                assert np.array_equal(w.data, before) and not optimizer.state_dict()["state"]
            scaler.update()
            optimizer.zero_grad()
    assert told == [False, False, False, True, True, False, True, True]  # 2048 is good, 4096 is not
    assert scaler.skipped == 4 and scaler.get_scale() == 4096 and "skipped=4" in repr(scaler)
    assert optimizer.state_dict()["state"]["0"]["step"] == 4


def test_the_scale_is_that_which_why_nan_advises():
    w, optimizer, scaler, loss = overflowing()
    finding = mt.why_nan(lambda: scaler.scale(loss()))
    assert finding.cause == "16-bit overflow" and finding.phase == "backward" and finding.op == "matmul"
    assert "GradScaler" in finding.cure and "relative to this loss" in finding.notes[-1]
    advised = scaler.get_scale() * finding.loss_scale
    while not scaler.step(optimizer) if w.grad is not None else True:
        scaler.update() if w.grad is not None else None
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
    assert advised == scaler.get_scale() == 2048
    with pytest.raises(FloatingPointError, match="gradient rounded to float16"), mt.detect_anomaly():
        optim.GradScaler(4096.0).scale(loss()).backward()
    assert mt.why_nan(loss) is None


def test_a_cast_that_overflows_is_found():
    x = mt.tensor([[1e5]], requires_grad=True)
    with mt.autocast("float16"):
        finding = mt.why_nan(lambda: (x @ x).sum())
    assert finding.op == "astype" and finding.cause == "16-bit overflow"


def test_the_state_of_a_scaler_goes_on_where_it_was():
    w, optimizer, scaler, loss = overflowing(growth_interval=3)
    for _ in range(5):
        scaler.scale(loss()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    other = optim.GradScaler(growth_interval=3)
    other.load_state_dict(scaler.state_dict())
    assert repr(other) == repr(scaler) and other.state_dict() == {"scale": 2048.0, "in_a_row": 2, "skipped": 3}
    assert all(repr(one) == repr(scaler) for one in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))))
    for wrong in (
        {},
        {"scale": -1.0, "in_a_row": 0, "skipped": 0},
        {"scale": 1.0, "in_a_row": 0.5, "skipped": 0},
        None,
    ):
        with pytest.raises(ValueError):
            other.load_state_dict(wrong)
    assert repr(other) == repr(scaler)


def test_the_order_of_the_calls():
    _, optimizer, scaler, loss = overflowing(1.0)
    with pytest.raises(RuntimeError, match="nothing to go by"):
        scaler.update()
    scaler.scale(loss()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscale_ has been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for call, match in ((scaler.step, "second step"), (scaler.unscale_, "step has been called")):
        with pytest.raises(RuntimeError, match=match):
            call(optimizer)
    scaler.update()
    for wrong, value in (("init_scale", 0), ("growth_factor", 1), ("backoff_factor", 1), ("growth_interval", 0)):
        with pytest.raises(ValueError, match=wrong):
            optim.GradScaler(**{wrong: value})
    with pytest.raises(TypeError, match="optimiser"):
        scaler.step(None)
    with pytest.raises(TypeError, match="tensor"):
        scaler.scale(1.0)


def test_a_scaler_that_is_not_enabled_does_nothing():
    w, optimizer, scaler, loss = overflowing(enabled=False)
    made = loss()
    assert scaler.scale(made) is made and scaler.get_scale() == 1
    made.backward()
    assert scaler.unscale_(optimizer) and scaler.step(optimizer) and w.data[0, 0] < 1
    scaler.update()


def test_gradients_that_are_read_and_parameters_without_one():
    w, unused = mt.tensor([[1.0], [2.0]], requires_grad=True), leaf(3)
    optimizer, scaler = optim.SGD([w, unused], lr=0.0), optim.GradScaler(8.0)
    scaler.scale((mt.ones((1, 2)) @ w).sum()).backward()
    read = w.grad
    scaler.unscale_(optimizer)
    assert np.array_equal(read.data, [[8.0], [8.0]]) and np.array_equal(w.grad.data, [[1.0], [1.0]])
    assert scaler.step(optimizer) and unused.grad is None
    empty = optim.SGD([mt.zeros((0,), requires_grad=True)], lr=0.1)
    assert scaler.step(empty)


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact():
    return functools.cache(lambda name, steps: curve(name, "float32", steps)[0])


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_follows_its_loss_in_float32(name, precision, exact):
    steps = 30 if THOROUGH else 6
    losses, scaler, model = curve(name, precision, steps)
    first = exact(name, steps)
    assert np.abs(losses - first).max() <= BOUNDS[precision] * first[0]
    assert not np.array_equal(losses, first) and losses.dtype == np.float64 and scaler.skipped == 0
    assert all(p.dtype == np.float32 for p in model.parameters())


def test_layers_give_the_types_that_one_expects(dtype):
    x = mt.tensor(normal(2, 3, 8))
    with mt.autocast(dtype):
        assert nn.Linear(8, 4)(x).dtype == dtype and nn.LayerNorm(8)(x.astype(dtype)).dtype == np.float32
        assert nn.MultiHeadAttention(8, 2)(x).dtype == dtype
        assert nn.Embedding(5, 8)(np.array([1, 2])).dtype == np.float32
        for cell in (nn.RNN, nn.LSTM, nn.GRU):
            assert cell(8, 4)(x)[0].dtype == dtype
