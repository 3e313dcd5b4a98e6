import numpy as np

import minitensor as mt
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("12.1", "turned over")
def causal_mask(length):
    return np.triu(np.ones((length, length), dtype=bool))


@wrong("12.1", "a word may look at itself")
def causal_mask(length):
    return np.tril(np.ones((length, length), dtype=bool), -1)


@wrong("12.1", "upside down")
def causal_mask(length):
    return ~np.tril(np.ones((length, length), dtype=bool))


@wrong("12.1", "a mask is of booleans")
def causal_mask(length):
    return np.tril(np.ones((length, length)))


@wrong("12.1", "all may look at all")
def causal_mask(length):
    return np.ones((length, length), dtype=bool)


@wrong("12.2", "first all sines")
def positions(length, d_model):
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, d_model, 2) / d_model)
    return np.hstack([np.sin(angles), np.cos(angles)])


@wrong("12.2", "here it grows half as fast")
def positions(length, d_model):
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(d_model // 2) / d_model)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, d_model)


@wrong("12.2", "the exponent belongs to the pair")
def positions(length, d_model):
    k = np.arange(d_model)
    angles = np.arange(length)[:, None] / 10000.0 ** (k / d_model)
    return np.where(k % 2, np.cos(angles), np.sin(angles))


@wrong("12.2", "the first position is 0")
def positions(length, d_model):
    angles = np.arange(1, length + 1)[:, None] / 10000.0 ** (np.arange(0, d_model, 2) / d_model)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, d_model)


@wrong("12.3", "words and features are mixed")
def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.reshape((B, n_heads, T, D // n_heads))


@wrong("12.3", "an axis has to move")
def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.reshape((B, T, n_heads, D // n_heads))


@wrong("12.3", "every second feature")
def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.reshape((B, T, D // n_heads, n_heads)).transpose((0, 3, 1, 2))


@wrong("12.3", "not of features in a head")
def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.reshape((B, T, D // n_heads, n_heads)).swapaxes(1, 2)


@wrong("12.4", "the residual is missing in both parts")
def block(x, attention, feed_forward, norm1, norm2):
    return feed_forward(norm2(attention(norm1(x))))


@wrong("12.4", "the norm comes behind the sum")
def block(x, attention, feed_forward, norm1, norm2):
    x = norm1(x + attention(x))
    return norm2(x + feed_forward(x))


@wrong("12.4", "the words go straight on as they were")
def block(x, attention, feed_forward, norm1, norm2):
    x = norm1(x)
    x = norm2(x + attention(x))
    return x + feed_forward(x)


@wrong("12.4", "not those with the first part's answer")
def block(x, attention, feed_forward, norm1, norm2):
    return x + attention(norm1(x)) + feed_forward(norm2(x))


@wrong("12.5", "try every word")
def sees_future(function, x):
    changed = x.numpy().copy()
    changed[-1] += np.arange(x.shape[1])
    return bool((function(mt.tensor(changed)).numpy()[:-1] != function(x).numpy()[:-1]).any())


@wrong("12.5", "a word may see itself")
def sees_future(function, x):
    for s in range(len(x)):
        changed = x.numpy().copy()
        changed[s] += np.arange(x.shape[1])
        if (function(mt.tensor(changed)).numpy()[: s + 1] != function(x).numpy()[: s + 1]).any():
            return True
    return False


@wrong("12.5", "a change of all features by the same amount")
def sees_future(function, x):
    for s in range(1, len(x)):
        changed = x.numpy().copy()
        changed[s] += 1.0
        if (abs(function(mt.tensor(changed)).numpy() - function(x).numpy())[:s] > 1e-9).any():
            return True
    return False


@wrong("12.5", "look at all answers before it")
def sees_future(function, x):
    for s in range(1, len(x)):
        changed = x.numpy().copy()
        changed[s] += np.arange(x.shape[1])
        if (function(mt.tensor(changed)).numpy()[s - 1] != function(x).numpy()[s - 1]).any():
            return True
    return False


@wrong("12.5", "it should return True or False")
def sees_future(function, x):
    x = x.detach().requires_grad_()
    return mt.grad((function(x)[0] ** 2).sum(), x)[1:]
