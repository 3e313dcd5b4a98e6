"""Lesson 15, the answers."""

import numpy as np


def attention_operations(batch, heads, queries, keys, features):
    """Both products meet every query with every key."""
    return 2 * 2 * batch * heads * queries * keys * features


def one_pass(blocks):
    """The old sum was measured from the old maximum."""
    top, total = -np.inf, 0.0
    for block in blocks:
        new_top = max(top, block.max())
        total = total * np.exp(top - new_top) + np.exp(block - new_top).sum()
        top = new_top
    return top, total


def cached_step(query, key, value, cache):
    """New arrays; the old ones stay."""
    keys, values = np.vstack([cache[0], key]), np.vstack([cache[1], value])  # (T + 1, K)
    scores = keys @ query / len(query) ** 0.5
    e = np.exp(scores - scores.max())
    return e @ values / e.sum(), (keys, values)


def layer_norm_backward(g, x_hat, rstd, weight):
    """What is left is what changes neither mean nor variance."""
    h = g * weight
    return rstd * (h - h.mean(axis=-1, keepdims=True) - x_hat * (h * x_hat).mean(axis=-1, keepdims=True))
