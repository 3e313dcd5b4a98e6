"""Each compiled CPU kernel against the NumPy kernel of the same op: values and gradients, at sizes
where the work falls into several parts, and where numbers are infinite, NaN, huge or tied.

``benchmarks/mutants.py --compiled`` makes the kernels wrong and asks whether these tests see it.
"""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim
from minitensor.backend import cpu
from minitensor.nn.functional.recurrent_gru import packed_gru
from minitensor.nn.functional.recurrent_lstm import packed_lstm
from minitensor.nn.functional.recurrent_rnn import packed_rnn
from tests.backend.parity import _results, nowhere
from tests.backend.test_kernels import sure_rows

pytest.importorskip("numba", reason="compiled kernels need numba: pip install -e '.[fast]'")
from minitensor.backend.compiled import kernels  # noqa: E402


@pytest.fixture(autouse=True)
def compiled():
    """The kernels are as they were after each test."""
    was = kernels.on
    yield
    kernels.switch(was)


def draw(*shape, seed=0, scale=1.0):
    """Fixed normal numbers."""
    return scale * np.random.default_rng(seed).standard_normal(shape)


FAR = [0.0, -0.0, 1e-30, 12.0, -12.0, 41.0, -41.0, 88.0, -88.0, 104.0, -104.0, 2e30, -2e30, np.inf, -np.inf, np.nan]


def line(*shape):
    """Normal numbers, wide, with those of FAR in front and behind; (5, 3277) is one element more
    than a part.
    """
    x = draw(*shape, scale=3.0)
    x.reshape(-1)[: len(FAR)] = FAR
    x.reshape(-1)[-len(FAR) :] = FAR
    return x


def rows(*shape, far=300.0):
    """Rows of normal numbers: one with ties, one that begins with its greatest, one that ends with
    it, one that is ``far`` from 0.
    """
    x = draw(*shape, scale=2.0)
    flat = x.reshape(-1, shape[-1])
    flat[0, :] = np.round(flat[0, :])
    flat[1, 0] = flat[2, -1] = 9.0
    flat[-1] += far
    return x


HIDDEN = np.array([[1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)  # of the second sequence nothing is seen
TARGETS = np.array([0, 8, -100, 3, 3, 1])
BOTH_ENDS = np.arange(40) % 2 * 899


def normed(function, *parameters, **keywords):
    return lambda x: function(x, *(mt.tensor(p.astype(x.dtype)) for p in parameters), **keywords)


def attend(**keywords):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **keywords)


def heads(queries, keys, features=3, width=5, lead=(2, 3)):
    return [draw(*lead, queries, features), draw(*lead, keys, features, seed=1), draw(*lead, keys, width, seed=2)]


def weights(gates, inside, hidden, seed=0):
    """W_ih, W_hh, b_ih and b_hh."""
    shapes = (gates * hidden, inside), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)
    return [draw(*shape, seed=seed + i, scale=hidden**-0.5) for i, shape in enumerate(shapes)]


def added(x, y, in_place):
    """The sum of the arrays of two Tensors."""
    x, y = np.array(x.data), np.array(y.data)
    return cpu.add(x, y, out=x if in_place else None)


def huge(x):
    """A number whose square overflows in the type of x."""
    return 1e200 if x.dtype == np.float64 else 1e25


def sequences(op, gates, states, steps, batch, inside, hidden, biases=2, lengths=None, **keywords):
    """``(function, inputs)`` of a recurrent op."""
    given = weights(gates, inside, hidden)[: 2 + biases]
    inputs = [draw(steps, batch, inside, seed=5), *(draw(batch, hidden, seed=6 + i) for i in range(states)), *given]

    def function(*arrays):
        named = dict(zip(("bias_ih", "bias_hh"), arrays[len(arrays) - biases :] if biases else ()))
        arrays = arrays[: len(arrays) - biases] if biases else arrays
        return op(*arrays, **named, **keywords, **({} if lengths is None else {"lengths": np.array(lengths)}))

    return function, inputs


RECURRENT = {"lstm": (packed_lstm, 4, 2), "gru": (packed_gru, 3, 1), "rnn": (packed_rnn, 1, 1)}
RUNS = {
    "plain": {"sizes": (3, 2, 4, 5)}, "reverse": {"sizes": (3, 2, 4, 5), "reverse": True},
    "no bias": {"sizes": (2, 3, 2, 4), "biases": 0},
    "lengths": {"sizes": (4, 3, 2, 5), "lengths": [4, 1, 2]},
    "lengths reverse": {"sizes": (4, 3, 2, 5), "lengths": [2, 4, 3], "reverse": True},
}  # fmt: skip
WIDE = {"lstm": (2, 30, 3, 97), "gru": (2, 40, 3, 97), "rnn": (2, 116, 3, 97)}  # two parts of the hidden units

