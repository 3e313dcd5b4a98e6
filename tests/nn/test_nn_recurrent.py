"""Recurrent layers: ragged batches, poisoned padding, directions, stacking, cells, kernels, options
and errors.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.nn.functional.recurrent_gru import packed_gru
from minitensor.nn.functional.recurrent_lstm import packed_lstm
from minitensor.nn.functional.recurrent_rnn import packed_rnn
from minitensor.testing import check_op

KINDS = ["RNN", "LSTM", "GRU"]
OPS = {"RNN": (packed_rnn, 1, 1), "LSTM": (packed_lstm, 4, 2), "GRU": (packed_gru, 3, 1)}  # op, gates, states


def normal(*shape, seed=0):
    """Fixed normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def parts(state):
    """The tensors of a state."""
    return list(state) if isinstance(state, tuple) else [state]


# --- sequences of several lengths -----------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS), layers=st.integers(1, 3), bidirectional=st.booleans(), steps=st.integers(1, 6),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_sequence_gives_the_same_alone_and_padded_in_company(kind, layers, bidirectional, steps, shares, seed):
    layer = getattr(nn, kind)(3, 2, layers, bidirectional=bidirectional).astype("float64")
    lengths = [1 + round(share * (steps - 1)) for share in shares]
    x = normal(len(lengths), steps, 3, seed=seed)
    x[np.arange(steps) >= np.array(lengths)[:, None]] = np.nan
    output, state = layer(mt.tensor(x), lengths=lengths)
    for b, length in enumerate(lengths):
        alone, last = layer(mt.tensor(x[b : b + 1, :length]))
        np.testing.assert_allclose(output.data[b, :length], alone.data[0], rtol=1e-12, atol=1e-14)
        assert (output.data[b, length:] == 0).all()
        for mine, single in zip(parts(state), parts(last)):
            np.testing.assert_allclose(mine.data[:, b], single.data[:, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_reaches_no_gradient_of_either_order(kind, bidirectional, poison):
    layer = getattr(nn, kind)(3, 2, 2, bidirectional=bidirectional).astype("float64")
    lengths, over = [4, 1, 2], np.arange(4) >= np.array([[4], [1], [2]])
    found = []
    for value in (0.0, poison):
        array = normal(3, 4, 3)
        array[over] = value
        x = mt.tensor(array, requires_grad=True)
        output, state = layer(x, lengths=lengths)
        leaves = [x, *layer.parameters()]
        seeds = [mt.tensor(normal(*end.shape, seed=k)) for k, end in enumerate((output, *parts(state)))]
        first = mt.grad([output, *parts(state)], leaves, seeds, create_graph=True)
        assert (first[0].data[over] == 0).all()
        second = mt.grad(sum((g * g).sum() for g in first), leaves)
        assert (second[0].data[over] == 0).all()
        found.append([end.data for end in (output, *parts(state), *first, *second)])
    for clean, poisoned in zip(*found):
        np.testing.assert_array_equal(poisoned, clean)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_reverse_is_the_flipped_sequence(name):
    _, gates, _ = OPS[name.upper()]
    x, weights = normal(2, 5, 3), [normal(gates * 4, 3, seed=1), normal(gates * 4, 4, seed=2)]
    back, state = getattr(F, name)(x, *weights, reverse=True)
    there, last = getattr(F, name)(x[:, ::-1], *weights)
    np.testing.assert_allclose(back.data, there.data[:, ::-1], rtol=1e-13)
    for a, b in zip(parts(state), parts(last)):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-13)


def test_lengths_may_be_a_list_an_array_or_a_tensor():
    layer, x = nn.GRU(3, 2), mt.tensor(normal(2, 4, 3), dtype="float32")
    lists = layer(x, lengths=[4, 2])[0].data
    for lengths in (np.array([4, 2], dtype=np.int32), mt.tensor([4, 2]), (4, 2)):
        np.testing.assert_array_equal(layer(x, lengths=lengths)[0].data, lists)


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, np.array([5, 2, 1, 4])])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_against_definition(kind, reverse, lengths):
    packed, gates, states = OPS[kind]
    shapes = [(5, 4, 3), *[(4, 6)] * states, (gates * 6, 3), (gates * 6, 6), (gates * 6,), (gates * 6,)]
    inputs = [normal(*shape, seed=k) for k, shape in enumerate(shapes)]
    check_op(packed, [*inputs, lengths], keywords={"reverse": reverse}, order=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_keeps_every_promise_of_an_op(kind):
    layer = getattr(nn, kind)(2, 2, bidirectional=True).astype("float64")

    class Flat(nn.Module):
        def __init__(self):
            self.inner = layer

        def forward(self, x):
            output, state = self.inner(x, lengths=[3, 2])
            return (output, *parts(state))

    check_op(Flat(), [normal(2, 3, 2)])


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_types_compute_in_the_widest(kind):
    single = getattr(nn, kind)(3, 2)
    wide = getattr(nn, kind)(3, 2).astype("float64")
    wide.load_state_dict(single.state_dict())
    x = mt.tensor(normal(2, 4, 3), requires_grad=True)
    (mine, _), (right, _) = single(x), wide(x)
    assert mine.dtype == np.float64
    np.testing.assert_array_equal(mine.data, right.data)
    gradient, exact = (mt.grad((y * y).sum(), layer.weight_hh_l0) for y, layer in ((mine, single), (right, wide)))
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient.data, exact.data.astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_large_inputs_do_not_overflow(kind):
    layer = getattr(nn, kind)(3, 2)
    x = mt.tensor(np.float32(1e4) * normal(2, 4, 3).astype(np.float32), requires_grad=True)
    output, _ = layer(x)
    output.sum().backward()
    assert np.isfinite(output.data).all() and np.isfinite(x.grad.data).all()


# --- stacks and cells -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_stack_is_layer_upon_layer_with_dropout_between(kind):
    stack = getattr(nn, kind)(3, 4, 2, dropout=0.5)
    single = [getattr(nn, kind)(3, 4), getattr(nn, kind)(4, 4)]
    for k, layer in enumerate(single):
        names = {name: name.replace("_l0", f"_l{k}") for name in layer.state_dict()}
        layer.load_state_dict({name: stack.state_dict()[there] for name, there in names.items()})
    x = mt.tensor(normal(2, 5, 3), dtype="float32")
    for training in (True, False):
        stack.train(training)
        start = mt.random.default.state
        output, state = stack(x)
        mt.random.default.state = start
        between, first = single[0](x)
        expected, second = single[1](F.dropout(between, 0.5, training))
        np.testing.assert_array_equal(output.data, expected.data)
        for a, b, c in zip(parts(state), parts(first), parts(second)):
            np.testing.assert_array_equal(a.data, np.concatenate([b.data, c.data]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_two_uses_add_up(kind):
    """The two biases of an LSTM have equal gradients; each needs an array of its own, or both would
    count the second use twice.
    """
    layer, x = getattr(nn, kind)(3, 2).astype("float64"), mt.tensor(normal(2, 4, 3))
    g = mt.tensor(normal(2, 4, 2, seed=1))
    once = mt.grad(layer(x)[0], list(layer.parameters()), g)
    twice = mt.grad(layer(x)[0] + layer(x)[0], list(layer.parameters()), g)
    for name, one, two in zip(layer.state_dict(), once, twice):
        np.testing.assert_allclose(two.numpy(), 2 * one.numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_cell_step_by_step_is_the_layer(kind):
    layer, cell = getattr(nn, kind)(3, 4).astype("float64"), getattr(nn, f"{kind}Cell")(3, 4).astype("float64")
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, state = mt.tensor(normal(2, 5, 3)), None
    output, last = layer(x)
    for t in range(5):
        state = cell(x[:, t], state)
        np.testing.assert_allclose(output.data[:, t], parts(state)[0].data, rtol=1e-13)
    for a, b in zip(parts(last), parts(state)):
        np.testing.assert_allclose(a.data[0], b.data, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_two_pieces(kind):
    layer = getattr(nn, kind)(3, 4, 2).astype("float64")
    x = mt.tensor(normal(2, 6, 3))
    whole, last = layer(x)
    first, state = layer(x[:, :2])
    second, end = layer(x[:, 2:], state)
    np.testing.assert_allclose(mt.concat([first, second], axis=1).data, whole.data, rtol=1e-13)
    for a, b in zip(parts(end), parts(last)):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-13)


def test_time_first():
    layer = nn.LSTM(3, 4, bidirectional=True)
    turned = nn.LSTM(3, 4, bidirectional=True, batch_first=False)
    turned.load_state_dict(layer.state_dict())
    x = mt.tensor(normal(2, 5, 3), dtype="float32")
    (a, (h, _)), (b, (k, _)) = layer(x, lengths=[5, 3]), turned(x.swapaxes(0, 1), lengths=[5, 3])
    np.testing.assert_array_equal(a.data, b.data.swapaxes(0, 1))
    np.testing.assert_array_equal(h.data, k.data)


# --- initial values -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_orthogonal_start(kind):
    module = getattr(nn, kind)(3, 8, orthogonal=True)
    (weight,) = [p.data for name, p in module.named_parameters() if name.startswith("weight_hh")]
    for block in np.split(weight, len(weight) // 8):
        np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-6)
    plain = getattr(nn, kind)(3, 8)
    assert all(np.abs(p.data).max() <= 1 / np.sqrt(8) for p in plain.parameters())


def test_forget_bias():
    layer = nn.LSTM(3, 4, 2, bidirectional=True, forget_bias=1.0)
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        total = sum(layer.state_dict()[name + suffix].data for name in ("bias_ih", "bias_hh"))
        assert (total[4:8] == 1).all() and (total[:4] != 0).all() and (total[8:] != 0).all()
    assert (nn.LSTMCell(3, 4, forget_bias=2.0).bias_ih.data[4:8] == 2).all()


# --- errors ---------------------------------------------------------------------------------------

X = mt.zeros((2, 5, 3))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.LSTM(3, 4)(mt.zeros((2, 5, 2))), ValueError, r"LSTM\(.*shape \(2, 5, 2\), its last axis must be 3"),
        (lambda: nn.LSTM(3, 4)(mt.zeros((5, 3))), ValueError, r"shape \(5, 3\), it must be \(batch, steps, features\)"),
        (lambda: nn.GRU(3, 4, batch_first=False)(mt.zeros((5, 3))), ValueError, r"it must be \(steps, batch, features\)"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5, 6]), ValueError, r"GRU: lengths\[1\] is 6, but x \(2, 5, 3\) has 5 steps; pad"),
        (lambda: nn.GRU(3, 4)(X, lengths=[0, 5]), ValueError, r"GRU: lengths\[0\] is 0, but .* at least 1 step; leave out"),
        (lambda: nn.RNN(3, 4)(X, lengths=[5]), ValueError, r"RNN: lengths \(1,\) must hold one number .* 2 sequences"),
        (lambda: nn.RNN(3, 4)(X, lengths=[5.0, 1.0]), TypeError, r"lengths must be integers, got float32; write"),
        (
            lambda: nn.GRU(3, 4, 2)(X, mt.zeros((1, 2, 4))), ValueError,
            r"GRU\(.*the initial state has shape \(1, 2, 4\), it must be \(layers \* directions, batch, hidden\) = \(2, 2, 4\)",
        ),
        (lambda: nn.GRU(3, 4)(X, (mt.zeros((1, 2, 4)),) * 2), ValueError, r"the initial state is a tuple, it must .*\(1, 2, 4\)"),
        (lambda: nn.LSTM(3, 4)(X, mt.zeros((1, 2, 4))), TypeError, r"the initial state is a pair.*write state=\(h, c\)"),
        (
            lambda: nn.LSTM(3, 4)(X, (mt.zeros((1, 2, 4)), mt.zeros((1, 3, 4)))), ValueError,
            r"the initial state c has shape \(1, 3, 4\), it must be .* = \(1, 2, 4\)",
        ),
        (lambda: nn.LSTMCell(3, 4)(mt.zeros(3)), ValueError, r"LSTMCell.*shape \(3,\), it must be \(batch, features\).*x\[None\]"),
        (lambda: nn.LSTMCell(3, 4)(mt.zeros((2, 4))), ValueError, r"its last axis must be 3"),
        (lambda: nn.LSTMCell(3, 4)(mt.zeros((2, 3)), mt.zeros((2, 4))), TypeError, r"the state is a pair \(h, c\), got one of"),
        (
            lambda: nn.GRUCell(3, 4)(mt.zeros((2, 3)), (mt.zeros((2, 4)), mt.zeros((2, 4)))), TypeError,
            "the state is one tensor .* got a tuple of 2",
        ),
        (lambda: nn.GRUCell(3, 4)(mt.zeros((2, 3)), mt.zeros((2, 5))), ValueError, r"state h \(2, 5\) must be .* = \(2, 4\)"),
        (lambda: nn.LSTM(3, 0), ValueError, "hidden_size must be a positive integer, got 0"),
        (lambda: nn.LSTM(3, 4, dropout=1.1), ValueError, "LSTM: dropout must be a number from 0 to 1, got 1.1"),
        (lambda: nn.LSTM(3, 4, bias=False, forget_bias=1.0), ValueError, "forget_bias=1.0 needs biases"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "RNN: nonlinearity must be .* got 'sin'"),
    ],
)  # fmt: skip
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_what_a_reader_tripped_over():
    layer = nn.LSTM(3, 4, bidirectional=2)  # true, whatever number says it
    assert layer(mt.zeros((2, 5, 3)))[0].shape == (2, 5, 8)
    with pytest.raises(TypeError, match="GRU has no option 'nonlinearity'"):
        nn.GRU(3, 4, nonlinearity="relu")
    with pytest.raises(TypeError, match=r"lengths \(2, 5\) are a mask; write lengths=mask.sum\(axis=1\)"):
        layer(mt.zeros((2, 5, 3)), lengths=np.ones((2, 5), dtype=bool))
    with pytest.raises(ValueError, match=r"weight_hh \(\) must be"):
        F.rnn(mt.zeros((2, 5, 3)), mt.zeros((4, 3)), mt.tensor(1.0))
