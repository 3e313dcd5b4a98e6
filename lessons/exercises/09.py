"""Lesson 9: LSTM. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def lstm_step(x, h, c, W_x, W_h, b):
    """Return the new states ``(h, c)``, each (B, H), after the input x (B, I).

    W_x (4 H, I), W_h (4 H, H) and b (4 H,) hold the four layers in the order i, f, g, o. The gates
    i, f, o are sigmoids, g is a tanh:

        c = f * c + i * g        h = o * tanh(c)

    All are Tensors. You need ``mt.split`` and ``F.sigmoid``.
    """
    raise NotImplementedError("exercise 9.1")


def run_lstm(step, xs, h, c):
    """Return the states h after every step, a Tensor (B, T, H).

    xs: the inputs (B, T, I). h and c: the states before the first. ``step(x, h, c)`` returns the
    next ``(h, c)``.
    """
    raise NotImplementedError("exercise 9.2")


def remembering_bias(hidden, value):
    """Return a bias (4 H,) as an array that is ``value`` for the forget gate, otherwise 0.

    The order of the four parts is i, f, g, o.
    """
    raise NotImplementedError("exercise 9.3")


def half_life(bias):
    """Return after how many steps half of a cell's content is left, if the forget gate is
    ``sigmoid(bias)`` at each step and nothing is added.

    It need not be a whole number. Solve ``f ** steps = 1 / 2``.
    """
    raise NotImplementedError("exercise 9.4")


def gru_step(x, h, W_x, W_h, b_x, b_h):
    """Return the new state (B, H) of a gated recurrent unit after the input x (B, I).

    W_x (3 H, I), W_h (3 H, H), b_x and b_h (3 H,) hold three layers in the order r, z, n:

        r = sigmoid(x_r + h_r)        z = sigmoid(x_z + h_z)        n = tanh(x_n + r * h_n)
        h = (1 - z) * n + z * h

    x_r, x_z, x_n are the parts of ``x @ W_x.mT + b_x``; h_r, h_z, h_n are those of
    ``h @ W_h.mT + b_h``.
    """
    raise NotImplementedError("exercise 9.5")