CASES = {
    "elements relu": (F.relu, [line(5, 3277)]),
    "elements gelu": (F.gelu, [line(5, 3277)]),
    "elements gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [line(5, 3277)]),
    "elements silu": (F.silu, [line(5, 3277)]),
    "elements dropout": (lambda x: F.dropout(x, 0.3), [line(5, 3277)]),
    "elements add": (lambda x, y: mt.tensor(added(x, y, False)), [line(5, 3277), draw(5, 3277, seed=1)]),
    "elements add in place": (lambda x, y: mt.tensor(added(x, y, True)), [draw(5, 7), draw(5, 7, seed=1)]),
    "rows softmax": (F.softmax, [rows(7, 40)]),
    "rows softmax wide": (F.softmax, [rows(5, 6001)]),
    "rows softmax one": (F.softmax, [draw(5, 1)]),
    "rows log_softmax": (F.log_softmax, [rows(7, 40)]),
    "rows log_softmax wide": (F.log_softmax, [rows(5, 6001)]),
    "rows log_softmax sure": (F.log_softmax, [np.diag([30.0, 40.0, 3.0, 20.0]) + draw(4, 4)]),
    "rows log_softmax one": (F.log_softmax, [draw(5, 1)]),
    "rows layer_norm": (F.layer_norm, [rows(5, 6001, far=5.0), draw(6001, seed=1), draw(6001, seed=2)]),
    "rows layer_norm many": (F.layer_norm, [rows(60, 600, far=5.0), draw(600, seed=1), draw(600, seed=2)]),
    "rows layer_norm plain": (F.layer_norm, [rows(7, 40, far=5.0)]),
    "rows layer_norm large eps": (lambda x: F.layer_norm(x, eps=0.5), [rows(7, 40, far=5.0)]),
    "rows layer_norm huge": (lambda x: F.layer_norm(x * huge(x)), [rows(7, 40, far=5.0)]),
    "rows rms_norm huge": (lambda x: F.rms_norm(x * huge(x)), [rows(7, 40, far=5.0)]),
    "rows rms_norm": (F.rms_norm, [rows(7, 130), draw(130, seed=1)]),
    "rows cross_entropy": (F.cross_entropy, [rows(6, 9), TARGETS]),
    "rows cross_entropy smooth": (lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1, reduction="none"), [rows(6, 9), TARGETS]),
    "rows cross_entropy wide": (F.cross_entropy, [rows(40, 900), BOTH_ENDS]),
    "rows cross_entropy sure": (lambda x, t: F.cross_entropy(x, t, reduction="none"), [30 * np.eye(4) + draw(4, 4), np.arange(4)]),
    "rows symmetric_kl": (F.symmetric_kl_div, [rows(3, 2, 4, 9)]),
    "rows symmetric_kl wide": (F.symmetric_kl_div, [rows(2, 2, 2, 6001)]),
    "rows symmetric_kl many": (F.symmetric_kl_div, [rows(5, 2, 3, 700)]),
    "rows symmetric_kl sure": (F.symmetric_kl_div, [20 * np.eye(4) + draw(2, 2, 4, 4)]),
    "rows symmetric_kl nearly sure": (F.symmetric_kl_div, [6 * np.eye(4) + draw(2, 2, 4, 4)]),
    "rows symmetric_kl nowhere": (F.symmetric_kl_div, [nowhere(draw(2, 2, 4, 5))]),
    "rows symmetric_kl one": (F.symmetric_kl_div, [draw(3, 2, 2, 1)]),
    "rows linear": (F.linear, [draw(70, 20), draw(150, 20, seed=1), draw(150, seed=2)]),
    "attention": (attend(), heads(4, 6)),
    "attention scale": (attend(scale=0.7), heads(4, 6)),
    "attention causal": (attend(is_causal=True), heads(70, 90)),
    "attention causal long": (attend(is_causal=True), heads(150, 70, lead=(1, 2))),
    "attention large scores": (attend(scale=1e5), heads(4, 6)),
    "attention many": (attend(), heads(260, 9)),
    "attention mask of keys": (attend(mask=HIDDEN[:, None, None]), heads(4, 6)),
    "attention mask of pairs": (attend(mask=draw(2, 1, 4, 6) > 0), heads(4, 6)),
    "attention mask of queries": (attend(mask=draw(2, 3, 4, 1) > 0), heads(4, 6)),
    "attention mask causal": (attend(mask=draw(1, 3, 70, 70) > -0.5, is_causal=True), heads(70, 70)),
    "attention dropout": (attend(dropout=0.3), heads(5, 6)),
    "attention dropout causal": (attend(dropout=0.3, is_causal=True), heads(70, 71)),
    "attention packed": (lambda x: F.packed_attention(x, 3, is_causal=True), [draw(2, 5, 18)]),
    **{
        f"recurrent {kind} {name}": sequences(*RECURRENT[kind], *run["sizes"], **{k: run[k] for k in run if k != "sizes"})
        for kind in RECURRENT for name, run in RUNS.items()
    },
    **{
        f"recurrent {kind} wide": sequences(*RECURRENT[kind], *WIDE[kind], lengths=[2, *[1] * (WIDE[kind][1] - 1)])
        for kind in RECURRENT
    },
    "recurrent rnn relu": sequences(*RECURRENT["rnn"], 3, 2, 4, 5, nonlinearity="relu"),
    "products rows": (F.linear, [draw(1030, 70), draw(40, 70, seed=1), draw(40, seed=2)]),
    "products columns": (F.linear, [draw(40, 70), draw(600, 70, seed=1), draw(600, seed=2)]),
    "products no bias": (F.linear, [draw(130, 70), draw(61, 70, seed=1)]),
    "products stack": (lambda x, y: x @ y, [draw(5, 3, 20, 40), draw(3, 40, 30, seed=1)]),
    "products many": (lambda x, y: x @ y, [draw(9, 70, 40), draw(9, 40, 70, seed=1)]),
}  # fmt: skip


