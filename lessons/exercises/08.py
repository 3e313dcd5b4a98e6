"""Lesson 8: an RNN. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt


def rnn_step(x, h, W_x, W_h, b):
    """Return the state after one step, ``tanh(W_x x + W_h h + b)``, for every row.

    x: inputs (B, I). h: the state before (B, H). W_x (H, I), W_h (H, H), b (H,). All are Tensors,
    and so is the result (B, H).
    """
    raise NotImplementedError("exercise 8.1")


def run_rnn(step, xs, h):
    """Return the states after every step, a Tensor (B, T, H).

    xs: the inputs, a Tensor (B, T, I). h: the state before the first (B, H). ``step(x, h)`` gives
    the state after the input x (B, I). You need ``mt.stack``.
    """
    raise NotImplementedError("exercise 8.2")


def gradient_by_distance(states, xs, direction):
    """Return how strongly the last state depends on the input of 0, 1, 2, ... steps ago.

    states: a Tensor (T, H) that was made of xs, a Tensor (T, I) that wants its gradient. The number
    for a distance is the norm of the gradient of ``states[-1] @ direction`` by that step's input.
    An array (T,), the last step first. You need ``mt.grad``.
    """
    raise NotImplementedError("exercise 8.3")


def clip(gradients, max_norm):
    """Return the gradients, a list of arrays, scaled so that their norm *together* is at most
    ``max_norm``.

    The norm together is the root of the sum of all squares. Gradients that are small enough stay.
    """
    raise NotImplementedError("exercise 8.4")
