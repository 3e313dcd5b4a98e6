"""Lesson 15: how it gets fast. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np


def attention_operations(batch, heads, queries, keys, features):
    """Return how many operations the two matrix products of an attention take.

    The first makes the scores of queries and keys of ``features`` numbers, the second sums values
    of ``features`` numbers; for each sentence of the batch, and each head. A multiplication with
    its addition counts as 2.
    """
    raise NotImplementedError("exercise 15.1")


def one_pass(blocks):
    """Return the maximum of all numbers, and the sum of ``exp(x - maximum)`` over all of them.

    blocks: an iterator of arrays, which can be gone through only once; the numbers may be large.
    Do not put the blocks together: keep a maximum and a sum, and correct the sum if a block brings
    a larger maximum.
    """
    raise NotImplementedError("exercise 15.2")


def cached_step(query, key, value, cache):
    """Return the answer (K,) of one decoding step, and the new cache.

    query, key, value: arrays (K,) of the newest word. cache: the pair (keys, values) of the words
    before, arrays (T, K); T may be 0. The newest word looks at all before it and at itself, with
    scores divided by the root of K. The new cache is the pair with the newest word behind the
    others; the old cache must stay as it is, since other beams may go on from it.
    """
    raise NotImplementedError("exercise 15.3")


def layer_norm_backward(g, x_hat, rstd, weight):
    """Return dL/dx (N, D) of layer norm, from what its kernel kept.

    With ``x_hat = (x - mean) * rstd`` and ``y = x_hat * weight + bias``, and h = g * weight:

        dL/dx = rstd * (h - mean(h) - x_hat * mean(h * x_hat))

    g: dL/dy (N, D). x_hat (N, D), rstd (N, 1), weight (D,). Means are along the last axis.
    """
    raise NotImplementedError("exercise 15.4")