def both(function):
    """What ``function()`` gives in NumPy and on the kernels."""
    found = []
    for on in (False, True):
        kernels.switch(on)
        with np.errstate(all="ignore"):
            found.append(function())
    return found


def check(found, dtype, exact=False):
    """Compare lists of arrays."""
    for right, mine in zip(*found, strict=True):
        assert (right.shape, right.dtype) == (mine.shape, mine.dtype)
        if exact:
            np.testing.assert_array_equal(mine, right)
        else:
            single = dtype == np.float32
            top = np.abs(right[np.isfinite(right)]).max(initial=1e-30)
            np.testing.assert_allclose(
                mine, right, rtol=2e-5 if single else 1e-10, atol=(3e-6 if single else 1e-13) * min(top, 100.0)
            )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_kernels_give_what_numpy_gives(name, dtype):
    function, inputs = CASES[name]
    check(both(lambda: _results(function, inputs, {}, None, "cpu", np.dtype(dtype), 1)), dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_gradient_of_a_sure_log_softmax_keeps_its_digits(dtype):
    y, g, want = sure_rows(dtype)
    gx = np.empty_like(y)
    kernels.switch(True)
    kernels.run("log_softmax_gradient", y, g, gx)
    np.testing.assert_allclose(gx, want, rtol=2e-5 if dtype == np.float32 else 1e-13)


# --- what is no fused op --------------------------------------------------------------------------


def step(kind, dtype, count, **settings):
    """A parameter and its gradient after two steps, the gradients clipped; p has infinities."""
    p = mt.nn.Parameter(mt.tensor(np.concatenate([[np.inf, -np.inf], draw(count)]).astype(dtype)))
    optimiser = kind([p], lr=0.1, **settings)
    for seed in (1, 2):
        p.grad = mt.tensor(np.concatenate([[0.0, 0.0], draw(count, seed=seed)]).astype(dtype))
        optim.clip_grad_norm_([p], 1.0)
        optimiser.step()
    return [p.data.copy(), p.grad.data.copy()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.7), "eps": 0.1}])
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_updates_are_those_of_numpy(kind, settings, dtype):
    check(both(lambda: step(kind, dtype, 32_767, **settings)), dtype)


@pytest.mark.parametrize("counter", [3, 2**64 - 700, 2**64])
@pytest.mark.parametrize("count", [4096, 16_385, 33_023])
def test_updates_random_words_are_those_of_numpy(count, counter):
    check(both(lambda: [cpu.random_bits((7, 2**63 + 5), counter, count)]), np.float64, exact=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("counter", [3, 2**64 - 700])
@pytest.mark.parametrize("count", [4099, 16_385, 33_025])
def test_updates_dropout_draws_what_numpy_draws(count, counter, dtype):
    ones = np.ones(count, dtype)
    check(both(lambda: [F.dropout(ones, 0.3, generator=mt.random.Generator(7, 3, counter)).data]), dtype, exact=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_updates_sums_of_rows_are_those_of_numpy(dtype):
    ids = np.random.default_rng(0).integers(-50, 50, (90,))
    ids[ids == 7] = 8
    check(
        both(
            lambda: _results(
                lambda table: F.embedding(ids % 50, table), [draw(50, 900)], {}, None, "cpu", np.dtype(dtype), 1
            )
        ),
        dtype,
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("place", [0, 16_383, 16_384, 32_768])
@pytest.mark.parametrize(
    "value, moderate", [(1e15, False), (-1e15, False), (9e14, True), (-9e14, True), (np.nan, False), (np.inf, False)]
)
def test_updates_whatever_is_not_moderate_is_found(place, value, moderate, dtype):
    x = np.ones(32_769, dtype)
    x[place] = value
    assert [cpu.surely_moderate(*made) for made in both(lambda: [x])] == [moderate, moderate]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_updates_sums_of_squares_are_those_of_numpy(dtype):
    x, totals = draw(32_769).astype(dtype), np.empty(3, dtype)
    kernels.switch(True)
    kernels.run("squares", x, totals)
    want = [np.dot(part, part) for part in (x[:16_384], x[16_384:32_768], x[32_768:])]
    np.testing.assert_allclose(totals, want, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_updates_of_adam_reach_the_last_element(dtype):
    p, g, m, v = np.ones((4, 32_769), dtype)
    kernels.switch(True)
    kernels.run("adam", p, g, m, v, *map(dtype, (0.9, 0.1, 0.98, 0.02, 1.0, 0.0, 1e-8, 0.1)))
    assert (p == p[0]).all() and p[0] == pytest.approx(0.9) and (m == m[0]).all()
