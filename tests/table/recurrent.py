"""Rows of the recurrent functions of ``minitensor.nn.functional``."""

import functools

import numpy as np
from hypothesis import strategies as st
from table.row import Row

import minitensor.nn.functional as F
from minitensor.testing import strategies as mst


@st.composite
def cases(draw, gates, states, **named):
    """A batch of sequences, weights, biases or none, initial states or none, lengths or none, both
    directions.
    """
    batch, steps = draw(st.sampled_from([2, 1, 3, 0])), draw(st.integers(1, 3))
    features, hidden = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    # Larger weights multiply the rounding errors of a step by hundreds in the next.
    drawn = functools.partial(mst.tensors, low=-2.0, high=2.0, ties=False)
    x = draw(drawn((batch, steps, features)))
    weights = [draw(drawn((gates * hidden, n))) for n in (features, hidden)]
    biases = [draw(st.one_of(drawn((gates * hidden,)), st.none())) for _ in range(2)]
    given_state = draw(st.booleans())
    starts = [draw(drawn((batch, hidden))) if given_state else None for _ in range(states)]
    lengths = draw(st.one_of(st.none(), mst.integer_tensors((batch,), 1, steps)))
    keywords = {"reverse": draw(st.booleans()), **{name: draw(strategy) for name, strategy in named.items()}}
    return [x, *weights, *biases, *starts, lengths, keywords]


def numpy_sequence(step, x, states, lengths, reverse):
    """Each sequence for itself, from its start to its own end, or back."""
    outputs = np.zeros((*x.shape[:2], states[0].shape[1]))
    finals = [np.array(s) for s in states]
    for b in range(len(x)):
        times = range(x.shape[1] if lengths is None else int(lengths[b]))
        now = [s[b] for s in states]
        for t in reversed(times) if reverse else times:
            now = step(x[b, t], *now)
            outputs[b, t] = now[0]
        for final, value in zip(finals, now):
            final[b] = value
    return outputs, *finals


def _start(x, weight_hh, *states):
    return [np.zeros((len(x), weight_hh.shape[1])) if s is None else s for s in states]


def _affine(weight, bias):
    return lambda v: weight @ v + (0.0 if bias is None else bias)


def sigmoid(x):
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


def numpy_rnn(x, w_ih, w_hh, b_ih, b_hh, h, lengths, reverse, nonlinearity):
    """Elman's step."""
    of_x, of_h = _affine(w_ih, b_ih), _affine(w_hh, b_hh)
    f = np.tanh if nonlinearity == "tanh" else lambda v: np.maximum(v, 0.0)
    return numpy_sequence(lambda x, h: [f(of_x(x) + of_h(h))], x, _start(x, w_hh, h), lengths, reverse)


