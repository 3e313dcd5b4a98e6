"""Lesson 6, the answers."""

import numpy as np

import minitensor as mt


def silu_definition(x):
    """As on the blackboard."""
    return x / (1.0 + mt.exp(-x))


def silu_kernel(xp, x):
    """The sigmoid is kept for the way back."""
    s = 1.0 / (1.0 + xp.exp(-x))

    def backward(g):
        dx = 1.0 - s
        dx *= x
        dx += 1.0
        dx *= s
        dx *= g
        return (dx,)

    return x * s, backward


def softmax_backward(g, y):
    """A row's sum needs no array of products."""
    dx = g - np.einsum("nd,nd->n", g, y)[:, None]
    dx *= y
    return dx
