"""Lesson 12: the Transformer block. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def causal_mask(length):
    """Return an array of booleans (length, length): may the query of row t look at the key of
    column s? It may look at itself and at what came before.
    """
    raise NotImplementedError("exercise 12.1")


def positions(length, d_model):
    """Return the waves of the Transformer paper as an array (length, d_model); d_model is even:

        P[t, 2 i] = sin(t / 10000 ** (2 i / D))      P[t, 2 i + 1] = cos(t / 10000 ** (2 i / D))

    with D = d_model and t from 0 on.
    """
    raise NotImplementedError("exercise 12.2")


def split_heads(x, n_heads):
    """Return x, a Tensor (B, T, D), cut into heads: a Tensor (B, H, T, K) with K = D / H.

    Head 0 has the first K features of each word, head 1 the next K, and so on.
    """
    raise NotImplementedError("exercise 12.3")


def block(x, attention, feed_forward, norm1, norm2):
    """Return what a Transformer block makes of x, a Tensor.

    Each part gets the normalised words, and what it returns is added to the words as they were:
    first ``attention`` behind ``norm1``, then ``feed_forward`` behind ``norm2``.
    """
    raise NotImplementedError("exercise 12.4")


def sees_future(function, x):
    """Return whether an answer of ``function`` depends on a later word: True or False.

    ``function(x)`` makes answers (T, D) of words x (T, D), both Tensors. Use gradients, or change
    words and look what else changes; each word must be tried, against all answers before it.
    """
    raise NotImplementedError("exercise 12.5")
