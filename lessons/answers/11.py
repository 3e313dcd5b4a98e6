"""Lesson 11, the answers."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def attention(query, key, value):
    """Two products with a softmax between them."""
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (B, T, S)
    return F.softmax(scores, axis=-1) @ value


def padding_mask(lengths, length):
    """Every place against every length."""
    return np.arange(length) < np.array(lengths)[:, None]


def masked_weights(scores, mask):
    """Hidden before the softmax, so that the rest adds up to 1."""
    return F.softmax(mt.where(mask[:, None, :], scores, -np.inf), axis=-1)


def additive_scores(query, key, W_q, W_k, v):
    """A small network for each pair of query and key."""
    q = (query @ W_q.mT)[:, :, None]  # (B, T, 1, A)
    k = (key @ W_k.mT)[:, None]  # (B, 1, S, A)
    return mt.tanh(q + k) @ v


def alignment(weights):
    """The largest of each row."""
    return weights.argmax(axis=-1)
