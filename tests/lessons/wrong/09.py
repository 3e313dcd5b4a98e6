import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("9.1", "this is i, f, o, g")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, o, g = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)
    c = F.sigmoid(f) * c + F.sigmoid(i) * mt.tanh(g)
    return F.sigmoid(o) * mt.tanh(c), c


@wrong("9.1", "h and c have changed places")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, g, o = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)
    c = F.sigmoid(f) * c + F.sigmoid(i) * mt.tanh(g)
    return c, F.sigmoid(o) * mt.tanh(c)


@wrong("9.1", "a tanh, not a sigmoid")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, g, o = mt.split(F.sigmoid(x @ W_x.mT + h @ W_h.mT + b), 4, axis=-1)
    c = f * c + i * g
    return o * mt.tanh(c), c


@wrong("9.1", "the tanh around c is missing")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, g, o = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)
    c = F.sigmoid(f) * c + F.sigmoid(i) * mt.tanh(g)
    return F.sigmoid(o) * c, c


@wrong("9.1", "it shows the old cell")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, g, o = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)
    return F.sigmoid(o) * mt.tanh(c), F.sigmoid(f) * c + F.sigmoid(i) * mt.tanh(g)


@wrong("9.1", "upside down")
def lstm_step(x, h, c, W_x, W_h, b):
    i, f, g, o = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)
    c = (1 - F.sigmoid(f)) * c + F.sigmoid(i) * mt.tanh(g)
    return F.sigmoid(o) * mt.tanh(c), c


@wrong("9.2", "c is not carried")
def run_lstm(step, xs, h, c):
    states = []
    for t in range(xs.shape[1]):
        h, _ = step(xs[:, t], h, c)
        states.append(h)
    return mt.stack(states, axis=1)


@wrong("9.2", "h is carried in the place of c")
def run_lstm(step, xs, h, c):
    states = []
    for t in range(xs.shape[1]):
        h, c = step(xs[:, t], h, c)
        c = h
        states.append(h)
    return mt.stack(states, axis=1)


@wrong("9.2", "these are the cells")
def run_lstm(step, xs, h, c):
    states = []
    for t in range(xs.shape[1]):
        h, c = step(xs[:, t], h, c)
        states.append(c)
    return mt.stack(states, axis=1)


@wrong("9.2", "change places from step to step")
def run_lstm(step, xs, h, c):
    states = []
    for t in range(xs.shape[1]):
        c, h = step(xs[:, t], h, c)
        states.append(c)
    return mt.stack(states, axis=1)


@wrong("9.3", "this is the input gate")
def remembering_bias(hidden, value):
    bias = np.zeros(4 * hidden)
    bias[:hidden] = value
    return bias


@wrong("9.3", "all gates get it")
def remembering_bias(hidden, value):
    return np.full(4 * hidden, value)


@wrong("9.3", "they do not take turns")
def remembering_bias(hidden, value):
    bias = np.zeros(4 * hidden)
    bias[1::4] = value
    return bias


@wrong("9.3", "each part is H long")
def remembering_bias(hidden, value):
    return np.array([0.0, value, 0.0, 0.0])


@wrong("9.4", "f = sigmoid(bias)")
def half_life(bias):
    return np.log(0.5) / np.log(bias) if bias else 1.0


@wrong("9.4", "the quotient is upside down")
def half_life(bias):
    return np.log2(1 + np.exp(-bias))


@wrong("9.4", "it is a power")
def half_life(bias):
    return 0.5 * (1 + np.exp(-bias))


@wrong("9.4", "not its half-life")
def half_life(bias):
    return 1 + np.exp(bias)


@wrong("9.5", "z is upside down")
def gru_step(x, h, W_x, W_h, b_x, b_h):
    x_r, x_z, x_n = mt.split(x @ W_x.mT + b_x, 3, axis=-1)
    h_r, h_z, h_n = mt.split(h @ W_h.mT + b_h, 3, axis=-1)
    r, z = F.sigmoid(x_r + h_r), F.sigmoid(x_z + h_z)
    return z * mt.tanh(x_n + r * h_n) + (1 - z) * h


@wrong("9.5", "the reset acts on h before the product")
def gru_step(x, h, W_x, W_h, b_x, b_h):
    H = h.shape[-1]
    x_r, x_z, x_n = mt.split(x @ W_x.mT + b_x, 3, axis=-1)
    h_r, h_z, _ = mt.split(h @ W_h.mT + b_h, 3, axis=-1)
    r, z = F.sigmoid(x_r + h_r), F.sigmoid(x_z + h_z)
    n = mt.tanh(x_n + (r * h) @ W_h[2 * H :].mT + b_h[2 * H :])
    return (1 - z) * n + z * h


@wrong("9.5", "r and z have changed places")
def gru_step(x, h, W_x, W_h, b_x, b_h):
    x_z, x_r, x_n = mt.split(x @ W_x.mT + b_x, 3, axis=-1)
    h_z, h_r, h_n = mt.split(h @ W_h.mT + b_h, 3, axis=-1)
    r, z = F.sigmoid(x_r + h_r), F.sigmoid(x_z + h_z)
    return (1 - z) * mt.tanh(x_n + r * h_n) + z * h


@wrong("9.5", "the reset gate is missing")
def gru_step(x, h, W_x, W_h, b_x, b_h):
    _, z, n = mt.split(x @ W_x.mT + b_x + h @ W_h.mT + b_h, 3, axis=-1)
    z = F.sigmoid(z)
    return (1 - z) * mt.tanh(n) + z * h
