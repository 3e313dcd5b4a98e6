"""Lesson 11: attention. Replace each `raise NotImplementedError` by your own lines."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def attention(query, key, value):
    """Return the answers, a Tensor (B, T, V), of scaled dot-product attention.

    query (B, T, K), key (B, S, K), value (B, S, V) are Tensors. The score of a query and a key is
    their product, divided by the root of K. The weights are a softmax of the scores over the keys.
    """
    raise NotImplementedError("exercise 11.1")


def padding_mask(lengths, length):
    """Return an array of booleans (B, length), True at the first ``lengths[b]`` places of row b.

    lengths: a list of whole numbers. Such a mask says at which keys one may look.
    """
    raise NotImplementedError("exercise 11.2")


def masked_weights(scores, mask):
    """Return the attention weights (B, T, S) of scores (B, T, S), a Tensor.

    mask: an array of booleans (B, S), True at keys that may be looked at. The others get the weight
    0, and the rest adds up to 1. Each row of the mask has a True.
    """
    raise NotImplementedError("exercise 11.3")


def additive_scores(query, key, W_q, W_k, v):
    """Return the scores (B, T, S) of Bahdanau's attention: ``v . tanh(W_q q + W_k k)``.

    query (B, T, Q), key (B, S, K), W_q (A, Q), W_k (A, K), v (A,): Tensors. Each query meets each
    key: give both an axis of length 1 and let them broadcast to (B, T, S, A).
    """
    raise NotImplementedError("exercise 11.4")


def alignment(weights):
    """Return for each written word the place of the source that it looked at most: (B, T) integers.

    weights: an array (B, T, S) of attention weights, T written words, S places of the source.
    """
    raise NotImplementedError("exercise 11.5")
