"""Lesson 8, the answers."""

import numpy as np

import minitensor as mt


def rnn_step(x, h, W_x, W_h, b):
    """Each row of x is one input, so the matrices stand transposed behind them."""
    return mt.tanh(x @ W_x.mT + h @ W_h.mT + b)


def run_rnn(step, xs, h):
    """The state goes round."""
    states = []
    for t in range(xs.shape[1]):
        h = step(xs[:, t], h)
        states.append(h)
    return mt.stack(states, axis=1)


def gradient_by_distance(states, xs, direction):
    """The gradient has a row for each step, the first step first."""
    gradient = mt.grad(states[-1] @ direction, xs).numpy()  # (T, I)
    return np.linalg.norm(gradient, axis=-1)[::-1]


def clip(gradients, max_norm):
    """One factor for all, so that the direction stays."""
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return [factor * g for g in gradients]