def numpy_lstm(x, w_ih, w_hh, b_ih, b_hh, h, c, lengths, reverse):
    """Gates i, f, g, o."""
    of_x, of_h = _affine(w_ih, b_ih), _affine(w_hh, b_hh)

    def step(x, h, c):
        i, f, g, o = np.split(of_x(x) + of_h(h), 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return numpy_sequence(step, x, _start(x, w_hh, h, c), lengths, reverse)


def numpy_gru(x, w_ih, w_hh, b_ih, b_hh, h, lengths, reverse):
    """Gates r, z, n."""
    of_x, of_h = _affine(w_ih, b_ih), _affine(w_hh, b_hh)

    def step(x, h):
        (rx, zx, nx), (rh, zh, nh) = np.split(of_x(x), 3), np.split(of_h(h), 3)
        z, n = sigmoid(zx + zh), np.tanh(nx + sigmoid(rx + rh) * nh)
        return [(1.0 - z) * n + z * h]

    return numpy_sequence(step, x, _start(x, w_hh, h), lengths, reverse)


def rnn(x, w_ih, w_hh, b_ih, b_hh, h, lengths, reverse, nonlinearity):
    """Arguments by position."""
    return F.rnn(x, w_ih, w_hh, b_ih, b_hh, h, lengths, nonlinearity=nonlinearity, reverse=reverse)


def lstm(x, w_ih, w_hh, b_ih, b_hh, h, c, lengths, reverse):
    """The states side by side."""
    output, (h, c) = F.lstm(x, w_ih, w_hh, b_ih, b_hh, None if h is None else (h, c), lengths, reverse=reverse)
    return output, h, c


def gru(x, w_ih, w_hh, b_ih, b_hh, h, lengths, reverse):
    """Arguments by position."""
    return F.gru(x, w_ih, w_hh, b_ih, b_hh, h, lengths, reverse=reverse)


Z = np.zeros
NO_BIAS = None, None
GIVEN = Z((2, 5, 3)), Z((4, 3)), Z((4, 4)), None, None, None
TANH = {"reverse": False, "nonlinearity": "tanh"}
BOTH = {"reverse": False}
ROWS = [
    Row(
        "rnn", rnn, cases(1, 1, nonlinearity=st.sampled_from(["tanh", "relu"])), numpy_rnn, where="F", examples=40,
        ops=("packed_rnn",),
        errors=(
            ([Z((2, 3)), Z((4, 3)), Z((4, 4)), *NO_BIAS, None, None], TANH, ValueError, r"rnn: x \(2, 3\) must be .* x\[None\]"),
            ([Z((2, 0, 3)), Z((4, 3)), Z((4, 4)), *NO_BIAS, None, None], TANH, ValueError, r"rnn: x \(2, 0, 3\) .* one step"),
            ([Z((2, 5, 3)), Z((4, 2)), Z((4, 4)), *NO_BIAS, None, None], TANH, ValueError, r"weight_ih \(4, 2\) must be \(4, 3\)"),
            ([Z((2, 5, 3)), Z((4, 3)), Z((4, 3)), *NO_BIAS, None, None], TANH, ValueError, r"weight_hh \(4, 3\) must"),
            ([*GIVEN, [2, 6]], TANH, ValueError, r"lengths\[1\] is 6, but x .* 5 steps; pad"),
            ([*GIVEN, [0, 5]], TANH, ValueError, r"lengths\[0\] is 0, .*leave out empty"),
            ([*GIVEN, [5]], TANH, ValueError, r"lengths \(1,\) .* has 2 sequences"),
            ([*GIVEN, [2.0, 5.0]], TANH, TypeError, "lengths must be integers"),
            ([Z((2, 5, 3)), Z((4, 3)), Z((4, 4)), *NO_BIAS, Z((1, 4)), None], TANH, ValueError, r"h \(1, 4\) must be .* \(2, 4\)"),
            (
                [*GIVEN, None], {**TANH, "nonlinearity": "sin"}, ValueError,
                "nonlinearity must be .* got 'sin'",
            ),
        ),
    ),
    Row(
        "lstm", lstm, cases(4, 2), numpy_lstm, where="F", examples=40, ops=("packed_lstm",),
        errors=(
            (
                [Z((2, 5, 3)), Z((16, 3)), Z((16, 4)), Z(4), None, None, None, None], BOTH, ValueError,
                r"lstm: bias_ih \(4,\) must be \(16,\)",
            ),
            (
                [Z((2, 5, 3)), Z((16, 3)), Z((16, 4)), *NO_BIAS, Z((2, 4)), Z((2, 3)), None], BOTH, ValueError,
                r"lstm: the initial state c \(2, 3\) must be \(batch, hidden\) = \(2, 4\)",
            ),
        ),
    ),
    Row(
        "gru", gru, cases(3, 1), numpy_gru, where="F", examples=40, ops=("packed_gru",),
        errors=(([[[[1, 2]]], Z((3, 2)), Z((3, 1)), *NO_BIAS, None, None], BOTH, TypeError, "gru: x must be floating, got int64"),),
    ),
]  # fmt: skip
