import numpy as np

import minitensor as mt
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("8.1", "the tanh is missing")
def rnn_step(x, h, W_x, W_h, b):
    return x @ W_x.mT + h @ W_h.mT + b


@wrong("8.1", "W_h is not transposed")
def rnn_step(x, h, W_x, W_h, b):
    return mt.tanh(x @ W_x.mT + h @ W_h + b)


@wrong("8.1", "it takes the whole sum")
def rnn_step(x, h, W_x, W_h, b):
    return mt.tanh(x @ W_x.mT + b) + h @ W_h.mT


@wrong("8.1", "nothing is remembered")
def rnn_step(x, h, W_x, W_h, b):
    return mt.tanh(x @ W_x.mT + b)


@wrong("8.1", "it should return a Tensor")
def rnn_step(x, h, W_x, W_h, b):
    return np.tanh((x @ W_x.mT + h @ W_h.mT + b).numpy())


@wrong("8.2", "keep the state of every step")
def run_rnn(step, xs, h):
    for t in range(xs.shape[1]):
        h = step(xs[:, t], h)
    return h


@wrong("8.2", "begins with the first state again")
def run_rnn(step, xs, h):
    return mt.stack([step(xs[:, t], h) for t in range(xs.shape[1])], axis=1)


@wrong("8.2", "so axis=1")
def run_rnn(step, xs, h):
    states = []
    for t in range(xs.shape[1]):
        h = step(xs[:, t], h)
        states.append(h)
    return mt.stack(states)


@wrong("8.2", "before each step, not after it")
def run_rnn(step, xs, h):
    states = []
    for t in range(xs.shape[1]):
        states.append(h)
        h = step(xs[:, t], h)
    return mt.stack(states, axis=1)


@wrong("8.2", "put the list together")
def run_rnn(step, xs, h):
    states = []
    for t in range(xs.shape[1]):
        h = step(xs[:, t], h)
        states.append(h)
    return states


@wrong("8.3", "the last step, distance 0, comes first")
def gradient_by_distance(states, xs, direction):
    return np.linalg.norm(mt.grad(states[-1] @ direction, xs).numpy(), axis=-1)


@wrong("8.3", "not of the last one")
def gradient_by_distance(states, xs, direction):
    return np.linalg.norm(mt.grad((states @ direction).sum(), xs).numpy(), axis=-1)[::-1]


@wrong("8.3", "they cancel")
def gradient_by_distance(states, xs, direction):
    return mt.grad(states[-1] @ direction, xs).numpy().sum(axis=-1)[::-1]


@wrong("8.3", "along the last axis")
def gradient_by_distance(states, xs, direction):
    return np.linalg.norm(mt.grad(states[-1] @ direction, xs).numpy())


@wrong("8.4", "each array is clipped alone")
def clip(gradients, max_norm):
    return [g * min(1.0, max_norm / np.linalg.norm(g)) if g.any() else g for g in gradients]


@wrong("8.4", "each number is clipped")
def clip(gradients, max_norm):
    return [np.clip(g, -max_norm, max_norm) for g in gradients]


@wrong("8.4", "clipping only makes smaller")
def clip(gradients, max_norm):
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    return [g * max_norm / norm for g in gradients]


@wrong("8.4", "the root is missing")
def clip(gradients, max_norm):
    norm = sum((g**2).sum() for g in gradients)
    return [g * min(1.0, max_norm / max(norm, 1e-9)) for g in gradients]


@wrong("8.4", "do not write into what you are given")
def clip(gradients, max_norm):
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    for g in gradients:
        g *= min(1.0, max_norm / norm)
    return gradients
